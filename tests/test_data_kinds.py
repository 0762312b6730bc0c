# SPDX-License-Identifier: Apache-2.0
"""What is of another kind than asked for, dates, text, masked arrays, fractions, NaN, is named before it does harm."""

import dataclasses
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from data_case import assert_teaches
from gatewise.data.labels import Labels
from gatewise.data.series import (
    Scaler,
    SeasonalScaler,
    SeriesScaler,
    TimeSeries,
    Windows,
    autoregression,
    backtest,
    last_window,
    persistence,
    roll_forward,
    seasonal_naive,
    window_view,
)

RNG = np.random.default_rng(11)
DAYS = np.arange("2024-01-01", "2024-01-10", dtype="M8[D]")
SERIES = TimeSeries(RNG.normal(size=(9, 2)), DAYS, ("load", "heat"), "north")
SCALER = Scaler().adapt(SERIES.values)
WINDOWS = Windows(SERIES, history=3)
YEAR = TimeSeries(RNG.uniform(size=(366, 1)), np.arange("2024", "2025", dtype="M8[D]"))
SEASON, ROOTS = SeasonalScaler().adapt(YEAR), SeasonalScaler(root=True).adapt(YEAR)
ON_WEEKDAYS = dataclasses.replace(YEAR, values=np.where(np.is_busday(YEAR.times)[:, None], YEAR.values, np.nan))
MASKED = np.ma.masked_array([[1.0], [2.0]], [[False], [True]])
X = np.zeros((1, 3, 2), np.float32)


def renamed(name: str, times: Any = DAYS) -> TimeSeries:
    return TimeSeries(SERIES.values[: len(times)], times, SERIES.features, name)


# --- What is read as it is meant ---


def test_objects_that_are_numbers_are_read() -> None:
    pd = pytest.importorskip("pandas")
    values = np.array([[Decimal("0.5"), None], [True, 3], [np.float32(1.5), pd.NA]], dtype=object)
    series = TimeSeries(values, [1, 2, 3])
    np.testing.assert_array_equal(series.values, [[0.5, np.nan], [1, 3], [1.5, np.nan]])
    assert TimeSeries([[1], [2]], np.array([1, 200], np.uint8)).times.dtype == np.int64


def test_one_target_needs_no_list() -> None:
    assert Windows(SERIES, 3, targets="heat").targets == Windows(SERIES, 3, targets=["heat"]).targets == [1]
    assert SERIES.columns("heat") == [1]
    assert SERIES.columns(None) == [0, 1]


def test_features_of_a_scaling_are_chosen_by_number() -> None:
    scaled = SCALER(SERIES.values)
    for features in ([1], (1,), np.array([1]), [-1], SERIES.columns("heat")):
        np.testing.assert_allclose(SCALER.inverse(scaled[:, 1:], features), SERIES.values[:, 1:])


def test_windows_of_series_with_the_same_steps_in_other_units_are_made() -> None:
    hours = renamed("south", DAYS.astype("M8[h]"))
    assert len(Windows([SERIES, hours, renamed("short", DAYS[:4])], history=3)) == 6 + 6 + 1


def test_batches_end_where_they_end() -> None:
    batches = WINDOWS.batches(batch_size=4)
    assert [len(batches[index][0]) for index in range(len(batches))] == [4, 2]
    for index in (-1, 2, 99):
        with pytest.raises(IndexError) as caught:
            batches[index]
        assert_teaches(str(caught.value), "Windows.batches", "0 to 1", f"received {index}")


