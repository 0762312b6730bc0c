# SPDX-License-Identifier: Apache-2.0
"""One series: times, values, and a mask of what was measured."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.checks import check_names, describe, real_array
from gatewise.data.errors import list_some, shorten
from gatewise.data.series.times import as_step, as_times, find_place, on_grid

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class TimeSeries:
    """Values at rising times; NaN is where nothing was measured, and nothing is ever filled in.

    Args:
        values: (timesteps, features) float64, NaN where a value is missing.
        times: (timesteps,) datetime64 without time zone, or whole numbers, rising.
        features: the names of the features.
        name: that of the series, where there are several.

    Raises:
        TypeError: values hold something else than real numbers, or features or name something else than strings.
        ValueError: the shapes do not fit, a time repeats or goes back, a name repeats, or a value is infinite.

    Example:
        >>> series = TimeSeries([[1.0], [np.nan], [3.0]], np.arange("2024-01", "2024-04", dtype="datetime64[M]"))
        >>> series.mask.ravel()
        array([ True, False,  True])
        >>> len(series.before("2024-03")), len(series.after("2024-03"))
        (2, 1)
    """

    values: NDArray[np.float64]
    times: NDArray[Any]
    features: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(
                f"TimeSeries: name is no string. Expected str; received {describe(self.name)}. Give str(name)."
            )
        where = f"TimeSeries {shorten(self.name)}" if self.name else "TimeSeries"
        values = real_array(where, "values", self.values, "(timesteps, features)").astype(np.float64, copy=False)
        times = as_times(where, self.times)
        features = check_names(where, "features", self.features)
        features = features or tuple(f"feature_{i}" for i in range(values.shape[-1] if values.ndim else 0))
        if values.ndim != 2 or times.shape != values.shape[:1] or len(features) != values.shape[1]:
            raise ValueError(
                f"{where}: the shapes do not fit. Expected values (timesteps, features), times (timesteps,) and a name "
                f"for each feature; received {values.shape}, {times.shape} and {len(features)} names. For one feature, "
                "add an axis: values[:, None]."
            )
        late = np.flatnonzero(times[1:] <= times[:-1])
        if late.size:
            before, at = times[late[0]], times[late[0] + 1]
            what, cure = ("repeat", "Keep each once") if at == before else ("go back", "Sort the table")
            raise ValueError(
                f"{where}: times {what}. Expected rising times; received {at} behind {before}, at step {late[0] + 1}. "
                f"{cure}; if it holds several series, make one of each."
            )
        if np.isinf(values).any():
            broken = [features[i] for i in np.flatnonzero(np.isinf(values).any(axis=0))]
            raise ValueError(
                f"{where}: values are infinite. Expected finite values, NaN where one is missing; received infinity in "
                f"{list_some(broken)}. Clean the table first."
            )
        for field, value in (("values", values), ("times", times), ("features", features)):
            object.__setattr__(self, field, value)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(timesteps, features) bool: True where a value was measured."""
        return ~np.isnan(self.values)

    def __len__(self) -> int:
        return len(self.times)

    def before(self, time: Any) -> Self:
        """Cuts off what is at a time or later: the training part, for instance.

        Args:
            time: as in `times`, or text that NumPy reads as one.

        Returns:
            The steps before it, as views.

        Raises:
            TypeError: time is no date where times are, or no number where times are numbers.
            ValueError: time cannot be read, or has a time zone.
        """
        return self.steps(slice(None, find_place("TimeSeries.before", self.times, time)))

    def after(self, time: Any) -> Self:
        """Keeps what is at a time or later.

        Args:
            time: as in `times`, or text that NumPy reads as one.

        Returns:
            The steps from it on, as views.

        Raises:
            TypeError: time is no date where times are, or no number where times are numbers.
            ValueError: time cannot be read, or has a time zone.
        """
        return self.steps(slice(find_place("TimeSeries.after", self.times, time), None))

    def steps(self, place: slice) -> Self:
        """Keeps some of the steps.

        Args:
            place: which, by number.

        Returns:
            They, as views.

        Raises:
            TypeError: place is no slice.
        """
        if not isinstance(place, slice):
            raise TypeError(
                f"TimeSeries.steps: place is no slice. Expected a slice; received {describe(place)}. Write "
                "slice(first, last)."
            )
        return dataclasses.replace(self, values=self.values[place], times=self.times[place])

    def regular(self, step: np.timedelta64 | dt.timedelta | int) -> Self:
        """Puts a step where the times leave one out; its values are missing, not made up.

        Args:
            step: from one time to the next, above 0: such as `np.timedelta64(1, "D")` or `np.timedelta64(1, "M")` where
                times are dates, whole where they are whole numbers.

        Returns:
            The series with every step from the first to the last.

        Raises:
            TypeError: the step is none of the times' kind.
            ValueError: the step is not above 0, or a time is not a whole number of steps behind the first.
        """
        length = as_step("TimeSeries.regular", step, self.times)
        if not len(self):
            return self
        times = on_grid(self.times, length)
        ahead = times - times[0]
        far = ahead < ahead[0]  # where 64 bits do not reach
        off = np.flatnonzero((ahead % length != 0 * length) | (times != self.times) | far)
        if off.size:
            cure = "Give a smaller step, or aggregate the table first."
            rising = (times[1:] > times[:-1]).all()
            if rising and (times != self.times).any():  # one in each month, not on its first day
                cure = (
                    f"If each stands for the whole of its time, write dataclasses.replace(series, times=series.times"
                    f".astype('{times.dtype.name}')): it then counts as known from the beginning of that time."
                )
            raise ValueError(
                f"TimeSeries.regular: step does not fit. Expected times a whole number of steps of {step} behind "
                f"{self.times[0]}; received {self.times[off[0]]} at step {off[0]}. {cure}"
            )
        places = (ahead // length).astype(np.int64)
        values = np.full((int(places[-1]) + 1, self.values.shape[1]), np.nan)
        values[places] = self.values
        return dataclasses.replace(self, values=values, times=times[0] + np.arange(len(values)) * length)

    def with_features(self, values: ArrayLike, names: Sequence[str]) -> Self:
        """Adds features, such as those of the calendar.

        Args:
            values: (timesteps, features) of the new ones.
            names: their names.

        Returns:
            The series with the new features behind its own.

        Raises:
            TypeError: values hold something else than real numbers, or names something else than strings.
            ValueError: values have the wrong shape, or a name repeats.
        """
        where, expected = "TimeSeries.with_features", f"(timesteps={len(self)}, features)"
        added = real_array(where, "values", values, expected)
        if added.ndim != 2 or len(added) != len(self):
            raise ValueError(
                f"{where}: values have the wrong shape. Expected {expected}; received {added.shape}. Compute them for "
                "the times of this series."
            )
        return dataclasses.replace(
            self,
            values=np.concatenate([self.values, added], axis=1),
            features=(*self.features, *check_names(where, "names", names)),
        )

    def columns(self, names: str | Sequence[str] | None, caller: str = "TimeSeries.columns") -> list[int]:
        """Finds features by name.

        Args:
            names: those of features, or one; None for all.
            caller: the function, for the message.

        Returns:
            Their numbers.

        Raises:
            TypeError: the names are none.
            ValueError: there is none of that name, or no name is given.
        """
        if names is None:
            return list(range(len(self.features)))
        wanted = check_names(caller, "names", [names] if isinstance(names, str) else names)
        missing = [name for name in wanted if name not in self.features]
        if missing or not wanted:
            raise ValueError(
                f"{caller}: a feature is missing. Expected names among {list_some(self.features)}; received "
                f"{list_some(missing) or 'none'}. Check the spelling."
            )
        return [self.features.index(name) for name in wanted]


def list_series(caller: str, series: Any) -> list[TimeSeries]:
    """Makes a list of one or several series.

    Args:
        caller: the function, for the message.
        series: one or several.

    Returns:
        A list, not empty.

    Raises:
        TypeError: it is something else.
        ValueError: there is none.
    """
    found = [series] if isinstance(series, TimeSeries) or not np.iterable(series) else list(series)
    other = [one for one in found if not isinstance(one, TimeSeries)]
    if other:
        raise TypeError(
            f"{caller}: series are something else. Expected a TimeSeries, or a list of such; received "
            f"{describe(series)}. Make one of arrays by TimeSeries(values, times)."
        )
    if not found:
        raise ValueError(f"{caller}: series are missing. Expected at least one; received none. Check what was read.")
    return found
