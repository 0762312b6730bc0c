# SPDX-License-Identifier: Apache-2.0
"""The LSTM with layer normalisation: gates as in `lstm.py`, of the normalised products of `layer_norm.py`.

c = f * c_prev + i * g
h = o * activation(state_gain * LN(c) + state_bias)

The c that is carried on is the one before normalisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.reference.lstm import F, G, I, O
from gatewise.reference.step import Gradient

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.reference.step import Array, Kept, Recurrent, Tensor


def step(
    x: Tensor,
    recurrent: Recurrent,
    states: tuple[Tensor, ...],
    activation: Callable[[Tensor], Tensor],
    recurrent_activation: Callable[[Tensor], Tensor],
    normalised: Callable[[Tensor], Tensor],
) -> tuple[Tensor, ...]:
    """Takes a step of `Cell.LAYER_NORM_LSTM`; see `reference.step`."""
    i, f, o = (recurrent_activation(x[gate] + recurrent(gate)) for gate in (I, F, O))
    c = f * states[1] + i * activation(x[G] + recurrent(G))
    return o * activation(normalised(c)), c


def backward(kept: Kept, d_states: tuple[Array, ...]) -> Gradient:
    """Takes the gradients of its new states back. Below, a gate's name with a d is the gradient of its sum."""
    (dh, dc), c_prev, of_c = d_states, kept.states[1], kept.state_normal
    gate, candidate = kept.recurrent_activation, kept.activation
    i, f, o = (gate.value(kept.x[k] + kept.recurrent(k)) for k in (I, F, O))
    g = candidate.value(kept.x[G] + kept.recurrent(G))
    normal = of_c.normal(f * c_prev + i * g)
    y = candidate.value(normal.value * of_c.gain + of_c.bias)
    d_normal = dh * o * candidate.slope(y)
    dc = dc + normal.back(d_normal * of_c.gain)
    di, df, do = dc * g * gate.slope(i), dc * c_prev * gate.slope(f), dh * y * gate.slope(o)
    d_sums = np.stack([di, df, dc * i * candidate.slope(g), do])
    d_h = np.stack([kept.recurrent.back(k, d) for k, d in enumerate(d_sums)])
    of_gain, of_bias = (d_normal * normal.value).sum(axis=0), d_normal.sum(axis=0)
    return Gradient(d_sums, d_sums, kept.h, d_h, (np.zeros_like(dh), dc * f), of_gain, of_bias)
