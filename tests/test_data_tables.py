# SPDX-License-Identifier: Apache-2.0
"""A table means the same through every door: lists, pandas, polars, and Parquet files that either reads."""

import datetime as dt
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_case import assert_teaches, plain
from gatewise.data.errors import FormatError
from gatewise.data.series import read_series, to_series

ENGINES = ["pandas", "polars"]
NAN = float("nan")


DAYS = [dt.date(2024, 1, 31), dt.date(2024, 2, 1), dt.date(2024, 2, 2)]
COLUMNS: dict[str, list[Any]] = {
    "t": DAYS,
    "steps": [3, 1, 2],
    "text days": ["2024-01-31", "2024-02-01", "2024-02-02"],
    "stamps": [dt.datetime(2024, 1, 31, 6, tzinfo=None), dt.datetime(2024, 2, 1, 6), dt.datetime(2024, 2, 2, 6)],  # noqa: DTZ001
    "gap": [DAYS[0], None, DAYS[2]],
    "zoned": [dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (1, 2, 3)],
    "whole": [1, 2, 3],
    "whole gap": [1, None, 3],
    "fraction": [0.1, None, float("nan")],
    "text": ["1", " 2.5", "NA"],
    "truth": [True, False, None],
    "exact": [Decimal("1.25"), None, Decimal("-3.5")],
    "nothing": [None, None, None],
    "length": [dt.timedelta(days=1), None, dt.timedelta(2)],
    "word": ["a", "b", "c"],
    "lists": [[1], [2], [3]],
    "id": ["007", "7", "NA"],
    "number": [7, 8, 7],
    "ymd": [20240131, 20240201, 20240202],
}


VALUES = {
    "whole": [1, 2, 3],
    "whole gap": [1, NAN, 3],
    "fraction": [0.1, NAN, NAN],
    "text": [1, 2.5, NAN],
    "truth": [1, 0, NAN],
    "exact": [1.25, NAN, -3.5],
    "nothing": [NAN, NAN, NAN],
}
TIMES = {
    "t": ["2024-01-31", "2024-02-01", "2024-02-02"],
    "steps": ["3", "1", "2"],
    "text days": ["2024-01-31", "2024-02-01", "2024-02-02"],
    "stamps": ["2024-01-31T06", "2024-02-01T06", "2024-02-02T06"],
}


def outcome(take: Any) -> str:
    """What a call gives, or the column and the fault that its message names."""
    try:
        found = plain(take())
    except FormatError as error:
        assert_teaches(str(error))
        return str(error).split(". Expected")[0].split(": ")[-1]
    return repr([(name, [time[:13] for time in times], values) for name, times, values in found])


def expected(time: str, value: str, series: str | None) -> str:
    """What a call gives for columns that hold times and numbers."""
    rows = zip(TIMES[time], VALUES[value], strict=True)
    named = zip([""] * 3 if series is None else map(str, COLUMNS[series]), rows, strict=True)
    several: dict[str, list[tuple[str, float]]] = {}
    for name, row in sorted(named):
        several.setdefault(name, []).append(row)
    return repr([(name, [row[0] for row in rows], [[float(row[1])] for row in rows]) for name, rows in several.items()])


@pytest.mark.parametrize(
    "value", ["whole", "whole gap", "fraction", "text", "truth", "exact", "nothing", "length", "gap", "word"]
)
@pytest.mark.parametrize("time", ["t", "steps", "text days", "stamps", "gap", "zoned", "fraction", "ymd", "truth"])
@pytest.mark.parametrize("series", [None, "id", "number", "whole gap"])
def test_a_table_means_the_same_through_every_door(time: str, value: str, series: str | None, tmp_path: Path) -> None:
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    path = tmp_path / "table.parquet"
    columns = {name: COLUMNS[name] for name in dict.fromkeys((time, value, series)) if name}
    pl.DataFrame(columns).write_parquet(path)
    tables = [columns, pd.DataFrame(columns), pl.DataFrame(columns), pd.DataFrame(columns).convert_dtypes()]
    found = {outcome(lambda table=table: to_series(table, time, value, series)) for table in tables}
    found |= {outcome(lambda engine=engine: read_series(path, time, value, series, engine)) for engine in ENGINES}
    assert len(found) == 1, found
    if time in TIMES and value in VALUES and series != "whole gap":
        assert found == {expected(time, value, series)}
    else:
        assert "column" in found.pop()


@pytest.mark.parametrize("value", ["length", "gap", "word", "lists", "zoned"])
@pytest.mark.parametrize("kind", ["dict", *ENGINES])
def test_what_is_no_number_is_no_value(kind: str, value: str) -> None:
    columns = {"t": COLUMNS["steps"], "v": COLUMNS[value]}
    table = columns if kind == "dict" else pytest.importorskip(kind).DataFrame(columns)
    with pytest.raises(FormatError) as caught:
        to_series(table, "t", "v")
    assert_teaches(str(caught.value), "to_series: column 'v'")


