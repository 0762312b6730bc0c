# SPDX-License-Identifier: Apache-2.0
"""Forecasts as they would have been made: at each origin a forecaster is given copies of the past, and nothing else.

    origin 0  past past past | forecast forecast
    origin 1  past past past  past | forecast forecast
    origin 2  past past past  past  past | forecast forecast

All series are cut at the same time, so that none tells another's future.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gatewise.data.checks import check_whole, describe, is_real, real_array
from gatewise.data.errors import shorten
from gatewise.data.series.several import check_series
from gatewise.data.series.time_series import TimeSeries
from gatewise.data.series.times import find_place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Forecaster: TypeAlias = Callable[[list[TimeSeries], int], ArrayLike]
    Fit: TypeAlias = Callable[[list[TimeSeries]], Forecaster]


@dataclasses.dataclass(frozen=True)
class FeatureByFeature:
    """A `fit` that forecasts every feature it is shown, each by itself: `backtest` shows it the targets alone.

    Args:
        fit: from the past to a forecaster, as for `backtest`.
    """

    fit: Fit

    def __call__(self, past: list[TimeSeries]) -> Forecaster:
        """Fits.

        Args:
            past: one or several series, of the targets alone.

        Returns:
            What forecasts their features.
        """
        return self.fit(past)


@dataclasses.dataclass(frozen=True, eq=False)
class Backtest:
    """What was forecast, and what came.

    Attributes:
        origins: (origins,) the first time that each forecast is for.
        forecast: (origins, series, horizon, targets) float64.
        actual: the same shape, NaN where nothing was measured.
        levels: of the quantiles, if such were forecast.
        quantiles: (origins, series, horizon, targets, levels) float64; `forecast` holds their medians.
    """

    origins: NDArray[Any]
    forecast: NDArray[np.float64]
    actual: NDArray[np.float64]
    levels: tuple[float, ...] = ()
    quantiles: NDArray[np.float64] | None = None

    def mae(self, by_step: bool = False) -> Any:
        """Gives the mean absolute error over what was measured.

        Args:
            by_step: whether to give one for each step ahead.

        Returns:
            A number, or (horizon,) float64, in the units of the data.
        """
        return np.nanmean(np.abs(self.forecast - self.actual), axis=(0, 1, 3) if by_step else None)

    def rmse(self, by_step: bool = False) -> Any:
        """Gives the root of the mean squared error over what was measured.

        Args:
            by_step: whether to give one for each step ahead.

        Returns:
            A number, or (horizon,) float64, in the units of the data.
        """
        return np.sqrt(np.nanmean(np.square(self.forecast - self.actual), axis=(0, 1, 3) if by_step else None))

    def coverage(self, low: float, high: float, by_step: bool = False) -> Any:
        """Gives the share of what was measured that lay between two of the quantiles.

        Args:
            low: level of the lower one; with 0.1 and 0.9, the share should be 0.8.
            high: level of the upper one.
            by_step: whether to give one for each step ahead.

        Returns:
            A number from 0 to 1, or (horizon,) float64.

        Raises:
            ValueError: no such quantiles were forecast, or the lower one is not the first.
        """
        known = is_real(low) and is_real(high) and {low, high} <= set(self.levels)
        if self.quantiles is None or not known or not low < high:
            raise ValueError(
                f"Backtest.coverage: a quantile is missing. Expected two of {list(self.levels)}, the lower one first; "
                f"received {shorten(low)} and {shorten(high)}. Name them when the backtest is made: backtest(..., "
                f"quantiles=({shorten(low)}, 0.5, {shorten(high)}))."
            )
        lower, upper = (self.quantiles[..., self.levels.index(level)] for level in (low, high))
        within = np.where(np.isnan(self.actual), np.nan, (lower <= self.actual) & (self.actual <= upper))
        return np.nanmean(within, axis=(0, 1, 3) if by_step else None)


def backtest(
    series: TimeSeries | Sequence[TimeSeries],
    fit: Fit,
    horizon: int,
    start: Any,
    every: int = 1,
    refit: int | None = None,
    targets: str | Sequence[str] | None = None,
    quantiles: Sequence[float] | None = None,
) -> Backtest:
    """Forecasts from one origin after another.

    Args:
        series: one series, or several with the same features and step.
        fit: from the past, a list of series, to a forecaster: a function from the past, a list of series that now reach
            further, and horizon to (series, horizon, targets). Scaling is learned in here.
        horizon: steps to forecast.
        start: the first origin, as in `times`, or text that NumPy reads as one; everything before is for training.
        every: steps from one origin to the next.
        refit: fit anew after that many origins; without it, once.
        targets: names of the features that are forecast, or one; without it, all. The package's own baselines forecast
            these alone.
        quantiles: levels from 0 to 1, rising, 0.5 among them, if the forecaster gives quantiles: (series, horizon,
            targets, levels).

    Returns:
        Forecasts beside what came; origins whose horizon ends behind the data are left out.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: there is no past or no future at start, a forecast has the wrong shape or is not finite, or
            quantiles do not rise.

    Example:
        >>> from gatewise.data.series import persistence
        >>> series = TimeSeries(np.arange(10.0)[:, None], np.arange(10))
        >>> result = backtest(series, persistence(), horizon=2, start=6)
        >>> result.origins
        array([6, 7, 8])
        >>> result.mae(by_step=True)
        array([1., 2.])
    """
    found = check_series("backtest", series)
    horizon = check_whole("backtest", "horizon", horizon)
    every = check_whole("backtest", "every", every)
    refit = None if refit is None else check_whole("backtest", "refit", refit)
    _check_function("fit is no function", fit, "a function from the past, a list of series, to a forecaster")
    levels = _check_levels(quantiles)
    wanted = found[0].columns(targets, "backtest: targets")
    grid = np.unique(np.concatenate([one.times for one in found]))
    check_series("backtest", [TimeSeries(np.zeros((len(grid), 1)), grid, name="all together")])
    places = range(find_place("backtest: start", grid, start), len(grid) - horizon + 1, every)
    _check_origins(found, grid, places, start, horizon)
    shape = (len(found), horizon, len(wanted), *([len(levels)] if levels else []))
    shown = [_select(one, wanted) for one in found] if isinstance(fit, FeatureByFeature) else found
    forecasts, actuals = [], []
    forecaster: Forecaster | None = None
    for number, place in enumerate(places):
        if forecaster is None or (refit is not None and number % refit == 0):
            forecaster = fit(_past(shown, grid[place]))
            _check_function("fit gives no forecaster", forecaster, "a function from the past and horizon to a forecast")
        forecast = forecaster(_past(shown, grid[place]), horizon)
        forecast = real_array("backtest", f"the forecast at {grid[place]}", forecast, str(shape)).astype(np.float64)
        _check_forecast(forecast, shape, grid[place], len(found[0].features))
        forecasts.append(forecast)
        actuals.append(np.stack([_look_up(one, grid[place : place + horizon])[:, wanted] for one in found]))
    given, actual = np.stack(forecasts), np.stack(actuals)
    if not levels:
        return Backtest(grid[places], given, actual)
    return Backtest(grid[places], given[..., levels.index(0.5)], actual, levels, given)


def _past(series: list[TimeSeries], origin: Any) -> list[TimeSeries]:
    """Copies what came before an origin: a view would lead to the array that holds the future too."""
    cut = [one.before(origin) for one in series]
    return [dataclasses.replace(one, values=one.values.copy(), times=one.times.copy()) for one in cut]


def _select(series: TimeSeries, columns: list[int]) -> TimeSeries:
    names = tuple(series.features[column] for column in columns)
    return dataclasses.replace(series, values=series.values[:, columns], features=names)


def _look_up(series: TimeSeries, times: NDArray[Any]) -> NDArray[np.float64]:
    place = np.minimum(np.searchsorted(series.times, times), len(series) - 1)
    return np.where((series.times[place] == times)[:, None], series.values[place], np.nan)


def _check_function(what: str, value: object, expected: str) -> None:
    if not callable(value):
        raise TypeError(
            f"backtest: {what}. Expected {expected}; received {describe(value)}. Write fit = lambda past: lambda past, "
            "horizon: ..., and learn in between."
        )


def _check_levels(quantiles: Sequence[float] | None) -> tuple[float, ...]:
    given = real_array("backtest", "quantiles", () if quantiles is None else quantiles, "(levels,) from 0 to 1")
    levels = tuple(given.ravel().tolist())
    if levels and not (0.5 in levels and levels[0] > 0 and levels[-1] < 1 and sorted(set(levels)) == list(levels)):
        raise ValueError(
            f"backtest: quantiles are no levels. Expected rising numbers between 0 and 1, 0.5 among them; received "
            f"{list(levels)}. For a median and an interval that holds four fifths, give (0.1, 0.5, 0.9)."
        )
    return levels


def _check_origins(series: list[TimeSeries], grid: NDArray[Any], places: range, start: Any, horizon: int) -> None:
    if not len(places):
        raise ValueError(
            f"backtest: start leaves nothing to forecast. Expected horizon={horizon} steps from start={start} on; "
            f"received series that end at {grid[-1]}. Begin earlier, or forecast fewer steps."
        )
    without = [one.name for one in series if one.times[0] >= grid[places[0]]]
    if without:
        raise ValueError(
            f"backtest: start leaves no past. Expected steps before it in each series; received start={start} and "
            f"none in {without}. Begin later, or leave these series out."
        )


def _check_forecast(forecast: NDArray[np.float64], shape: tuple[int, ...], origin: Any, features: int) -> None:
    quantiles = len(shape) == 4
    if forecast.shape != shape:
        axes = "(series, horizon, targets, levels)" if quantiles else "(series, horizon, targets)"
        cure = "Give one row for each step ahead of each series."
        if forecast.shape == (*shape[:2], features, *shape[3:]):
            cure = "It has all features: choose those of targets, forecast[:, :, series.columns(targets)]."
        raise ValueError(
            f"backtest: the forecast at {origin} has the wrong shape. Expected {axes}={shape}; "
            f"received {forecast.shape}. {cure}"
        )
    if not np.isfinite(forecast).all():
        raise ValueError(
            f"backtest: the forecast at {origin} is not finite. Expected numbers; received NaN or infinity. Check how "
            "the forecaster treats missing values, and whether training diverged."
        )
    if quantiles and (np.diff(forecast, axis=-1) < 0).any():
        raise ValueError(
            f"backtest: the quantiles at {origin} cross. Expected rising values along the last axis; received "
            "falling ones. Sort them: numpy.sort(forecast, axis=-1)."
        )
