# SPDX-License-Identifier: Apache-2.0
"""The engine as a differentiable torch function, `rnn`, and what a layer asks before it calls it.

Three operations stand behind it, registered in `operations.py`: `gatewise::rnn_train` runs the layer and keeps what its
gradients need, `gatewise::rnn_grad` is its backward pass, and `gatewise::rnn` runs the layer and keeps nothing. Those
of two directions are called `rnn_both`, likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from gatewise.extras import required_by

with required_by("gatewise.ops.torch", "torch"):
    import torch

from gatewise.engine import ACTIVATIONS
from gatewise.fallback import warn_once
from gatewise.operands import OWN_OUTPUTS, bits_of, facts
from gatewise.ops.torch import composition, gradients, operations, shapes, signatures
from gatewise.ops.torch.transforms import transforms, unruled
from gatewise.recompute import recomputing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewise.cells import Cell
    from gatewise.ops.torch.signatures import Signature

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


def rnn(
    x: Tensor,
    directions: Sequence[Any],
    mask: Tensor | None = None,
    starts: Tensor | None = None,
    *,
    cell: Cell,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    go_backwards: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    torch_layout: bool = False,
    zoneout_h: float = 0.0,
    zoneout_c: float = 0.0,
    composed: bool = False,
    training: bool = False,  # noqa: ARG001  # torch itself knows whether a gradient will follow
) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...]]:
    """Runs a recurrent layer over sequences, eagerly or under `torch.compile`.

    Every float32 argument but the dropout factors has a gradient, and that gradient has one. With two directions the
    second reads the other way, and their outputs stand side by side: what two calls compute, one of whose outputs is
    reversed, without going through the outputs and their gradients again.

    Args:
        x: (batch, timesteps, features) float32, of any strides, as all tensors here. Masked steps are never read.
        directions: one `gatewise.operands.Direction`, or two. Of its fields, G gates of the cell in its order, float32,
            all may be None but the kernels:
            initial_h, initial_c: (batch, units), None for zeros; c of a cell with two states alone.
            kernel: (features, G * units).
            recurrent_kernel: (units, G * units).
            bias: (G * units,), or (2, G * units) of a cell with an input and a recurrent one; None for zeros.
            recurrent_bias: for `torch_layout` alone.
            gain, recurrent_gain: (G * units,), of a cell that normalises, None for ones.
            state_gain, state_bias: (units,), of one that normalises c, None for ones and zeros.
            epsilon: (1,), of a cell that normalises, None for 0.001.
            input_dropout: (1 or G, batch, features), factors on x, one for all gates or one for each.
            recurrent_dropout: (G, batch, units), factors on the previous h, one for each gate.
            kept_h, kept_c: (batch, timesteps, units) bool, True = the unit keeps that state in that step: zoneout's
            draws; c of a cell with two states alone.
        mask: (batch, timesteps) bool, True = valid; or None. A masked step keeps the states.
        starts: (batch, timesteps) bool, True = a boundary before that step in time, which no state and no gradient
            crosses: whoever reads on beyond it begins with the initial state; or None.
        cell: what is computed at a step.
        activation: the cell's, one of `gatewise.engine.ACTIVATIONS`.
        recurrent_activation: its gates', likewise.
        go_backwards: the first direction reads x and mask from the last step to the first; outputs are in its
            processing order.
        return_sequences: False makes `outputs` hold the last output alone.
        zero_output_for_mask: makes a masked step's output zeros; else it is the previous output, or zeros before the
            first valid step.
        torch_layout: whether the weights are laid out as PyTorch has them: kernel (G * units, features),
            recurrent_kernel (G * units, units), bias (G * units,) and, beside it and of a cell with both,
            recurrent_bias (G * units,), gates in PyTorch's order.
        zoneout_h: what part of h, from 0 to 1, a step keeps, where the direction's `kept_h` does not say.
        zoneout_c: likewise, of the second state.
        composed: whether PyTorch's own operations compute it, on any device and in any dtype, instead of the engine.
        training: not needed here: torch says whether a gradient will follow.

    Returns:
        outputs (batch, timesteps or 1, directions * units), and of each direction a tuple of its states after the last
        step, (batch, units) each, float32.

    Raises:
        RuntimeError: a tensor has the wrong shape or dtype, there is no memory for the engine's scratch, or the
            operations are not available.
        TypeError: an argument is no tensor, or no dense one.
        ValueError: an activation is unknown, or a tensor is on another device than the CPU.

    Example:
        >>> from gatewise.cells import Cell
        >>> from gatewise.operands import Direction
        >>> own = Direction(kernel=torch.zeros(1, 6), recurrent_kernel=torch.zeros(2, 6))
        >>> outputs, ((h,),) = rnn(torch.ones(2, 3, 1), [own], cell=Cell.GRU)
        >>> tuple(outputs.shape), tuple(h.shape)
        ((2, 3, 2), (2, 2))
        >>> outputs, ((h,), (second_h,)) = rnn(torch.ones(2, 3, 1), [own, own], cell=Cell.GRU)
        >>> tuple(outputs.shape), tuple(second_h.shape)
        ((2, 3, 4), (2, 2))
    """
    if operations.PROBLEM is not None and not composed:
        raise RuntimeError(
            f"gatewise.ops.torch.rnn: the engine is not available. {operations.PROBLEM}. Install another torch."
        )
    inputs = sum(directions, signatures.Shared(x=x, mask=mask, starts=starts))
    options = signatures.Options(
        cell=int(cell),
        activation=_number("activation", activation),
        recurrent_activation=_number("recurrent_activation", recurrent_activation),
        go_backwards=go_backwards,
        return_sequences=return_sequences,
        zero_output_for_mask=zero_output_for_mask,
        recompute=recomputing(),
        torch_layout=torch_layout,
        zoneout_h=_bits_of(zoneout_h) if zoneout_h else 0,
        zoneout_c=_bits_of(zoneout_c) if zoneout_c else 0,
    )
    results: Any  # tensors; None where the cell has no such state
    if composed:
        results = composition.run(inputs, options)
    else:
        results = _run(signatures.SIGNATURES[len(directions)], inputs, options)
    states, places = facts(options.cell).states, range(1, len(results), len(OWN_OUTPUTS))
    return results[0], tuple([results[place : place + states] for place in places])


def _run(signature: Signature, inputs: tuple[Any, ...], options: Any) -> tuple[Tensor, ...]:
    """Runs a layer on the inputs and the options of its operations. Returns its results."""
    why = unruled()
    try:
        if why is None:
            return _through_operation(signature, inputs, options)
        warn_once(why, "gatewise.ops.torch.rnn: a composition of PyTorch's own operations")
        shapes.Layer(signature.directions, options).check(inputs)
        return composition.run(inputs, options)  # type: ignore[return-value]  # None where the cell has no such state
    except (AttributeError, RuntimeError):  # torch's own words tell of dispatch keys
        shapes.refuse_foreign(inputs)
        raise


def _through_operation(signature: Signature, inputs: tuple[Any, ...], options: Any) -> tuple[Tensor, ...]:
    # An exported program infers; it has a gradient all the same.
    trains = torch.is_grad_enabled() and any(
        inputs[place] is not None and inputs[place].requires_grad for place in signature.differentiable
    )
    keeps = trains and not torch.compiler.is_exporting()
    run = signature.operations["_train" if keeps else ""]
    if torch.compiler.is_compiling() or transforms():
        results: tuple[Tensor, ...] = run(*inputs, *options)
        return results[: len(signature.outputs)]
    if trains:
        return gradients.Layer.apply(*inputs, options)  # type: ignore[no-untyped-call, no-any-return]
    with gradients.BELOW_AUTOGRAD():
        return run(*inputs, *options)  # type: ignore[no-any-return]


def _number(argument: str, name: str) -> int:
    number = _NUMBERS.get(name)
    if number is None:
        raise ValueError(
            f"gatewise.ops.torch.rnn: {argument} is unknown. Expected one of {', '.join(ACTIVATIONS)}; received "
            f"{name!r}. Choose one of these."
        )
    return number


def _bits_of(value: float) -> int:
    return bits_of(value)


# torch.compile cannot trace the question, and asks it while it traces.
setattr(_bits_of, "_dynamo_marked_constant", True)  # noqa: B010  # mypy knows no such attribute


_NUMBERS = {name: number for number, name in enumerate(ACTIVATIONS)}
