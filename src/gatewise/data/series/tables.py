# SPDX-License-Identifier: Apache-2.0
"""Tables as series: CSV and Parquet files, and tables of pandas and polars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.data.checks import check_choice, check_names
from gatewise.data.errors import FormatError, shorten
from gatewise.data.series.csv_file import read_columns
from gatewise.data.series.frames import read_parquet, take_columns
from gatewise.data.series.time_series import TimeSeries

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gatewise.data.series.column import Column

PARQUET = (".parquet", ".pq")


def read_series(
    path: str | os.PathLike[str],
    time: str,
    values: str | Sequence[str],
    series: str | None = None,
    engine: str | None = None,
) -> list[TimeSeries]:
    """Reads series from a CSV or Parquet file (Parquet needs the extra data, or polars).

    In CSV files, fields are separated by commas, numbers have points, and the first line names the columns; what pandas
    takes for missing, such as nothing or NA, is missing. For other files, or faster for millions of rows, read a table
    by pandas or polars, and use `to_series`.

    Args:
        path: the file; what ends in `.parquet` or `.pq` is Parquet, everything else CSV, unpacked if its name ends in
            `.gz`, `.bz2`, `.xz` or `.zip`.
        time: the column of the times, as for `to_series`.
        values: the column, or columns, of the values.
        series: the column that tells several series apart, by names as they are written: 007 is not 7.
        engine: "pandas" or "polars", which reads Parquet; without it, the first of them that is installed.

    Returns:
        The series, one for each value of the column `series` in sorted order, each sorted by time.

    Raises:
        FormatError: the file is empty, is no such table, lacks a column or a time, has a time twice, or holds text
            where numbers are expected.
        ModuleNotFoundError: neither pandas nor polars is installed, to read Parquet.
    """
    where = f"read_series: {Path(path)}"
    check_choice("read_series", "engine", engine, (None, "pandas", "polars"))
    names = _check("read_series", time, values, series)
    if Path(path).suffix.lower() in PARQUET:
        return _split(take_columns(read_parquet(path, engine, where), names.all(), where), names, where)
    return _split(read_columns(path, names.all(), where), names, where)


def to_series(table: Any, time: str, values: str | Sequence[str], series: str | None = None) -> list[TimeSeries]:
    """Takes series from a table in memory.

    Args:
        table: a pandas or polars DataFrame, or a dict of columns.
        time: the column of the times: dates without time zones, or text as ISO 8601 writes them (2024-05-31 12:00, or
            20240531), or whole numbers.
        values: the column, or columns, of the values: numbers, or text that holds them; what is missing is NaN or null.
        series: the column that tells several series apart.

    Returns:
        The series, one for each value of the column `series` in sorted order, each sorted by time.

    Raises:
        TypeError: it is no table.
        FormatError: a column is missing or holds something else, columns differ in length, a time is missing or there
            twice, or there is no row.

    Example:
        >>> table = {"day": ["2024-05-02", "2024-05-01"], "shop": ["A", "A"], "sold": [7, 5]}
        >>> [series] = to_series(table, time="day", values="sold", series="shop")
        >>> series.name, series.values.ravel()
        ('A', array([5., 7.]))
    """
    names = _check("to_series", time, values, series)
    return _split(take_columns(table, names.all(), "to_series"), names, "to_series")


class _Names(NamedTuple):
    """Those of the columns that are read."""

    time: str
    values: list[str]
    series: str | None

    def all(self) -> list[str]:
        return list(dict.fromkeys([self.time, *self.values, *([] if self.series is None else [self.series])]))


def _check(caller: str, time: str, values: str | Sequence[str], series: str | None) -> _Names:
    check_names(caller, "time and series", [time] if series is None else [time, series])
    names = [values] if isinstance(values, str) else list(check_names(caller, "values", values))
    if not names:
        raise ValueError(f"{caller}: values are missing. Expected at least one column; received none. Name a column.")
    return _Names(time, names, series)


def _split(columns: dict[str, Column], names: _Names, where: str) -> list[TimeSeries]:
    if not len(columns[names.time].cells):
        raise FormatError(f"{where} has no row. Expected at least one; received the columns alone. Check the file.")
    times = columns[names.time].times()
    numbers = np.stack([columns[name].numbers() for name in names.values], axis=1)
    groups: dict[str, list[int]] = {}
    for row, group in enumerate([""] * len(times) if names.series is None else columns[names.series].names()):
        groups.setdefault(group, []).append(row)
    found = []
    for group in sorted(groups):
        rows = np.array(groups[group])
        rows = rows[np.argsort(times[rows], kind="stable")]
        _check_once(columns[names.time], times, rows, group if names.series else None)
        found.append(TimeSeries(numbers[rows], times[rows], tuple(names.values), group))
    return found


def _check_once(column: Column, times: NDArray[Any], rows: NDArray[np.int64], series: str | None) -> None:
    """Checks that the sorted rows of a series have each time once."""
    again = np.flatnonzero(times[rows[1:]] == times[rows[:-1]])
    if not again.size:
        return
    first, second = (int(row) for row in rows[again[0] : again[0] + 2])
    cures = ["Leave one of them out, or put them together."]
    if series is None:
        cures.append("If the table holds several series, name the column that tells them apart: series='...'.")
    if times.dtype.kind == "M" and np.datetime_data(times.dtype)[0] not in {"Y", "M", "W", "D"}:
        cures.append(
            "If clocks were put back, an hour comes twice: convert the times to UTC, as pandas' tz_localize(zone, "
            "ambiguous='infer').tz_convert('UTC').tz_localize(None) does."
        )
    raise FormatError(
        f"{column.where}: times repeat in column {column.name!r}. Expected each once"
        f"{'' if series is None else f' in series {shorten(series)}'}; received {times[first]} in "
        f"{column.place(first)} and in {column.place(second)}. {' '.join(cures)}"
    )
