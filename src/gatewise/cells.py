# SPDX-License-Identifier: Apache-2.0
"""The cells that the engine has: a row each."""

from __future__ import annotations

from typing import NamedTuple


class Cell(NamedTuple):
    """What is known of a cell wherever it runs.

    Attributes:
        code: its number in the engine, `gatewise_cell` in csrc/engine.h.
        gates: its gates, in the order in which both kernels store their columns.
        states: its states; the first is what the recurrent weights see, and the output.
    """

    code: int
    gates: tuple[str, ...]
    states: tuple[str, ...]


GRU = Cell(0, ("update", "reset", "candidate"), ("h",))
GRU_RESET_BEFORE = Cell(1, ("update", "reset", "candidate"), ("h",))


def gru(*, reset_after: bool) -> Cell:
    """Returns the GRU that resets after the product with the state, or before it.

    Example:
        >>> gru(reset_after=False).gates
        ('update', 'reset', 'candidate')
    """
    return GRU if reset_after else GRU_RESET_BEFORE
