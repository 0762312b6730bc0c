# SPDX-License-Identifier: Apache-2.0
"""A scaling that takes out of series what comes round with the calendar, and puts it back into forecasts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.checks import check_names, check_whole, describe, real_array
from gatewise.data.errors import list_some, shorten
from gatewise.data.saved import Saved
from gatewise.data.scaling import Scaler, held
from gatewise.data.series.calendar import PARTS, calendar_features
from gatewise.data.series.time_series import TimeSeries, list_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_MOST = 64  # waves of a part: a file may say how many there are
_WORST = 30.0  # condition number of the fit: half a year has 24 for two waves, and a quarter, which tells nothing, 540


class SeasonalScaler(Saved):
    """Takes out what is usual at a time of the year, week or day, and scales the rest.

    `(f(x) - usual(time) - shift) / scale`, where f(x) is x, or its square root, and the usual is a constant and, of
    each part of the calendar, waves that swing once in it, twice, and so on: the Fourier terms of a harmonic regression
    (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, section 7.4), fitted by least squares.

    What it learns from is all that it ever sees: give `adapt` the training part alone. Missing values (NaN) are left
    out when learning and stay NaN.

    Args:
        parts: of the calendar, as for `calendar_features`.
        waves: how many waves of each part, 1 to 64.
        root: whether square roots are scaled, for values from 0 on that swing the more the higher they are.
        calendar: whether `scale` adds `calendar_features` of the parts, for the model to read.
        usual: (features, 1 + 2 waves parts), what `adapt` learned: a constant, then sine and cosine of each wave.
        scaler: the configuration of the `Scaler` of the rest, learned too.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: a part is unknown, waves is out of range, or usual and scaler do not fit.

    Example:
        >>> from gatewise.data.series import TimeSeries
        >>> days = np.arange("2021-01-01", "2023-01-01", dtype="datetime64[D]")
        >>> year = 2 * np.pi * np.arange(730) / 365
        >>> series = TimeSeries((10 + 5 * np.sin(year) + np.where(np.arange(730) % 2, 1, -1))[:, None], days)
        >>> scaler = SeasonalScaler().adapt(series)
        >>> scaler.scale(series).values[:4].round(2).ravel()
        array([-1.,  1., -1.,  1.])
        >>> scaler.inverse(np.zeros((2, 1)), days[[91, 273]]).round(1)  # what is usual in April and in October
        array([[15.],
               [ 5.]])
    """

    def __init__(
        self,
        parts: Sequence[str] = ("day_of_year",),
        waves: int = 2,
        root: bool = False,
        calendar: bool = False,
        usual: ArrayLike | None = None,
        scaler: dict[str, Any] | None = None,
    ) -> None:
        self.parts = check_names("SeasonalScaler", "parts", parts)
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise ValueError(
                f"SeasonalScaler: parts are unknown. Expected some of {list_some(PARTS)}; received "
                f"{list_some(unknown) or 'none'}. Choose from these."
            )
        self.waves = check_whole("SeasonalScaler", "waves", waves, cure="Give a number of waves.")
        if self.waves > _MOST:
            raise ValueError(
                f"SeasonalScaler: waves is too large. Expected 1 to {_MOST}; received {self.waves}. What swings so "
                "often belongs to a finer part: 'day_of_week', 'hour_of_day'."
            )
        for name, value in (("root", root), ("calendar", calendar)):
            if type(value) is not bool:
                raise TypeError(
                    f"SeasonalScaler: {name} is no bool. Expected True or False; received {describe(value)}. Give one "
                    "of them."
                )
        self.root, self.calendar = root, calendar
        self.usual: NDArray[np.float64] | None = None
        self.scaler: Scaler | None = None
        if usual is not None or scaler is not None:
            self.usual, self.scaler = self._known(usual, scaler)

    def adapt(self, series: TimeSeries | Sequence[TimeSeries]) -> Self:
        """Learns what is usual, and the scale of the rest.

        Args:
            series: the training part of one series, or of several with the same features and the same seasons.

        Returns:
            The object itself.

        Raises:
            TypeError: it is no series.
            ValueError: times are no dates or do not cover the parts, features differ, a feature has fewer values than
                waves need, or one is too large, or below 0 where roots are taken.
        """
        found = list_series("SeasonalScaler.adapt", series)
        if len({one.features for one in found}) > 1:
            raise ValueError(
                f"SeasonalScaler.adapt: series have different features. Expected {list_some(found[0].features)}, those "
                "of the first, in each; received others. Read them with the same columns."
            )
        terms = np.concatenate([self._terms(one.times) for one in found])
        shaped = np.concatenate([self._shaped("SeasonalScaler.adapt", one.values) for one in found])
        present = ~np.isnan(shaped)
        counts = present.sum(axis=0)
        if not (counts > terms.shape[1]).all() or not counts.size:
            raise ValueError(
                f"SeasonalScaler.adapt: values are too few. Expected more than {terms.shape[1]} in each feature, as "
                f"many as are fitted; received {counts.tolist()}. Give a longer training part, or fewer waves."
            )
        fits = [self._fit(terms[here], column[here]) for column, here in zip(shaped.T, present.T, strict=True)]
        usual = np.stack(fits)
        learned = Scaler().adapt(shaped - terms @ usual.T).get_config()
        rounding = 1e-12 * np.nanmax(np.abs(shaped), axis=0)  # all that is left of what swings with the seasons alone
        scale = np.where(np.array(learned["scale"]) > rounding, learned["scale"], 1.0)
        self.usual, self.scaler = usual, Scaler(shift=learned["shift"], scale=scale)
        return self

    def scale(self, series: TimeSeries) -> TimeSeries:
        """Takes out what is usual, and scales the rest.

        Args:
            series: one with the features that `adapt` saw.

        Returns:
            The series, scaled; with `calendar`, sine and cosine of the parts stand behind its features.

        Raises:
            TypeError: it is no series.
            ValueError: it has more or fewer features, times are no dates, nothing is learned yet, or a value is too
                large, or below 0 where roots are taken.
        """
        [series] = list_series("SeasonalScaler.scale", [series])
        usual, scaler = self._learned("SeasonalScaler.scale", series.values.shape[1])
        shaped = self._shaped("SeasonalScaler.scale", series.values)
        scaled = scaler(shaped - self._terms(series.times) @ usual.T).astype(np.float64)
        made = dataclasses.replace(series, values=scaled)
        return made.with_features(*calendar_features(series.times, self.parts)) if self.calendar else made

    def inverse(
        self, values: ArrayLike, times: ArrayLike, features: Sequence[int] | None = None
    ) -> NDArray[np.floating[Any]]:
        """Brings forecasts back into the units of the data.

        Args:
            values: (timesteps, columns), scaled.
            times: (timesteps,) datetime64 that they are for, such as `future_times` gives.
            features: which of the features each column holds, by number: [0, 0, 0] for three quantiles of the first;
                without it, all of them.

        Returns:
            (timesteps, columns); float32 stays float32, everything else becomes float64. What is below 0 before it is
            squared becomes 0.

        Raises:
            TypeError: values or features are no numbers.
            ValueError: the shapes do not fit, there is no such feature, times are no dates, nothing is learned yet, or
                a value is too large.
        """
        where = "SeasonalScaler.inverse"
        usual, scaler = self._learned(where)
        array, terms = real_array(where, "values", values, "(timesteps, columns)"), self._terms(times)
        if array.ndim != 2 or len(array) != len(terms):
            raise ValueError(
                f"{where}: values do not fit. Expected (timesteps={len(terms)}, columns), a row for each of times; "
                f"received {array.shape}. Give a forecast with its times."
            )
        with np.errstate(over="ignore", invalid="ignore"):  # said below
            rest = scaler.inverse(array.astype(np.float64), features)
            found = rest + terms @ (usual if features is None else usual[list(features)]).T
            found = np.square(np.maximum(found, 0)) if self.root else found
            return held(where, array, found.astype(array.dtype if array.dtype == np.float32 else np.float64))

    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            The arguments, with what is learned.
        """
        return {
            "parts": list(self.parts),
            "waves": self.waves,
            "root": self.root,
            "calendar": self.calendar,
            "usual": None if self.usual is None else self.usual.tolist(),
            "scaler": None if self.scaler is None else self.scaler.get_config(),
        }

    def _terms(self, times: Any) -> NDArray[np.float64]:
        """The terms of the regression, (timesteps, 1 + 2 waves parts)."""
        first = calendar_features(times, self.parts)[0]
        angles = np.arctan2(first[:, ::2], first[:, 1::2])[:, :, None] * np.arange(1, self.waves + 1)
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(first), 2 * angles[:1].size)
        return np.concatenate([np.ones((len(first), 1)), waves], axis=1)

    def _fit(self, terms: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):  # Scaler.adapt says what is too large
            fitted, _, _, spread = np.linalg.lstsq(terms, values, rcond=None)
            condition = spread[0] / spread[-1]
        if not condition <= _WORST:
            raise ValueError(
                "SeasonalScaler.adapt: times do not cover the seasons. Expected times from all over "
                f"{list_some(self.parts)}, by which the waves, {self.waves} of each, can be told apart; received "
                f"{len(values)} values that do not (condition number {condition:.3g}, at most {_WORST:g}). Give a "
                "longer training part, or fewer waves."
            )
        return np.asarray(fitted, np.float64)

    def _shaped(self, caller: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.root:
            return values
        least = np.nanmin(values, initial=0.0)
        if least < 0:
            raise ValueError(
                f"{caller}: values are below 0. Expected 0 and more, for square roots are taken; received {least:g}. "
                "Write root=False."
            )
        return np.sqrt(values)

    def _learned(self, caller: str, width: int | None = None) -> tuple[NDArray[np.float64], Scaler]:
        if self.usual is None or self.scaler is None:
            raise ValueError(
                f"{caller}: nothing is learned yet. Expected adapt to be called before; received a new SeasonalScaler. "
                "Call adapt with the training part."
            )
        if width not in {None, len(self.usual)}:
            raise ValueError(
                f"{caller}: the features do not fit. Expected {len(self.usual)}, as adapt saw them; received {width}. "
                "Give the same columns."
            )
        return self.usual, self.scaler

    def _known(self, usual: Any, scaler: Any) -> tuple[NDArray[np.float64], Scaler]:
        """Checks what was learned before."""
        width = 1 + 2 * self.waves * len(self.parts)
        if usual is None or not isinstance(scaler, dict) or not scaler.keys() <= {"method", "shift", "scale"}:
            raise ValueError(
                "SeasonalScaler: usual and scaler do not fit. Expected both, as get_config gives them, or neither; "
                f"received {shorten(usual)} and {shorten(scaler)}. Give both, or call adapt."
            )
        array = real_array("SeasonalScaler", "usual", usual, "(features, terms)").astype(np.float64)
        made = Scaler(**scaler)
        features = None if made.shift is None else made.shift.size
        boolean = np.asarray(usual).dtype == np.bool_
        if boolean or array.ndim != 2 or array.shape != (features, width) or not np.isfinite(array).all():
            raise ValueError(
                f"SeasonalScaler: usual and scaler do not fit. Expected usual (features, terms={width}) of finite "
                f"numbers, and a scaler of as many features; received {array.shape} and "
                f"{features or 'no'} features. Give what get_config gave."
            )
        return array, made
