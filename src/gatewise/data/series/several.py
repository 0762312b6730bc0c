# SPDX-License-Identifier: Apache-2.0
"""One or several series as a model reads them: the same features, steps of one length, zeros for what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.scaling import Scaler
from gatewise.data.series.time_series import TimeSeries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gatewise.data.series.series_scaler import SeriesScaler


def fill(series: TimeSeries, scaler: Scaler | SeriesScaler | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scales a series, and puts zeros where values are missing.

    Args:
        series: the series.
        scaler: one for all series, one for each by its name, or None.

    Returns:
        (timesteps, features) float32, and (timesteps, features) bool, False where it is a zero put in.
    """
    values: NDArray[np.floating[Any]] = series.values
    if scaler is not None:
        values = scaler(values) if isinstance(scaler, Scaler) else scaler.scale(series).values
    return np.where(series.mask, values, 0.0).astype(np.float32), series.mask


def check_series(caller: str, series: TimeSeries | Sequence[TimeSeries]) -> list[TimeSeries]:
    """Checks that series have the same features, and steps of one length.

    Args:
        caller: the function, for the message.
        series: one or several.

    Returns:
        A list.

    Raises:
        ValueError: there is none, the features differ, or the steps do.
    """
    found = [series] if isinstance(series, TimeSeries) else list(series)
    if not found:
        raise ValueError(f"{caller}: series are missing. Expected at least one; received none. Check what was read.")
    for one in found:
        if one.features != found[0].features:
            raise ValueError(
                f"{caller}: series have different features. Expected {found[0].features}, those of the first; received "
                f"{one.features} in series {one.name!r}. Read them with the same columns."
            )
        steps = np.diff(one.times)
        uneven = np.flatnonzero(steps != steps[0]) if len(steps) else steps
        if uneven.size:
            place = int(uneven[0])
            raise ValueError(
                f"{caller}: series {one.name!r} is irregular. Expected steps of {steps[0]}, like the first; received "
                f"{one.times[place]} and then {one.times[place + 1]}. Put in the missing steps by "
                "series.regular(numpy.timedelta64(1, 'D')), with the unit of your data, 'M' for months."
            )
    return found
