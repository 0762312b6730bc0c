# SPDX-License-Identifier: Apache-2.0
"""The memory horizon: how many steps until half of what a unit, or a layer, held is gone.

Of a unit, by the gate that is multiplied with what it holds: a GRU's update gate z in h = z * h_prev + (1 - z) * h~, an
LSTM's forget gate f in c = f * c_prev + i * g. After n steps the product of n gates is left. Their geometric mean is
the one gate that would leave as much were it the same at every step, so that the half-life is ln(1/2) / ln(that mean);
with the arithmetic mean, which is higher, a unit that is wiped at times would seem to hold on. What comes back to a
unit through the recurrent weights is not in it.

Of a layer, by the derivative of its step: how fast the effect of a small change to its state fades, with all that goes
through the recurrent weights. That is the only horizon of a cell without a gate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatewise.reference import EQUATIONS

if TYPE_CHECKING:
    import numpy.typing as npt

    from gatewise.inspect.gates import Gates

    Array = npt.NDArray[np.float64]


def half_life(keep: npt.ArrayLike) -> Array:
    """Turns what is kept at a step into steps until half is left.

    Args:
        keep: any shape, from 0; 1 and more, which loses nothing, is infinite.

    Returns:
        Steps, of the same shape.

    Example:
        >>> half_life([0.0, 0.25, 0.5, 0.99, 1.0]).round(2).tolist()
        [0.0, 0.5, 1.0, 68.97, inf]
    """
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(keep, np.float64))
        return np.where(logs < 0, math.log(0.5) / logs, np.inf)


def mean_keep(gate: Array) -> Array:
    """Finds the geometric mean of each unit's gate, (B, T, U) with NaN in masked steps, over all steps: (U,)."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(gate[~np.isnan(gate).all(axis=-1)]))
    mean: Array = np.exp(logs.mean(axis=0))
    return mean


def gradient_half_life(gates: Gates) -> float:
    """Finds how many steps back a gradient halves, along the data.

    A vector of random direction is taken back through every row's steps by the reference's derivative; the mean of the
    logarithm of its growth is what the steps have in common.

    Returns:
        Steps; infinite if the gradient does not shrink, 0 if a step leaves nothing of it.
    """
    passed = gates.passed
    cell, (batch, units) = passed.layer.cell, passed.last_output.shape
    random = np.random.default_rng(0)
    d_states = [random.normal(size=(batch, units)) for _ in cell.row.states]
    total, count = 0.0, 0
    for t in reversed(range(len(passed.steps))):
        rows, kept = passed.valid[:, t], passed.steps[t][1]
        before = tuple(d[rows] for d in d_states)
        found = EQUATIONS[cell].backward(kept, before)
        after = list(found.states)
        after[0] = after[0] + found.h.sum(axis=0)
        growth = _length(after) / _length(before)
        if not growth.all():
            return 0.0
        total, count = total + float(np.log(growth).sum()), count + len(growth)
        for d, value in zip(d_states, after, strict=True):
            d[rows] = value / _length(after)[:, None]
    return float(half_life(math.exp(total / count)))


def _length(parts: list[Array] | tuple[Array, ...]) -> Array:
    length: Array = np.sqrt(sum((part**2).sum(axis=1) for part in parts))
    return length
