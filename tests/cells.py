# SPDX-License-Identifier: Apache-2.0
"""The cells that the tests go through: what they give a layer, and what it gives back."""

from __future__ import annotations

from typing import Any

import gatewise
from gatewise.cells import Cell

CELLS = list(Cell)


def weights_of(
    cell: Cell, kernel: Any, recurrent_kernel: Any, bias: Any = None, **of_norm: Any
) -> gatewise.weights.Weights:
    """The weights of a layer of a cell."""
    if cell in {Cell.LAYER_NORM_GRU, Cell.LAYER_NORM_GRU_RESET_BEFORE}:
        after = cell is Cell.LAYER_NORM_GRU
        return gatewise.LayerNormGRUWeights(kernel, recurrent_kernel, bias, **of_norm, reset_after=after)
    if cell is Cell.LAYER_NORM_LSTM:
        return gatewise.LayerNormLSTMWeights(kernel, recurrent_kernel, bias, **of_norm)
    if cell in {Cell.GRU, Cell.GRU_RESET_BEFORE}:
        return gatewise.GRUWeights(kernel, recurrent_kernel, bias, reset_after=cell is Cell.GRU)
    kinds = {Cell.LSTM: gatewise.LSTMWeights, Cell.SIMPLE_RNN: gatewise.SimpleRNNWeights}
    return kinds[cell](kernel, recurrent_kernel, bias)


def has_two_biases(cell: Cell) -> bool:
    """Whether Keras's bias has a second row, of the recurrent weights."""
    return cell is Cell.GRU


def nested(cell: Cell, states: list[Any]) -> Any:
    """The states of a layer as its caller sees them: one alone, several in a tuple; None where there are none."""
    if all(state is None for state in states):
        return None
    return states[0] if len(cell.row.states) == 1 else tuple(states)


def by_name(cell: Cell, name: str, states: Any) -> dict[str, Any]:
    """The states of a layer, as its caller sees them, by name: "state", and "state_c" for the second."""
    several = states if len(cell.row.states) > 1 else (states,)
    return dict(zip(state_names(cell, name), several, strict=True))


def state_names(cell: Cell, name: str) -> list[str]:
    """What the states of a cell are called: "state", and "state_c" for the second."""
    return [name, *(f"{name}_{state}" for state in cell.row.states[1:])]


def first(state: Any) -> Any:
    """The state h of what stands for a layer's states."""
    return state[0] if isinstance(state, tuple) else state


def each(function: Any, *states: Any) -> Any:
    """What a function makes of each state, nested as the states are."""
    if isinstance(states[0], tuple):
        return tuple(function(*of_each) for of_each in zip(*states, strict=True))
    return function(*states)
