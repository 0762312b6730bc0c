# SPDX-License-Identifier: Apache-2.0
"""Backtests never see the future, and the baselines are what their names say."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_case import assert_teaches, real_file
from gatewise.data.series import (
    TimeSeries,
    autoregression,
    backtest,
    persistence,
    read_series,
    seasonal_naive,
)

RNG = np.random.default_rng(7)


def make_series(steps: int, begin: int = 0, features: int = 1, name: str = "") -> TimeSeries:
    return TimeSeries(
        RNG.normal(size=(steps, features)), np.arange(begin, begin + steps), tuple("abc"[:features]), name
    )


class Spy:
    """A forecaster that writes down what it is shown, and looks for more behind it."""

    def __init__(self) -> None:
        self.fitted: list[list[Any]] = []
        self.shown: list[list[Any]] = []

    def fit(self, past: list[TimeSeries]) -> Any:
        self.fitted.append([one.times[-1] for one in past])
        return self.forecast

    def forecast(self, past: list[TimeSeries], horizon: int) -> np.ndarray:
        self.shown.append([one.times[-1] for one in past])
        for one in past:
            for array in (one.values, one.times):
                while array.base is not None:
                    array = array.base  # noqa: PLW2901  # down to the memory itself
                assert len(array) <= len(one), "an array behind the view holds more than the past"
        return np.stack([np.resize(one.values[-1], (horizon, one.values.shape[1])) for one in past])


@given(st.integers(1, 4), st.integers(1, 3), st.one_of(st.none(), st.integers(1, 4)), st.integers(1, 12))
def test_a_forecaster_is_shown_the_past_alone(horizon: int, every: int, refit: int | None, start: int) -> None:
    spy = Spy()
    several = [make_series(20, name="long"), make_series(15, begin=0, name="short")]
    result = backtest(several, spy.fit, horizon, start, every, refit)
    origins = list(range(start, 20 - horizon + 1, every))
    assert result.origins.tolist() == origins
    assert spy.shown == [[min(19, origin - 1), min(14, origin - 1)] for origin in origins]
    expected = origins[:1] if refit is None else origins[::refit]
    assert spy.fitted == [[min(19, origin - 1), min(14, origin - 1)] for origin in expected]
    for number, origin in enumerate(origins):
        for row, one in enumerate(several):
            for step in range(horizon):
                time = origin + step
                actual = one.values[time, 0] if time < len(one) else math.nan
                np.testing.assert_equal(result.actual[number, row, step, 0], actual)


@pytest.mark.parametrize("fit", [persistence(), seasonal_naive(5), autoregression(3)], ids=["last", "season", "line"])
def test_another_future_changes_no_forecast_made_before_it(fit: Any) -> None:
    series = make_series(60)
    result = backtest(series, fit, horizon=4, start=40)
    changed = TimeSeries(np.where(np.arange(60)[:, None] < 50, series.values, 1e9), series.times, series.features)
    other = backtest(changed, fit, horizon=4, start=40)
    before = result.origins <= 50
    assert before.sum() == 11
    np.testing.assert_array_equal(result.forecast[before], other.forecast[before])
    assert (result.forecast[~before] != other.forecast[~before]).any()


def test_all_series_are_cut_at_the_same_time() -> None:
    days = np.arange("2024-01-01", "2024-02-01", dtype="M8[D]")
    early, late = TimeSeries(np.zeros((31, 1)), days), TimeSeries(np.zeros((21, 1)), days[10:])
    spy = Spy()
    result = backtest([early, late], spy.fit, horizon=2, start="2024-01-20", every=5)
    assert [str(origin) for origin in result.origins] == ["2024-01-20", "2024-01-25", "2024-01-30"]
    assert [{str(time) for time in times} for times in spy.shown] == [{"2024-01-19"}, {"2024-01-24"}, {"2024-01-29"}]


def test_errors_are_those_of_the_loop_and_leave_out_what_is_missing() -> None:
    series = make_series(30, features=2)
    series.values[21, 0] = np.nan
    result = backtest([series], lambda _: lambda _past, horizon: np.zeros((1, horizon, 2)), horizon=3, start=20)
    actual = [[[series.values[o + s, f] for f in range(2)] for s in range(3)] for o in range(20, 28)]
    for step in range(3):
        present = [v for origin in actual for v in origin[step] if not math.isnan(v)]
        assert result.mae(by_step=True)[step] == pytest.approx(sum(map(abs, present)) / len(present))
        assert result.rmse(by_step=True)[step] == pytest.approx(math.sqrt(sum(v * v for v in present) / len(present)))
    everything = [v for origin in actual for row in origin for v in row if not math.isnan(v)]
    assert result.mae() == pytest.approx(sum(map(abs, everything)) / len(everything))


def test_some_features_are_forecast_from_all() -> None:
    series = make_series(12, features=3)
    result = backtest(
        series, lambda _: lambda past, _h: past[0].values[None, -1:, [2, 0]], 1, start=6, targets=["c", "a"]
    )
    np.testing.assert_array_equal(result.forecast[:, 0, 0], series.values[5:11, [2, 0]])
    np.testing.assert_array_equal(result.actual[:, 0, 0], series.values[6:, [2, 0]])


@pytest.mark.parametrize("fit", [persistence(), seasonal_naive(2), autoregression(3)], ids=["last", "season", "line"])
@pytest.mark.parametrize("targets", ["b", ["c"], ["c", "a"], ["b", "a", "c"], None], ids=str)
def test_the_baselines_forecast_the_targets_that_are_asked_for(fit: Any, targets: Any) -> None:
    series = make_series(20, features=3)
    names = list("abc") if targets is None else list(targets)
    result = backtest(series, fit, horizon=2, start=15, targets=targets)
    for number, name in enumerate(names):
        column = "abc".index(name)
        alone = TimeSeries(series.values[:, [column]], series.times)
        expected = backtest(alone, fit, horizon=2, start=15)
        np.testing.assert_array_equal(result.forecast[..., number], expected.forecast[..., 0])
        np.testing.assert_array_equal(result.actual[..., number], expected.actual[..., 0])
    persisted = backtest(series, persistence(), horizon=2, start=15, targets=targets).forecast
    np.testing.assert_array_equal(persisted[0, 0, 1], series.values[14, ["abc".index(name) for name in names]])


def test_a_feature_that_is_no_target_hinders_no_baseline() -> None:
    series = make_series(20, features=2)
    series.values[:, 0] = np.nan
    for fit in (persistence(), autoregression(3)):
        assert backtest(series, fit, horizon=2, start=15, targets=["b"]).forecast.shape == (4, 1, 2, 1)


def test_a_forecast_of_all_features_is_named_with_its_cure() -> None:
    def fit(past: list[TimeSeries]) -> Any:
        return lambda _, horizon: np.zeros((len(past), horizon, 3))

    with pytest.raises(ValueError, match="wrong shape") as caught:
        backtest(make_series(20, features=3), fit, horizon=2, start=15, targets=["b"])
    assert_teaches(str(caught.value), "=(1, 2, 1)", "received (1, 2, 3)", "series.columns(targets)")


# --- Baselines ---


def forecast_by(fit: Any, values: list[float], horizon: int) -> list[float]:
    series = TimeSeries(np.array(values)[:, None], np.arange(len(values)))
    return np.asarray(fit([series])([series], horizon))[0, :, 0].tolist()


def test_persistence_repeats_the_last_value_that_was_measured() -> None:
    assert forecast_by(persistence(), [1.0, 5.0, math.nan], 3) == [5.0, 5.0, 5.0]


def test_the_seasonal_forecast_repeats_the_last_season() -> None:
    assert forecast_by(seasonal_naive(3), [9.0, 1.0, 2.0, 3.0], 7) == [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]
    gap = [1.0, 2.0, 3.0, 4.0, math.nan, 6.0]
    assert forecast_by(seasonal_naive(3), gap, 3) == [4.0, 2.0, 6.0]


def test_the_autoregression_finds_the_law_of_a_series() -> None:
    line = [1.0, 2.0]
    for _ in range(40):
        line.append(3.0 + 1.2 * line[-1] - 0.9 * line[-2])
    np.testing.assert_allclose(forecast_by(autoregression(2), line[:20], 10), line[20:30], rtol=1e-6)


def test_the_autoregression_is_the_least_squares_fit() -> None:
    values = RNG.normal(size=60).cumsum()
    values[17] = np.nan
    rows = [(values[i - 2], values[i - 1], values[i]) for i in range(2, 60)]
    rows = [row for row in rows if not any(map(math.isnan, row))]
    a = np.array([(1.0, first, second) for first, second, _ in rows])
    b = np.array([value for _, _, value in rows])
    weights = np.linalg.solve(a.T @ a, a.T @ b)  # the normal equations
    expected = [values[-2], values[-1]]
    for _ in range(5):
        expected.append(weights[0] + weights[1] * expected[-2] + weights[2] * expected[-1])
    np.testing.assert_allclose(forecast_by(autoregression(2), values.tolist(), 5), expected[2:], rtol=1e-8)


def test_the_baselines_stand_in_the_known_order_on_real_series() -> None:
    [air] = read_series(real_file("airline_passengers.csv"), time="Month", values="Passengers")
    errors = [
        backtest(air, fit, horizon=12, start="1956-01").mae()
        for fit in (persistence(), seasonal_naive(12), autoregression(13))
    ]
    assert errors[0] > errors[1] > errors[2], "a series with a season and growth"


# --- Mistakes ---


def constant(shape: tuple[int, ...], value: float) -> Any:
    return lambda _: lambda _past, _horizon: np.full(shape, value)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: backtest(make_series(9), persistence(), 2, start=8), ["horizon=2", "start=8", "end at 8"]),
        (lambda: backtest(make_series(9), persistence(), 2, start=0), ["no past"]),
        (lambda: backtest(make_series(9), persistence(), 0, start=5), ["horizon", "received 0"]),
        (lambda: backtest(make_series(9), constant((1, 2), 0.0), 2, 5), ["(1, 2, 1)", "(1, 2)"]),
        (lambda: backtest(make_series(9), constant((1, 2, 1), math.nan), 2, 5), ["at 5", "not finite"]),
        (lambda: backtest(make_series(9), persistence(), 2, 5, every=0), ["every", "received 0"]),
        (lambda: backtest(make_series(9), persistence(), 2, 5, refit=0), ["refit", "received 0"]),
        (lambda: backtest(make_series(9), persistence(), 2, 5, targets=["z"]), ["targets", "'z'"]),
        (lambda: backtest(make_series(9), seasonal_naive(7), 2, start=5), ["season=7", "received 5"]),
        (lambda: backtest(make_series(9), autoregression(4), 2, start=6), ["lags=4", "received 2"]),
        (lambda: seasonal_naive(0), ["season", "received 0"]),
        (lambda: autoregression(0), ["lags", "received 0"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(make: Any, parts: list[str]) -> None:
    with pytest.raises(ValueError, match="Expected") as caught:
        make()
    assert_teaches(str(caught.value), *parts)


def sure(width: float) -> Any:
    """Forecasts zero, between -width and width."""
    return lambda _: lambda past, horizon: np.tile([-width, 0.0, width], (len(past), horizon, 1, 1))


def test_quantiles_give_their_median_and_their_coverage() -> None:
    values = np.array([9.0, 9.0, 0.5, -2.0, np.nan, 2.0, 0.0])[:, None]
    result = backtest(TimeSeries(values, np.arange(7)), sure(1.0), horizon=2, start=2, quantiles=(0.1, 0.5, 0.9))
    assert result.quantiles is not None
    assert result.quantiles.shape == (4, 1, 2, 1, 3)
    np.testing.assert_array_equal(result.forecast, np.zeros((4, 1, 2, 1)))
    np.testing.assert_allclose(result.coverage(0.1, 0.9, by_step=True), [1 / 3, 1 / 3])
    np.testing.assert_allclose(result.coverage(0.1, 0.9), 2 / 6)
    assert result.coverage(0.1, 0.5) == 1 / 6  # what lies on a quantile counts
    with pytest.raises(ValueError, match="quantile is missing") as caught:
        result.coverage(0.05, 0.9)
    assert_teaches(str(caught.value), "[0.1, 0.5, 0.9]", "received 0.05 and 0.9")
    with pytest.raises(ValueError, match="the lower one first"):
        result.coverage(0.9, 0.1)


@pytest.mark.parametrize("levels", [(0.1, 0.9), (0.5, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
def test_levels_that_are_none_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="no levels") as caught:
        backtest(make_series(9), sure(1.0), horizon=1, start=5, quantiles=levels)
    assert_teaches(str(caught.value), str(list(levels)))


def test_quantiles_that_cross_or_lack_are_refused() -> None:
    with pytest.raises(ValueError, match="cross") as caught:
        backtest(make_series(9), sure(-1.0), horizon=1, start=5, quantiles=(0.1, 0.5, 0.9))
    assert_teaches(str(caught.value), "at 5", "numpy.sort")
    with pytest.raises(ValueError, match="wrong shape") as caught:
        backtest(make_series(9), persistence(), horizon=1, start=5, quantiles=(0.1, 0.5, 0.9))
    assert_teaches(str(caught.value), "(series, horizon, targets, levels)=(1, 1, 1, 3)", "received (1, 1, 1)")
