# SPDX-License-Identifier: Apache-2.0
"""What the calendar says of a time, as numbers that come round: the end of a year stands beside its beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.errors import list_some

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Share = Callable[[NDArray[Any]], NDArray[np.float64]]


def calendar_features(
    times: ArrayLike, parts: Sequence[str] = ("day_of_year", "day_of_week")
) -> tuple[NDArray[np.float64], list[str]]:
    """Gives sine and cosine of where times stand in their year, week or day.

    They are known for the future too.

    Args:
        times: (timesteps,) datetime64.
        parts: "hour_of_day", "day_of_week", "day_of_month", "day_of_year", "month_of_year".

    Returns:
        (timesteps, 2 parts) float64 from -1 to 1, and the names of the features.

    Raises:
        ValueError: times are no times, or a part is unknown.

    Example:
        >>> features, names = calendar_features(np.array(["2024-01", "2024-04"], "datetime64[M]"), ["month_of_year"])
        >>> names
        ['month_of_year_sin', 'month_of_year_cos']
        >>> features.round(3) + 0.0
        array([[0., 1.],
               [1., 0.]])
    """
    array = np.asarray(times)
    if array.dtype.kind != "M":
        raise ValueError(
            f"calendar_features: times are no times. Expected datetime64; received {array.dtype}. Whole numbers have "
            "no calendar: give dates when the table is read."
        )
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ValueError(
            f"calendar_features: parts are unknown. Expected some of {list_some(PARTS)}; received "
            f"{list_some(unknown)}. Choose from these."
        )
    angles = [2 * np.pi * PARTS[part](array) for part in parts]
    waves = [wave for angle in angles for wave in (np.sin(angle), np.cos(angle))]
    names = [f"{part}_{wave}" for part in parts for wave in ("sin", "cos")]
    return np.stack(waves, axis=1) if waves else np.empty((len(array), 0)), names


def future_times(times: ArrayLike, horizon: int) -> NDArray[Any]:
    """Continues regular times.

    Args:
        times: (timesteps,) datetime64 or whole numbers, at least two; the last two give the step.
        horizon: how many to add.

    Returns:
        (horizon,) the times after the last.

    Raises:
        ValueError: there are fewer than two.

    Example:
        >>> future_times(np.array(["2023-11", "2023-12"], "datetime64[M]"), 2)
        array(['2024-01', '2024-02'], dtype='datetime64[M]')
    """
    array = np.asarray(times)
    if len(array) < 2:
        raise ValueError(
            f"future_times: times are too few. Expected at least two, whose distance is the step; received "
            f"{len(array)}. Give a longer series."
        )
    continued: NDArray[Any] = array[-1] + np.arange(1, horizon + 1) * (array[-1] - array[-2])
    return continued


def _within(unit: str, part: str) -> Share:
    """Makes a function from times to the part of the unit that has passed, from 0 to 1."""

    def share(times: NDArray[Any]) -> NDArray[np.float64]:
        began = times.astype(f"M8[{unit}]")
        ends = (began + 1).astype(f"M8[{part}]")
        began_part = began.astype(f"M8[{part}]")
        passed = times.astype(f"M8[{part}]") - began_part
        return np.asarray(passed / (ends - began_part))

    return share


def _of_week(times: NDArray[Any]) -> NDArray[np.float64]:
    days = times.astype("M8[D]").astype(np.int64)  # day 0, 1970-01-01, was a Thursday
    return ((days + 3) % 7) / 7.0


PARTS: dict[str, Share] = {
    "hour_of_day": _within("D", "h"),
    "day_of_week": _of_week,  # Monday is 0
    "day_of_month": _within("M", "D"),
    "day_of_year": _within("Y", "D"),
    "month_of_year": _within("Y", "M"),
}
