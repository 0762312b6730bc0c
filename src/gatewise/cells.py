# SPDX-License-Identifier: Apache-2.0
"""The cells: a row each, which everything else asks. What a cell computes at a step stands in csrc/cells/."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Row(NamedTuple):
    """What is particular to a cell.

    Attributes:
        gates: what each column block of both kernels is for, in the order they are stored in, which is Keras's.
        states: the arrays that a step carries on, h first; h is what the recurrent weights see, and the output.
        torch: where each gate stands in PyTorch's layout.
        onnx: likewise, of the ONNX node; None where ONNX has no such cell.
        weights: what a layer has besides kernels and bias, in the order in which its constructors take them.
    """

    gates: tuple[str, ...]
    states: tuple[str, ...]
    torch: tuple[int, ...]
    onnx: tuple[int, ...] | None
    weights: tuple[str, ...] = ()


class Cell(IntEnum):
    """A cell, by its number in the engine: `gatewise_cell` in csrc/engine.h.

    Example:
        >>> Cell.GRU.row.gates
        ('update', 'reset', 'candidate')
    """

    GRU = 0
    GRU_RESET_BEFORE = 1
    LSTM = 2
    SIMPLE_RNN = 3
    LAYER_NORM_GRU = 4
    LAYER_NORM_GRU_RESET_BEFORE = 5
    LAYER_NORM_LSTM = 6

    @property
    def row(self) -> Row:
        """What is particular to it."""
        return ROWS[self]


_GAINS = ("gain", "recurrent_gain")
_OF_GRU, _OF_LSTM = ("update", "reset", "candidate"), ("input", "forget", "candidate", "output")

# By number
ROWS = (
    Row(_OF_GRU, ("h",), torch=(1, 0, 2), onnx=(0, 1, 2)),
    Row(_OF_GRU, ("h",), torch=(1, 0, 2), onnx=(0, 1, 2)),
    Row(_OF_LSTM, ("h", "c"), torch=(0, 1, 2, 3), onnx=(0, 2, 3, 1)),
    Row(("sum",), ("h",), torch=(0,), onnx=(0,)),
    Row(_OF_GRU, ("h",), torch=(1, 0, 2), onnx=None, weights=_GAINS),
    Row(_OF_GRU, ("h",), torch=(1, 0, 2), onnx=None, weights=_GAINS),
    Row(_OF_LSTM, ("h", "c"), torch=(0, 1, 2, 3), onnx=None, weights=(*_GAINS, "state_gain", "state_bias")),
)


def gru(*, reset_after: bool, layer_norm: bool = False) -> Cell:
    """Returns the GRU that resets after the product with the state, or before it; with layer normalisation, or without.

    Example:
        >>> gru(reset_after=False).name
        'GRU_RESET_BEFORE'
    """
    if layer_norm:
        return Cell.LAYER_NORM_GRU if reset_after else Cell.LAYER_NORM_GRU_RESET_BEFORE
    return Cell.GRU if reset_after else Cell.GRU_RESET_BEFORE
