# SPDX-License-Identifier: Apache-2.0
"""Tables as series: CSV and Parquet files by pandas or polars, and the tables of both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.errors import FormatError, list_some, shorten
from gatewise.data.series.time_series import TimeSeries
from gatewise.extras import is_installed, require

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

PARQUET = (".parquet", ".pq")
_ZONE = re.compile(r"\d:\d\d.*(Z|[+-]\d\d:?\d\d)$")


def read_series(
    path: str | os.PathLike[str],
    time: str,
    values: str | Sequence[str],
    series: str | None = None,
    engine: str | None = None,
) -> list[TimeSeries]:
    """Reads series from a CSV or Parquet file (needs the extra data, or polars).

    Args:
        path: the file; what ends in `.parquet` or `.pq` is Parquet, everything else CSV.
        time: the column of the times.
        values: the column, or columns, of the values.
        series: the column that tells several series apart.
        engine: "pandas" or "polars"; without it, the first of them that is installed.

    Returns:
        The series, one for each value of the column `series` in sorted order, each sorted by time.

    Raises:
        FormatError: the file is empty, is no such table, lacks a column, or holds text where numbers are expected.
        ModuleNotFoundError: neither pandas nor polars is installed.
    """
    where = f"read_series: {Path(path)}"
    if Path(path).stat().st_size == 0:
        raise FormatError(f"{where} is empty. Expected a table; received 0 bytes. Check how the file was made.")
    if engine not in {None, "pandas", "polars"}:
        raise ValueError(
            f"read_series: engine is unknown. Expected 'pandas' or 'polars'; received {engine!r}. Choose one, or None."
        )
    if engine == "polars" or (engine is None and is_installed("polars") and not is_installed("pandas")):
        table = _read_by_polars(path, where)
    else:
        table = _read_by_pandas(path, where)
    return _split(table, time, _names(values), series, where)


def to_series(table: Any, time: str, values: str | Sequence[str], series: str | None = None) -> list[TimeSeries]:
    """Takes series from a table in memory.

    Args:
        table: a pandas or polars DataFrame, or a dict of columns.
        time: the column of the times: dates, or text as ISO 8601 writes them, or whole numbers.
        values: the column, or columns, of the values; what is missing is NaN or null.
        series: the column that tells several series apart.

    Returns:
        The series, one for each value of the column `series` in sorted order, each sorted by time.

    Raises:
        FormatError: a column is missing or holds something else, or there is no row.

    Example:
        >>> table = {"day": ["2024-05-02", "2024-05-01"], "shop": ["A", "A"], "sold": [7, 5]}
        >>> [series] = to_series(table, time="day", values="sold", series="shop")
        >>> series.name, series.values.ravel()
        ('A', array([5., 7.]))
    """
    return _split(table, time, _names(values), series, "to_series")


def _names(values: str | Sequence[str]) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


def _read_by_pandas(path: str | os.PathLike[str], where: str) -> Any:
    require("read_series", "pandas", "data")
    import pandas as pd

    try:
        return pd.read_parquet(path) if Path(path).suffix in PARQUET else pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas's and pyarrow's errors are of these kinds
        raise _unreadable(where, error) from error


def _read_by_polars(path: str | os.PathLike[str], where: str) -> Any:
    require("read_series", "polars", "data")
    import polars as pl

    try:
        return pl.read_parquet(Path(path)) if Path(path).suffix in PARQUET else pl.read_csv(Path(path))
    except (pl.exceptions.PolarsError, ValueError, OSError) as error:
        raise _unreadable(where, error) from error


def _unreadable(where: str, error: Exception) -> FormatError:
    cure = "Check the ending of its name, and that it was written in whole."
    if isinstance(error, UnicodeDecodeError) or "utf-8" in str(error).lower() or "utf8" in str(error).lower():
        cure = "It is not UTF-8, or mixes encodings: convert it, or read it with your own options and use to_series."
    return FormatError(
        f"{where} cannot be read. Expected a CSV file in UTF-8, or Parquet where it ends in {' or '.join(PARQUET)}; "
        f"received: {shorten(str(error), 200)}. {cure}"
    )


def _split(table: Any, time: str, values: list[str], series: str | None, where: str) -> list[TimeSeries]:
    present = list(table) if isinstance(table, dict) else [str(name) for name in table.columns]
    wanted = [time, *values, *([] if series is None else [series])]
    missing = [name for name in wanted if name not in present]
    if missing:
        raise FormatError(
            f"{where} lacks a column. Expected {list_some(wanted)}; received a table with {list_some(present, 10)}, "
            f"without {list_some(missing)}. Check the spelling, and the first line of the file."
        )
    times = _as_times(_column(table, time), time, where)
    if not len(times):
        raise FormatError(f"{where} has no row. Expected at least one; received the columns alone. Check the file.")
    numbers = np.stack([_as_numbers(_column(table, name), name, where) for name in values], axis=1)
    if series is None:
        return [_sorted(times, numbers, values, "")]
    names = list(_column(table, series))
    unnamed = [row for row, group in enumerate(names) if _is_missing(group) or group != group]  # noqa: PLR0124  # NaN
    if unnamed:
        raise FormatError(
            f"{where}: column {series!r} has gaps. Expected the name of a series in each row; received none in row "
            f"{unnamed[0]}. Leave these rows out, or name them."
        )
    groups = np.array([str(group) for group in names])
    return [
        _sorted(times[groups == group], numbers[groups == group], values, str(group)) for group in np.unique(groups)
    ]


def _sorted(times: NDArray[Any], numbers: NDArray[np.float64], values: list[str], name: str) -> TimeSeries:
    order = np.argsort(times, kind="stable")
    return TimeSeries(numbers[order], times[order], tuple(values), name)


def _column(table: Any, name: str) -> NDArray[Any]:
    column = table[name]
    return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)


def _as_times(column: NDArray[Any], name: str, where: str) -> NDArray[Any]:
    if column.dtype.kind in "Miu":
        times = column
    else:
        texts = [str(value) for value in column]
        zoned = [text for text in texts if _ZONE.search(text)]
        if zoned:
            raise FormatError(
                f"{where}: column {name!r} has time zones. Expected times of one zone, without its name; received "
                f"{list_some(zoned, 2)}. Convert them, as pandas' tz_convert('UTC').tz_localize(None) does, and use "
                "to_series."
            )
        try:
            times = np.array(texts, dtype="datetime64")
        except ValueError as error:
            raise FormatError(
                f"{where}: column {name!r} holds no times. Expected dates as ISO 8601 writes them (2024-05-31 "
                f"12:00), or whole numbers; received {list_some(column, 3)}: {error}. Parse it first, as "
                "pandas.to_datetime does, and use to_series."
            ) from error
    if times.dtype.kind == "M" and np.isnat(times).any():
        raise FormatError(
            f"{where}: column {name!r} lacks times. Expected one in each row; received none in row "
            f"{int(np.flatnonzero(np.isnat(times))[0])}. Leave these rows out."
        )
    return times


def _as_numbers(column: NDArray[Any], name: str, where: str) -> NDArray[np.float64]:
    if column.dtype.kind not in "OUST":
        return column.astype(np.float64)
    try:
        return np.array([np.nan if _is_missing(value) else float(value) for value in column], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"{where}: column {name!r} holds something else than numbers. Expected numbers, nothing where one is "
            f"missing; received: {error}. Clean the column, or name another."
        ) from error


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or value == ""
