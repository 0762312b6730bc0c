# SPDX-License-Identifier: Apache-2.0
"""The long short-term memory (Hochreiter and Schmidhuber 1997), with a forget gate (Gers et al. 2000).

It has no peepholes:

i = recurrent_activation(x Ki + bi + h_prev Ri)    f, o likewise: input, forget and output gate
g = activation(x Kg + bg + h_prev Rg)              the candidate
c = f * c_prev + i * g
h = o * activation(c)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.reference.step import Gradient

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.reference.step import Array, Kept, Recurrent, Tensor

I, F, G, O = range(4)  # noqa: E741  # the literature's names


def step(
    x: Tensor,
    recurrent: Recurrent,
    states: tuple[Tensor, ...],
    activation: Callable[[Tensor], Tensor],
    recurrent_activation: Callable[[Tensor], Tensor],
) -> tuple[Tensor, ...]:
    """Takes a step of `Cell.LSTM`; see `reference.step`."""
    i, f, o = (recurrent_activation(x[gate] + recurrent(gate)) for gate in (I, F, O))
    c = f * states[1] + i * activation(x[G] + recurrent(G))
    return o * activation(c), c


def backward(kept: Kept, d_states: tuple[Array, ...]) -> Gradient:
    """Takes the gradients of its new states back. Below, a gate's name with a d is the gradient of its sum."""
    (dh, dc), c_prev = d_states, kept.states[1]
    gate, candidate = kept.recurrent_activation, kept.activation
    i, f, o = (gate.value(kept.x[k] + kept.recurrent(k)) for k in (I, F, O))
    g = candidate.value(kept.x[G] + kept.recurrent(G))
    y = candidate.value(f * c_prev + i * g)
    dc = dc + dh * o * candidate.slope(y)
    di, df, do = dc * g * gate.slope(i), dc * c_prev * gate.slope(f), dh * y * gate.slope(o)
    d_sums = np.stack([di, df, dc * i * candidate.slope(g), do])
    d_h = np.stack([kept.recurrent.back(k, d) for k, d in enumerate(d_sums)])
    return Gradient(d_sums, d_sums, kept.h, d_h, (np.zeros_like(dh), dc * f))
