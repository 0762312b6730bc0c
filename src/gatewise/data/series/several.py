# SPDX-License-Identifier: Apache-2.0
"""One or several series as a model reads them: the same features, steps of one length, zeros for what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.checks import describe
from gatewise.data.errors import list_some, shorten
from gatewise.data.scaling import Scaler
from gatewise.data.series.seasonal_scaler import SeasonalScaler
from gatewise.data.series.series_scaler import SeriesScaler
from gatewise.data.series.time_series import TimeSeries, list_series
from gatewise.data.series.times import CALENDAR_UNITS, find_uneven

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    AnyScaler: TypeAlias = Scaler | SeasonalScaler | SeriesScaler


def fill(caller: str, series: TimeSeries, scaler: AnyScaler | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scales a series, and puts zeros where values are missing.

    Args:
        caller: the function, for the message.
        series: the series.
        scaler: one for all series, one for each by its name, one that knows the season, or None.

    Returns:
        (timesteps, features) float32, and (timesteps, features) bool, False where it is a zero put in.

    Raises:
        TypeError: the scaler is none.
        ValueError: the scaler does not fit, or a value is too large for float32.
    """
    values: NDArray[np.floating[Any]] = series.values
    if isinstance(scaler, Scaler):
        values = scaler(values)
    elif isinstance(scaler, SeasonalScaler | SeriesScaler):
        values = scaler.scale(series).values
    elif scaler is not None:
        raise TypeError(
            f"{caller}: scaler is none. Expected a Scaler for all series, a SeriesScaler or a SeasonalScaler; received "
            f"{describe(scaler)}. Make one: Scaler().adapt(training.values)."
        )
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    peak = np.abs(filled).max(initial=0.0)
    if peak > np.finfo(np.float32).max:
        raise ValueError(
            f"{caller}: series {shorten(series.name)} holds values that are too large. Expected at most "
            f"{np.finfo(np.float32).max:g}, for a model reads float32; received {peak:g}. Give a scaler."
        )
    return filled.astype(np.float32), present


def check_series(caller: str, series: TimeSeries | Sequence[TimeSeries]) -> list[TimeSeries]:
    """Checks that series have the same features, and steps of one length.

    Args:
        caller: the function, for the message.
        series: one or several.

    Returns:
        A list.

    Raises:
        TypeError: it is something else.
        ValueError: there is none, the features differ, or the steps do.
    """
    found = list_series(caller, series)
    for one in found:
        if one.features != found[0].features:
            raise ValueError(
                f"{caller}: series have different features. Expected {list_some(found[0].features)}, those of the "
                f"first; received {list_some(one.features)} in series {shorten(one.name)}. Read them with the same "
                "columns."
            )
        uneven = find_uneven(caller, one.times)
        if uneven is not None:
            cure = "series.regular(1)"
            if one.times.dtype.kind == "M":
                cure = "series.regular(numpy.timedelta64(1, 'D')), with the unit of your data, 'M' for months"
            raise ValueError(
                f"{caller}: series {shorten(one.name)} is irregular. Expected steps of "
                f"{one.times[1] - one.times[0]}, like the first; received {one.times[uneven]} and then "
                f"{one.times[uneven + 1]}. Put in the missing steps by {cure}."
            )
    _check_steps(caller, [one for one in found if len(one) > 1])
    return found


def _check_steps(caller: str, series: list[TimeSeries]) -> None:
    """Checks that series whose steps are even have the same steps."""
    for one in series:
        first, step = (each.times[1] - each.times[0] for each in (series[0], one))
        same_kind = one.times.dtype.kind == series[0].times.dtype.kind and (
            one.times.dtype.kind != "M" or _is_calendar(first) == _is_calendar(step)
        )
        if not same_kind or first != step:
            raise ValueError(
                f"{caller}: series have different steps. Expected steps of {first}, as in series "
                f"{shorten(series[0].name)}; received steps of {step} in series {shorten(one.name)}. Aggregate the "
                "finer one, or take them apart."
            )


def _is_calendar(step: np.timedelta64) -> bool:
    return np.datetime_data(step)[0] in CALENDAR_UNITS
