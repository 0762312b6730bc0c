# SPDX-License-Identifier: Apache-2.0
"""The engine as differentiable torch functions: `gru`, `bidirectional`, and what a layer asks before it calls them.

Three operations stand behind `gru`, registered in `operations.py`: `gatewise::gru_train` runs the layer and saves what
the way back needs, `gatewise::gru_grad` is that way back, and `gatewise::gru` runs the layer without saving. Those of
`bidirectional` are called `gru_both`, likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from gatewise.extras import required_by

with required_by("gatewise.ops.torch", "torch"):
    import torch

from gatewise.fallback import warn_once
from gatewise.native import ACTIVATIONS
from gatewise.ops.torch import composition, gradients, operations, shapes, signatures
from gatewise.ops.torch.transforms import transforms, unruled
from gatewise.recompute import recomputing

if TYPE_CHECKING:
    from gatewise.ops.direction import Direction

Tensor: TypeAlias = torch.Tensor

# Where a call may find an obstacle, tracing for export apart
CONDITIONS = (
    "its input is on another device than the CPU",
    "it runs inside torch.func.grad or the like",
    "a forward-mode derivative is taken through it",
)


def available() -> str | None:
    """Says whether the operations can be used.

    Returns:
        None if they can, else the reason why not.

    Example:
        >>> available() is None
        True
    """
    return operations.PROBLEM


def obstacle(x: Tensor) -> str | None:
    """Says what keeps the operations from running here: another device, tracing into a file, a transform of torch.func.

    Returns:
        None if nothing does, else the reason, a clause.

    Example:
        >>> obstacle(torch.zeros(1, 2, 3)) is None
        True
    """
    device = x.device.type
    if device not in {"cpu", "meta"}:
        return f"the input is on the device {device} and the engine runs on the CPU"
    if tracing():
        return "the code is traced for export, and what is exported shall run without gatewise"
    return unruled()


def tracing() -> bool:
    """Says whether the code running now is being traced into a program that may be written to a file.

    What `torch.compile` traces stays in this process.
    """
    scripting = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # torch has types, but not everywhere
    return bool(torch.compiler.is_exporting() or scripting or torch.onnx.is_in_onnx_export())


def gru(
    x: Tensor,
    initial_state: Tensor | None,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    input_dropout: Tensor | None = None,
    recurrent_dropout: Tensor | None = None,
    *,
    reset_after: bool = True,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    go_backwards: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    torch_layout: bool = False,
    recurrent_bias: Tensor | None = None,
    training: bool = False,  # noqa: ARG001  # torch itself knows whether a gradient will follow
) -> tuple[Tensor, Tensor]:
    """Runs a GRU layer over sequences, eagerly or under `torch.compile`.

    Every float32 argument but the dropout factors has a gradient, and that gradient has one.

    Args:
        x: (batch, timesteps, features) float32, of any strides, as all tensors here. Masked steps are never read.
        initial_state: (batch, units) float32, or None for zeros.
        kernel: (features, 3 * units) float32, gates in the order z | r | h.
        recurrent_kernel: (units, 3 * units) float32.
        bias: (2, 3 * units) float32 if `reset_after`, else (3 * units,); or None for zeros.
        mask: (batch, timesteps) bool, True = valid; or None. A masked step keeps the state.
        input_dropout: (1 or 3, batch, features) float32, factors on x, one for all gates or one for each; or None.
        recurrent_dropout: (3, batch, units) float32, factors on the previous state, one for each gate; or None.
        reset_after: whether the reset gate acts after the product with the recurrent kernel (Keras, cuDNN) or before
            it.
        activation: the candidate's, one of `gatewise.native.ACTIVATIONS`.
        recurrent_activation: the gates', likewise.
        go_backwards: reads x and mask from the last step to the first; outputs are in processing order.
        return_sequences: False makes `outputs` hold the last output alone.
        zero_output_for_mask: makes a masked step's output zeros; else it is the previous output, or zeros before the
            first valid step.
        torch_layout: whether the weights are laid out as `torch.nn.GRU` has them: kernel (3 * units, features),
            recurrent_kernel (3 * units, units) and bias (3 * units,), gates in the order r | z | h.
        recurrent_bias: (3 * units,), beside `bias` with `reset_after` and `torch_layout`; else None.
        training: not needed here: torch says whether a gradient will follow.

    Returns:
        outputs (batch, timesteps, units), or (batch, 1, units) without `return_sequences`, and the last state (batch,
        units), float32.

    Raises:
        RuntimeError: a tensor has the wrong shape or dtype, there is no memory for the engine's scratch, or the
            operations are not available.
        TypeError: an argument is no tensor, or no dense one.
        ValueError: an activation is unknown, or a tensor is on another device than the CPU.

    Example:
        >>> outputs, state = gru(torch.ones(2, 3, 1), None, torch.zeros(1, 6), torch.zeros(2, 6))
        >>> tuple(outputs.shape), tuple(state.shape)
        ((2, 3, 2), (2, 2))
    """
    inputs = (x, initial_state, kernel, recurrent_kernel, bias, recurrent_bias, mask, input_dropout, recurrent_dropout)
    outputs, state = _run(
        1, inputs, reset_after=reset_after, activation=activation, recurrent_activation=recurrent_activation,
        go_backwards=go_backwards, return_sequences=return_sequences, zero_output_for_mask=zero_output_for_mask,
        torch_layout=torch_layout,
    )  # fmt: skip
    return outputs, state


def bidirectional(
    x: Tensor,
    first: Direction,
    second: Direction,
    mask: Tensor | None = None,
    *,
    torch_layout: bool = False,
    recurrent_biases: tuple[Tensor | None, Tensor | None] = (None, None),
    training: bool = False,  # noqa: ARG001  # torch itself knows whether a gradient will follow
    **options: Any,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Runs two GRU layers of one size over sequences, the second the other way, and joins their outputs.

    It computes what two calls of `gru` do, one of whose outputs is reversed, and saves going through the outputs and
    their gradients again.

    Args:
        x: (batch, timesteps, features) float32. Masked steps are never read.
        first: the weights, the initial state and the dropout factors of a layer, as in `gru`.
        second: those of the layer that reads the other way.
        mask: (batch, timesteps) bool, True = valid; or None.
        torch_layout: whether the weights of both are laid out as `torch.nn.GRU` has them.
        recurrent_biases: of each layer, as in `gru`.
        training: not needed here, as in `gru`.
        options: the others of `gru`, all of them; `go_backwards` is the first layer's.

    Returns:
        outputs (batch, timesteps, 2 * units), or (batch, 1, 2 * units) without `return_sequences`, in the processing
        order of the first layer, and the last state of each, (batch, units), float32.

    Raises:
        Those of `gru`.

    Example:
        >>> from gatewise.ops.direction import Direction
        >>> one = Direction(None, torch.zeros(1, 6), torch.zeros(2, 6))
        >>> outputs, (state, _) = bidirectional(
        ...     torch.ones(2, 3, 1),
        ...     one,
        ...     one,
        ...     reset_after=True,
        ...     activation="tanh",
        ...     recurrent_activation="sigmoid",
        ...     go_backwards=False,
        ...     return_sequences=True,
        ...     zero_output_for_mask=False,
        ... )
        >>> tuple(outputs.shape), tuple(state.shape)
        ((2, 3, 4), (2, 2))
    """
    own = (
        value
        for direction, recurrent_bias in zip((first, second), recurrent_biases, strict=True)
        for value in (*direction[:4], recurrent_bias)
    )
    inputs = (x, *own, mask, *first[4:], *second[4:])
    outputs, *states = _run(2, inputs, torch_layout=torch_layout, **options)
    return outputs, (states[0], states[1])


