# SPDX-License-Identifier: Apache-2.0
"""The engine as a differentiable TensorFlow function.

Three operations stand behind it (csrc/bind/tensorflow.c): `GatewiseGruTrain` runs the layer and saves what the way back
needs, `GatewiseGruGrad` is that way back, and `GatewiseGru` runs the layer without saving. The gradient of the last one
runs the forward pass once more: inference stays lean, and a tape over it is right all the same. The gradient of
`GatewiseGruGrad`, a second derivative, is that of the GRU composed of TensorFlow's operations; TensorFlow takes
forward-mode derivatives from it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from gatewise.extras import required_by

with required_by("gatewise.ops.tensorflow", "tensorflow"):
    import tensorflow as tf

import gatewise.ops.tensorflow.gradients  # noqa: F401  # registers them
from gatewise.ops.direction import Direction
from gatewise.ops.tensorflow.operations import ABSENT, load
from gatewise.recompute import recomputing

if TYPE_CHECKING:
    from collections.abc import Sequence

Tensor: TypeAlias = Any  # a tf.Tensor; TensorFlow ships no types that mypy can follow

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
    training: bool = False,
) -> tuple[Tensor, Tensor]:
    """Runs a GRU layer over sequences, eagerly or in a graph.

    Every float32 argument but the dropout factors has a gradient, and that gradient has one, and so on.

    Args:
        x: (batch, timesteps, features) float32. Masked steps are never read.
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
        training: whether a gradient will follow. It changes no number: True keeps what the gradient needs, False
            computes it again.

    Returns:
        outputs (batch, timesteps, units), or (batch, 1, units) without `return_sequences`, and the last state (batch,
        units), float32.

    Raises:
        tf.errors.InvalidArgumentError: an array has the wrong shape.
        tf.errors.ResourceExhaustedError: there is no memory for the engine's scratch.
        RuntimeError: the operations are not available.

    Example:
        >>> outputs, state = gru(tf.ones((2, 3, 1)), None, tf.zeros((1, 6)), tf.zeros((2, 6)))
        >>> tuple(outputs.shape), tuple(state.shape)
        ((2, 3, 2), (2, 2))
    """
    direction = Direction(initial_state, kernel, recurrent_kernel, bias, input_dropout, recurrent_dropout)
    outputs, (state,) = _run(
        x, mask, [direction], training=training, reset_after=reset_after, activation=activation,
        recurrent_activation=recurrent_activation, go_backwards=go_backwards, return_sequences=return_sequences,
        zero_output_for_mask=zero_output_for_mask,
    )  # fmt: skip
    return outputs, state


def bidirectional(
    x: Tensor,
    first: Direction,
    second: Direction,
    mask: Tensor | None = None,
    *,
    training: bool = False,
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
        training: as in `gru`.
        options: the others of `gru`, all of them; `go_backwards` is the first layer's.

    Returns:
        outputs (batch, timesteps, 2 * units), or (batch, 1, 2 * units) without `return_sequences`, in the processing
        order of the first layer, and the last state of each, (batch, units), float32.

    Raises:
        tf.errors.InvalidArgumentError: an array has the wrong shape.
        tf.errors.ResourceExhaustedError: there is no memory for the engine's scratch.
        RuntimeError: the operations are not available.

    Example:
        >>> one = Direction(None, tf.zeros((1, 6)), tf.zeros((2, 6)), None)
        >>> outputs, (state, _) = bidirectional(
        ...     tf.ones((2, 3, 1)),
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
    outputs, (first_state, second_state) = _run(x, mask, [first, second], training=training, **options)
    return outputs, (first_state, second_state)


def _run(
    x: Tensor, mask: Tensor | None, directions: Sequence[Direction], *, training: bool, **options: Any
) -> tuple[Tensor, Sequence[Tensor]]:
    operations, problem = load()
    if operations is None:
        raise RuntimeError(f"gatewise.ops.tensorflow.gru: the engine is not available. {problem}. Reinstall gatewise.")
    run = operations.gatewise_gru_train if training else operations.gatewise_gru
    initial_states, kernels, recurrent_kernels, biases, *dropout = (
        [ABSENT if value is None else value for value in values] for values in zip(*directions, strict=True)
    )
    outputs, states, *_ = run(
        x, initial_states, kernels, recurrent_kernels, biases, ABSENT if mask is None else mask, *dropout,
        recompute=recomputing(), **options,
    )  # fmt: skip
    if not tf.executing_eagerly():  # the operation's shape function cannot read return_sequences, nor multiply
        units = states[0].shape[-1]
        width = None if units is None else len(directions) * units
        outputs.set_shape((None, x.shape[1] if options["return_sequences"] else 1, width))
    return outputs, states
