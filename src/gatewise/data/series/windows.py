# SPDX-License-Identifier: Apache-2.0
"""Windows over series: what a model reads, and the steps behind it that the model shall forecast.

    values   0 1 2 3 4 5 6 7        history=3, horizon=2
    window 0 x x x y y
    window 1   x x x y y
    window 2     x x x y y

A window is a view of the series; only what `take` gathers for a batch is copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.data.checks import any_array, check_whole, describe, is_whole, real_array
from gatewise.data.errors import shorten
from gatewise.data.series.several import check_series, fill
from gatewise.extras import KERAS, required_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from gatewise.data.series.batches import WindowBatches
    from gatewise.data.series.several import AnyScaler
    from gatewise.data.series.time_series import TimeSeries


class Batch(NamedTuple):
    """Some windows.

    Attributes:
        x: (batch, history, features) float32, 0 where a value is missing.
        mask: (batch, history) bool, True where all features of a step were measured.
        y: (batch, horizon, targets) float32, 0 where a value is missing.
        weight: (batch, horizon) float32, 1 where all targets of a step were measured, else 0: Keras's sample_weight.
    """

    x: NDArray[np.float32]
    mask: NDArray[np.bool_]
    y: NDArray[np.float32]
    weight: NDArray[np.float32]


def window_view(values: NDArray[Any], length: int, stride: int = 1) -> NDArray[Any]:
    """Looks at an array through windows, without copying.

    Args:
        values: (timesteps, ...).
        length: steps in a window.
        stride: steps from one window to the next.

    Returns:
        (windows, length, ...), a view that cannot be written to.

    Raises:
        TypeError: length or stride is no whole number.
        ValueError: there are fewer steps than a window has, or length or stride is below 1.

    Example:
        >>> window_view(np.arange(5), 3)
        array([[0, 1, 2],
               [1, 2, 3],
               [2, 3, 4]])
    """
    length, stride = check_whole("window_view", "length", length), check_whole("window_view", "stride", stride)
    values = any_array("window_view", "values", values, "(timesteps, ...)")
    if not values.ndim or len(values) < length:
        raise ValueError(
            f"window_view: values are shorter than a window. Expected at least length={length} steps; received "
            f"{len(values) if values.ndim else describe(values)}. Give more steps or a shorter window."
        )
    view = np.lib.stride_tricks.sliding_window_view(values, length, axis=0)
    return np.moveaxis(view, -1, 1)[::stride]


class Windows:
    """All windows of one or several series; none reaches from one series into another.

    Args:
        series: one series, or several with the same features.
        history: steps that the model reads.
        horizon: steps behind them that it forecasts.
        targets: names of the features that it forecasts, or one; without it, all.
        scaler: applied to the values, one for all series or one for each; adapt it on the training part alone.
        stride: steps from one window to the next.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: a series is shorter than a window or irregular, the features or the steps differ, or a value is too
            large for float32.

    Example:
        >>> from gatewise.data.series import TimeSeries
        >>> series = TimeSeries(np.arange(8.0)[:, None], np.arange(8), ("load",))
        >>> windows = Windows(series, history=3, horizon=2)
        >>> len(windows)
        4
        >>> x, mask, y, weight = windows.take([0])
        >>> x.ravel(), y.ravel()
        (array([0., 1., 2.], dtype=float32), array([3., 4.], dtype=float32))
    """

    def __init__(
        self,
        series: TimeSeries | Sequence[TimeSeries],
        history: int,
        horizon: int = 1,
        targets: str | Sequence[str] | None = None,
        scaler: AnyScaler | None = None,
        stride: int = 1,
    ) -> None:
        self.series = check_series("Windows", series)
        self.history = check_whole("Windows", "history", history)
        self.horizon = check_whole("Windows", "horizon", horizon)
        self.stride = check_whole("Windows", "stride", stride)
        self.targets = self.series[0].columns(targets, "Windows: targets")
        for one in self.series:
            self._check_length(one)
        parts = [self._views(one, scaler) for one in self.series]
        self._parts = parts
        self._firsts = np.cumsum([0, *(len(part.x) for part in parts)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def complete(self) -> bool:
        """Whether every step of every history was measured, so that no mask is needed."""
        return all(bool(part.mask.all()) for part in self._parts)

    def views(self, series: int = 0) -> Batch:
        """Looks at all windows of one series, without copying.

        Args:
            series: which, by number.

        Returns:
            Views that cannot be written to.

        Raises:
            TypeError: the number is none.
            IndexError: there is no such series.
        """
        return self._parts[_check_index("Windows.views", "series", series, len(self.series))]

    def take(self, indices: ArrayLike) -> Batch:
        """Copies some windows.

        Args:
            indices: (batch,) whole numbers from 0 to `len(windows) - 1`: the windows of the first series come first.

        Returns:
            They, in the order asked for.

        Raises:
            TypeError: the indices are no whole numbers.
            IndexError: there is no such window.
        """
        wanted = real_array("Windows.take", "indices", indices, "(batch,) whole numbers", "Give whole numbers.")
        if wanted.ndim > 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            cure = "Of a mask, give numpy.flatnonzero(mask)." if wanted.dtype == np.bool_ else "Give whole numbers."
            raise TypeError(
                f"Windows.take: indices are no whole numbers. Expected (batch,) whole numbers; received "
                f"{describe(wanted)}. {cure}"
            )
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(
                f"Windows.take: indices are out of range. Expected 0 to {len(self) - 1}; received {wanted.min()} to "
                f"{wanted.max()}. There are {len(self)} windows."
            )
        wanted = wanted.astype(np.int64).reshape(-1)
        owner = np.searchsorted(self._firsts, wanted, side="right") - 1
        first = self._parts[0]
        taken = Batch(*(np.empty((len(wanted), *array.shape[1:]), array.dtype) for array in first))
        for number, part in enumerate(self._parts):
            here = owner == number
            for into, array in zip(taken, part, strict=True):
                into[here] = array[wanted[here] - self._firsts[number]]
        return taken

    def times(self, index: int) -> NDArray[Any]:
        """Gives the times that a window forecasts.

        Args:
            index: the window's number, from 0 to `len(windows) - 1`.

        Returns:
            (horizon,).

        Raises:
            TypeError: the number is none.
            IndexError: there is no such window.
        """
        index = _check_index("Windows.times", "index", index, len(self))
        owner = int(np.searchsorted(self._firsts, index, side="right") - 1)
        begin = (index - int(self._firsts[owner])) * self.stride + self.history
        times: NDArray[Any] = self.series[owner].times[begin : begin + self.horizon]
        return times

    def batches(
        self, batch_size: int = 32, shuffle: bool = False, seed: int = 0, with_mask: bool = False
    ) -> WindowBatches:
        """Gives the windows to `model.fit`, `evaluate` and `predict`, a batch at a time (needs Keras).

        Args:
            batch_size: windows in a batch.
            shuffle: whether their order changes from epoch to epoch.
            seed: of that order.
            with_mask: whether the model has two inputs, named "values" and "mask", for steps that are missing.

        Returns:
            A `keras.utils.PyDataset`.

        Raises:
            TypeError: batch_size is no whole number.
            ValueError: batch_size is below 1, or steps are missing and with_mask is False.
        """
        with required_by("Windows.batches", *KERAS):
            from gatewise.data.series.batches import WindowBatches

        return WindowBatches(self, batch_size, shuffle, seed, with_mask)

    def _check_length(self, one: TimeSeries) -> None:
        name = f" {shorten(one.name)}" if one.name else ""
        if len(one) < self.history + self.horizon:
            raise ValueError(
                f"Windows: series{name} is shorter than a window. Expected at least history={self.history} + "
                f"horizon={self.horizon} = {self.history + self.horizon} steps; received {len(one)}. Shorten the "
                "window, or leave the series out."
            )

    def _views(self, one: TimeSeries, scaler: AnyScaler | None) -> Batch:
        values, present = fill("Windows", one, scaler)
        past, future = slice(None, len(one) - self.horizon), slice(self.history, None)
        whole = np.asarray(present.all(axis=1))
        weight = np.asarray(present[:, self.targets].all(axis=1), dtype=np.float32)
        return Batch(
            window_view(values[past], self.history, self.stride),
            window_view(whole[past], self.history, self.stride),
            window_view(values[future][:, self.targets], self.horizon, self.stride),
            window_view(weight[future], self.horizon, self.stride),
        )


def last_window(
    series: TimeSeries | Sequence[TimeSeries], history: int, scaler: AnyScaler | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Gives the last steps of each series: what a model reads to forecast what has not come yet.

    Args:
        series: one series, or several with the same features.
        history: how many steps.
        scaler: the one that the model was trained with.

    Returns:
        x, (series, history, features) float32, 0 where a value is missing, and mask, (series, history) bool.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: a series is shorter or irregular, the features or the steps differ, or a value is too large for
            float32.

    Example:
        >>> from gatewise.data.series import TimeSeries
        >>> x, mask = last_window(TimeSeries(np.arange(5.0)[:, None], np.arange(5)), history=2)
        >>> x.ravel(), mask
        (array([3., 4.], dtype=float32), array([[ True,  True]]))
    """
    found = check_series("last_window", series)
    history = check_whole("last_window", "history", history)
    for one in found:
        if len(one) < history:
            raise ValueError(
                f"last_window: series {shorten(one.name)} is too short. Expected at least history={history} steps; "
                f"received {len(one)}. Wait for more, or use a model with a shorter history."
            )
    filled = [fill("last_window", one.steps(slice(len(one) - history, None)), scaler) for one in found]
    return np.stack([values for values, _ in filled]), np.stack([present.all(axis=1) for _, present in filled])


def _check_index(caller: str, name: str, index: Any, size: int) -> int:
    if not is_whole(index):
        raise TypeError(
            f"{caller}: {name} is no whole number. Expected an int from 0 to {size - 1}; received {describe(index)}. "
            "Ask for one after the other."
        )
    if not 0 <= index < size:
        raise IndexError(
            f"{caller}: {name} is out of range. Expected 0 to {size - 1}; received {shorten(index)}. There are {size}."
        )
    return int(index)