def test_the_index_of_a_pandas_table_is_a_column_too(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"v": [1.0, 2.0]}, index=pd.Index([3, 5], name="t"))
    table.to_parquet(tmp_path / "table.parquet")
    expected = [("", ["3", "5"], [[1.0], [2.0]])]
    assert plain(to_series(table, "t", "v")) == expected
    for engine in ENGINES:
        pytest.importorskip(engine)
        assert plain(read_series(tmp_path / "table.parquet", "t", "v", engine=engine)) == expected


def test_numbers_of_128_bits_are_read() -> None:
    pl = pytest.importorskip("polars")
    table = pl.read_csv(io.BytesIO(b"t,v\n1,12345678901234567890123\n2,3\n"))
    assert "128" in str(table["v"].dtype), "polars makes them of 23 digits"
    assert plain(to_series(table, "t", "v")) == [("", ["1", "2"], [[12345678901234567890123.0], [3.0]])]
    with pytest.raises(FormatError) as caught:
        to_series(table, "v", "t")
    assert_teaches(str(caught.value), "too large", "12345678901234567890123")


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({"t": [1, 2], "v": [1, 2, 3]}, ["different length", "'t': 2, 'v': 3"]),
        ({"t": [1, 2], "v": 5}, ["'v'", "no column", "()"]),
        ({"t": [1, 2], "v": [[1, 2], [3, 4]]}, ["'v'", "(2, 2)"]),
        ({"t": [1, 2], "v": [[1, 2], [3]]}, ["'v'", "no column"]),
        ({"t": [1, 2], "v": np.array(["2024-01-01", "2024-01-02"], "M8[ns]")}, ["'v'", "2024-01-01"]),
        ({"t": [1, 2], "v": [1j, 2]}, ["'v'", "1j"]),
        ({"t": [1, 2], "v": [1, object()]}, ["'v'", "row 1"]),
        ({"t": [1.5, 2.0], "v": [1, 2]}, ["'t'", "no times", "'1.5'"]),
        ({"t": [True, False], "v": [1, 2]}, ["'t'", "no times", "'True'"]),
        ({"t": [1j, 2], "v": [1, 2]}, ["'t'", "no times"]),
        ({"t": [2**70, 1], "v": [1, 2]}, ["too large", str(2**70)]),
        ({"t": np.array([20240131, 20240201]), "v": [1, 2]}, ["20240131", "format='%Y%m%d'"]),
        ({"t": [202401, 202402], "v": [1, 2]}, ["202401", "format='%Y%m'"]),
        ({"t": [], "v": []}, ["no row"]),
        ({"T": [1], "v ": [2]}, ["Did you mean 'T', 'v '"]),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_table_is_named(table: Any, parts: list[str]) -> None:
    with pytest.raises(FormatError) as caught:
        to_series(table, "t", "v")
    assert_teaches(str(caught.value), "to_series", *parts)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: to_series([[1, 2]], "t", "v"), ["no table", "list"]),
        (lambda: to_series("table.csv", "t", "v"), ["no table", "read_series"]),
        (lambda: to_series(pytest.importorskip("polars").LazyFrame({"t": [1]}), "t", "v"), ["table.collect()"]),
        (lambda: to_series({"t": [1], "v": np.ma.masked_array([1.0], [True])}, "t", "v"), ["'v'", "filled(numpy.nan)"]),
        (lambda: to_series({"t": [1], 0: [2]}, "t", 0), ["values are no names", "0"]),  # type: ignore[arg-type]
        (lambda: to_series({"t": [1], "v": [2]}, None, "v"), ["time and series are no names"]),  # type: ignore[arg-type]
        (lambda: to_series({"t": [1], "v": [2]}, "t", []), ["values are missing"]),
        (lambda: to_series({"t": [1], "v": [2]}, "t", ["v", "v"]), ["'v' more than once"]),
        (lambda: to_series({"t": [1], "v": [2]}, "t", "v", "t"), ["'t' more than once"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(make: Any, parts: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert_teaches(str(caught.value), *parts)


def test_a_number_and_a_text_that_look_alike_are_no_name() -> None:
    with pytest.raises(FormatError) as caught:
        to_series({"t": [1, 1], "id": [7, "7"], "v": [1, 2]}, "t", "v", "id")
    assert_teaches(str(caught.value), "look alike", "received 7 and, in row 1, '7'")
    with pytest.raises(FormatError) as lists:
        to_series({"t": [1, 1], "id": np.array([None, [7]], dtype=object)[[1, 1]], "v": [1, 2]}, "t", "v", "id")
    assert_teaches(str(lists.value), "else than names", "[7] in row 0")
    found = to_series({"t": [1, 1], "id": [b"x", b"NA"], "v": [1, 2]}, "t", "v", "id")
    assert [one.name for one in found] == ["NA", "x"]
