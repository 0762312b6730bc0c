# SPDX-License-Identifier: Apache-2.0
"""The weekly Mauna Loa CO2 record: loaded, cut into windows, split by time, scaled, and forecast naively.

Source: Keeling, C.D. and T.P. Whorf (Scripps Institution of Oceanography). 2004. Atmospheric CO2 concentrations derived
from flask air samples at sites in the SIO network. In Trends: A Compendium of Data on Global Change. Carbon Dioxide
Information Analysis Center, Oak Ridge National Laboratory, U.S. Department of Energy, Oak Ridge, Tennessee, U.S.A.
Public domain. The figures of `co2_weekly.csv` are those of `statsmodels.datasets.co2`, unchanged: weekly means of
continuous measurements, 2,284 weeks from 1958-03-29 to 2001-12-29, 59 of them without a value (an empty field).
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Self

import numpy as np
from numpy.typing import NDArray

HISTORY = 104  # weeks that a forecast may look at
HORIZON = 26  # weeks that it forecasts: half a year
YEAR = 52  # weeks
VALIDATION_BEGINS = np.datetime64("1990-01-01")
TEST_BEGINS = np.datetime64("1994-01-01")

Floats = NDArray[np.float64]
Dates = NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Record:
    """The series, one value a week.

    dates: (weeks,) datetime64[D], the Saturday that ends the week
    ppm: (weeks,) float64, parts per million by volume; gaps are filled
    measured: (weeks,) bool, False where the value was filled in
    """

    dates: Dates
    ppm: Floats
    measured: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Windows:
    """Forecasting tasks: n stretches of the record, each cut at its last known week.

    dates: (n, HISTORY + HORIZON) datetime64[D]
    past: (n, HISTORY) float64, ppm, known to the forecaster
    future: (n, HORIZON) float64, ppm, to be forecast
    measured: (n, HORIZON) bool, which future weeks were measured; the others are not scored
    """

    dates: Dates
    past: Floats
    future: Floats
    measured: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.past)

    def __getitem__(self, chosen: NDArray[np.bool_] | slice) -> Self:
        return type(self)(self.dates[chosen], self.past[chosen], self.future[chosen], self.measured[chosen])

    @property
    def last(self) -> Floats:
        """The last known value: (n, 1) float64, ppm."""
        return self.past[:, -1:]


@dataclass(frozen=True, slots=True)
class Scale:
    """Turns windows into what the network sees, and its answers back into ppm.

    The series climbs, so the levels of the future never occurred in training. Therefore the network reads levels
    relative to the last known week and forecasts the change from it, both divided by their spread in the training part.

    level: spread of the past relative to the last week, ppm
    change: spread of the changes to be forecast, ppm
    """

    level: float
    change: float

    @classmethod
    def fit(cls, training: Windows) -> Self:
        """Measures both spreads on the training windows alone."""
        return cls(float((training.past - training.last).std()), float((training.future - training.last).std()))

    def inputs(self, windows: Windows) -> NDArray[np.float32]:
        """What the network reads: (n, HISTORY, 3) float32: scaled level, sine and cosine of the time of year."""
        season = _season(windows.dates[:, :HISTORY])
        level = (windows.past - windows.last) / self.level
        return np.stack([level, np.sin(season), np.cos(season)], axis=-1).astype(np.float32)

    def targets(self, windows: Windows) -> NDArray[np.float32]:
        """What the network shall answer: (n, HORIZON) float32, scaled change from the last known week."""
        return ((windows.future - windows.last) / self.change).astype(np.float32)

    def forecast(self, windows: Windows, answers: NDArray[np.float32]) -> Floats:
        """The network's answers (n, HORIZON) as a forecast: (n, HORIZON) float64, ppm."""
        return windows.last + answers.astype(np.float64) * self.change


def load() -> Record:
    """Loads the record and fills each gap by a straight line between the measured weeks on both sides.

    No gap lies after 1985, so no validation or test window contains a filled value.

    Returns:
        The record, 2,284 weeks.

    Example:
        >>> record = load()
        >>> len(record.ppm), int((~record.measured).sum()), str(record.dates[0]), float(record.ppm[0])
        (2284, 59, '1958-03-29', 316.1)
    """
    rows = [line.split(",") for line in files("gatewise.cli").joinpath("co2_weekly.csv").read_text().split()[1:]]
    dates = np.array([date for date, _ in rows], dtype="datetime64[D]")
    ppm = np.array([float(value) if value else np.nan for _, value in rows])
    measured = ~np.isnan(ppm)
    weeks = np.arange(len(ppm))
    return Record(dates, np.interp(weeks, weeks[measured], ppm[measured]), measured)


def cut_windows(record: Record) -> Windows:
    """Cuts a window at every week that has HISTORY weeks before it and HORIZON weeks after it.

    Returns:
        The windows in the order of time; neighbours are one week apart.
    """
    starts = np.arange(len(record.ppm) - HISTORY - HORIZON + 1)
    weeks = starts[:, None] + np.arange(HISTORY + HORIZON)
    ppm = record.ppm[weeks]
    return Windows(record.dates[weeks], ppm[:, :HISTORY], ppm[:, HISTORY:], record.measured[weeks][:, HISTORY:])


def split(windows: Windows) -> tuple[Windows, Windows, Windows]:
    """Splits by time: no week to be forecast belongs to two parts.

    Returns:
        The windows whose forecast weeks lie before 1990 (training), from 1990 to 1993 (validation), from 1994 (test).

    Example:
        >>> [len(part) for part in split(cut_windows(load()))]
        [1529, 183, 393]
    """
    first, last = windows.dates[:, HISTORY], windows.dates[:, -1]
    training = last < VALIDATION_BEGINS
    validation = (first >= VALIDATION_BEGINS) & (last < TEST_BEGINS)
    return windows[training], windows[validation], windows[first >= TEST_BEGINS]


def naive_forecasts(windows: Windows) -> dict[str, Floats]:
    """Forecasts without a model, the yardsticks.

    Returns:
        Name to forecast (n, HORIZON) float64, ppm: the last value repeated; the value of a year before; and that value
        raised by the growth over the last known year.
    """
    year_before = windows.past[:, HISTORY - YEAR : HISTORY - YEAR + HORIZON]
    growth = windows.last - windows.past[:, -1 - YEAR, None]
    return {
        "last value": np.repeat(windows.last, HORIZON, axis=1),
        "last year": year_before,
        "last year + growth": year_before + growth,
    }


def error_by_lead(windows: Windows, forecast: Floats) -> Floats:
    """Root mean square error of a forecast (n, HORIZON) at each lead, over measured weeks: (HORIZON,) float64, ppm."""
    squares = np.square(forecast - windows.future)
    errors: Floats = np.sqrt(np.mean(squares, axis=0, where=windows.measured))
    return errors


def error(windows: Windows, forecast: Floats) -> float:
    """Root mean square error of a forecast (n, HORIZON) over all measured weeks, ppm."""
    return float(np.sqrt(np.mean(np.square(forecast - windows.future), where=windows.measured)))


def _season(dates: Dates) -> Floats:
    """The time of the year as an angle in [0, 2 pi], of the dates' shape."""
    days = (dates - dates.astype("datetime64[Y]")).astype("timedelta64[D]").astype(np.float64)
    angle: Floats = days * (2 * np.pi / 365.25)
    return angle
