# SPDX-License-Identifier: Apache-2.0
"""The engine as a differentiable TensorFlow function.

Three operations stand behind it (csrc/bind/tensorflow.c): `GatewiseGruTrain` runs the layer and saves what the way back
needs, `GatewiseGruGrad` is that way back, and `GatewiseGru` runs the layer without saving. The gradient of the last one
runs the forward pass once more: inference stays lean, and a tape over it is right all the same. The gradient of
`GatewiseGruGrad`, a second derivative, is that of the GRU composed of TensorFlow's operations; TensorFlow takes
forward-mode derivatives from it too.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import tensorflow as tf

from gatewise.ops import composed
from gatewise.ops.direction import Direction
from gatewise.recompute import recomputing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = Any  # a tf.Tensor; TensorFlow ships no types that mypy can follow

_LIBRARY = Path(__file__).parents[1] / "libgatewise_tensorflow.so"
_ABSENT: tuple[()] = ()  # becomes a tensor of shape (0,)
# TensorFlow cannot vectorise a loop's derivatives, as tape.jacobian of a gradient does: short sequences have no loop.
_UNROLLED_TIMESTEPS = 32
_OPTIONS = (
    "reset_after",
    "go_backwards",
    "return_sequences",
    "zero_output_for_mask",
    "recompute",
    "activation",
    "recurrent_activation",
)


@cache
def _load() -> tuple[Any, str | None]:
    """Loads the operations once. Returns them, or the reason why they are not there."""
    try:
        # Nothing may open the file before TensorFlow does: it registers the operations while it opens the file.
        operations = tf.load_op_library(str(_LIBRARY))
    except (tf.errors.NotFoundError, RuntimeError) as error:
        return None, f"{_LIBRARY.name} cannot be loaded ({error})"
    if hasattr(operations, "gatewise_gru_grad"):
        return operations, None
    report = ctypes.CDLL(str(_LIBRARY)).gatewise_tensorflow_problem
    report.restype = ctypes.c_char_p
    problem = report()
    return None, problem.decode() if problem else f"{_LIBRARY.name} was opened by other means than TensorFlow"


def available() -> str | None:
    """Says whether the operations can be used.

    Returns:
        None if they can, else the reason why not.

    Example:
        >>> available() is None
        True
    """
    return _load()[1]


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
    operations, problem = _load()
    if operations is None:
        raise RuntimeError(f"gatewise.ops.tensorflow.gru: the engine is not available. {problem}. Reinstall gatewise.")
    run = operations.gatewise_gru_train if training else operations.gatewise_gru
    initial_states, kernels, recurrent_kernels, biases, *dropout = (
        [_ABSENT if value is None else value for value in values] for values in zip(*directions, strict=True)
    )
    outputs, states, *_ = run(
        x, initial_states, kernels, recurrent_kernels, biases, _ABSENT if mask is None else mask, *dropout,
        recompute=recomputing(), **options,
    )  # fmt: skip
    if not tf.executing_eagerly():  # the operation's shape function cannot read return_sequences, nor multiply
        units = states[0].shape[-1]
        width = None if units is None else len(directions) * units
        outputs.set_shape((None, x.shape[1] if options["return_sequences"] else 1, width))
    return outputs, states


@tf.RegisterGradient("GatewiseGruTrain")
def _gradient_of_train(op: Any, d_outputs: Tensor, *d_states_and_saved: Tensor | None) -> list[Tensor | None]:
    n = op.get_attr("directions")
    return _way_back(op, op.outputs[-n:], op.outputs[0], d_outputs, d_states_and_saved[:n])


@tf.RegisterGradient("GatewiseGru")
def _gradient_of_inference(op: Any, d_outputs: Tensor, *d_states: Tensor) -> list[Tensor | None]:
    again = _load()[0].gatewise_gru_train(*_in_lists(op.inputs, op.get_attr("directions")), **_options(op))
    return _way_back(op, again.saved, again.outputs, d_outputs, d_states)


@tf.RegisterGradient("GatewiseGruGrad")
def _gradient_of_way_back(op: Any, *gradients: Tensor | None) -> list[Tensor | None]:
    """Takes the gradients of the way back's results to those of its inputs: the layer's, d_outputs and d_states."""
    n, differentiable = op.get_attr("directions"), len(gradients)
    layer_inputs = [None if _is_absent(value) else value for value in op.inputs[: _layer_inputs(n)]]
    present = [i for i, value in enumerate(layer_inputs[:differentiable]) if value is not None]
    values = [layer_inputs[i] for i in present]
    d_outputs, *d_states = op.inputs[-1 - n :]
    with tf.GradientTape() as second:
        second.watch([*values, d_outputs, *d_states])
        with tf.GradientTape() as first:
            first.watch(values)
            x, *per_direction, mask, input_dropout, recurrent_dropout = _in_lists(layer_inputs, n)
            each = [Direction(*own) for own in zip(*per_direction, input_dropout, recurrent_dropout, strict=True)]
            outputs, states = composed.directions(_TensorFlow(), x, mask, each, **_options(op))
        d_values = first.gradient([outputs, *states], values, [d_outputs, *d_states], tf.UnconnectedGradients.ZERO)
    asked = [i for i in present if gradients[i] is not None and (i > 0 or op.get_attr("x_gradient"))]
    found = second.gradient(
        [d_values[present.index(i)] for i in asked],
        [*values, d_outputs, *d_states],
        [gradients[i] for i in asked],
        tf.UnconnectedGradients.ZERO,
    )
    count = len(op.inputs)
    of_inputs = dict(zip([*present, *range(count - 1 - n, count)], found, strict=True))
    return [of_inputs.get(i) for i in range(count)]


def _is_absent(value: Tensor) -> bool:
    return bool(value.shape.rank == 1 and value.shape[0] == 0)


def _layer_inputs(directions: int) -> int:
    """Counts the inputs that all operations have: x and mask, and six of every direction."""
    return 2 + 6 * directions


def _in_lists(inputs: Sequence[Any], n: int) -> list[Any]:
    """Brings the inputs of a layer of n directions to the operations' arguments, lists of what a direction has."""
    own = [list(inputs[1 + i * n : 1 + i * n + n]) for i in range(4)]
    mask = inputs[1 + 4 * n]
    return [inputs[0], *own, mask, list(inputs[2 + 4 * n : 2 + 5 * n]), list(inputs[2 + 5 * n : _layer_inputs(n)])]


