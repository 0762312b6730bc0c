# SPDX-License-Identifier: Apache-2.0
"""Awkward CSV files are read as they are written, or what is wrong is named with its line."""

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_case import assert_teaches, plain, run_fresh
from gatewise.data.errors import FormatError
from gatewise.data.series import read_series

NAN = float("nan")


def read_csv(
    path: Path, content: str | bytes, series: str | None = None, values: str = "v"
) -> list[tuple[str, list[str], list[list[float]]]]:
    """What a CSV file holds, by either engine."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    one, other = (plain(read_series(path, "t", values, series, engine=engine)) for engine in ("pandas", "polars"))
    assert repr(one) == repr(other)  # in which NaN equals NaN
    return one


@pytest.mark.parametrize(
    ("content", "times", "values"),
    [
        ("t,v,w\n2024-01-01,100,50,\n2024-01-02,101,51,\n", ["2024-01-01", "2024-01-02"], [100, 101]),
        ("t,v,\n1,100,\n2,101,\n", ["1", "2"], [100, 101]),
        ("t,v\n" + "".join(f"{i},{i}\n" for i in range(300)) + "300,0.5\n", [str(i) for i in range(301)], None),
        ("t,v\n1,2\n\n  \n2,3\n,\n\n", ["1", "2"], [2, 3]),
        ("\n\nt,v\n1,2\n", ["1"], [2]),
        ("t,v\n1,NA\n2,\n3,null\n4, nan \n5,-1.5e3\n6,#N/A\n", list("123456"), [NAN, NAN, NAN, NAN, -1500, NAN]),
        ("t,v\n1,12345678901234567890123\n2,-0\n", ["1", "2"], [12345678901234567890123.0, -0.0]),
        ("t,v\n1,0.1234567890123456789\n", ["1"], [float("0.1234567890123456789")]),
        ("t,v\n-9223372036854775808,1\n9223372036854775807,2\n", [str(-(2**63)), str(2**63 - 1)], [1, 2]),
        ("t,v\n1,True\n2,FALSE\n", ["1", "2"], [1, 0]),
        ('"t","v"\n"1","2"\n', ["1"], [2]),
        ('t,note,v\n1,"two\nlines, and a comma",2\n3,5"",4\n', ["1", "3"], [2, 4]),
        ("t,v,w\n1,2\n3\n", ["1", "3"], [2, NAN]),
        ("t,v\r\n1,2\r\n2,3\r\n", ["1", "2"], [2, 3]),
        ("t,v\r1,2\r2,3\r", ["1", "2"], [2, 3]),
        ("t,v\n1,2", ["1"], [2]),
        ("\ufefft,v\n1,2\n", ["1"], [2]),
        ("t,v,größe\n1,2,é\n".encode("utf-16"), ["1"], [2]),
        ("\ufefft,v\n1,2\n".encode("utf-16-be"), ["1"], [2]),
        ("t,v\n1,2\n".encode("utf-32"), ["1"], [2]),
        ("t,v\n 2024-01-02 , 2\n2024-01-01 ,3 \n", ["2024-01-01", "2024-01-02"], [3, 2]),
        ("t,v\n20240131,1\n20240201,2\n", ["2024-01-31", "2024-02-01"], [1, 2]),
        ("t,v\n20240131,1\n20240132,2\n", ["20240131", "20240132"], [1, 2]),
        ("t,v\n2023,1\n2024,2\n", ["2023", "2024"], [1, 2]),
        ("t,v\n2024-01,1\n2024-02,2\n", ["2024-01", "2024-02"], [1, 2]),
        ("t,v\n2024-01-01 06,1\n2024-01-01 07:30,2\n", ["2024-01-01T06:00", "2024-01-01T07:30"], [1, 2]),
        ("t,v\n1024-01-01,1\n9999-12-31T23:59:59.123456,2\n", None, [1, 2]),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str | bytes) else "",
)
def test_an_awkward_csv_file_is_read_as_it_is_written(
    content: str | bytes, times: list[str] | None, values: list[float] | None, tmp_path: Path
) -> None:
    [(name, found_times, found)] = read_csv(tmp_path / "table.csv", content)
    assert name == ""
    if times is not None:
        assert found_times == times
    if values is not None:
        np.testing.assert_array_equal(np.ravel(found), values)
    else:
        assert found[-2:] == [[299.0], [0.5]]


def test_series_keep_their_names_as_they_are_written(tmp_path: Path) -> None:
    names = ["007", "7", "NA", "nan", "null", "None", "1e3", "1000", "True", "true", " A", "A", "2024-01-01", "é"]
    rows = "".join(f"{t},{name},{number}\n" for t in (1, 2) for number, name in enumerate(names))
    found = read_csv(tmp_path / "table.csv", "t,id,v\n" + rows, series="id")
    assert [name for name, _, _ in found] == sorted(names)
    for name, times, values in found:
        assert (times, values) == (["1", "2"], [[float(names.index(name))]] * 2)


@given(
    st.lists(st.floats(allow_infinity=False), min_size=1, max_size=8),
    st.lists(st.text(alphabet="aé,\"\n'; 0", min_size=1, max_size=5), min_size=1, max_size=8),
)
def test_what_pandas_writes_comes_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], names: list[str]
) -> None:
    pd = pytest.importorskip("pandas")
    rows = list(zip(names, values, strict=False))
    path = tmp_path_factory.getbasetemp() / "table.csv"
    pd.DataFrame({"t": range(len(rows)), "id": [row[0] for row in rows], "v": [row[1] for row in rows]}).to_csv(
        path, index=False
    )
    found = {one.name: repr(one.values.ravel().tolist()) for one in read_series(path, "t", "v", "id")}
    assert found == {name: repr([value for other, value in rows if other == name]) for name, _ in rows}


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.zip", ".csv.GZ"])
def test_a_packed_file_is_unpacked_or_named(ending: str, tmp_path: Path) -> None:
    content = b"t,v\n1,2\n"
    if ending.endswith("zip"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("table.csv", content)
        content = packed.getvalue()
    else:
        content = gzip.compress(content)
    path = tmp_path / f"table{ending}"
    assert read_csv(path, content) == [("", ["1"], [[2.0]])]
    with pytest.raises(FormatError) as caught:
        read_csv(path, content[:-9])
    assert_teaches(str(caught.value), str(path), "unpacked")


def test_csv_needs_neither_pandas_nor_polars(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("t,v\n1,2\n")
    program = """
