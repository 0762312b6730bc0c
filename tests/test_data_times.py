# SPDX-License-Identifier: Apache-2.0
"""Times: where one stands among others, regular steps, times to come, and what the calendar says, beside pandas."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_case import assert_teaches
from gatewise.data.series import TimeSeries, backtest, calendar_features, future_times, persistence

PARTS = ["hour_of_day", "day_of_week", "day_of_month", "day_of_year", "month_of_year"]


def make(times: Any, unit: str | None = None) -> TimeSeries:
    array = np.array(times, f"M8[{unit}]") if unit else np.array(times)
    return TimeSeries(np.arange(len(array), dtype=float)[:, None], array, ("a",))


DATES = make(["2013-12-31", "2014-01-01", "2014-06-01"], "D")
STEPS = make([8, 9, 10])

# --- One time among others ---


@pytest.mark.parametrize(
    ("series", "time", "before"),
    [
        (DATES, "2014", 1),
        (DATES, "2014-01-01T00:00:01", 2),
        (DATES, dt.date(2014, 6, 1), 2),
        (DATES, dt.datetime(2014, 6, 1, 0, 0, 1), 3),  # noqa: DTZ001
        (DATES, np.datetime64("2013-12-31", "ns"), 0),
        (DATES, np.array("2014-06", "M8[M]"), 2),
        (DATES, "9999", 3),
        (DATES, "0001", 0),
        (make(DATES.times, "ns"), "9999", 3),
        (make(DATES.times, "ns"), "0001", 0),
        (make(DATES.times, "ns"), "2014-06-01T00:00:00.000000001", 3),
        (make(["1500-01-01", "2014-01-01", "9000-01-01"], "D"), np.datetime64("2013-12-31T12", "ns"), 1),
        (make(["2013", "2014"], "Y"), "2013-07-01", 1),
        (make(["2013-12", "2014-01"], "M"), "2013-12-01", 0),
        (make([], "D"), "2014", 0),
        (STEPS, 10, 2),
        (STEPS, np.int8(9), 1),
        (STEPS, 8.5, 1),
        (STEPS, 2**70, 3),
        (STEPS, -(2**70), 0),
        (make(np.array([8, 200], np.uint8)), 9, 1),
        (make([2**62, 2**62 + 1]), 2**62 + 1, 1),
    ],
)
def test_a_series_is_cut_where_the_time_stands(series: TimeSeries, time: Any, before: int) -> None:
    assert (len(series.before(time)), len(series.after(time))) == (before, len(series) - before)


@pytest.mark.parametrize(
    ("series", "time", "parts"),
    [
        (DATES, 2014, ["received int 2014", "'2014'"]),
        (DATES, 2014.5, ["no date", "2014.5"]),
        (DATES, True, ["no date"]),
        (DATES, None, ["no date", "None"]),
        (DATES, "", ["no date"]),
        (DATES, "soon", ["no date", "'soon'"]),
        (DATES, np.datetime64("NaT", "s"), ["no date"]),
        (DATES, DATES.times[:1], ["no date", "an array (1,)"]),
        (DATES, "2014-01-01T00:00+02:00", ["time zone", "tz_convert"]),
        (DATES, dt.datetime(2014, 1, 1, tzinfo=dt.UTC), ["time zone", "tz_convert"]),
        (STEPS, "9", ["no number", "'9'"]),
        (STEPS, dt.date(2014, 1, 1), ["no number"]),
        (STEPS, np.datetime64("2014"), ["no number"]),
        (STEPS, float("nan"), ["no number"]),
        (STEPS, None, ["no number"]),
        (STEPS, [9], ["no number"]),
        (STEPS, False, ["no number"]),
    ],
)
def test_what_is_no_time_of_a_series_is_named(series: TimeSeries, time: Any, parts: list[str]) -> None:
    for name, cut in (
        ("TimeSeries.before", series.before),
        ("TimeSeries.after", series.after),
        ("backtest: start", lambda start: backtest(make(series.times[:2]), persistence(), 1, start)),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            cut(time)
        assert_teaches(str(caught.value), name, *parts)


def test_what_pandas_calls_a_time_is_one() -> None:
    pd = pytest.importorskip("pandas")
    series = make(["2014-01-01", "2014-01-02"], "ns")
    assert len(series.before(pd.Timestamp("2014-01-01T00:00:00.000000001"))) == 1
    with pytest.raises(ValueError, match="no date"):
        series.before(pd.NaT)
    with pytest.raises(ValueError, match="time zone"):
        series.before(pd.Timestamp("2014", tz="UTC"))
    assert len(make(["2014-01-01", "2014-01-03"], "D").regular(pd.Timedelta("1D"))) == 3


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_times_with_a_time_zone_are_refused(library: str) -> None:
    module = pytest.importorskip(library)
    zoned = module.Series([dt.datetime(2014, 1, day, tzinfo=dt.UTC) for day in (1, 2)])
    for call in (
        lambda: TimeSeries([[1.0], [2.0]], zoned),
        lambda: future_times(zoned, 1),
        lambda: calendar_features(zoned),
    ):
        with pytest.raises(ValueError, match="time zone") as caught:
            call()
        assert_teaches(str(caught.value), "UTC", "tz_convert")


# --- Regular steps ---


@pytest.mark.parametrize(
    ("series", "step", "times"),
    [
        (make([-100, 100], None), 100, ["-100", "0", "100"]),
        (make(np.array([-100, 100], np.int8)), 100, ["-100", "0", "100"]),
        (make(["2024-01-01", "2024-01-15"], "D"), np.timedelta64(1, "W"), ["2024-01-01", "2024-01-08", "2024-01-15"]),
        (
            make(["2024-01-01T06", "2024-01-03T06"], "h"),
            np.timedelta64(1, "D"),
            [f"2024-01-0{d}T06" for d in (1, 2, 3)],
        ),
        (make(["2024-01-31", "2024-02-02"], "ns"), dt.timedelta(days=1), None),
        (make(["2024-01", "2024-02"], "M"), np.timedelta64(31, "D"), ["2024-01-01", "2024-02-01"]),
        (make(["2020-06", "2022-06"], "M"), np.timedelta64(1, "Y"), ["2020-06", "2021-06", "2022-06"]),
        (make(["2020-01-01", "2022-01-01"], "D"), np.timedelta64(1, "Y"), ["2020", "2021", "2022"]),
        (make(["2024-01-01", "2024-07-01"], "D"), np.timedelta64(3, "M"), ["2024-01", "2024-04", "2024-07"]),
        (make([7]), 3, ["7"]),
    ],
)
def test_steps_are_put_in_where_times_leave_them_out(series: TimeSeries, step: Any, times: list[str] | None) -> None:
    regular = series.regular(step)
    if times is not None:
        assert [str(time) for time in regular.times] == times
    assert regular.values[0, 0] == 0
    assert regular.values[-1, 0] == len(series) - 1
    assert int(regular.mask.sum()) == len(series)


@pytest.mark.parametrize(
    ("series", "step", "parts"),
    [
        (STEPS, 0, ["too small", "above 0", "received 0"]),
        (STEPS, -1, ["too small", "received -1"]),
        (STEPS, 1.5, ["a whole number", "1.5"]),
        (STEPS, True, ["a whole number"]),
        (STEPS, None, ["a whole number", "None"]),
        (STEPS, np.timedelta64(1, "D"), ["a whole number", "timedelta64"]),
        (STEPS, 2, ["step does not fit", "received 9 at step 1"]),
        (make([-(2**63), 0, 2**62]), 2**62, ["step does not fit"]),
        (STEPS, 2**70, ["step does not fit"]),
        (DATES, 1, ["with a unit", "received int 1", "numpy.timedelta64(1, 'D')"]),
        (DATES, 0, ["with a unit"]),
        (DATES, "1D", ["with a unit", "'1D'"]),
        (DATES, np.int64(1).view("m8"), ["with a unit"]),
        (DATES, np.int64(-(2**63)).view("m8"), ["with a unit"]),
        (DATES, np.timedelta64("NaT", "D"), ["too small"]),
        (DATES, np.timedelta64(0, "D"), ["too small"]),
        (DATES, np.timedelta64(-1, "M"), ["too small"]),
        (make(["2024-01-31", "2024-02-29"], "D"), np.timedelta64(1, "M"), ["2024-01-31", "astype('datetime64[M]')"]),
        (make(["2024-01-15", "2024-02-15"], "D"), np.timedelta64(1, "M"), ["2024-01-15", "astype('datetime64[M]')"]),
        (make(["2024-01-01", "2024-01-31"], "D"), np.timedelta64(1, "M"), ["received 2024-01-31", "aggregate"]),
    ],
)
def test_a_step_that_cannot_be_is_named(series: TimeSeries, step: Any, parts: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        series.regular(step)
    assert_teaches(str(caught.value), "TimeSeries.regular", *parts)


# --- Times to come ---


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (np.array(["2024-01", "2024-02"], "M8[M]"), ["2024-03", "2024-04"]),
        (np.array(["2023-11", "2024-02"], "M8[M]"), ["2024-05", "2024-08"]),
        (np.array(["2023", "2024"], "M8[Y]"), ["2025", "2026"]),
        (np.array(["2023-12-01", "2024-01-01", "2024-02-01"], "M8[M]"), ["2024-03", "2024-04"]),
        (np.array(["2023-12-25", "2024-01-01"], "M8[D]"), ["2024-01-08", "2024-01-15"]),
        (np.array(["2023-10-31", "2023-12-01", "2024-01-01"], "M8[D]"), ["2024-02-01", "2024-03-03"]),
        (np.array([250, 253], np.uint8), ["256", "259"]),
    ],
)
def test_times_go_on_in_equal_steps(times: Any, expected: list[str]) -> None:
    assert [str(time) for time in future_times(times, 2)] == expected
    assert future_times(times, 0).tolist() == []


@pytest.mark.parametrize(
    ("times", "horizon", "parts"),
    [
        (np.array(["2024-01-01", "2024-02-01"], "M8[D]"), 1, ["stand for months", "astype('M8[M]')", "31 days"]),
        (np.array(["2023-12-01", "2024-01-01", "2024-02-01"], "M8[D]"), 1, ["stand for months", "astype('M8[M]')"]),
        (np.array(["2024-01-15T06", "2024-02-15T06"], "M8[h]"), 1, ["stand for months"]),
        (np.array(["2024-01-31", "2024-02-29"], "M8[D]"), 1, ["stand for months"]),
        (np.array(["2022-01-01", "2023-01-01"], "M8[ns]"), 1, ["stand for months", "astype('M8[Y]')"]),
        (np.array(["2024-01-01", "2024-01-02", "2024-01-04"], "M8[D]"), 1, ["irregular", "2024-01-04"]),
        (["1", "2"], 1, ["no times", "['1', '2']"]),
        ([[1], [1, 2]], 1, ["no times", "[[1], [1, 2]]"]),
        ([1, 2, 5], 1, ["irregular", "received 2 and then 5"]),
        ([5, 3], 1, ["irregular", "rising"]),
        ([5, 5], 1, ["irregular", "rising"]),
        ([[1, 2]], 1, ["no times", "[[1, 2]]"]),
        ([1, 2], -1, ["horizon", "-1"]),
        ([1, 2], 1.5, ["horizon", "1.5"]),
        ([2**63 - 3, 2**63 - 2], 2, ["leave the range"]),
        (np.array(["2262-04-01", "2262-04-11"], "M8[ns]"), 1, ["leave the range", "M8[s]"]),
        (np.array(["1700-01-01", "2200-01-01"], "M8[ns]"), 1, [".astype('M8["]),  # a step beyond 64 bits
        (np.array(["2024", "NaT"], "M8[D]"), 1, ["NaT at step 1"]),
    ],
)
def test_times_that_nobody_can_continue_are_refused(times: Any, horizon: Any, parts: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        future_times(times, horizon)
    assert_teaches(str(caught.value), "future_times", *parts)


# --- The calendar ---


@given(
    st.sampled_from(["D", "h", "s", "ms", "ns"]),
    st.lists(st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)), min_size=1, max_size=9),  # noqa: DTZ001
)
def test_the_calendar_counts_what_is_finer_than_its_parts(unit: str, times: list[dt.datetime]) -> None:
    array = np.array(times, "M8[us]").astype(f"M8[{unit}]")
    features, _ = calendar_features(array, PARTS)
    for row, time in zip(features, array.astype("M8[us]").tolist(), strict=True):
        day = (time - time.replace(hour=0, minute=0, second=0, microsecond=0)) / dt.timedelta(days=1)
        next_month = (time.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
        month = (time.day - 1 + day) / (next_month - dt.timedelta(days=1)).day
        length = (dt.date(time.year + 1, 1, 1) - dt.date(time.year, 1, 1)).days
        shares = [day, (time.weekday() + day) / 7, month, (time.timetuple().tm_yday - 1 + day) / length]
        angles = 2 * np.pi * np.array([*shares, (time.month - 1 + month) / 12])
        np.testing.assert_allclose(row.reshape(-1, 2), np.stack([np.sin(angles), np.cos(angles)], axis=1), atol=1e-9)


def test_no_part_of_the_calendar_is_a_staircase() -> None:
    times = np.datetime64("2024-02-29T00:00:00") + np.arange(0, 86400, 60)
    features, names = calendar_features(times, PARTS)
    for name, column in zip(names, features.T, strict=True):
        assert len(np.unique(column)) > 700, name  # a day of minutes, and a sine has each value twice


def test_the_calendar_goes_back_before_nanoseconds_and_beyond() -> None:
    fine, coarse = (np.array(["1677-09-22", "2262-04-10"], f"M8[{unit}]") for unit in ("ns", "D"))
    np.testing.assert_array_equal(calendar_features(fine, PARTS)[0], calendar_features(coarse, PARTS)[0])
    [[sin, cos]], _ = calendar_features(np.array(["0001-07-02T12"], "M8[h]"), ["day_of_year"])
    np.testing.assert_allclose([sin, cos], [0, -1], atol=1e-12)


@pytest.mark.parametrize(
    ("times", "parts", "words"),
    [
        (np.array(["2024", "NaT"], "M8[D]"), PARTS, ["NaT at step 1"]),
        (np.array([["2024"]], "M8[D]"), PARTS, ["(1, 1)"]),
        (["2024-01-01"], PARTS, ["no times", "['2024-01-01']"]),
        (DATES.times, "hour_of_day", ["one string", "['hour_of_day']"]),
        (DATES.times, ["day_of_week", "day_of_week"], ["'day_of_week' more than once"]),
        (DATES.times, [1], ["parts are no names"]),
    ],
)
def test_what_has_no_calendar_is_named(times: Any, parts: Any, words: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        calendar_features(times, parts)
    assert_teaches(str(caught.value), "calendar_features", *words)
