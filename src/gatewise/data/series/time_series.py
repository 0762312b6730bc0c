# SPDX-License-Identifier: Apache-2.0
"""One series: times, values, and a mask of what was measured."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.errors import list_some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class TimeSeries:
    """Values at rising times; NaN is where nothing was measured, and nothing is ever filled in.

    Args:
        values: (timesteps, features) float64, NaN where a value is missing.
        times: (timesteps,) datetime64 or whole numbers, rising.
        features: the names of the features.
        name: that of the series, where there are several.

    Raises:
        ValueError: the shapes do not fit, a time repeats or goes back, or a value is infinite.

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
        values = np.asarray(self.values, dtype=np.float64)
        times = np.asarray(self.times)
        features = tuple(self.features) or tuple(f"feature_{i}" for i in range(values.shape[-1] if values.ndim else 0))
        where = f"TimeSeries {self.name!r}" if self.name else "TimeSeries"
        if values.ndim != 2 or times.shape != values.shape[:1] or len(features) != values.shape[1]:
            raise ValueError(
                f"{where}: the shapes do not fit. Expected values (timesteps, features), times (timesteps,) and a name "
                f"for each feature; received {values.shape}, {times.shape} and {len(features)} names. For one feature, "
                "add an axis: values[:, None]."
            )
        if times.dtype.kind not in "Miu" or (times.dtype.kind == "M" and np.isnat(times).any()):
            raise ValueError(
                f"{where}: times are no times. Expected datetime64 without NaT, or whole numbers; received "
                f"{times.dtype}. Parse them first, or give the step's number: np.arange(len(values))."
            )
        late = np.flatnonzero(times[1:] <= times[:-1])
        if late.size:
            before, at = times[late[0]], times[late[0] + 1]
            what = "repeat" if at == before else "go back"
            raise ValueError(
                f"{where}: times {what}. Expected rising times; received {at} behind {before}, at step {late[0] + 1}. "
                "Sort the table; if it holds several series, name the column that tells them apart: series='...'."
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
        """
        return self.steps(slice(None, self._place(time)))

    def after(self, time: Any) -> Self:
        """Keeps what is at a time or later.

        Args:
            time: as in `times`, or text that NumPy reads as one.

        Returns:
            The steps from it on, as views.
        """
        return self.steps(slice(self._place(time), None))

    def steps(self, place: slice) -> Self:
        """Keeps some of the steps.

        Args:
            place: which, by number.

        Returns:
            They, as views.
        """
        return dataclasses.replace(self, values=self.values[place], times=self.times[place])

    def regular(self, step: np.timedelta64 | int) -> Self:
        """Puts a step where the times leave one out; its values are missing, not made up.

        Args:
            step: from one time to the next, such as `np.timedelta64(1, "D")` or `np.timedelta64(1, "M")`.

        Returns:
            The series with every step from the first to the last.

        Raises:
            ValueError: a time is not a whole number of steps behind the first.
        """
        if not len(self):
            return self
        times = (
            self.times.astype(f"M8[{np.datetime_data(step)[0]}]") if isinstance(step, np.timedelta64) else self.times
        )
        ahead = times - times[0]
        off = np.flatnonzero((ahead % step != 0) | (times != self.times))
        if off.size:
            raise ValueError(
                f"TimeSeries.regular: step does not fit. Expected times a whole number of steps of {step} behind "
                f"{self.times[0]}; received {self.times[off[0]]} at step {off[0]}. Give a smaller step, or aggregate "
                "the table first."
            )
        places = (ahead // step).astype(np.int64)
        values = np.full((int(places[-1]) + 1, self.values.shape[1]), np.nan)
        values[places] = self.values
        return dataclasses.replace(self, values=values, times=times[0] + np.arange(len(values)) * step)

    def with_features(self, values: ArrayLike, names: Sequence[str]) -> Self:
        """Adds features, such as those of the calendar.

        Args:
            values: (timesteps, features) of the new ones.
            names: their names.

        Returns:
            The series with the new features behind its own.
        """
        added = np.asarray(values, dtype=np.float64)
        if added.ndim != 2 or len(added) != len(self):
            raise ValueError(
                f"TimeSeries.with_features: values have the wrong shape. Expected (timesteps={len(self)}, features); "
                f"received {added.shape}. Compute them for the times of this series."
            )
        return dataclasses.replace(
            self, values=np.concatenate([self.values, added], axis=1), features=(*self.features, *names)
        )

    def columns(self, names: Sequence[str], caller: str = "TimeSeries.columns") -> list[int]:
        """Finds features by name.

        Args:
            names: those of features.
            caller: the function, for the message.

        Returns:
            Their numbers.

        Raises:
            ValueError: there is none of that name.
        """
        missing = [name for name in names if name not in self.features]
        if missing:
            raise ValueError(
                f"{caller}: a feature is missing. Expected names among {list_some(self.features)}; received "
                f"{list_some(missing)}. Check the spelling."
            )
        return [self.features.index(name) for name in names]

    def _place(self, time: Any) -> int:
        wanted = np.datetime64(time) if self.times.dtype.kind == "M" else time
        return int(np.searchsorted(self.times, wanted))
