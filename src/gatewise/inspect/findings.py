# SPDX-License-Identifier: Apache-2.0
"""What stands out: dead units, units that do the same, gates that stay at an end. Each definition stands in a function.

Moving is measured against the layer's largest state, so that layers of any activation are judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatewise.inspect.arguments import number

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tolerances:
    """What counts as what.

    Attributes:
        still: a unit never moves if its state's range over all steps is below this share of the layer's largest state.
        matter: a unit never matters if cutting it off changes each output by less than this share of its range.
        equal: units are duplicates if their states differ by less than this share of the layer's largest state at
            every step, up to the sign.
        low: a gate is shut at values below this share of its range, ...
        high: ... and open above this one; 0.1 and 0.9 are those of Karpathy et al. 2015, arXiv 1506.02078.
        steps: the share of steps at the same end that makes it saturated.

    Raises:
        TypeError: one is no number.
        ValueError: one is not from 0 to 1, or low is above high.
    """

    still: float = 1e-3
    matter: float = 1e-3
    equal: float = 1e-3
    low: float = 0.1
    high: float = 0.9
    steps: float = 0.95

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            number("Tolerances", name, value, most=1)
        if self.low > self.high:
            raise ValueError(
                f"Tolerances: low is above high. Expected low <= high; received {self.low} and {self.high}. Swap them."
            )


class Twins(NamedTuple):
    """Two units with the same states, at every step.

    Attributes:
        first: the lower unit.
        second: the other.
        sign: 1, or -1 where one is the other with the opposite sign.
    """

    first: int
    second: int
    sign: int


def ranges(h: Array) -> Array:
    """Finds how far each unit moves: of its states, (N, U), the largest less the smallest, by the layer's largest."""
    found: Array = np.ptp(h, axis=0) / (np.abs(h).max() or 1.0)
    return found


def twins(h: Array, moving: npt.NDArray[np.bool_], tolerance: float) -> tuple[Twins, ...]:
    """Finds units whose states are equal at every step, up to the sign. Units that never move are left out.

    Args:
        h: (N, U), states in all steps.
        moving: (U,), the units that move.
        tolerance: as in `Tolerances.equal`.

    Returns:
        Each unit that equals a lower one, with the lowest of those.

    Example:
        >>> import numpy as np
        >>> h = np.array([[0.1, 0.5, -0.1], [0.7, 0.2, -0.7]])
        >>> twins(h, np.full(3, True), 1e-3)
        (Twins(first=0, second=2, sign=-1),)
    """
    most = tolerance * (np.abs(h).max() or 1.0)
    squares, products = (h**2).sum(axis=0), h.T @ h
    found: dict[int, Twins] = {}
    for u in np.flatnonzero(moving):
        if u in found:
            continue
        # Where no step differs by more than `most`, the mean square does not either: few pairs are left to look at
        near = squares[u] + squares - 2 * np.abs(products[u]) <= len(h) * most**2 + 1e-12 * squares.max()
        for v in np.flatnonzero(near & moving):
            sign = 1 if products[u, v] > 0 else -1
            if v > u and v not in found and np.abs(h[:, u] - sign * h[:, v]).max() < most:
                found[int(v)] = Twins(int(u), int(v), sign)
    return tuple(found.values())


# The lowest and highest value of each activation that has both
ENDS = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def ends(gate: Array, activation: str, tolerances: Tolerances) -> Array | None:
    """Finds how often each unit's gate is shut and open.

    Args:
        gate: (N, U), its values in all steps.
        activation: its function.
        tolerances: what is shut and open.

    Returns:
        (2, U): shares of the steps, 0 to 1, shut and open; None for a function without ends.
    """
    if activation not in ENDS:
        return None
    lowest, highest = ENDS[activation]
    share = (gate - lowest) / (highest - lowest)
    return np.stack([(share < tolerances.low).mean(axis=0), (share > tolerances.high).mean(axis=0)])
