# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation in recurrent cells (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

    LN(a) = (a - mean(a)) / sqrt(mean((a - mean(a))^2) + epsilon)    the means are over the units of one row

Where a plain cell has x K + b + h_prev R of a gate, one that normalises has

    gain * LN(x K) + b + recurrent_gain * LN(h_prev R)

with gains (U,) of each gate for the inputs and for the states, and one bias b a gate. That goes for every gate by
itself: the mean is over the U numbers of that gate alone. (Ba et al. take all gates of a product as one vector, of
G * U numbers; then the size of one gate's numbers would scale the others.) In the candidate of a GRU,

    h_tilde = activation(gain * LN(x Kh) + bh + r * (recurrent_gain * LN(h_prev Rh)))     Cell.LAYER_NORM_GRU
    h_tilde = activation(gain * LN(x Kh) + bh + recurrent_gain * LN((r * h_prev) Rh))     ..._GRU_RESET_BEFORE

and all else is as in `gru.py`; an LSTM normalises its new c, too: see `layer_norm_lstm.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


class Normal(NamedTuple):
    """What layer normalisation makes of numbers, along the last axis."""

    value: Array
    scale: Array  # 1 / sqrt(variance + epsilon), of one number along that axis

    def back(self, d: Array) -> Array:
        """Takes the gradient of the value back to the numbers."""
        mean, with_value = d.mean(-1, keepdims=True), (d * self.value).mean(-1, keepdims=True)
        gradient: Array = (d - mean - self.value * with_value) * self.scale
        return gradient


def normal(a: Array, epsilon: float) -> Normal:
    """Normalises along the last axis.

    Example:
        >>> normal(np.array([1.0, 3.0]), epsilon=0.0).value.tolist()
        [-1.0, 1.0]
    """
    centred = a - a.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return Normal(centred * scale, scale)
