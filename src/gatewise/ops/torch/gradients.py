# SPDX-License-Identifier: Apache-2.0
"""The derivatives of the operations: the first from the engine, the second from the layer composed of torch's own.

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

    from gatewise.ops.torch.signatures import Signature

Tensor: TypeAlias = torch.Tensor
Gradients: TypeAlias = tuple[Tensor | None, ...]

# Inside, operations go straight to their kernels, past the Python that `differentiable` makes of them.
BELOW_AUTOGRAD: Any = torch._C._AutoDispatchBelowAutograd  # noqa: SLF001  # what torch.library takes itself; not public


def differentiable(
    operation: Any, tensors: int, keep: Callable[..., None], backward: Callable[..., Gradients]
) -> Callable[..., Any]:
    """Makes the kernel that stands above an operation's own, with the meaning of `torch.library.register_autograd`.

    That one's would drop the tangents of forward-mode derivatives without a word.

    Args:
        operation: it.
        tensors: how many of its arguments are tensors, the first ones; the others are numbers.
        keep: takes the node, the tensors, the numbers and the results, for the backward pass.
        backward: takes the node and the gradients of the results to those of the tensors.
    """

    class Node(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
            with BELOW_AUTOGRAD():
                results: tuple[Tensor, ...] = operation(*arguments)
            keep(ctx, arguments[:tensors], arguments[tensors:], results)
            return results

        @staticmethod
        def backward(ctx: Any, *d_results: Tensor | None) -> Gradients:
            return *backward(ctx, *d_results), *(None,) * len(ctx.options)

    def kernel(*arguments: Any) -> tuple[Tensor, ...]:
        refuse_tangents(arguments[:tensors])
        if torch.is_grad_enabled() and any(v.requires_grad for v in arguments[:tensors] if v is not None):
            return Node.apply(*arguments)  # type: ignore[no-untyped-call, no-any-return]
        with BELOW_AUTOGRAD():
            return operation(*arguments)  # type: ignore[no-any-return]

    return kernel


class Layer(torch.autograd.Function):
    """The operation that keeps a workspace, with its gradient, without it: what registration costs is left out."""

    @staticmethod
    def forward(ctx: Any, *inputs_and_options: Any) -> tuple[Tensor, ...]:
        """Runs the layer on the inputs of the operation and its options."""
        *inputs, options = inputs_and_options
        with BELOW_AUTOGRAD():
            results: tuple[Tensor, ...] = signatures.of(inputs).operations["_train"](*inputs, *options)
        keep(ctx, inputs, options, results)
        return results[:-1]

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor | None) -> Gradients:
        """Returns the gradients of the inputs and None for the options."""
        asks_more = torch.is_grad_enabled() or unruled() is not None  # another derivative may be taken of these
        with nullcontext() if asks_more else BELOW_AUTOGRAD():
            return *of_rnn_train(ctx, *d_results, None), None


def keep(ctx: Any, inputs: Sequence[Any], options: Sequence[int], results: tuple[Tensor, ...]) -> None:
    """Keeps the inputs of the layer, and the workspace if there is one, for the backward pass."""
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *results[len(signatures.of(inputs).outputs) :])
    ctx.options = options


def of_rnn_train(ctx: Any, *d_results: Tensor | None) -> Gradients:
    """The gradients of the inputs of the operation that keeps a workspace, from those of its results."""
    *inputs, workspace = ctx.saved_tensors
    return _backward(ctx, inputs, workspace, d_results[:-1])


def of_rnn(ctx: Any, *d_results: Tensor | None) -> Gradients:
    """The gradients of the inputs of the operation that kept nothing: the layer runs once more."""
    inputs = ctx.saved_tensors
    return _backward(ctx, inputs, signatures.of(inputs).operations["_train"](*inputs, *ctx.options)[-1], d_results)


def _backward(ctx: Any, inputs: Sequence[Any], workspace: Tensor, d_results: Sequence[Tensor | None]) -> Gradients:
    """Takes the gradients of a layer's results to those of its inputs, None for those that have none."""
    signature, x_gradient = signatures.of(inputs), ctx.needs_input_grad[0]
    gradients: list[Tensor | None] = [None] * len(inputs)
    if unruled() is not None:
        found: Sequence[Tensor | None] = composition.backward(inputs, d_results, ctx.options)
    else:
        found = signature.operations["_grad"](*inputs, workspace, *d_results, *ctx.options, x_gradient)
    for place, gradient in zip(signature.differentiable, found, strict=True):
        if inputs[place] is not None:
            gradients[place] = gradient
    if not x_gradient:
        gradients[0] = None
    return tuple(gradients)


# --- Second derivatives ---


def keep_for_second(ctx: Any, arguments: Sequence[Any], options: Sequence[int], gradients: tuple[Tensor, ...]) -> None:
    """Keeps the tensors that the backward pass takes but the workspace."""
    ctx.set_materialize_grads(False)
    given = _of_gradients(gradients).of_grad((*arguments, *options))
    ctx.save_for_backward(*given.inputs, *given.d_results)
    ctx.options = options


def of_rnn_grad(ctx: Any, *gradients: Tensor | None) -> Gradients:
    """The gradients of the inputs of the backward pass: the derivative of the composed layer's first derivative."""
    signature = _of_gradients(gradients)
    n, places = len(signature.inputs), signature.differentiable
    inputs, given = list(ctx.saved_tensors[:n]), ctx.saved_tensors[n:]
    *options, x_gradient = ctx.options
    wanted = gradients if x_gradient else (None, *gradients[1:])
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        layer, d_results = composition.variables([inputs[i] for i in places]), composition.variables(given)
        for place, variable in zip(places, layer, strict=True):
            inputs[place] = variable
        first = composition.derivatives(composition.run(inputs, options), d_results, layer, again=True)
        second = composition.derivatives(first, wanted, [*layer, *d_results], again=again)
    of_inputs: list[Tensor | None] = [None] * n
    for place, gradient in zip(places, second, strict=False):
        of_inputs[place] = gradient
    return *of_inputs, None, *second[len(places) :]


def _of_gradients(gradients: Sequence[Tensor | None]) -> Signature:
    return next(s for s in signatures.SIGNATURES.values() if len(s.differentiable) == len(gradients))
