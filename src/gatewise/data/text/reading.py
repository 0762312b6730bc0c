# SPDX-License-Identifier: Apache-2.0
"""Text from files: one encoding throughout, and an error that names the file and the place where it is another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewise.data.checks import describe
from gatewise.data.errors import FormatError, list_some, shorten

if TYPE_CHECKING:
    import os


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    r"""Reads a text file.

    Args:
        path: the file; a byte order mark of UTF-8 at its beginning is left out.
        encoding: as Python names it.

    Returns:
        The text, with line ends as "\n".

    Raises:
        FormatError: the file is empty, in another encoding, or no text.
        TypeError: encoding is no string.
        ValueError: there is no such encoding.
    """
    if not isinstance(encoding, str):
        raise TypeError(
            f"read_text: encoding is no name. Expected str; received {describe(encoding)}. Give 'utf-8' or another."
        )
    content = Path(path).read_bytes()
    name = f"read_text: {Path(path)}"
    if not content:
        raise FormatError(f"{name} is empty. Expected text; received 0 bytes. Check how the file was made.")
    utf8 = encoding.lower().replace("_", "-") in {"utf-8", "utf8"}
    try:
        text = content.decode("utf-8-sig" if utf8 else encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        cure = "Pass encoding='cp1252' or 'latin-1' if all of the file is, or convert it to UTF-8."
        if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            cure = "It begins as UTF-16 does: pass encoding='utf-16'."
        elif _holds_utf8(content[: error.start]):
            cure = "What comes before is UTF-8: the file mixes encodings. Convert the lines that differ."
        raise FormatError(
            f"{name} is not in the encoding asked for. Expected {encoding}; received the byte 0x"
            f"{content[error.start]:02x} at offset {error.start}, in line {line}. {cure}"
        ) from error
    except (LookupError, UnicodeEncodeError) as error:  # the latter is of the name
        raise ValueError(
            f"read_text: encoding is unknown. Expected a name that Python knows, such as 'utf-8' or 'cp1252'; received "
            f"{shorten(encoding)}. Look it up under codecs in Python's manual."
        ) from error
    if "\0" in text:
        raise FormatError(
            f"{name} is no text. Expected {encoding}; received zero bytes. If it is UTF-16, pass "
            "encoding='utf-16-le' or 'utf-16-be'."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | os.PathLike[str], encoding: str = "utf-8") -> list[str]:
    """Reads a file that has one text in each line.

    Args:
        path: the file.
        encoding: as Python names it.

    Returns:
        The lines without surrounding blanks; empty ones are left out.

    Raises:
        FormatError: the file holds no line, or is in another encoding.
    """
    lines = [line.strip() for line in read_text(path, encoding).split("\n")]
    lines = [line for line in lines if line]
    if not lines:
        raise FormatError(
            f"read_lines: {Path(path)} holds no text. Expected one text in each line; received blank lines only. "
            "Check how the file was made."
        )
    return lines


def read_folders(folder: str | os.PathLike[str], encoding: str = "utf-8") -> tuple[list[str], list[str]]:
    """Reads a data set in which each class has a folder, and each text a file `*.txt` in it.

    Args:
        folder: the folder that holds those of the classes.
        encoding: as Python names it.

    Returns:
        The texts, and the name of the class for each, in the order of folders and file names.

    Raises:
        FormatError: a folder holds no text, or a file is empty or in another encoding.
        ValueError: there are fewer than two classes.
    """
    folders = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    files = {path.name: sorted(path.glob("*.txt")) for path in folders}
    empty = [name for name, paths in files.items() if not paths]
    if empty:
        raise FormatError(
            f"read_folders: {Path(folder)} has classes without texts. Expected files *.txt in each folder; received "
            f"none in {list_some(empty)}. Remove the folder, or check the ending of the files."
        )
    if len(files) < 2:
        raise ValueError(
            f"read_folders: {Path(folder)} has too few classes. Expected at least two folders; received "
            f"{list_some(files) or 'none'}. Give the folder that holds those of the classes."
        )
    texts = [read_text(path, encoding) for paths in files.values() for path in paths]
    return texts, [name for name, paths in files.items() for _ in paths]


def _holds_utf8(content: bytes) -> bool:
    """Says whether bytes hold letters outside ASCII, all of them in UTF-8."""
    try:
        return not content.decode("utf-8").isascii()
    except UnicodeDecodeError:
        return False
