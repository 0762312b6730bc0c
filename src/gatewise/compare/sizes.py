# SPDX-License-Identifier: Apache-2.0
"""Equal parameters: how many units give a cell as many weights as another has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 0.02  # how far numbers of weights may be from each other to be called equal
_TRIES = 40


def weights(model: Any) -> int:
    """Counts the weights of a model but those of its embeddings, which depend on the data and not on the cell."""
    import keras

    return int(model.count_params()) - sum(
        int(layer.count_params()) for layer in _layers(model) if isinstance(layer, keras.layers.Embedding)
    )


def _layers(model: Any) -> Any:
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else (layer,)


def units_for(wanted: int, count: Callable[[int], int], start: int) -> tuple[int, int]:
    """Finds the number of units whose weights come nearest to a number.

    Args:
        wanted: how many weights there should be.
        count: how many a number of units gives; it grows with them, about as their square.
        start: the number of units that is tried first.

    Returns:
        The number of units, and how many weights these give.

    Example:
        >>> units_for(1000, lambda units: units * units, start=64)
        (32, 1024)
    """
    counts = {start: count(start)}
    units = start
    for _ in range(_TRIES):
        units = _between(counts, wanted, max(1, round(units * math.sqrt(wanted / counts[units]))))
        if units in counts:
            break
        counts[units] = count(units)
    best = min(counts, key=lambda units: (abs(counts[units] - wanted), units))
    return best, counts[best]


def _between(counts: dict[int, int], wanted: int, guess: int) -> int:
    """Moves a guess into the open range of what is not known yet; gives a number that is known if there is none."""
    low = max((units for units, found in counts.items() if found <= wanted), default=0)
    high = min((units for units, found in counts.items() if found >= wanted), default=0)
    if high == low or (high and high - low <= 1):
        return max(low, 1) if max(low, 1) in counts else high
    return max(low + 1, min(guess, high - 1) if high else guess)


def are_equal(one: int, other: int) -> bool:
    """Says whether two numbers of weights are within the tolerance.

    Example:
        >>> are_equal(1000, 1019), are_equal(1000, 1021)
        (True, False)
    """
    return abs(one - other) <= TOLERANCE * one
