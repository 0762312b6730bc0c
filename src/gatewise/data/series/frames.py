# SPDX-License-Identifier: Apache-2.0
"""Columns out of tables in memory, of pandas, polars or a dict, and the tables that Parquet files hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.checks import check_mask, describe
from gatewise.data.errors import FormatError, list_some, shorten
from gatewise.data.series.column import Column
from gatewise.data.series.times import UTC_CURE, time_zone
from gatewise.extras import is_installed, require

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ONE_CELL = "Give one value for each row."
_WIDE = ("Int128", "UInt128")  # of polars; NumPy has no such numbers


def take_columns(table: Any, wanted: Sequence[str], where: str) -> dict[str, Column]:
    """Takes columns out of a table in memory.

    Args:
        table: a pandas or polars DataFrame, or a dict of columns.
        wanted: the names of the columns.
        where: the function and the file, for messages.

    Returns:
        The columns, by name, all of one length; of a pandas table, the index is one as well.

    Raises:
        TypeError: it is no such table, or a column is a masked array.
        FormatError: a column is missing or there twice, has a time zone, or is longer than another.
    """
    if "DataFrame" in {base.__name__ for base in type(table).__mro__}:
        index = getattr(getattr(table, "index", None), "names", ())  # pandas has one, polars has not
        if any(name in index and name not in table.columns for name in wanted):
            table = table.reset_index()
        present = list(table.columns)
    elif isinstance(table, Mapping):
        present = list(table)
    else:
        cure = "Collect it: table.collect()." if hasattr(table, "collect") else "Read files by read_series."
        raise TypeError(
            f"{where}: table is no table. Expected a DataFrame of pandas or polars, or a dict of columns; received "
            f"{describe(table)}. {cure}"
        )
    check_columns(present, wanted, where, "Check the spelling.")
    cells = {name: _cells(table[name], f"{where}: column {name!r}") for name in wanted}
    lengths = {name: len(column) for name, column in cells.items()}
    if len(set(lengths.values())) > 1:
        raise FormatError(
            f"{where} has columns of different length. Expected a cell for each row; received "
            f"{shorten(lengths, 200)}. Leave out, or fill up with None, what one of them has more."
        )
    return {name: Column(where, name, column, "row {}".format) for name, column in cells.items()}


def check_columns(present: Sequence[Any], wanted: Sequence[str], where: str, cure: str) -> None:
    """Checks that a table has the columns that are wanted, each once.

    Args:
        present: the names in the table.
        wanted: the names that are needed.
        where: the function and the file, for messages.
        cure: what to do where no name is similar, for messages.

    Raises:
        FormatError: one is missing, or there twice.
    """
    missing = [name for name in wanted if name not in present]
    if missing:
        similar = [one for one in present for name in missing if _plain(one) == _plain(name)]
        if similar:
            cure = f"Did you mean {list_some(similar)}? Give names as the table writes them, or rename its columns."
        raise FormatError(
            f"{where} lacks a column. Expected {list_some(wanted)}; received a table with "
            f"{list_some(present, 10) or 'no column'}, without {list_some(missing)}. {cure}"
        )
    twice = [name for name in wanted if list(present).count(name) > 1]
    if twice:
        raise FormatError(
            f"{where} has a column twice. Expected each name once; received {list_some(present, 10)}, with "
            f"{list_some(twice)} again. Rename one of them."
        )


def read_parquet(path: str | os.PathLike[str], engine: str | None, where: str) -> Any:
    """Reads a Parquet file.

    Args:
        path: the file.
        engine: "pandas" or "polars"; without it, the first of them that is installed.
        where: the function and the file, for messages.

    Returns:
        A table of the engine.

    Raises:
        FormatError: it is no Parquet file.
        ModuleNotFoundError: the engine is not installed.
    """
    if engine is None:
        engine = "polars" if is_installed("polars") and not is_installed("pandas") else "pandas"
    require("read_series", engine, "data")
    if Path(path).stat().st_size == 0:
        raise FormatError(f"{where} is empty. Expected a table; received 0 bytes. Check how the file was made.")
    try:
        if engine == "pandas":
            import pandas as pd

            return pd.read_parquet(path)
        import polars as pl

        try:
            return pl.read_parquet(Path(path))
        except pl.exceptions.PolarsError as error:
            raise ValueError(str(error)) from error
    except (ValueError, OSError, NotImplementedError) as error:  # pyarrow's errors are of these kinds
        raise FormatError(
            f"{where} cannot be read. Expected a Parquet file; received: {shorten(str(error), 200)}. Check the ending "
            "of its name, and that it was written in whole."
        ) from error


def _cells(column: Any, where: str) -> NDArray[Any]:
    check_mask(where, "cells", column, "an array without a mask", "Give column.filled(numpy.nan).")
    zone = time_zone(column)
    if zone is not None:
        raise FormatError(
            f"{where} has time zones. Expected times of one zone, without its name; received {zone}. {UTC_CURE}"
        )
    try:
        cells = _as_array(column)
    except ValueError as error:
        raise FormatError(
            f"{where} is no column. Expected a cell for each row; received {error}. {_ONE_CELL}"
        ) from error
    if cells.ndim != 1:
        raise FormatError(f"{where} is no column. Expected (rows,); received {describe(cells)}. {_ONE_CELL}")
    return cells


def _as_array(column: Any) -> NDArray[Any]:
    if str(getattr(column, "dtype", "")) in _WIDE:
        return np.fromiter(column.to_list(), dtype=object)
    if hasattr(column, "to_numpy"):
        return np.asarray(column.to_numpy())
    cells = np.asarray(column)
    if cells.dtype.kind in "US" and isinstance(column, list | tuple):  # NumPy has made text of numbers between text
        return np.fromiter(column, dtype=object, count=len(column))
    return cells


def _plain(name: Any) -> str:
    """Gives a name without what the eye does not see: blanks and quotes around it, capitals."""
    return str(name).strip(" \t\r\n\ufeff\xa0'\"").casefold()
