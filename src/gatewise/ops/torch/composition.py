# SPDX-License-Identifier: Apache-2.0
"""The layer composed of torch's own operations: what runs where the engine's have no rule, and has every derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from gatewise.native import ACTIVATIONS
from gatewise.ops import composed
from gatewise.ops.direction import Direction
from gatewise.ops.torch import layout, signatures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = torch.Tensor


def run(inputs: Sequence[Any], options: dict[str, Any]) -> tuple[Tensor, ...]:
    """Runs a layer on the inputs and the options of its operation. Returns outputs, and each direction's last state."""
    options = dict(options)
    for name in ("activation", "recurrent_activation"):
        options[name] = ACTIVATIONS[options[name]]
    torch_layout = options.pop("torch_layout")
    each = signatures.of_each_direction(inputs)
    directions = [_direction(*own, torch_layout=torch_layout) for own in each]
    mask = inputs[signatures.differentiable(len(each))]
    outputs, states = composed.directions(_Torch(), inputs[0], mask, directions, **options)
    return outputs, *states


def way_back(inputs: Sequence[Any], d_results: Sequence[Tensor | None], options: dict[str, Any]) -> list[Tensor | None]:
    """The gradients of the inputs that have one, from those of outputs and states, with tangents if these have some."""
    n, again = signatures.differentiable(signatures.directions_of(inputs)), torch.is_grad_enabled()
    with torch.enable_grad():
        layer = variables(inputs[:n])
        return derivatives(run([*layer, *inputs[n:]], options), d_results, layer, again=again)


def variables(values: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Tensors to take derivatives by: nodes of their own, so that none goes through what the values were made of."""
    return [
        value if value is None else value.view_as(value) if value.requires_grad else value.detach().requires_grad_()
        for value in values
    ]


def derivatives(
    results: Sequence[Tensor | None], weights: Sequence[Tensor | None], variables: list[Tensor | None], *, again: bool
) -> list[Tensor | None]:
    """The derivatives of the weighted sum of results by variables; None where there is none."""
    pairs = [
        (result, weight)
        for result, weight in zip(results, weights, strict=True)
        if result is not None and result.requires_grad and weight is not None
    ]
    if not pairs:
        return [None] * len(variables)
    derivatives = torch.autograd.grad(
        [result for result, _ in pairs],
        [variable for variable in variables if variable is not None],
        [weight for _, weight in pairs],
        create_graph=again,
        allow_unused=True,
    )
    remaining = iter(derivatives)
    return [None if variable is None else next(remaining) for variable in variables]


def _direction(
    _x: Tensor, initial_state: Tensor | None, kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None,
    recurrent_bias: Tensor | None, _mask: Tensor | None, *factors: Tensor | None, torch_layout: bool,
) -> Direction:  # fmt: skip
    """What a direction has of its own, in Keras's layout, from the inputs of a layer."""
    if torch_layout:
        kernel, recurrent_kernel, bias = layout.to_keras(kernel, recurrent_kernel, bias, recurrent_bias)
    return Direction(initial_state, kernel, recurrent_kernel, bias, *factors)


class _Torch:
    """The functions that the composed GRU takes from torch."""

    def activation(self, name: str) -> Callable[[Tensor], Tensor]:
        if name == "linear":
            return lambda value: value
        if name == "hard_sigmoid":
            return lambda value: torch.nn.functional.relu6(value + 3) / 6
        function: Callable[[Tensor], Tensor] = getattr(torch, name)
        return function

    def zero_state(self, x: Tensor, units: int) -> Tensor:
        return x.new_zeros((x.shape[0], units))

    def all_valid(self, x: Tensor) -> Tensor:
        return x.new_ones((x.shape[0], x.shape[1], 1), dtype=torch.bool)

    def where(self, condition: Tensor, value: Tensor, otherwise: Tensor | float) -> Tensor:
        return torch.where(condition, value, otherwise)

    def time_first(self, value: Tensor) -> Tensor:
        return value.transpose(0, 1)

    def flip(self, value: Tensor) -> Tensor:
        return value.flip(0)

    def side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        return torch.cat(tuple(values), -1)

    def scan(
        self,
        step: Callable[[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], tuple[Tensor, Tensor]],
        start: tuple[Tensor, Tensor],
        sequences: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        carried, steps = start, []
        for inputs in zip(*sequences, strict=True):
            carried = step(carried, inputs)
            steps.append(carried)
        states, outputs = zip(*steps, strict=True)
        return torch.stack(states), torch.stack(outputs)
