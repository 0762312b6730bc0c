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
from gatewise.ops.direction import Direction
from gatewise.ops.torch import layout, signatures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = torch.Tensor
Gradients: TypeAlias = tuple[Tensor | None, ...]

# Inside, operations go straight to their kernels. The gradients registered for them are Python, and asking it whether a
# gradient will follow takes 24 us a call.
BELOW_AUTOGRAD: Any = torch._C._AutoDispatchBelowAutograd  # noqa: SLF001  # what torch.library takes itself; not public


class Layer(torch.autograd.Function):
    """The operation that saves, with its gradient, without `saved`: what registration costs a call is left out."""

    @staticmethod
    def forward(ctx: Any, *inputs_and_options: Any) -> tuple[Tensor, ...]:
        """Runs the layer on the inputs of the operation and a dictionary of its options."""
        *inputs, options = inputs_and_options
        with BELOW_AUTOGRAD():
            results: tuple[Tensor, ...] = _train(inputs)(*inputs, **options)
        keep(ctx, inputs, options, results)
        return results[:-1]

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor | None) -> Gradients:
        """Returns the gradients of the inputs and None for the options."""
        with nullcontext() if torch.is_grad_enabled() else BELOW_AUTOGRAD():  # a gradient of these may be asked for
            return *of_gru_train(ctx, *d_results, None), None


def keep(ctx: Any, inputs: Sequence[Any], keyword_only_inputs: dict[str, Any], output: tuple[Tensor, ...]) -> None:
    """Keeps the inputs of the layer, and what the operation saved if it did, for the way back."""
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output[1 + signatures.directions_of(inputs) :])
    ctx.options = keyword_only_inputs


def of_gru_train(ctx: Any, *d_results: Tensor | None) -> Gradients:
    """The gradients of the inputs of the operation that saves, from those of outputs, states and, None, `saved`."""
    *inputs, saved = ctx.saved_tensors
    return _way_back(ctx, inputs, saved, d_results[:-1])


def of_gru(ctx: Any, *d_results: Tensor | None) -> Gradients:
    """The gradients of the inputs of the operation that saved nothing: the layer runs once more."""
    inputs = ctx.saved_tensors
    return _way_back(ctx, inputs, _train(inputs)(*inputs, **ctx.options)[-1], d_results)


def _train(inputs: Sequence[Any]) -> Any:
    return signatures.operation(signatures.directions_of(inputs), "_train")


def _way_back(ctx: Any, inputs: Sequence[Any], saved: Tensor, d_results: Sequence[Tensor | None]) -> Gradients:
    """Takes the gradients of outputs and states to those of the layer's inputs; the mask and the factors have none."""
    x_gradient = ctx.needs_input_grad[0]
    run = signatures.operation(signatures.directions_of(inputs), "_grad")
    found = run(*inputs, saved, *d_results, **ctx.options, x_gradient=x_gradient)
    present = (x_gradient, *(value is not None for value in inputs[1 : len(found)]))
    return *(g if there else None for g, there in zip(found, present, strict=True)), *_none(len(inputs) - len(found))


def _none(count: int) -> tuple[None, ...]:
    return (None,) * count


# --- Second derivatives ---


def keep_for_second(
    ctx: Any, inputs: Sequence[Any], keyword_only_inputs: dict[str, Any], output: tuple[Tensor, ...]
) -> None:
    """Keeps the inputs of the way back but what the engine saved."""
    ctx.set_materialize_grads(False)
    saved = signatures.layer_inputs(_directions_of(output))
    ctx.save_for_backward(*inputs[:saved], *inputs[saved + 1 :])
    ctx.options = keyword_only_inputs


def of_gru_grad(ctx: Any, *gradients: Tensor | None) -> Gradients:
    """The gradients of the inputs of the way back: the derivative of the composed GRU's first derivative."""
    n, m = len(gradients), signatures.layer_inputs(_directions_of(gradients))
    inputs, given = ctx.saved_tensors[:m], ctx.saved_tensors[m:]
    options = dict(ctx.options)
    wanted = gradients if options.pop("x_gradient") else (None, *gradients[1:])
    for name in ("activation", "recurrent_activation"):
        options[name] = ACTIVATIONS[options[name]]
    torch_layout = options.pop("torch_layout")
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        layer, d_results = [_variable(value) for value in inputs[:n]], [_variable(value) for value in given]
        mask, each = inputs[n], signatures.of_each_direction([*layer, *inputs[n:]])
        directions = [_direction(*own, torch_layout=torch_layout) for own in each]
        outputs, states = composed.directions(_Torch(), layer[0], mask, directions, **options)
        first = _derivatives((outputs, *states), d_results, layer, again=True)
        second = _derivatives(first, wanted, [*layer, *d_results], again=again)
    return *second[:n], *_none(m + 1 - n), *second[n:]


def _directions_of(gradients: Sequence[Tensor | None]) -> int:
    return next(n for n in signatures.NAMES if signatures.differentiable(n) == len(gradients))


def _direction(
    _x: Tensor, initial_state: Tensor | None, kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None,
    recurrent_bias: Tensor | None, _mask: Tensor | None, *factors: Tensor | None, torch_layout: bool,
) -> Direction:  # fmt: skip
    """What a direction has of its own, in Keras's layout, from the inputs of a layer."""
    if torch_layout:
        kernel, recurrent_kernel, bias = layout.to_keras(kernel, recurrent_kernel, bias, recurrent_bias)
    return Direction(initial_state, kernel, recurrent_kernel, bias, *factors)


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
