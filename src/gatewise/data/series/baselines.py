# SPDX-License-Identifier: Apache-2.0
"""What a model has to beat: forecasts that need no network. Each is a `fit` for `backtest`, feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.data.checks import check_whole
from gatewise.data.series.backtest import FeatureByFeature
from gatewise.data.series.windows import window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gatewise.data.series.backtest import Fit, Forecaster
    from gatewise.data.series.time_series import TimeSeries


def persistence() -> Fit:
    """Forecasts that everything stays as it was when last measured.

    Returns:
        A `fit` for `backtest`.
    """
    return seasonal_naive(1)


def seasonal_naive(season: int) -> Fit:
    """Forecasts what was measured at the same place of the last season that has a value there.

    Args:
        season: steps in a season, such as 12 for months.

    Returns:
        A `fit` for `backtest`.

    Raises:
        TypeError: season is no whole number.
        ValueError: season is below 1; in forecasting, a place of the season never had a value.
    """
    season = check_whole("seasonal_naive", "season", season, cure="Months have 12, days 7.")

    def forecast_one(values: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
        rows = [values[-season + ahead % season :: -season] for ahead in range(horizon) if len(values) >= season]
        found = [[column[~np.isnan(column)][:1] for column in row.T] for row in rows]
        if not found or any(not len(value) for row in found for value in row):
            raise ValueError(
                f"seasonal_naive: the past has no value to repeat. Expected at least season={season} steps, and a "
                f"value at each place of the season; received {len(values)} steps. Begin the backtest later."
            )
        return np.array(found)[:, :, 0]

    def fit(_: list[TimeSeries]) -> Forecaster:
        return lambda past, horizon: np.stack([forecast_one(one.values, horizon) for one in past])

    return FeatureByFeature(fit)


def autoregression(lags: int) -> Fit:
    """Forecasts each feature by a linear function of its own last values, fitted by least squares for each series.

    Steps whose lags or value are missing are left out when fitting. In forecasting, a lag that is missing is taken for
    the mean of the training part.

    Args:
        lags: how many values it looks back.

    Returns:
        A `fit` for `backtest`.

    Raises:
        TypeError: lags is no whole number.
        ValueError: lags is below 1; in fitting, too few steps have all their lags.
    """
    lags = check_whole("autoregression", "lags", lags, cure="Give a season.")

    def fit_one(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        rows = window_view(values, lags + 1) if len(values) > lags else np.empty((0, lags + 1))
        rows = rows[~np.isnan(rows).any(axis=1)]
        if len(rows) <= lags:
            raise ValueError(
                f"autoregression: the past is too short. Expected more than lags={lags} steps with all their lags; "
                f"received {len(rows)}. Use fewer lags, or begin the backtest later."
            )
        known = np.concatenate([np.ones((len(rows), 1)), rows[:, :-1]], axis=1)
        return np.linalg.lstsq(known, rows[:, -1])[0], float(np.nanmean(values))

    def forecast_one(
        values: NDArray[np.float64], fitted: tuple[NDArray[np.float64], float], horizon: int
    ) -> NDArray[np.float64]:
        weights, mean = fitted
        line = np.concatenate([np.full(lags, np.nan), values])[-lags:]
        line = np.where(np.isnan(line), mean, line)
        for _ in range(horizon):
            line = np.append(line, weights[0] + line[-lags:] @ weights[1:])
        return line[lags:]

    def fit(training: list[TimeSeries]) -> Forecaster:
        fitted = [[fit_one(column) for column in one.values.T] for one in training]

        def forecast(past: list[TimeSeries], horizon: int) -> NDArray[np.float64]:
            return np.stack(
                [
                    np.stack([forecast_one(*pair, horizon) for pair in zip(one.values.T, columns, strict=True)], axis=1)
                    for one, columns in zip(past, fitted, strict=True)
                ]
            )

        return forecast

    return FeatureByFeature(fit)