import sys
sys.modules.update(dict.fromkeys(("pandas", "polars", "pyarrow", "keras")))
from gatewise.data.series import read_series
print(read_series(sys.argv[1], "t", "v")[0].values.tolist())
"""
    assert run_fresh(program, tmp_path / "table.csv").strip() == "[[2.0]]"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("t,v\n1,2,3\n", ["longer than the header", "Expected 2 fields", "received 3 in line 2", "quotes"]),
        ("t,v\n1,2\n\n2,3,5\n", ["received 3 in line 4", "2,3,5"]),
        ("t;v\n2024-01-01;3,5\n", ["'t;v'", "';'", "sep=';'", "decimal=','"]),
        ("t\tv\n1\t2\n", [r"sep='\t'"]),
        ("t v\n1 2\n", [r"sep=r'\s+'"]),
        ("day;load\n1;2\n", ["'day;load'", "without 't', 'v'", "spelling"]),
        ('t,v\n1,"3,5"\n', ["'v'", "'3,5'", "line 2", "decimal=','"]),
        ('t,v\n1,"1,234,567.5"\n', ["thousands=','"]),
        ("t, v\n1,2\n", ["without 'v'", "Did you mean ' v'"]),
        ("T,V\n1,2\n", ["Did you mean 'T', 'V'"]),
        ("t,v,v\n1,2,3\n", ["'v' again", "'t', 'v', 'v'"]),
        ("t,v\n1,1_000\n", ["'1_000'", "line 2"]),
        ("t,v\n1,2\n2,3 kg\n", ["'3 kg'", "line 3"]),
        ("t,v\n1,1e999\n", ["infinity"]),
        ("t,v\n2024-01-01,2\n,3\n", ["lacks times", "line 3"]),
        ("t,v\n1,2\nNA,3\n", ["lacks times", "line 3"]),
        ("t,v\n202401,1\n202402,2\n", ["202401", "line 2", "format='%Y%m'"]),
        ("t,v\n2024013123,1\n", ["format='%Y%m%d%H'"]),
        ("t,v\n20240230,1\n", ["no times", "2024-02-30 in line 2", "no such day"]),
        ("t,v\n12345678901234567890123,1\n", ["too large", "12345678901234567890123", "line 2"]),
        ("t,v\n2024-02-27 12:00,1\n2024-02-27 24:00,1\n", ["2024-02-27 24:00 in line 3", "no such day or time"]),
        ("t,v\n1.5,1\n", ["no times", "'1.5'", "line 2"]),
        ("t,v\n31.01.2024,1\n", ["'31.01.2024'", "pandas.to_datetime"]),
        ("t,v\n2024-01-01,1\ntoday,2\n", ["'today'", "line 3"]),
        ("t,v\n2024-01-01 10:00 UTC,1\n", ["time zones", "tz_convert"]),
        ("t,v\n2024-01-01T10+02,1\n", ["time zones", "tz_convert"]),
        ("t,v\n0001-01-01,1\n2024-01-01T00:00:00.123456789,2\n", ["0001-01-01", "line 2", "nanoseconds"]),
        (
            "t,v\n2024-10-27 02:00,1\n2024-10-27 03:00,2\n2024-10-27 02:00,3\n",
            ["times repeat", "2024-10-27T02:00 in line 2 and in line 4", "series='...'", "ambiguous='infer'"],
        ),
        ('t,v\n1,"2\n2,3\n', ["quotes", "line 3"]),
        ("t,v\n1,2\n".encode("utf-16-le"), ["zero bytes", "utf-16-le"]),
        ("t,v\n1,é\n".encode("latin-1"), ["0xe9", "line 2", "encoding=..."]),
        ("\n \n", ["no column", "'t', 'v'"]),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str | bytes) else "",
)
def test_what_is_wrong_with_a_csv_file_is_named_with_its_line(
    content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=r"^read_series: ") as caught:
        read_csv(tmp_path / "table.csv", content)
    assert_teaches(str(caught.value), str(tmp_path), *parts)
    assert len(str(caught.value)) < 700 + len(str(tmp_path))


def test_a_cell_as_long_as_a_book_is_cut_in_the_message(tmp_path: Path) -> None:
    book = "word " * 20_000
    for content in (f"t,v\n1,{book}\n", f"t,v\n{book},1\n", f"t,{book}\n1,2\n", f"t,v\n1,2,{book}\n"):
        with pytest.raises(FormatError) as caught:
            read_csv(tmp_path / "table.csv", content)
        assert len(str(caught.value)) < 700 + len(str(tmp_path))


def test_a_series_with_a_time_twice_is_named(tmp_path: Path) -> None:
    content = "t,id,v\n1,a,1\n1,b,2\n1,b,3\n"
    with pytest.raises(FormatError) as caught:
        read_csv(tmp_path / "table.csv", content, series="id")
    assert_teaches(str(caught.value), "in series 'b'", "line 3 and in line 4")
    assert "series='...'" not in str(caught.value)
    with pytest.raises(FormatError) as gap:
        read_csv(tmp_path / "table.csv", "t,id,v\n1,a,1\n1,,2\n", series="id")
    assert_teaches(str(gap.value), "'id'", "line 3")
