# SPDX-License-Identifier: Apache-2.0
"""Time series: from tables to windows, forecasts, and backtests that never see the future.

read_series -> TimeSeries -> before / after (split) -> Scaler.adapt on the training part -> Windows -> model.fit
                                                                                        backtest -> errors
"""

from gatewise.data.scaling import Scaler as Scaler
from gatewise.data.series.backtest import Backtest as Backtest
from gatewise.data.series.backtest import backtest as backtest
from gatewise.data.series.baselines import autoregression as autoregression
from gatewise.data.series.baselines import persistence as persistence
from gatewise.data.series.baselines import seasonal_naive as seasonal_naive
from gatewise.data.series.calendar import calendar_features as calendar_features
from gatewise.data.series.calendar import future_times as future_times
from gatewise.data.series.forecast import roll_forward as roll_forward
from gatewise.data.series.seasonal_scaler import SeasonalScaler as SeasonalScaler
from gatewise.data.series.series_scaler import SeriesScaler as SeriesScaler
from gatewise.data.series.tables import read_series as read_series
from gatewise.data.series.tables import to_series as to_series
from gatewise.data.series.time_series import TimeSeries as TimeSeries
from gatewise.data.series.windows import Windows as Windows
from gatewise.data.series.windows import last_window as last_window
from gatewise.data.series.windows import window_view as window_view
