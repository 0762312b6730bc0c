# SPDX-License-Identifier: Apache-2.0
"""The engine as a differentiable TensorFlow function.

Three operations stand behind it (csrc/bind/tensorflow.cpp): `GatewiseRnnTrain` runs the layer and keeps what its
gradient needs, `GatewiseRnnGrad` is the backward pass, and `GatewiseRnn` runs the layer and keeps nothing. The gradient
of the last one runs the forward pass once more: inference stays lean, and a tape over it is right all the same. The
gradient of `GatewiseRnnGrad`, a second derivative, is that of the layer composed of TensorFlow's operations; TensorFlow
takes forward-mode derivatives from it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from gatewise.extras import required_by

with required_by("gatewise.ops.tensorflow", "tensorflow"):
    import tensorflow as tf

import gatewise.ops.tensorflow.gradients  # noqa: F401  # registers them
from gatewise.engine import activation_code
from gatewise.operands import OWN, SHARED, bits_of, facts
from gatewise.ops.tensorflow.operations import absent, load
from gatewise.recompute import recomputing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewise.cells import Cell

Tensor: TypeAlias = Any  # a tf.Tensor; TensorFlow ships no types that mypy can follow

_WHERE = "gatewise.ops.tensorflow.rnn"

# Where a call may find an obstacle
CONDITIONS = ("its code is traced for XLA, as in a tf.function(jit_compile=True)",)


def available() -> str | None:
    """Says whether the operations can be used.

    Returns:
        None if they can, else the reason why not.

    Example:
        >>> available() is None
        True
    """
    return load()[1]


def obstacle(_x: Tensor) -> str | None:
    """Says what keeps the operations from running at this place: a GPU, which they have no kernel for, or XLA.

    A traced tensor does not know its device, so one GPU in the process is enough.

    Returns:
        None if nothing does, else the reason, a clause.

    Example:
        >>> obstacle(tf.zeros((1, 2, 3))) is None
        True
    """
    if tf.config.list_logical_devices("GPU"):
        return (
            "TensorFlow has a GPU and the engine runs on the CPU; "
            "tf.config.set_visible_devices([], 'GPU') would hide the GPU"
        )
    if _tracing_for_xla():
        return "the code is traced for XLA (jit_compile=True), which cannot hold the engine's operations"
    return None


def tracing() -> bool:
    """Says whether the code running now is being traced into a graph."""
    return bool(tf.inside_function())


def _tracing_for_xla() -> bool:
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()  # noqa: SLF001  # TensorFlow has no public question for it
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False


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
    zoneout_h: float = 0.0,
    zoneout_c: float = 0.0,
    training: bool = False,
) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...]]:
    """Runs a recurrent layer over sequences, eagerly or in a graph.

    Every float32 argument but the dropout factors has a gradient, and that gradient has one, and so on. Letters: B =
    batch, T = timesteps, F = features, U = units.

    Args:
        x: (B, T, F) float32. Masked steps are never read.
        directions: one `operands.Direction`, or two, of which the second reads the other way: tensors under their
            names, in the shapes of Keras's layout; see csrc/operands.h.
        mask: (B, T) bool, True = valid; or None. A masked step keeps the states.
        starts: (B, T) bool, True = a boundary before that step in time, which no state and no gradient
            crosses: whoever reads on beyond it begins with the initial state; or None.
        cell: what is computed at a step.
        activation: of what is added to the state, one of `gatewise.native.ACTIVATIONS`.
        recurrent_activation: the gates', likewise.
        go_backwards: the first direction reads x and mask from the last step to the first; outputs are in its
            processing order.
        return_sequences: False makes `outputs` hold the last output alone.
        zero_output_for_mask: makes a masked step's output zeros; else it is the previous output, or zeros before the
            first valid step.
        zoneout_h: what part of h, from 0 to 1, a step keeps, where the direction's `kept_h` does not say.
        zoneout_c: likewise, of the second state.
        training: whether a gradient will follow. It changes no number: True keeps what the gradient needs, False
            computes it again.

    Returns:
        outputs (B, T, directions * U), or (B, 1, directions * U) without `return_sequences`, and for each direction a
        tuple of its last states, (B, U) each; float32.

    Raises:
        tf.errors.InvalidArgumentError: an array has the wrong shape.
        tf.errors.ResourceExhaustedError: there is no memory for the engine's scratch.
        RuntimeError: the operations are not available.
        ValueError: an activation is unknown.

    Example:
        >>> from gatewise.cells import Cell
        >>> from gatewise.operands import Direction
        >>> one = Direction(kernel=tf.zeros((1, 6)), recurrent_kernel=tf.zeros((2, 6)))
        >>> outputs, ((state,),) = rnn(tf.ones((2, 3, 1)), [one], cell=Cell.GRU)
        >>> tuple(outputs.shape), tuple(state.shape)
        ((2, 3, 2), (2, 2))
        >>> outputs, (first, second) = rnn(tf.ones((2, 3, 1)), [one, one], cell=Cell.GRU)
        >>> tuple(outputs.shape)
        (2, 3, 4)
    """
    operations, problem = load()
    if operations is None:
        raise RuntimeError(f"gatewise.ops.tensorflow.rnn: the engine is not available. {problem}. Reinstall gatewise.")
    run = operations.gatewise_rnn_train if training else operations.gatewise_rnn
    nothing = absent()
    flags = {"mask": mask, "starts": starts}
    given = {"x": x} | {name: nothing["bool"] if value is None else value for name, value in flags.items()}
    own = [
        [nothing[row.dtype] if value is None else value for value in values]
        for row, values in zip(OWN, zip(*directions, strict=True), strict=True)
    ]
    outputs, *others = run(
        *(given[row.name] for row in SHARED), *own, cell=int(cell),
        activation=activation_code(_WHERE, "activation", activation),
        recurrent_activation=activation_code(_WHERE, "recurrent_activation", recurrent_activation),
        go_backwards=int(go_backwards), return_sequences=int(return_sequences),
        zero_output_for_mask=int(zero_output_for_mask), recompute=int(recomputing()), torch_layout=0,
        zoneout_h=bits_of(zoneout_h), zoneout_c=bits_of(zoneout_c),
    )  # fmt: skip
    states = others[: facts(int(cell)).states]
    if not tf.executing_eagerly():  # the operation's shape function cannot read return_sequences, nor multiply
        units = directions[0].recurrent_kernel.shape[0]
        width = None if units is None else len(directions) * units
        outputs.set_shape((None, x.shape[1] if return_sequences else 1, width))
        for state in (state for of_each in states for state in of_each):
            state.set_shape((x.shape[0], units))
    return outputs, tuple(zip(*states, strict=True))
