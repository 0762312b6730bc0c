# SPDX-License-Identifier: Apache-2.0
"""A column of a table, and what its cells say: numbers, times or names.

Text means the same whichever program wrote or read the table: what pandas takes for missing is missing among numbers
and times, and a name like any other in the column that tells series apart.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.checks import is_missing, is_real, is_whole
from gatewise.data.errors import FormatError, list_some, shorten
from gatewise.data.series.times import UTC_CURE, has_zone

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# What pandas.read_csv takes for missing, nothing included.
MISSING = frozenset(
    [
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "NaT",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)
_TRUTHS = {"true": 1.0, "false": 0.0}
_COMMAS = re.compile(r"\s*[+-]?[\d.,]*,[\d.,]*\d\s*")
_WHOLE = re.compile(r"[+-]?\d+")
_ISO = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,9})?)?)?)?)?")
# Dates without dashes, from 1800 to 2199, by the number of their digits.
_COMPACT = re.compile(r"(1[89]|2[01])\d\d(0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])(([01]\d|2[0-3])([0-5]\d){0,2})?)?")
_COMPACT_FORMATS = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        where: the function and the file, for messages.
        name: the column's.
        cells: (rows,), of any type, at least one.
        place: what messages call a row, from its number.
    """

    where: str
    name: str
    cells: NDArray[Any]
    place: Callable[[int], str]

    def numbers(self) -> NDArray[np.float64]:
        """Reads numbers.

        Returns:
            (rows,), NaN where there is none.

        Raises:
            FormatError: a cell holds something else: text, a date, a complex number, infinity.
        """
        if self.cells.dtype.kind in "biuf":
            numbers = self.cells.astype(np.float64)
        else:
            read = [_read_number(cell) for cell in self.cells]
            if None in read:
                raise self._no_number("something else than numbers", read.index(None))
            numbers = np.array(read, dtype=np.float64)
        infinite = np.flatnonzero(np.isinf(numbers))
        if infinite.size:
            raise self._no_number("infinity", int(infinite[0]))
        return numbers

    def times(self) -> NDArray[Any]:
        """Reads times.

        Returns:
            (rows,) datetime64, or int64 where all are whole numbers.

        Raises:
            FormatError: a time is missing, has a time zone or is none, or may be a number as well as a date.
        """
        if self.cells.dtype.kind == "M":
            self._check_present(np.isnat(self.cells))
            return self.cells
        if all(map(is_whole, self.cells)):
            return self._whole_numbers([str(number) for number in self.cells])
        texts = [_as_text(cell).strip() for cell in self.cells]
        if all(map(_WHOLE.fullmatch, texts)):
            if _count_digits(texts) == 8:  # text says what it is: ISO 8601 has dates without dashes, too
                return self._dates([f"{text[:4]}-{text[4:6]}-{text[6:]}" for text in texts])
            return self._whole_numbers(texts)
        if not all(map(_ISO.fullmatch, texts)):
            self._check_present(np.array([text in MISSING for text in texts]))
            zoned = [text for text in texts if has_zone(text)]
            if zoned:
                raise self._error(
                    f"has time zones. Expected times of one zone, without its name; received {list_some(zoned, 2)}. "
                    f"{UTC_CURE} Then use to_series."
                )
            row = next(row for row, text in enumerate(texts) if not _ISO.fullmatch(text))
            raise self._no_times(f"{shorten(texts[row])} in {self.place(row)}")
        return self._dates(texts)

    def names(self) -> list[str]:
        """Reads the names of series, as they are written.

        Returns:
            One for each row.

        Raises:
            FormatError: a row has none or a list, or a number and a text look alike.
        """
        first: dict[str, Any] = {}
        names: list[str] = self.cells.tolist()
        if set(map(type, names)) == {str} and "" not in names:
            return names
        names = []
        for row, cell in enumerate(self.cells):
            name = _as_text(cell)
            if np.iterable(cell) and not isinstance(cell, str | bytes):
                raise self._error(
                    f"holds something else than names. Expected the name of a series in each row; received "
                    f"{shorten(cell)} in {self.place(row)}. Give text."
                )
            if is_missing(cell) or not name:
                raise self._error(
                    f"has gaps. Expected the name of a series in each row; received none in {self.place(row)}. "
                    "Leave these rows out, or name them."
                )
            if type(first.setdefault(name, cell)) is not type(cell):
                raise self._error(
                    f"has names that look alike. Expected names of one type; received {shorten(first[name])} and, in "
                    f"{self.place(row)}, {shorten(cell)}. Give text in all rows."
                )
            names.append(name)
        return names

    def _no_number(self, what: str, row: int) -> FormatError:
        cell, cure = self.cells[row], "Clean the column, or name another."
        if isinstance(cell, str) and _COMMAS.fullmatch(cell):
            cure = (
                "For commas before fractions, read the table by pandas.read_csv(path, decimal=','), for commas between "
                "thousands with thousands=',', and use to_series."
            )
        return self._error(
            f"holds {what}. Expected finite numbers, nothing where one is missing; received {shorten(cell)} in "
            f"{self.place(row)}. {cure}"
        )

    def _check_present(self, missing: NDArray[np.bool_]) -> None:
        if missing.any():
            row = int(np.flatnonzero(missing)[0])
            raise self._error(
                f"lacks times. Expected one in each row; received none in {self.place(row)}. Leave these rows out."
            )

    def _whole_numbers(self, texts: list[str]) -> NDArray[np.int64]:
        digits = _count_digits(texts)
        if digits is not None:
            raise self._error(
                "holds dates without dashes, or numbers that look like them. Expected dates as ISO 8601 writes them "
                f"(2024-05-31), or whole numbers that are no dates; received {texts[0]} in {self.place(0)}. Read dates "
                f"by pandas.to_datetime(..., format='{_COMPACT_FORMATS[digits]}') and use to_series; of numbers, "
                "subtract the first from all."
            )
        numbers, limits = [int(text) for text in texts], np.iinfo(np.int64)
        far = [row for row, number in enumerate(numbers) if not limits.min <= number <= limits.max]
        if far:
            raise self._error(
                f"holds times that are too large. Expected whole numbers of 64 bits; received "
                f"{shorten(numbers[far[0]])} in {self.place(far[0])}. Subtract the first time from all."
            )
        return np.array(numbers, dtype=np.int64)

    def _dates(self, texts: list[str]) -> NDArray[Any]:
        try:
            times = np.array(texts, dtype="datetime64")
        except ValueError as error:
            row = next(row for row, text in enumerate(texts) if not _is_date(text))
            raise self._no_times(f"{texts[row]} in {self.place(row)}, and there is no such day or time") from error
        if times.dtype == "M8[ns]":  # in which NumPy counts from 1677 to 2262, and begins anew without a word
            wrapped = times.astype("M8[Y]") != np.array([text[:4] for text in texts], dtype="M8[Y]")
            if wrapped.any():
                row = int(np.flatnonzero(wrapped)[0])
                raise self._no_times(f"{texts[row]} in {self.place(row)}, too far away to be counted in nanoseconds")
        return times

    def _no_times(self, received: str) -> FormatError:
        return self._error(
            "holds no times. Expected dates as ISO 8601 writes them (2024-05-31 12:00), or whole numbers; received "
            f"{received}. Parse it first, as pandas.to_datetime does, and use to_series."
        )

    def _error(self, message: str) -> FormatError:
        return FormatError(f"{self.where}: column {self.name!r} {message}")


def _read_number(cell: Any) -> float | None:
    """Gives the number that a cell holds, NaN where it is missing, None where it holds something else."""
    if isinstance(cell, bytes):
        cell = _as_text(cell)
    if isinstance(cell, str):
        try:
            return None if "_" in cell else float(cell)  # Python takes 1_000 for a number
        except ValueError:
            return np.nan if cell.strip() in MISSING else _TRUTHS.get(cell.strip().lower())
    if is_missing(cell):
        return np.nan
    return float(cell) if is_real(cell) else None


def _as_text(cell: Any) -> str:
    return cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)


def _is_date(text: str) -> bool:
    try:
        np.datetime64(text)
    except ValueError:
        return False
    return True


def _count_digits(texts: list[str]) -> int | None:
    """Counts the digits of dates without dashes; None where not all may be such."""
    lengths = {len(text) for text in texts}
    return lengths.pop() if len(lengths) == 1 and all(map(_COMPACT.fullmatch, texts)) else None
