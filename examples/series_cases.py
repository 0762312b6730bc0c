# SPDX-License-Identifier: Apache-2.0
"""The two series of `forecasts.py`: how they are read, and what is taken out of them before a network sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.errors import FormatError
from gatewise.data.series import Scaler, TimeSeries, calendar_features, read_series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

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


class Preparation:
    """Takes out of a series what needs no network, the course of the year and the scale, and puts it back in."""

    def __init__(self, case: Case, training: TimeSeries) -> None:
        self.root, here = case.root, training.mask[:, 0]
        shaped = np.sqrt(training.values[here]) if self.root else training.values[here]
        self.year = np.linalg.lstsq(self._waves(training.times[here]), shaped)[0]
        self.scaler = Scaler().adapt(shaped - self._waves(training.times[here]) @ self.year)

    def __call__(self, series: TimeSeries) -> TimeSeries:
        """Gives the scaled rest."""
        shaped = np.sqrt(series.values) if self.root else series.values
        return replace(series, values=self.scaler(shaped - self._waves(series.times) @ self.year))

    def undo(self, values: NDArray[Any], times: NDArray[Any]) -> NDArray[np.float64]:
        """Brings forecasts for some times, (horizon, any), into the units of the data."""
        found = self.scaler.inverse(values[..., None])[..., 0] + self._waves(times) @ self.year
        return np.square(np.maximum(found, 0)) if self.root else found

    def _waves(self, times: NDArray[Any]) -> NDArray[np.float64]:
        """Gives a constant, and waves that swing once and twice a year: (timesteps, 5)."""
        sin, cos = calendar_features(times, ["day_of_year"])[0].T
        return np.stack([np.ones(len(times)), sin, cos, 2 * sin * cos, cos**2 - sin**2], axis=1)