class _TensorFlow:
    """The functions that the composed GRU takes from TensorFlow."""

    def activation(self, name: str) -> Callable[[Tensor], Tensor]:
        functions: dict[str, Callable[[Tensor], Tensor]] = {
            "tanh": tf.tanh,
            "sigmoid": tf.sigmoid,
            "relu": tf.nn.relu,
            "linear": tf.identity,
            "hard_sigmoid": lambda x: tf.nn.relu6(x + 3) / 6,
        }
        return functions[name]

    def zero_state(self, x: Tensor, units: int) -> Tensor:
        return tf.zeros((tf.shape(x)[0], units))

    def all_valid(self, x: Tensor) -> Tensor:
        return tf.ones((*tf.unstack(tf.shape(x)[:2]), 1), tf.bool)

    def where(self, condition: Tensor, value: Tensor, otherwise: Tensor | float) -> Tensor:
        return tf.where(condition, value, otherwise)

    def time_first(self, value: Tensor) -> Tensor:
        return tf.transpose(value, (1, 0, 2))

    def flip(self, value: Tensor) -> Tensor:
        return tf.reverse(value, axis=[0])

    def side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        return tf.concat(values, axis=-1)

    def scan(
        self, step: Callable[..., tuple[Tensor, Tensor]], start: tuple[Tensor, Tensor], sequences: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        timesteps = sequences[0].shape[0]
        if timesteps is None or timesteps > _UNROLLED_TIMESTEPS:
            states, outputs = tf.scan(step, sequences, start)
            return states, outputs
        carried, steps = start, []
        for inputs in zip(*(tf.unstack(sequence) for sequence in sequences), strict=True):
            carried = step(carried, inputs)
            steps.append(carried)
        states, outputs = zip(*steps, strict=True)
        return tf.stack(states), tf.stack(outputs)


def _way_back(
    op: Any, saved: Sequence[Tensor], outputs: Tensor, d_outputs: Tensor, d_states: Sequence[Tensor]
) -> list[Tensor | None]:
    """Takes the gradients of outputs and states to those of the layer's inputs; the mask and the factors have none."""
    # A tape says which inputs need no gradient; tf.gradients does not. Without x's, a first layer saves a product.
    x_gradient = 0 not in (getattr(op, "skip_input_indices", None) or ())
    options, n = _options(op), op.get_attr("directions")
    found = outputs if options["return_sequences"] and not options["recompute"] else _ABSENT
    d_x, *others = _load()[0].gatewise_gru_grad(
        *_in_lists(op.inputs, n), saved, found, d_outputs, d_states, x_gradient=x_gradient, **options
    )
    if x_gradient:
        d_x.set_shape(op.inputs[0].shape)
    gradients = [d_x if x_gradient else None, *(gradient for of_each in others for gradient in of_each)]
    return gradients + [None] * (_layer_inputs(n) - len(gradients))


def _options(op: Any) -> dict[str, Any]:
    values = {name: op.get_attr(name) for name in _OPTIONS}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
