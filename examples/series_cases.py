# SPDX-License-Identifier: Apache-2.0
"""The two series of `forecasts.py`: how they are read, and how they are cut and scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gatewise.data.errors import FormatError
from gatewise.data.series import SeasonalScaler, TimeSeries, read_series

if TYPE_CHECKING:
    from pathlib import Path

HORIZON = 10


@dataclass(frozen=True)
class Case:
    """A series, and the settings that were chosen on its validation part.

    Attributes:
        name: that in the tables, with the unit of the values.
        file: where it is read from.
        columns: those of the time and of the value.
        step: from one time to the next.
        validation: the time from which on settings were chosen; what is before it was for training then.
        test: the time that the test begins at; all before it is for training.
        season: steps that the seasonal forecast looks back.
        lags: values that the autoregression looks back.
        history: steps that the network reads.
        epochs: how long it trains.
        root: whether square roots are forecast, for values that swing the more the higher they are.
    """

    name: str
    file: str
    columns: tuple[str, str]
    step: np.timedelta64
    validation: str
    test: str
    season: int
    lags: int
    history: int
    epochs: int
    root: bool = False


DAY, MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")
CASES = (
    Case(
        name="temperature, °C",
        file="daily_min_temperatures.csv",
        columns=("Date", "Temp"),
        step=DAY,
        validation="1987-01-01",
        test="1989-01-01",
        season=365,
        lags=28,
        history=60,
        epochs=12,
    ),
    Case(
        name="sunspots",
        file="monthly_sunspots.csv",
        columns=("Month", "Sunspots"),
        step=MONTH,
        validation="1900-01",
        test="1930-01",
        season=132,
        lags=120,
        history=132,
        epochs=40,
        root=True,
    ),
)


def read(case: Case, folder: Path) -> TimeSeries:
    """Reads a series; a step that the file leaves out is missing, not made up."""
    [series] = read_series(folder / case.file, *case.columns)
    series = series.regular(case.step)
    needed = case.season + case.lags + case.history
    if len(series.before(case.validation)) < needed or len(series.after(case.test)) < HORIZON:
        raise FormatError(
            f"forecasts: {folder / case.file} is too short. Expected {needed} steps before {case.validation}, and "
            f"{HORIZON} from {case.test} on; received {len(series)} steps, {series.times[0]} to {series.times[-1]}. "
            "Give more of it."
        )
    return series


def scaler_of(case: Case, training: TimeSeries, *, calendar: bool = False) -> SeasonalScaler:
    """Learns what needs no network: the course of the year, and the scale of what it leaves."""
    return SeasonalScaler(root=case.root, calendar=calendar).adapt(training)
