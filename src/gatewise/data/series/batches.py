# SPDX-License-Identifier: Apache-2.0
"""Windows for `model.fit`, gathered a batch at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from gatewise.data.checks import check_whole

if TYPE_CHECKING:
    from gatewise.data.series.windows import Windows


class WindowBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """A `keras.utils.PyDataset` of windows; `Windows.batches` makes one.

    A batch is `(x, y, weight)`, or with a mask `({"values": x, "mask": mask}, y, weight)`: x is (batch, history,
    features) float32, mask (batch, history) bool, y (batch, horizon, targets) float32, weight (batch, horizon) float32.

    Args:
        windows: the windows.
        batch_size: windows in a batch; the last batch may have fewer.
        shuffle: whether their order changes from epoch to epoch.
        seed: of that order.
        with_mask: whether the model has two inputs, named "values" and "mask".

    Raises:
        TypeError: batch_size is no whole number.
        ValueError: batch_size is below 1, or steps are missing and with_mask is False.
    """

    def __init__(self, windows: Windows, batch_size: int, shuffle: bool, seed: int, with_mask: bool) -> None:
        super().__init__()
        self.batch_size = check_whole("Windows.batches", "batch_size", batch_size, cure="32 is usual.")
        if not with_mask and not windows.complete:
            raise ValueError(
                "Windows.batches: steps are missing. Expected a mask for them; received with_mask=False. Pass "
                "with_mask=True, and give the model an input for it: values = keras.Input((history, features), "
                "name='values'); mask = keras.Input((history,), dtype='bool', name='mask'); GRU(32)(values, mask=mask)."
            )
        self.windows = windows
        self.shuffle = shuffle
        self.with_mask = with_mask
        self._random = np.random.default_rng(seed)
        self._order = np.arange(len(windows))
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self.windows) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        if not 0 <= index < len(self):
            raise IndexError(
                f"Windows.batches: index is out of range. Expected 0 to {len(self) - 1}; received {index}. There are "
                f"{len(self)} batches."
            )
        x, mask, y, weight = self.windows.take(self._order[index * self.batch_size : (index + 1) * self.batch_size])
        return ({"values": x, "mask": mask} if self.with_mask else x), y, weight

    def on_epoch_end(self) -> None:
        """Draws the next epoch's order."""
        if self.shuffle:
            self._order = self._random.permutation(len(self.windows))
