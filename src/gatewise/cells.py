# SPDX-License-Identifier: Apache-2.0
"""The cells that the engine has."""

from __future__ import annotations

from enum import IntEnum


class Cell(IntEnum):
    """A cell, by its number in the engine: `gatewise_cell` in csrc/engine.h."""

    GRU = 0
    GRU_RESET_BEFORE = 1


def gru(*, reset_after: bool) -> Cell:
    """Returns the GRU that resets after the product with the state, or before it.

    Example:
        >>> gru(reset_after=False).name
        'GRU_RESET_BEFORE'
    """
    return Cell.GRU if reset_after else Cell.GRU_RESET_BEFORE
