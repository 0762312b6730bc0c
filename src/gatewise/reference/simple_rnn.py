# SPDX-License-Identifier: Apache-2.0
"""The simple recurrent network (Elman 1990): h = activation(x K + b + h_prev R). It has no gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.reference.step import Gradient

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.reference.step import Array, Kept, Recurrent, Tensor


def step(
    x: Tensor,
    recurrent: Recurrent,
    states: tuple[Tensor, ...],  # noqa: ARG001  # they come through `recurrent`
    activation: Callable[[Tensor], Tensor],
    recurrent_activation: Callable[[Tensor], Tensor],  # noqa: ARG001
) -> tuple[Tensor, ...]:
    """Takes a step of `Cell.SIMPLE_RNN`; see `reference.step`."""
    return (activation(x[0] + recurrent(0)),)


def backward(kept: Kept, d_states: tuple[Array, ...]) -> Gradient:
    """Takes the gradient of its new state back."""
    (dh,) = d_states
    d_sum = (dh * kept.activation.slope(kept.activation.value(kept.x[0] + kept.recurrent(0))))[None]
    return Gradient(d_sum, d_sum, kept.h, kept.recurrent.back(0, d_sum[0])[None], (np.zeros_like(dh),))
