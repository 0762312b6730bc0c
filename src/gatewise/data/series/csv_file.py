# SPDX-License-Identifier: Apache-2.0
"""CSV files as columns of text: nothing is guessed from the first rows, and every row is checked against the header."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import operator
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatewise.data.errors import FormatError, shorten
from gatewise.data.series.column import Column
from gatewise.data.series.frames import check_columns

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_PACKED = (".gz", ".bz2", ".xz", ".zip")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SEPARATORS = {";": "';'", "\t": r"'\t'", "|": "'|'", " ": r"r'\s+'"}  # and what pandas calls them


def read_columns(path: str | os.PathLike[str], wanted: Sequence[str], where: str) -> dict[str, Column]:
    """Reads columns of a CSV file.

    Args:
        path: the file, in UTF-8, or in UTF-16 or UTF-32 with a mark at its beginning; what ends in .gz, .bz2, .xz or
            .zip is unpacked.
        wanted: the names of the columns.
        where: the function and the file, for messages.

    Returns:
        The columns, by name, with the text of their cells, "" where a row is shorter. Blank lines are left out.

    Raises:
        FormatError: the file is empty or damaged, is in another encoding, or lacks a column; a row has more fields than
            the header.
    """
    reader = csv.reader(io.StringIO(_decode(_unpack(path, where), where), newline=""), strict=True)
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    try:
        header = next((row for row in reader if not _is_blank(row)), [])
        check_columns(header, wanted, where, _cure(header, wanted))
        pick = operator.itemgetter(*map(header.index, wanted), 0)  # one more, so that it gives a tuple of one as well
        for row in reader:
            if len(row) != len(header) or not row[0].strip():
                if _is_blank(row):
                    continue
                if not _is_blank(row[len(header) :]):
                    raise FormatError(
                        f"{where} has a row that is longer than the header. Expected {len(header)} fields, as in the "
                        f"first line; received {len(row)} in line {reader.line_num}: {shorten(','.join(row))}. Put a "
                        "field that holds a comma into quotes, or name all columns in the first line."
                    )
                row += [""] * (len(header) - len(row))  # noqa: PLW2901  # the rest is missing
            rows.append(pick(row))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise FormatError(
            f"{where} is damaged. Expected quotes around whole fields, each closed; received: {error}, in the row that "
            f"ends in line {reader.line_num}. Look for a quote before it that is not closed."
        ) from error
    columns = zip(*rows, strict=True) if rows else [()] * len(wanted)
    return {
        name: Column(where, name, np.array(column, dtype=object), lambda row: f"line {lines[row]}")
        for name, column in zip(wanted, columns, strict=False)
    }


def _is_blank(row: list[str]) -> bool:
    return not any(cell.strip() for cell in row)


def _unpack(path: str | os.PathLike[str], where: str) -> bytes:
    """Gives the bytes of a file, unpacked where the ending of its name says that it is packed."""
    ending = Path(path).suffix.lower()
    content = Path(path).read_bytes()
    if not content:
        raise FormatError(f"{where} is empty. Expected a table; received 0 bytes. Check how the file was made.")
    if ending not in _PACKED:
        return content
    try:
        if ending == ".zip":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                [inner] = archive.namelist()
                return archive.read(inner)
        return {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}[ending](content)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError, zlib.error) as error:
        raise FormatError(
            f"{where} cannot be unpacked. Expected one CSV file, packed as the ending {ending} says; received: "
            f"{shorten(str(error), 200)}. Unpack it first, and check that it was copied in whole."
        ) from error


def _decode(content: bytes, where: str) -> str:
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FormatError(
            f"{where} is not in the encoding expected. Expected {encoding}; received the byte "
            f"0x{content[error.start]:02x} at offset {error.start}, in line {line}. Convert it to UTF-8, or read it by "
            "pandas.read_csv(path, encoding=...) and use to_series; if only some lines differ, it mixes encodings."
        ) from error
    if "\0" in text:
        raise FormatError(
            f"{where} is no text. Expected a CSV file in UTF-8; received zero bytes. If it is UTF-16 without a mark at "
            "its beginning, read it by pandas.read_csv(path, encoding='utf-16-le') and use to_series."
        )
    return text


def _cure(header: list[str], wanted: Sequence[str]) -> str:
    """Says what to do where the first line lacks a column."""
    for separator, option in _SEPARATORS.items():
        if len(header) == 1 and {name.strip() for name in header[0].split(separator)} & set(wanted):
            return (
                f"Its fields seem to be separated by {separator!r}: read it by pandas.read_csv(path, sep={option}), "
                "with decimal=',' if its numbers have commas, and use to_series."
            )
    return "Check the spelling, and the first line of the file."
