# SPDX-License-Identifier: Apache-2.0
"""The gated recurrent unit, in both reset orders.

With the gates z (update) and r (reset) and the candidate h_tilde:

    z       = recurrent_activation(x Kz + bz + h_prev Rz + cz)
    r       = recurrent_activation(x Kr + br + h_prev Rr + cr)
    h_tilde = activation(x Kh + bh + r * (h_prev Rh + ch))   Cell.GRU: descends from arXiv 1406.1078 v1; cuDNN
    h_tilde = activation(x Kh + bh + (r * h_prev) Rh)        Cell.GRU_RESET_BEFORE: arXiv 1406.1078 v3; there is no c
    h       = z * h_prev + (1 - z) * h_tilde

Much of the literature writes h = (1 - z) * h_prev + z * h_tilde: the same cell with z renamed to 1 - z.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.reference.step import Gradient

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.reference.step import Array, Kept, Recurrent, Tensor

Z, R, H = range(3)


def step(
    x: Tensor,
    recurrent: Recurrent,
    states: tuple[Tensor, ...],
    activation: Callable[[Tensor], Tensor],
    recurrent_activation: Callable[[Tensor], Tensor],
) -> tuple[Tensor, ...]:
    """Takes a step of `Cell.GRU`; see `reference.step`."""
    (h_prev,) = states
    z, r = recurrent_activation(x[Z] + recurrent(Z)), recurrent_activation(x[R] + recurrent(R))
    h_tilde = activation(x[H] + r * recurrent(H))
    return (z * h_prev + (1 - z) * h_tilde,)


def backward(kept: Kept, d_states: tuple[Array, ...]) -> Gradient:
    """Takes the gradient of its new state back. Below, a name with a d is the gradient of a gate's sum."""
    (dh,), (h_prev,) = d_states, kept.states
    gate, candidate = kept.recurrent_activation, kept.activation
    z, r = gate.value(kept.x[Z] + kept.recurrent(Z)), gate.value(kept.x[R] + kept.recurrent(R))
    product = kept.recurrent(H)
    h_tilde = candidate.value(kept.x[H] + r * product)
    dz, dh_tilde = dh * (h_prev - h_tilde) * gate.slope(z), dh * (1 - z) * candidate.slope(h_tilde)
    dr = dh_tilde * product * gate.slope(r)
    d_product = np.stack([dz, dr, dh_tilde * r])
    d_h = np.stack([kept.recurrent.back(k, d) for k, d in enumerate(d_product)])
    return Gradient(np.stack([dz, dr, dh_tilde]), d_product, kept.h, d_h, (dh * z,))


def step_reset_before(
    x: Tensor,
    recurrent: Recurrent,
    states: tuple[Tensor, ...],
    activation: Callable[[Tensor], Tensor],
    recurrent_activation: Callable[[Tensor], Tensor],
) -> tuple[Tensor, ...]:
    """Takes a step of `Cell.GRU_RESET_BEFORE`; see `reference.step`."""
    (h_prev,) = states
    z, r = recurrent_activation(x[Z] + recurrent(Z)), recurrent_activation(x[R] + recurrent(R))
    h_tilde = activation(x[H] + recurrent(H, r))
    return (z * h_prev + (1 - z) * h_tilde,)


def backward_reset_before(kept: Kept, d_states: tuple[Array, ...]) -> Gradient:
    """Takes the gradient of its new state back; likewise."""
    (dh,), (h_prev,) = d_states, kept.states
    gate, candidate = kept.recurrent_activation, kept.activation
    z, r = gate.value(kept.x[Z] + kept.recurrent(Z)), gate.value(kept.x[R] + kept.recurrent(R))
    h_tilde = candidate.value(kept.x[H] + kept.recurrent(H, r))
    dz, dh_tilde = dh * (h_prev - h_tilde) * gate.slope(z), dh * (1 - z) * candidate.slope(h_tilde)
    d_reset = kept.recurrent.back(H, dh_tilde, r)
    dr = d_reset * kept.h[H] * gate.slope(r)
    d_sums = np.stack([dz, dr, dh_tilde])
    left = kept.h * np.stack([np.ones_like(r), np.ones_like(r), r])
    d_h = np.stack([kept.recurrent.back(Z, dz), kept.recurrent.back(R, dr), d_reset * r])
    return Gradient(d_sums, d_sums, left, d_h, (dh * z,))