# --- Mistakes ---


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Scaler().adapt(SERIES), ["Scaler.adapt", "received TimeSeries", "series.values"]),  # type: ignore[arg-type]
        (lambda: Scaler().adapt([SERIES]), ["[one.values for one in"]),  # type: ignore[list-item]
        (lambda: SCALER(SERIES), ["Scaler:", "series.values"]),  # type: ignore[arg-type]
        (lambda: Scaler().adapt(DAYS[:, None]), ["real numbers", "(9, 1) of datetime64[D]"]),
        (lambda: Scaler().adapt([[1j]]), ["real numbers", "1j"]),
        (lambda: Scaler().adapt([["1"]]), ["real numbers", "'1'"]),
        (lambda: Scaler().adapt([[object()]]), ["real numbers"]),
        (lambda: Scaler().adapt(MASKED), ["masked array", "filled(numpy.nan)"]),
        (lambda: Scaler().adapt([MASKED, MASKED]), ["masked array"]),
        (lambda: SCALER(MASKED), ["masked array"]),
        (lambda: Scaler().adapt([[1.0], [1.0, 2.0]]), ["rows differ in length"]),
        (lambda: Scaler().adapt([[[1.0], [1.0, 2.0]]]), ["rows differ in length"]),
        (lambda: Scaler().adapt([[1e300], [-1e300]]), ["too large", "1e+300", "minmax"]),
        (lambda: Scaler("minmax").adapt([[1.7e308], [-1.7e308]]), ["too large"]),
        (lambda: SCALER.inverse([[1.0]], ["load"]), ["features are no numbers", "['load']", "series.columns"]),  # type: ignore[list-item]
        (lambda: SCALER.inverse([[1.0]], "a"), ["features are no numbers", "'a'"]),  # type: ignore[arg-type]
        (lambda: SCALER.inverse([[1.0]], 0), ["features are no numbers", "int 0"]),  # type: ignore[arg-type]
        (lambda: SCALER.inverse([[1.0]], [True, False]), ["features are no numbers"]),
        (lambda: SCALER.inverse([[1.0]], [2]), ["out of range", "0 to 1", "received 2"]),
        (lambda: Scaler(shift=[1.0]), ["scale is missing"]),
        (lambda: Scaler(shift=[1.0], scale=[0.0]), ["without 0", "[0.0]"]),
        (lambda: Scaler(shift=[1.0], scale=[1.0, 2.0]), ["do not fit"]),
        (lambda: Scaler(shift=[np.nan], scale=[1.0]), ["finite"]),
        (lambda: SeriesScaler().adapt([SERIES.values]), ["SeriesScaler.adapt", "TimeSeries"]),  # type: ignore[list-item]
        (lambda: SeriesScaler().adapt([]), ["received none"]),
        (lambda: SeriesScaler()[["north"]], ["a series is new", "['north']"]),
        (lambda: SeasonalScaler().adapt(SERIES.values), ["SeasonalScaler.adapt", "TimeSeries"]),  # type: ignore[arg-type]
        (lambda: SeasonalScaler(waves=5).adapt(SERIES), ["values are too few", "more than 11", "received [9, 9]"]),
        (lambda: SeasonalScaler().adapt(TimeSeries([[1.0]], [1])), ["times are no dates"]),
        (lambda: SeasonalScaler().adapt(TimeSeries(np.empty((0, 1)), DAYS[:0])), ["values are too few"]),
        (lambda: SeasonalScaler().adapt(TimeSeries(np.empty((9, 0)), DAYS)), ["values are too few"]),
        (lambda: SeasonalScaler().adapt(YEAR.steps(slice(90))), ["do not cover", "'day_of_year'", "fewer waves"]),
        (lambda: SeasonalScaler(["hour_of_day"], 1).adapt(YEAR), ["do not cover", "condition number inf"]),
        (lambda: SeasonalScaler(["day_of_week"], 3).adapt(ON_WEEKDAYS), ["do not cover", "3 of each"]),
        (lambda: SeasonalScaler(["day_of_year", "month_of_year"]).adapt(YEAR), ["do not cover"]),
        (lambda: SeasonalScaler().adapt(TimeSeries(YEAR.values * 1e308, YEAR.times)), ["values are"]),
        (lambda: ROOTS.inverse([[1e200]], YEAR.times[:1]), ["SeasonalScaler.inverse: values are too large", "1e+200"]),
        (lambda: SeasonalScaler(usual=[[True] * 5], scaler=SEASON.get_config()["scaler"]), ["do not fit"]),
        (lambda: Scaler(shift=[True], scale=[1.0]), ["do not fit"]),
        (lambda: SeasonalScaler(root=True).adapt(TimeSeries(-YEAR.values, YEAR.times)), ["below 0", "root=False"]),
        (lambda: SeasonalScaler(["lunch"]), ["parts are unknown", "day_of_year", "'lunch'"]),
        (lambda: SeasonalScaler([]), ["parts are unknown", "received none"]),
        (lambda: SeasonalScaler(waves=65), ["waves is too large", "1 to 64", "received 65"]),
        (lambda: SeasonalScaler(calendar=1), ["calendar is no bool", "True or False", "int 1"]),  # type: ignore[arg-type]
        (lambda: SeasonalScaler().scale(YEAR), ["nothing is learned yet", "Call adapt"]),
        (lambda: SEASON.scale(SERIES), ["features do not fit", "Expected 1"]),
        (lambda: SEASON.inverse([[0.0]], YEAR.times[:2]), ["values do not fit", "timesteps=2", "(1, 1)"]),
        (lambda: SEASON.inverse([[0.0]], YEAR.times[:1], [1]), ["out of range", "received 1"]),
        (lambda: SeasonalScaler(usual=[[1.0]]), ["do not fit", "Expected both"]),
        (lambda: Scaler(["standard"]), ["method is unknown", "['standard']"]),  # type: ignore[arg-type]
        (lambda: Scaler().adapt([[]]), ["wrong shape", "(1, 0)"]),
        (lambda: SeriesScaler().scale(SERIES.values), ["SeriesScaler.scale"]),  # type: ignore[arg-type]
        (lambda: SeriesScaler().inverse([[1.0]], "north"), ["SeriesScaler.inverse", "north"]),  # type: ignore[arg-type]
        (lambda: TimeSeries(DAYS[:, None], DAYS), ["real numbers", "datetime64"]),
        (lambda: TimeSeries([["1"]], [1]), ["real numbers", "'1'"]),
        (lambda: TimeSeries([[1j]], [1]), ["real numbers"]),
        (lambda: TimeSeries(MASKED, [1, 2]), ["masked array"]),
        (lambda: TimeSeries([[1.0], [2.0, 3.0]], [1, 2]), ["rows differ in length"]),
        (lambda: TimeSeries([[1.0]], ["2024-01-01"]), ["no times", "['2024-01-01']", "dtype='datetime64'"]),
        (lambda: TimeSeries([[1.0]], np.array([2**63], np.uint64)), ["too large", str(2**63)]),
        (lambda: TimeSeries([[1.0], [2.0]], np.ma.masked_array([1, 2], [True, False])), ["masked", "compressed()"]),
        (lambda: TimeSeries([[1.0]], np.array(["NaT"], "M8[D]")), ["NaT at step 0"]),
        (lambda: TimeSeries([[1.0, 2.0]], [1], ("a", "a")), ["'a' more than once"]),
        (lambda: TimeSeries([[1.0, 2.0]], [1], "ab"), ["one string", "['ab']"]),  # type: ignore[arg-type]
        (lambda: TimeSeries([[1.0]], [1], (1,)), ["features are no names"]),  # type: ignore[arg-type]
        (lambda: TimeSeries([[1.0]], [1], name=7), ["name is no string", "int 7"]),  # type: ignore[arg-type]
        (lambda: SERIES.with_features(np.zeros((9, 1)), ["load"]), ["'load' more than once"]),
        (lambda: SERIES.with_features(np.zeros((9, 2)), "xy"), ["one string"]),
        (lambda: SERIES.with_features(DAYS[:, None], ["x"]), ["real numbers"]),
        (lambda: SERIES.steps(3), ["TimeSeries.steps", "int 3"]),  # type: ignore[arg-type]
        (lambda: SERIES.columns("lo"), ["'lo'", "'load', 'heat'"]),
        (lambda: SERIES.columns([]), ["received none"]),
        (lambda: SERIES.columns([0]), ["no names"]),  # type: ignore[list-item]
        (lambda: Windows(SERIES.values, 3), ["Windows", "TimeSeries(values, times)"]),  # type: ignore[arg-type]
        (lambda: Windows(None, 3), ["Windows", "None"]),  # type: ignore[arg-type]
        (lambda: Windows(SERIES, 2.5), ["history", "float 2.5"]),  # type: ignore[arg-type]
        (lambda: Windows(SERIES, "3"), ["history", "'3'"]),  # type: ignore[arg-type]
        (lambda: Windows(SERIES, True), ["history", "bool True"]),
        (lambda: Windows(SERIES, 3, targets=[]), ["targets", "received none"]),
        (lambda: Windows(SERIES, 3, scaler=np.mean), ["scaler is none", "Scaler().adapt"]),  # type: ignore[arg-type]
        (lambda: Windows(TimeSeries(np.full((9, 1), 1e39), DAYS), 3), ["too large", "1e+39", "scaler"]),
        (lambda: Windows([SERIES, renamed("weekly", DAYS[::3])], 1), ["different steps", "3 days", "'weekly'"]),
        (lambda: Windows([SERIES, renamed("whole", np.arange(9))], 1), ["different steps", "'whole'"]),
        (
            lambda: Windows([SERIES, renamed("months", np.arange(9).astype("M8[M]"))], 1),
            ["different steps", "1 months"],
        ),
        (lambda: Windows(renamed("n", np.array([1, 2, 4])), 1), ["irregular", "series.regular(1)"]),
        (lambda: WINDOWS.times([0, 1]), ["Windows.times", "list [0, 1]", "one after the other"]),  # type: ignore[arg-type]
        (lambda: WINDOWS.times(-1), ["0 to 5", "received -1"]),
        (lambda: WINDOWS.times(6), ["0 to 5", "received 6"]),
        (lambda: WINDOWS.times(1.0), ["Windows.times", "1.0"]),  # type: ignore[arg-type]
        (lambda: WINDOWS.views(1), ["Windows.views", "0 to 0"]),
        (lambda: WINDOWS.take([0.5]), ["Windows.take", "float64"]),
        (lambda: WINDOWS.take(np.ones(6, np.bool_)), ["numpy.flatnonzero"]),
        (lambda: WINDOWS.take([[0, 1]]), ["(1, 2)"]),
        (lambda: WINDOWS.take("0"), ["Windows.take"]),
        (lambda: WINDOWS.take([2**63]), ["0 to 5", str(2**63)]),
        (lambda: WINDOWS.batches(1.5), ["batch_size", "1.5"]),  # type: ignore[arg-type]
        (lambda: window_view([1, 2, 3], 1.5), ["length", "1.5"]),  # type: ignore[arg-type]
        (lambda: window_view(MASKED, 1), ["masked array"]),
        (lambda: window_view([[1], [1, 2]], 1), ["rows differ in length"]),  # type: ignore[arg-type]
        (lambda: window_view(5, 1), ["an array ()"]),  # type: ignore[arg-type]
        (lambda: last_window(SERIES, 0), ["history", "received 0"]),
        (lambda: last_window([SERIES.values], 2), ["last_window"]),  # type: ignore[list-item]
        (lambda: roll_forward(lambda x: x, [["a"]], 1), ["real numbers"]),
        (lambda: roll_forward(lambda _: "a", X, 1), ["predict", "'a'"]),
        (lambda: roll_forward(lambda x: x, X, 1.5), ["horizon", "1.5"]),  # type: ignore[arg-type]
        (lambda: roll_forward(lambda x, _: x, X, 1, mask=np.ones((1, 2), np.bool_)), ["mask", "history=3", "(1, 2)"]),
        (lambda: roll_forward(lambda x, _: x, X, 1, mask=np.ones((1, 3))), ["mask", "bool", "float64"]),
        (lambda: roll_forward(lambda x: x, X, 1, known=np.ma.masked_array(np.zeros((1, 1, 1)))), ["known", "masked"]),
        (lambda: backtest(SERIES.values, persistence(), 1, 3), ["backtest", "TimeSeries"]),  # type: ignore[arg-type]
        (lambda: backtest(SERIES, persistence(), 2**70, "2024-01-05"), ["leaves nothing", str(2**70)]),
        (lambda: backtest(SERIES, persistence(), 1.5, "2024-01-05"), ["horizon", "1.5"]),  # type: ignore[arg-type]
        (lambda: backtest(SERIES, persistence(), 1, "2024-01-05", every="1"), ["every", "'1'"]),  # type: ignore[arg-type]
        (
            lambda: backtest(SERIES, lambda _: lambda *_: DAYS[:4].reshape(1, 2, 2), 2, "2024-01-05"),
            ["the forecast at"],
        ),
        (lambda: backtest(SERIES, None, 1, "2024-01-05"), ["fit is no function", "None"]),  # type: ignore[arg-type]
        (lambda: backtest(SERIES, lambda _: SERIES.values, 1, "2024-01-05"), ["gives no forecaster", "(9, 2)"]),  # type: ignore[arg-type,return-value]
        (lambda: backtest(SERIES, persistence(), 1, "2024-01-05", quantiles="0.5"), ["quantiles", "'0.5'"]),  # type: ignore[arg-type]
        (lambda: seasonal_naive(1.5), ["season", "1.5"]),  # type: ignore[arg-type]
        (lambda: autoregression("3"), ["lags", "'3'"]),  # type: ignore[arg-type]
        (lambda: Labels().adapt(["a", float("nan")]), ["labels[1] is missing"]),  # type: ignore[list-item]
        (lambda: Labels().adapt(["a", None]), ["labels[1] is missing"]),  # type: ignore[list-item]
        (lambda: Labels().adapt(np.ma.masked_array(["a", "b"], [0, 1])), ["labels[1] is missing"]),
        (lambda: Labels().adapt([b"a", b"b"]), ["labels[0] is no label", "bytes", "decode"]),  # type: ignore[list-item]
        (lambda: Labels().adapt(np.array([b"a", b"b"])), ["labels[0] is no label", "decode"]),
        (lambda: Labels().adapt(np.array([["a"], ["b"]])), ["labels[0] is no label", "an array (1,)"]),
        (lambda: Labels().adapt(5), ["labels", "int 5"]),  # type: ignore[arg-type]
        (lambda: Labels(["a", None]), ["labels[1] is missing"]),  # type: ignore[list-item]
        (lambda: Labels()(["a"]), ["nothing is learned"]),
        (lambda: Labels().decode([0]), ["nothing is learned"]),
        (lambda: Labels(["a", "b"]).decode([[0.2, np.nan]]), ["NaN in row 0"]),
        (lambda: Labels(["a", "b"]).decode(["a"]), ["real numbers", "['a']"]),
        (lambda: Labels(["a", "b"]).decode(np.ma.masked_array([0, 1], [0, 1])), ["masked"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(make: Any, parts: list[str]) -> None:
    with pytest.raises((TypeError, ValueError, IndexError)) as caught:
        make()
    assert_teaches(str(caught.value), *parts)
    assert len(str(caught.value)) < 600
