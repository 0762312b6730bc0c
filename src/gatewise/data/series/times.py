# SPDX-License-Identifier: Apache-2.0
"""Times: dates or whole numbers in one NumPy array, one of them among others, and the step from each to the next."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.checks import check_mask, describe, is_missing, is_real, is_whole
from gatewise.data.errors import shorten

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ZONE = re.compile(r"[T ]\d\d[\d:.,]*\s*(Z|UTC|GMT|[+-]\d\d(:?\d\d)?)$", re.IGNORECASE)

CALENDAR_UNITS = ("Y", "M")  # years and months have no length in days
UTC_CURE = "Convert it, as pandas' tz_convert('UTC').tz_localize(None) does."
_PARSE_CURE = (
    "Parse them first, numpy.array(times, dtype='datetime64'), or give the step's number: np.arange(timesteps)."
)


def as_times(caller: str, times: ArrayLike) -> NDArray[Any]:
    """Checks times.

    Args:
        caller: the function, for the message.
        times: (timesteps,) datetime64 or whole numbers.

    Returns:
        (timesteps,) datetime64, or int64.

    Raises:
        TypeError: they are a masked array.
        ValueError: they are of another type or rank, have a time zone, or lack one.

    Example:
        >>> as_times("TimeSeries", np.array([3, 5], np.uint8))
        array([3, 5])
    """
    expected = "(timesteps,) datetime64 or whole numbers"
    check_mask(caller, "times", times, expected, "Leave out what is masked: times.compressed().")
    zone = time_zone(times)
    if zone is not None:
        raise ValueError(
            f"{caller}: times have a time zone. Expected {expected}, all of one zone, without its name; received "
            f"{zone}. {UTC_CURE}"
        )
    try:
        array = np.asarray(times)
    except ValueError:  # lists of different length
        array = np.asarray(None)
    if array.ndim != 1 or array.dtype.kind not in "Miu":
        raise ValueError(
            f"{caller}: times are no times. Expected {expected}; received {shorten(times)}, {array.shape} of "
            f"{array.dtype}. {_PARSE_CURE}"
        )
    if array.dtype.kind == "M":
        missing = np.flatnonzero(np.isnat(array))
        if missing.size:
            raise ValueError(
                f"{caller}: times are no times. Expected {expected}; received NaT at step {missing[0]}. Leave out the "
                "steps whose time is not known."
            )
        return array
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(
            f"{caller}: times are too large. Expected whole numbers of 64 bits with a sign; received {array.max()}. "
            "Subtract the first time from all."
        )
    return array.astype(np.int64, copy=False)


def time_zone(column: Any) -> str | None:
    """Gives the time zone of a column of pandas or polars, which NumPy would drop without a word.

    Returns:
        Its name, or None if the column has none.

    Example:
        >>> time_zone(np.array(["2024-05-31"], "datetime64[D]")) is None
        True
    """
    dtype = getattr(column, "dtype", None)
    zone = getattr(dtype, "tz", None) or getattr(dtype, "time_zone", None)
    return None if zone is None else str(zone)


def find_place(caller: str, times: NDArray[Any], time: Any) -> int:
    """Finds the first step that is at a time or later.

    Args:
        caller: the function, for the message.
        times: (timesteps,) rising, as `as_times` gives them.
        time: a date, or text that NumPy reads as one, where times are dates; else a number.

    Returns:
        Its number; that of steps if all are earlier.

    Raises:
        TypeError: the time is no date where times are, or no number where times are numbers.
        ValueError: it has a time zone, or is none.

    Example:
        >>> find_place("before", np.array(["2024-01", "2024-03"], "datetime64[M]"), "2024-02-10")
        1
    """
    if times.dtype.kind != "M":
        return int(np.searchsorted(times, _as_number(caller, time)))
    at = _as_date(caller, time)
    seconds = at.astype("M8[s]")
    if not len(times) or seconds < times[0].astype("M8[s]"):
        return 0
    if seconds > times[-1].astype("M8[s]"):
        return len(times)
    near = at.astype(times.dtype)  # rounded down; a common unit of both might not reach as far as the times do
    next_one = near + np.array(1, times.dtype.str.replace("M", "m", 1))
    return int(np.searchsorted(times, next_one if near < at else near))


def as_step(caller: str, step: Any, times: NDArray[Any]) -> Any:
    """Checks the step from one time to the next.

    Args:
        caller: the function, for the message.
        step: what it was given.
        times: (timesteps,), as `as_times` gives them.

    Returns:
        A timedelta64 with a unit where times are dates, an int where they are whole numbers.

    Raises:
        TypeError: it is of another kind.
        ValueError: it is not above 0.

    Example:
        >>> as_step("regular", dt.timedelta(days=1), np.array(["2024-05-31"], "datetime64[D]"))
        np.timedelta64(86400000000,'us')
    """
    dates = times.dtype.kind == "M"
    length = step
    if isinstance(step, dt.timedelta):
        length = step.to_timedelta64() if hasattr(step, "to_timedelta64") else np.timedelta64(step)  # pandas, Python
    has_unit = isinstance(length, np.timedelta64) and np.datetime_data(length)[0] != "generic"
    expected = "numpy.timedelta64 with a unit, as times are dates" if dates else "a whole number, as times are"
    if not (has_unit if dates else is_whole(length)):
        cure = "Write numpy.timedelta64(1, 'D'), with the unit of your data, 'M' for months." if dates else "Write 1."
        raise TypeError(f"{caller}: step is of another kind. Expected {expected}; received {describe(step)}. {cure}")
    if not length > 0 * length:
        raise ValueError(
            f"{caller}: step is too small. Expected {expected}, above 0; received {step}. Times rise from each step to "
            "the next."
        )
    return length if dates else min(int(length), np.iinfo(np.int64).max)


def on_grid(times: NDArray[Any], step: Any) -> NDArray[Any]:
    """Writes times in the unit of a step, or in one that can be counted in such steps.

    Args:
        times: (timesteps,), as `as_times` gives them.
        step: as `as_step` gives it.

    Returns:
        (timesteps,) the same times; earlier ones where the step is of months or years, and times stand within those.

    Example:
        >>> on_grid(np.array(["2024-01-01", "2024-02-01"], "datetime64[D]"), np.timedelta64(1, "M"))
        array(['2024-01', '2024-02'], dtype='datetime64[M]')
    """
    if times.dtype.kind != "M":
        return times
    unit, own = np.datetime_data(step)[0], np.datetime_data(times.dtype)[0]
    units = {"Y": ["Y", "M"], "M": ["M"]}.get(unit, [unit, "D", "D" if own in CALENDAR_UNITS else own])
    grids = [times.astype(f"M8[{one}]") for one in units]
    return next((grid for grid in grids if (grid == times).all()), grids[-1])


def find_uneven(caller: str, times: NDArray[Any]) -> int | None:
    """Finds the first step that is longer or shorter than the first one.

    Args:
        caller: the function, for the message.
        times: (timesteps,).

    Returns:
        The number of the time that it leads from; None if all steps are equal.

    Raises:
        ValueError: a step is longer than the unit of the times can say, which NumPy before 2.5 does not notice.

    Example:
        >>> find_uneven("Windows", np.array([0, 2, 4, 5]))
        2
    """
    try:
        steps = np.diff(times)
    except OverflowError as error:
        raise ValueError(
            f"{caller}: times are too far apart. Expected steps that {times.dtype} can hold; received times from "
            f"{times[0]} to {times[-1]}. Give times in a coarser unit, such as times.astype('M8[s]')."
        ) from error
    uneven = np.flatnonzero(steps != steps[0]) if len(steps) else steps
    return int(uneven[0]) if uneven.size else None


def has_zone(text: str) -> bool:
    """Says whether text is a time with its distance from UTC.

    Example:
        >>> [has_zone(text) for text in ("2024-05-31 10:00+02:00", "2024-05-31T10Z", "2024-05-31 10:00", "2024-05-31")]
        [True, True, False, False]
    """
    return _ZONE.search(text) is not None


def _as_number(caller: str, time: Any) -> int | float:
    number = time[()] if isinstance(time, np.ndarray) and not time.ndim else time
    if not is_real(number) or isinstance(number, bool | np.bool_) or is_missing(number):
        raise TypeError(
            f"{caller}: time is no number. Expected a number, as the times of this series are; received "
            f"{describe(time)}. For dates, give dates when the table is read."
        )
    if is_whole(number):
        limits = np.iinfo(np.int64)
        return max(limits.min, min(limits.max, int(number)))
    return float(number)


def _as_date(caller: str, time: Any) -> np.datetime64:
    date = time[()] if isinstance(time, np.ndarray) and not time.ndim else time
    if getattr(date, "tzinfo", None) is not None or (isinstance(date, str) and has_zone(date)):
        raise ValueError(
            f"{caller}: time has a time zone. Expected a time without, as those of this series; received "
            f"{describe(time)}. {UTC_CURE}"
        )
    readable = isinstance(date, str | dt.date | np.datetime64)
    found = _read_date(date) if readable else np.datetime64("NaT", "s")
    if np.isnat(found):
        cure = f"Write it as text: '{date}'." if is_whole(date) else "Write it as ISO 8601 does."
        raise (ValueError if readable else TypeError)(
            f"{caller}: time is no date. Expected a date, as the times of this series are, such as '2024-05-31' or "
            f"numpy.datetime64('2024-05'); received {describe(time)}. {cure}"
        )
    return found


def _read_date(date: Any) -> np.datetime64:
    if isinstance(date, str) and date.strip().lower() in {"", "nat"}:  # of which NumPy would make a NaT without a unit
        return np.datetime64("NaT", "s")
    try:
        return np.datetime64(date.to_datetime64() if hasattr(date, "to_datetime64") else date)  # pandas has nanoseconds
    except ValueError:
        return np.datetime64("NaT", "s")
