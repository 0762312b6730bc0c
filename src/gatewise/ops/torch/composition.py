# SPDX-License-Identifier: Apache-2.0
"""The layer composed of torch's own operations: what runs where the engine's have no rule, and has every derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from gatewise.engine import ACTIVATIONS
from gatewise.operands import OWN_OUTPUTS, facts, float_of
from gatewise.ops import composed
from gatewise.ops.torch import layout, signatures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = torch.Tensor


def run(inputs: Sequence[Any], options: Sequence[int]) -> tuple[Tensor | None, ...]:
    """Runs a layer on the inputs and the options of its operation. Returns its results, None for a state it has not."""
    told = signatures.Options(*options)._asdict()
    for name in ("activation", "recurrent_activation"):
        told[name] = ACTIVATIONS[told[name]]
    for name in ("zoneout_h", "zoneout_c"):
        told[name] = float_of(told[name])
    shared, directions = signatures.parted(inputs)
    if told.pop("torch_layout"):
        directions = [layout.to_keras(told["cell"], own) for own in directions]
    outputs, states = composed.layer(_Torch(), shared.x, shared.mask, shared.starts, directions, **told)
    missing = (None,) * (len(OWN_OUTPUTS) - facts(told["cell"]).states)
    return outputs, *(state for own in states for state in (*own, *missing))


def backward(inputs: Sequence[Any], d_results: Sequence[Tensor | None], options: Sequence[int]) -> list[Tensor | None]:
    """The gradients of the inputs that have one, from those of the results, with tangents if these have some."""
    inputs, places, again = list(inputs), signatures.of(inputs).differentiable, torch.is_grad_enabled()
    with torch.enable_grad():
        layer = variables([inputs[i] for i in places])
        for place, variable in zip(places, layer, strict=True):
            inputs[place] = variable
        return derivatives(run(inputs, options), d_results, layer, again=again)


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


class _Torch:
    """The functions that the composed layer takes from torch."""

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

    def normal(self, value: Tensor, epsilon: Tensor | float) -> Tensor:
        centred = value - value.mean(-1, keepdim=True)
        return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + epsilon)

    def where(self, condition: Tensor, value: Tensor, otherwise: Tensor | float) -> Tensor:
        return torch.where(condition, value, otherwise)

    def time_first(self, value: Tensor) -> Tensor:
        return value.transpose(0, 1)

    def flip(self, value: Tensor) -> Tensor:
        return value.flip(0)

    def roll(self, value: Tensor) -> Tensor:
        return value.roll(1, 0)

    def side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        return torch.cat(tuple(values), -1)

    def scan(
        self,
        step: Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], tuple[Tensor, ...]],
        start: tuple[Tensor, ...],
        sequences: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        carried, steps = start, []
        for inputs in zip(*sequences, strict=True):
            carried = step(carried, inputs)
            steps.append(carried)
        return tuple(torch.stack(values) for values in zip(*steps, strict=True))