def _run(
    directions: int,
    inputs: tuple[Tensor | None, ...],
    *,
    activation: str,
    recurrent_activation: str,
    **others: bool,
) -> tuple[Tensor, ...]:
    """Runs a layer on the inputs of its operations. Returns its outputs and the last state of each direction."""
    if operations.PROBLEM is not None:
        raise RuntimeError(
            f"gatewise.ops.torch.gru: the engine is not available. {operations.PROBLEM}. Install another torch."
        )
    options = others | {
        "activation": _number("activation", activation),
        "recurrent_activation": _number("recurrent_activation", recurrent_activation),
        "recompute": recomputing(),
    }
    why = unruled()
    try:
        if why is None:
            return _through_operation(directions, inputs, options)
        warn_once(why, "gatewise.ops.torch.gru: a composition of PyTorch's own operations")
        shapes.check_inputs(inputs, others)
        return composition.run(inputs, options)
    except (AttributeError, RuntimeError):  # torch's own words tell of dispatch keys
        shapes.refuse_foreign(inputs)
        raise


def _through_operation(
    directions: int, inputs: tuple[Tensor | None, ...], options: dict[str, Any]
) -> tuple[Tensor, ...]:
    differentiable = [value for value in inputs[: signatures.differentiable(directions)] if value is not None]
    # An exported program infers; it has a gradient all the same.
    trains = torch.is_grad_enabled() and any(value.requires_grad for value in differentiable)
    saves = trains and not torch.compiler.is_exporting()
    run = signatures.operation(directions, "_train" if saves else "")
    if torch.compiler.is_compiling() or transforms():
        results: tuple[Tensor, ...] = run(*inputs, **options)
        return results[: 1 + directions]
    if trains:
        return gradients.Layer.apply(*inputs, options)  # type: ignore[no-untyped-call, no-any-return]
    with gradients.BELOW_AUTOGRAD():
        return run(*inputs, **options)  # type: ignore[no-any-return]


def _number(argument: str, name: str) -> int:
    if name not in ACTIVATIONS:
        raise ValueError(
            f"gatewise.ops.torch.gru: {argument} is unknown. Expected one of {', '.join(ACTIVATIONS)}; received "
            f"{name!r}. Choose one of these."
        )
    return ACTIVATIONS.index(name)
