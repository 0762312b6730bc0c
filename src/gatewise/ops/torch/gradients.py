# SPDX-License-Identifier: Apache-2.0
"""The derivatives of the operations: the first from the engine, the second from the GRU composed of torch's own.

`keep...` and `of_...` are what a `torch.autograd.Function` does on its way forward and back: `differentiable` makes an
operation of them that can be traced, `Layer` is the same for eager code.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from gatewise.ops.torch import composition, signatures
from gatewise.ops.torch.transforms import refuse_tangents, unruled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = torch.Tensor
Gradients: TypeAlias = tuple[Tensor | None, ...]

# Inside, operations go straight to their kernels, past the Python that `differentiable` makes of them.
BELOW_AUTOGRAD: Any = torch._C._AutoDispatchBelowAutograd  # noqa: SLF001  # what torch.library takes itself; not public


def differentiable(operation: Any, keep: Callable[..., None], way_back: Callable[..., Gradients]) -> Callable[..., Any]:
    """Makes the kernel that stands above an operation's own, with the meaning of `torch.library.register_autograd`.

    That one's would drop the tangents of forward-mode derivatives without a word.
    """

    class Node(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs_and_options: Any) -> tuple[Tensor, ...]:
            *inputs, options = inputs_and_options
            with BELOW_AUTOGRAD():
                results: tuple[Tensor, ...] = operation(*inputs, **options)
            keep(ctx, inputs, options, results)
            return results

        @staticmethod
        def backward(ctx: Any, *d_results: Tensor | None) -> Gradients:
            return *way_back(ctx, *d_results), None

    def kernel(*inputs: Tensor | None, **options: Any) -> tuple[Tensor, ...]:
        refuse_tangents(inputs)
        if torch.is_grad_enabled() and any(value.requires_grad for value in inputs if value is not None):
            return Node.apply(*inputs, options)  # type: ignore[no-untyped-call, no-any-return]
        with BELOW_AUTOGRAD():
            return operation(*inputs, **options)  # type: ignore[no-any-return]

    return kernel


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
        asks_more = torch.is_grad_enabled() or unruled() is not None  # another derivative may be taken of these
        with nullcontext() if asks_more else BELOW_AUTOGRAD():
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
    if unruled() is not None:
        found = composition.way_back(inputs, d_results, ctx.options)
        return *found, *_none(len(inputs) - len(found))
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
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        layer, d_results = composition.variables(inputs[:n]), composition.variables(given)
        results = composition.run([*layer, *inputs[n:]], options)
        first = composition.derivatives(results, d_results, layer, again=True)
        second = composition.derivatives(first, wanted, [*layer, *d_results], again=again)
    return *second[:n], *_none(m + 1 - n), *second[n:]


def _directions_of(gradients: Sequence[Tensor | None]) -> int:
    return next(n for n in signatures.NAMES if signatures.differentiable(n) == len(gradients))
