# SPDX-License-Identifier: Apache-2.0
"""The derivatives of the operations: the first from the engine, the second from the GRU composed of torch's own.

`keep...` and `of_...` are what `torch.library.register_autograd` takes; `Layer` is the same for eager code.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from gatewise.native import ACTIVATIONS
from gatewise.ops import composed
from gatewise.ops.torch import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = torch.Tensor
Gradients: TypeAlias = tuple[Tensor | None, ...]

# Inside, operations go straight to their kernels. The gradients registered for them are Python, and asking it whether a
# gradient will follow takes 24 us a call.
BELOW_AUTOGRAD: Any = torch._C._AutoDispatchBelowAutograd  # noqa: SLF001  # what torch.library takes itself; not public
DIFFERENTIABLE = 6  # the first inputs of every operation: x, initial_state, kernel, recurrent_kernel and two biases


class Layer(torch.autograd.Function):
    """`gatewise::gru_train` with its gradient, without `saved`: what registration costs in every call is left out."""

    @staticmethod
    def forward(ctx: Any, *inputs_and_options: Any) -> tuple[Tensor, Tensor]:
        """Runs the layer on the inputs of the operation and a dictionary of its options."""
        *inputs, options = inputs_and_options
        with BELOW_AUTOGRAD():
            results = torch.ops.gatewise.gru_train.default(*inputs, **options)
        keep(ctx, inputs, options, results)
        return results[0], results[1]

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor | None, d_state: Tensor | None) -> Gradients:
        """Returns the gradients of the inputs and None for the options."""
        with nullcontext() if torch.is_grad_enabled() else BELOW_AUTOGRAD():  # a gradient of these may be asked for
            return *of_gru_train(ctx, d_outputs, d_state, None), None


def keep(ctx: Any, inputs: Sequence[Any], keyword_only_inputs: dict[str, Any], output: tuple[Tensor, ...]) -> None:
    """Keeps the inputs of `gru` or `gru_train`, and what the latter saved, for the way back."""
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output[2:3])
    ctx.options = keyword_only_inputs


def of_gru_train(ctx: Any, d_outputs: Tensor | None, d_state: Tensor | None, _d_saved: None) -> Gradients:
    """The gradients of the inputs of `gru_train`."""
    *inputs, saved = ctx.saved_tensors
    return _way_back(ctx, inputs, saved, d_outputs, d_state)


def of_gru(ctx: Any, d_outputs: Tensor | None, d_state: Tensor | None) -> Gradients:
    """The gradients of the inputs of `gru`, which saved nothing: the layer runs once more."""
    inputs = ctx.saved_tensors
    saved = torch.ops.gatewise.gru_train.default(*inputs, **ctx.options)[2]
    return _way_back(ctx, inputs, saved, d_outputs, d_state)


def _way_back(
    ctx: Any, inputs: Sequence[Any], saved: Tensor, d_outputs: Tensor | None, d_state: Tensor | None
) -> Gradients:
    """Takes the gradients of outputs and state to those of the layer's inputs; the mask and the factors have none."""
    x_gradient = ctx.needs_input_grad[0]
    found = torch.ops.gatewise.gru_grad.default(
        *inputs, saved, d_outputs, d_state, **ctx.options, x_gradient=x_gradient
    )
    present = (x_gradient, *(value is not None for value in inputs[1:DIFFERENTIABLE]))
    return *(g if there else None for g, there in zip(found, present, strict=True)), None, None, None


# --- Second derivatives ---


def keep_for_second(ctx: Any, inputs: Sequence[Any], keyword_only_inputs: dict[str, Any], output: Any) -> None:
    """Keeps the inputs of `gru_grad` but what the engine saved."""
    del output
    ctx.set_materialize_grads(False)
    *layer, _saved, d_outputs, d_state = inputs
    ctx.save_for_backward(*layer, d_outputs, d_state)
    ctx.options = keyword_only_inputs


def of_gru_grad(ctx: Any, *gradients: Tensor | None) -> Gradients:
    """The gradients of the inputs of `gru_grad`: the derivative of the composed GRU's first derivative."""
    *inputs, d_outputs, d_state = ctx.saved_tensors
    options = dict(ctx.options)
    wanted = gradients if options.pop("x_gradient") else (None, *gradients[1:])
    for name in ("activation", "recurrent_activation"):
        options[name] = ACTIVATIONS[options[name]]
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        layer: list[Any] = [_variable(value) for value in inputs[:DIFFERENTIABLE]]
        given = [_variable(value) for value in (d_outputs, d_state)]
        weights: Sequence[Any] = layout.to_keras(*layer[2:]) if options.pop("torch_layout") else layer[2:5]
        results = composed.gru(_Torch(), *layer[:2], *weights, *inputs[DIFFERENTIABLE:], **options)
        first = _derivatives(results, given, layer, again=True)
        second = _derivatives(first, wanted, [*layer, *given], again=again)
    return *second[:DIFFERENTIABLE], None, None, None, None, *second[DIFFERENTIABLE:]


def _variable(value: Tensor | None) -> Tensor | None:
    """A tensor to take derivatives by: a node of its own, so that none is taken through what `value` was made of."""
    if value is None:
        return None
    return value.view_as(value) if value.requires_grad else value.detach().requires_grad_()


def _derivatives(
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
    """The functions that `composed.gru` takes from torch."""

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
