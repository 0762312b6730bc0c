# SPDX-License-Identifier: Apache-2.0
"""A scaling for each of several series, where one is a hundred times another."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.errors import list_some, shorten
from gatewise.data.saved import Saved
from gatewise.data.scaling import Scaler
from gatewise.data.series.time_series import TimeSeries, list_series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


class SeriesScaler(Saved):
    """Holds a `Scaler` for each series, by its name.

    Args:
        method: "standard" or "minmax", as for `Scaler`.
        scalers: the configuration of each `Scaler`, by name; without it, `adapt` learns them.

    Example:
        >>> from gatewise.data.series import TimeSeries
        >>> small = TimeSeries([[1.0], [3.0]], [0, 1], name="small")
        >>> large = TimeSeries([[100.0], [300.0]], [0, 1], name="large")
        >>> scaler = SeriesScaler().adapt([small, large])
        >>> scaler.scale(large).values.ravel()
        array([-1.,  1.])
        >>> scaler["large"].inverse([[1.0]])
        array([[300.]])
    """

    def __init__(self, method: str = "standard", scalers: Mapping[str, dict[str, Any]] | None = None) -> None:
        self.method = Scaler(method).method
        self._scalers = {name: Scaler(**config) for name, config in (scalers or {}).items()}

    def adapt(self, series: Sequence[TimeSeries]) -> Self:
        """Learns a scaling for each series.

        Args:
            series: their training parts, each with a name of its own.

        Returns:
            The object itself.

        Raises:
            TypeError: there is something else than series.
            ValueError: there is none, a name repeats, or a feature of a series has no value at all.
        """
        found = list_series("SeriesScaler.adapt", series)
        names = [one.name for one in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"SeriesScaler.adapt: series cannot be told apart. Expected each with its own name; "
                f"received {list_some(twice)} twice. Give TimeSeries(..., name='...')."
            )
        self._scalers = {one.name: Scaler(self.method).adapt(one.values) for one in found}
        return self

    def __getitem__(self, name: Any) -> Scaler:
        if not isinstance(name, str) or name not in self._scalers:
            raise ValueError(
                f"SeriesScaler: a series is new. Expected one of {list_some(self._scalers) or 'none, adapt first'}; "
                f"received {shorten(name)}. Adapt on a training part that holds it, or scale it by a Scaler for all."
            )
        return self._scalers[name]

    def scale(self, series: TimeSeries) -> TimeSeries:
        """Scales a series by its own scaling.

        Args:
            series: one that `adapt` saw, by its name.

        Returns:
            The series, scaled.

        Raises:
            TypeError: it is no series.
            ValueError: `adapt` has not seen it, or it has other features.
        """
        [series] = list_series("SeriesScaler.scale", [series])
        return dataclasses.replace(series, values=self[series.name](series.values).astype(np.float64))

    def inverse(
        self, values: ArrayLike, series: TimeSeries, features: Sequence[int] | None = None
    ) -> NDArray[np.floating[Any]]:
        """Undoes the scaling of one series.

        Args:
            values: (..., features), scaled.
            series: whose they are.
            features: which of the features the last axis holds, by number; without it, all of them.

        Returns:
            The same shape, in the units of the data.

        Raises:
            TypeError: it is no series, or values or features are no numbers.
            ValueError: `adapt` has not seen it, or it has other features.
        """
        [series] = list_series("SeriesScaler.inverse", [series])
        return self[series.name].inverse(values, features)

    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            Method, and the configuration of each `Scaler`.
        """
        return {"method": self.method, "scalers": {name: one.get_config() for name, one in self._scalers.items()}}
