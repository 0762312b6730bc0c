# SPDX-License-Identifier: Apache-2.0
"""What the calendar says of a time, as numbers that come round: the end of a year stands beside its beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.checks import check_names, check_whole
from gatewise.data.errors import list_some
from gatewise.data.series.times import CALENDAR_UNITS, as_times, find_uneven

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Share = Callable[[NDArray[Any]], NDArray[np.float64]]


def calendar_features(
    times: ArrayLike, parts: Sequence[str] = ("day_of_year", "day_of_week")
) -> tuple[NDArray[np.float64], list[str]]:
    """Gives sine and cosine of where times stand in their year, month, week or day.

    They are known for the future too. What is finer than the name of a part counts as well: at half past six,
    "hour_of_day" is 6.5 of 24 hours.

    Args:
        times: (timesteps,) datetime64.
        parts: "hour_of_day", "day_of_week", "day_of_month", "day_of_year", "month_of_year", in which all months are
            equally long.

    Returns:
        (timesteps, 2 parts) float64 from -1 to 1, and the names of the features.

    Raises:
        TypeError: parts are no names.
        ValueError: times are no dates, or a part is unknown or there twice.

    Example:
        >>> features, names = calendar_features(np.array(["2024-01", "2024-04"], "datetime64[M]"), ["month_of_year"])
        >>> names
        ['month_of_year_sin', 'month_of_year_cos']
        >>> features.round(3) + 0.0
        array([[0., 1.],
               [1., 0.]])
    """
    array = as_times("calendar_features", times)
    if array.dtype.kind != "M":
        raise ValueError(
            f"calendar_features: times are no dates. Expected datetime64; received {array.dtype}. Whole numbers have "
            "no calendar: give dates when the table is read."
        )
    unknown = [part for part in check_names("calendar_features", "parts", parts) if part not in PARTS]
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
        times: (timesteps,) datetime64 or whole numbers, rising in equal steps, at least two.
        horizon: how many to add.

    Returns:
        (horizon,) the times after the last.

    Raises:
        TypeError: horizon is no whole number.
        ValueError: there are fewer than two, their steps differ, or they are days that may stand for months.

    Example:
        >>> future_times(np.array(["2023-11", "2023-12"], "datetime64[M]"), 2)
        array(['2024-01', '2024-02'], dtype='datetime64[M]')
    """
    array = as_times("future_times", times)
    horizon = check_whole("future_times", "horizon", horizon, least=0)
    if len(array) < 2:
        raise ValueError(
            f"future_times: times are too few. Expected at least two, whose distance is the step; received "
            f"{len(array)}. Give a longer series."
        )
    uneven, months = find_uneven("future_times", array), _count_months(array)
    if months is not None:
        unit = "M8[Y]" if months % 12 == 0 else "M8[M]"
        raise ValueError(
            f"future_times: times are days that may stand for months. Expected times in the unit of their steps; "
            f"received {array[-2]} and then {array[-1]}. Give times.astype('{unit}'); if the steps are of "
            f"{array[-1] - array[-2]}, give one more time before."
        )
    step = array[1] - array[0]
    if uneven is not None or array[1] <= array[0]:
        place = uneven or 0
        raise ValueError(
            f"future_times: times are irregular. Expected rising times in steps of {step}, like the first; received "
            f"{array[place]} and then {array[place + 1]}. Put in the missing steps by series.regular(...), or "
            "aggregate the table first."
        )
    try:
        continued: NDArray[Any] = array[-1] + np.arange(1, horizon + 1) * step
    except OverflowError:  # NumPy 2.5 and later; those before begin anew at the other end
        continued = array[:1]
    if not (continued > array[-1]).all():
        raise ValueError(
            f"future_times: times leave the range of {array.dtype}. Expected {horizon} times after {array[-1]}; "
            "received more than it can hold. Give times in a coarser unit, such as times.astype('M8[s]')."
        )
    return continued


def _count_months(times: NDArray[Any]) -> int | None:
    """Counts the months between times in a finer unit that have the same place in theirs, or are all last days.

    Returns:
        How many months a step has; None if steps differ in it, or times are of another kind.
    """
    if times.dtype.kind != "M" or np.datetime_data(times.dtype)[0] in CALENDAR_UNITS:
        return None
    months, seconds = times.astype("M8[M]"), _seconds(times)
    since, until = seconds - months, seconds - (months + np.timedelta64(1, "M"))
    fraction = times - seconds
    step = (months[1] - months[0]).astype(np.int64)
    even = find_uneven("future_times", months) is None and step > 0 and (fraction == fraction[0]).all()
    return int(step) if even and ((since == since[0]).all() or (until == until[0]).all()) else None


def _passed(times: NDArray[Any], began: NDArray[Any], length: Any) -> NDArray[np.float64]:
    """Gives the share of some time that has passed, from 0 to 1.

    Args:
        times: (timesteps,) datetime64.
        began: (timesteps,) when that time began, in days or coarser.
        length: how long it is, one for all or (timesteps,), in days or coarser.
    """
    second = np.timedelta64(1, "s")
    seconds = _seconds(times)
    passed = (seconds - began.astype("M8[s]")) / second + (times - seconds) / second
    return np.asarray(passed / (length / second))


def _seconds(times: NDArray[Any]) -> NDArray[Any]:
    """Leaves fractions of seconds out: nanoseconds do not reach back to where the first of their days began."""
    return times.astype("M8[s]")


def _within(unit: str) -> Share:
    """Makes a function from times to the share of their day, month or year that has passed."""

    def share(times: NDArray[Any]) -> NDArray[np.float64]:
        began = _seconds(times).astype(f"M8[{unit}]")
        ended = began + np.timedelta64(1, unit)  # type: ignore[call-overload]  # a literal, for NumPy
        return _passed(times, began, ended.astype("M8[s]") - began.astype("M8[s]"))

    return share


def _of_week(times: NDArray[Any]) -> NDArray[np.float64]:
    days = _seconds(times).astype("M8[D]")
    weekday = (days.astype(np.int64) + 3) % 7  # day 0, 1970-01-01, was a Thursday
    return _passed(times, days - weekday.astype("m8[D]"), np.timedelta64(7, "D"))


def _of_months(times: NDArray[Any]) -> NDArray[np.float64]:
    month = _seconds(times).astype("M8[M]").astype(np.int64) % 12
    return np.asarray((month + _within("M")(times)) / 12)


PARTS: dict[str, Share] = {
    "hour_of_day": _within("D"),
    "day_of_week": _of_week,  # Monday is 0
    "day_of_month": _within("M"),
    "day_of_year": _within("Y"),
    "month_of_year": _of_months,
}
