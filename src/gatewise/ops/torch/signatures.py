# SPDX-License-Identifier: Apache-2.0
"""What the engine's operations are called and what they take: those of a layer of one direction, and of both.

The inputs of a layer stand in this order: x; what has a gradient in each direction, initial_state, kernel,
recurrent_kernel, bias and recurrent_bias; mask; the factors of each direction, input_dropout and recurrent_dropout.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = {1: "gru", 2: "gru_both"}  # by the number of directions
_WHOSE = {1: ("",), 2: ("first_", "second_")}
_OWN = (
    "Tensor? {0}initial_state, Tensor {0}kernel, Tensor {0}recurrent_kernel, Tensor? {0}bias, Tensor? {0}recurrent_bias"
)
_FACTORS = "Tensor? {0}input_dropout, Tensor? {0}recurrent_dropout"
_OWN_COUNT, _FACTORS_COUNT, _SHARED_COUNT = 5, 2, 2
# An activation is its place in gatewise.native.ACTIVATIONS: the oldest of torch's C interfaces hands over no text, and
# no lists either.
_OPTIONS = (
    "*, bool reset_after, int activation, int recurrent_activation, bool go_backwards, bool return_sequences, "
    "bool zero_output_for_mask, bool recompute, bool torch_layout"
)
_GRADIENTS = (
    "Tensor d_{0}initial_state, Tensor d_{0}kernel, Tensor d_{0}recurrent_kernel, Tensor d_{0}bias, "
    "Tensor d_{0}recurrent_bias"
)


def schemas(directions: int) -> tuple[str, str, str]:
    """The operations that run the layer, run it and save, and run its way back."""

    def of_each(arguments: str) -> str:
        return _of_each(arguments, directions)

    name, inputs = NAMES[directions], _inputs(directions)
    results = f"Tensor outputs, {of_each('Tensor {0}state')}"
    given = f"Tensor saved, Tensor? d_outputs, {of_each('Tensor? d_{0}state')}"
    return (
        f"{name}({inputs}, {_OPTIONS}) -> ({results})",
        f"{name}_train({inputs}, {_OPTIONS}) -> ({results}, Tensor saved)",
        f"{name}_grad({inputs}, {given}, {_OPTIONS}, bool x_gradient) -> (Tensor d_x, {of_each(_GRADIENTS)})",
    )


def _of_each(arguments: str, directions: int) -> str:
    return ", ".join(arguments.format(whose) for whose in _WHOSE[directions])


def _inputs(directions: int) -> str:
    return f"Tensor x, {_of_each(_OWN, directions)}, Tensor? mask, {_of_each(_FACTORS, directions)}"


def input_names(directions: int) -> list[str]:
    """What errors call the inputs of a layer: `kernel`, or `first.kernel` where there are two."""
    names = [argument.split()[-1] for argument in _inputs(directions).split(", ")]
    return [re.sub("^(first|second)_", r"\1.", name) for name in names]


def operation(directions: int, suffix: str = "") -> Any:
    """An operation of a layer of so many directions: without a suffix, or with `_train` or `_grad`."""
    return getattr(torch.ops.gatewise, NAMES[directions] + suffix).default


def differentiable(directions: int) -> int:
    """Counts the inputs that have gradients, the first of all."""
    return 1 + directions * _OWN_COUNT


def layer_inputs(directions: int) -> int:
    """Counts the inputs of a layer, the first of every operation."""
    return _SHARED_COUNT + directions * (_OWN_COUNT + _FACTORS_COUNT)


def directions_of(inputs: Sequence[Any]) -> int:
    """Counts the directions of a layer by its inputs, without what a way back takes besides."""
    return (len(inputs) - _SHARED_COUNT) // (_OWN_COUNT + _FACTORS_COUNT)


def of_each_direction(inputs: Sequence[Any]) -> list[list[Any]]:
    """The inputs of a layer of one direction for each that there is."""
    directions = directions_of(inputs)
    first_factor = differentiable(directions) + 1
    return [
        [
            inputs[0],
            *inputs[1 + i * _OWN_COUNT :][:_OWN_COUNT],
            inputs[first_factor - 1],
            *inputs[first_factor + i * _FACTORS_COUNT :][:_FACTORS_COUNT],
        ]
        for i in range(directions)
    ]
