# SPDX-License-Identifier: Apache-2.0
"""The memory horizon: how many steps until half of what a unit, or a layer, held is gone.

Of a unit, by the gate that is multiplied with what it holds: a GRU's update gate z in h = z * h_prev + (1 - z) * h~, an
LSTM's forget gate f in c = f * c_prev + i * g. After n steps the product of n gates is left. Their geometric mean is
the one gate that would leave as much were it the same at every step, so that the half-life is ln(1/2) / ln(that mean);
with the arithmetic mean, which is higher, a unit that is wiped at times would seem to hold on. What comes back to a
unit through the recurrent weights is not in it.

Zoneout keeps a part p of the state whatever the gate says: h = p * h_prev + (1 - p) * (z * h_prev + ...), so that a
step keeps p + (1 - p) * z. Of an LSTM that goes for c and `zoneout_c`; what `zoneout_h` keeps of h itself, read out of
an older c, is no half-life of a unit. Without a gate, zoneout is all that keeps.

Of a layer, by the derivative of its step: how fast the effect of a small change to its state fades, with all that goes
through the recurrent weights, and all zoneout. That is the only horizon of a cell that nothing keeps.

Where `starts` sets a boundary a memory ends, whatever the gates say. What stands between two is as a row of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatewise.reference import EQUATIONS

if TYPE_CHECKING:
    import numpy.typing as npt

    from gatewise.inspect.gates import Gates
    from gatewise.reference import Forward

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


def mean_keep(gate: Array, zoneout: float = 0.0) -> Array:
    """Finds the geometric mean of what a step keeps of each unit's state.

    Args:
        gate: (N, U), the gate that is multiplied with the state, in all steps; zeros of a cell without one.
        zoneout: what part of that state zoneout keeps.

    Returns:
        (U,)

    Example:
        >>> mean_keep(np.array([[0.9], [0.9]]), zoneout=0.5).round(3).tolist()
        [0.95]
    """
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(zoneout + (1 - zoneout) * gate))
    mean: Array = np.exp(logs.mean(axis=0))
    return mean


def gradient_half_life(gates: Gates) -> float:
    """Finds how many steps back a gradient halves, along the data.

    A vector of random direction is taken back through every row's steps by the reference's derivative, and another one
    from each boundary that `starts` sets; the mean of the logarithm of their growth is what the steps have in common.

    Returns:
        Steps; infinite if the gradient does not shrink, 0 if a step leaves nothing of it.
    """
    passed = gates.passed
    cell, (batch, units) = passed.layer.cell, passed.last_output.shape
    random = np.random.default_rng(0)
    d_states = [random.normal(size=(batch, units)) for _ in cell.row.states]
    total, count = 0.0, 0
    for t in reversed(range(len(passed.steps))):
        rows, restarted = passed.valid[:, t], passed.restarts[:, t]
        after = [d[rows] for d in d_states]
        before = _back(passed, t, after)
        growth = _length(before) / _length(after)
        if not growth.all():
            return 0.0
        total, count = total + float(np.log(growth).sum()), count + len(growth)
        for d, value in zip(d_states, before, strict=True):
            d[rows] = value / _length(before)[:, None]
            d[restarted] = random.normal(size=(restarted.sum(), units))
    return float(half_life(math.exp(total / count)))


def _back(passed: Forward, t: int, after: list[Array]) -> list[Array]:
    """Takes a gradient of the states after a step, (n, U) each, back to those before it."""
    parts = [part[passed.valid[:, t], t] for part in passed.zoneout]
    new = tuple((1 - part) * d for part, d in zip(parts, after, strict=True))
    found = EQUATIONS[passed.layer.cell].backward(passed.steps[t][1], new)
    before = [value + part * d for value, part, d in zip(found.states, parts, after, strict=True)]
    before[0] += found.h.sum(axis=0)
    return before


def _length(parts: list[Array]) -> Array:
    length: Array = np.sqrt(sum((part**2).sum(axis=1) for part in parts))
    return length
