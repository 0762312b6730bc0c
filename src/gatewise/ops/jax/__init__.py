# SPDX-License-Identifier: Apache-2.0
"""The engine as a differentiable JAX function.

Three handlers in XLA stand behind it (csrc/bind/xla.cpp): one runs the layer, in one direction or both; one runs it and
saves what the way back needs; and one is that way back. Which of the first two runs is JAX's to say: where it
differentiates, the saving one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from gatewise.extras import required_by

with required_by("gatewise.ops.jax", "jax"):
    import jax
    import jax.numpy as jnp

from gatewise.native import ACTIVATIONS
from gatewise.ops.direction import Direction
from gatewise.ops.jax import xla
from gatewise.ops.jax.gradients import layer
from gatewise.recompute import recomputing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = Any  # a jax.Array or a tracer
_Result = TypeVar("_Result")

CONDITIONS: tuple[str, ...] = ()  # where a call may find an obstacle: nowhere

_WHERE = "gatewise.ops.jax.gru"
_AXES = {"x": "(batch, timesteps, features)", "recurrent_kernel": "(units, 3 * units)"}  # of what sizes are taken from


def available() -> str | None:
    """Says whether the engine's handlers can be used.

    Returns:
        None if they can, else the reason why not.

    Example:
        >>> available() is None
        True
    """
    return xla.available()


def obstacle(_x: Array) -> str | None:
    """Says what keeps the engine from running at this place: nothing does, since `by_device` settles where it runs.

    Returns:
        None.
    """
    return None


def tracing() -> bool:
    """Says whether the code running now is being traced into a program.

    Example:
        >>> tracing()
        False
    """
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def cpu_alone() -> bool:
    """Says whether the CPU is the only kind of device that JAX has in this process.

    Example:
        >>> cpu_alone()
        True
    """
    return xla.cpu_alone()


def by_device(engine: Callable[[], _Result], other: Callable[[], _Result]) -> _Result:
    """Runs `engine` on a CPU and `other` on any other device. Traced code learns its device when it is compiled.

    Args:
        engine: a function of no arguments that returns arrays.
        other: another, which returns arrays of the same shapes and dtypes.

    Returns:
        What the function for the device returned.

    Example:
        >>> by_device(lambda: jnp.ones(2), lambda: jnp.zeros(2)).tolist()
        [1.0, 1.0]
    """
    if cpu_alone():
        return engine()
    chosen: _Result = jax.lax.platform_dependent(cpu=engine, default=other)
    return chosen


def gru(
    x: Array,
    initial_state: Array | None,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    mask: Array | None = None,
    input_dropout: Array | None = None,
    recurrent_dropout: Array | None = None,
    *,
    reset_after: bool = True,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    go_backwards: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    training: bool = False,  # noqa: ARG001  # the other frameworks need to be told
) -> tuple[Array, Array]:
    """Runs a GRU layer over sequences on a CPU, eagerly or under any of JAX's transformations.

    Every float32 argument has derivatives but the dropout factors, which are constants. Gradients are the engine's;
    tangents, in forward mode, are composed of JAX's own operations, and so are second derivatives and those after them.
    On several devices each runs its part of the batch, as the arrays are sharded; a gradient through `jax.shard_map`
    needs `check_vma=False`, in its older form `check_rep=False`.

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
        training: changes nothing here: JAX itself knows whether a gradient follows.

    Returns:
        outputs (batch, timesteps, units), or (batch, 1, units) without `return_sequences`, and the last state (batch,
        units), float32.

    Raises:
        jax.errors.JaxRuntimeError: an array has the wrong shape (INVALID_ARGUMENT), or there is no memory for the
            engine's scratch (RESOURCE_EXHAUSTED).
        RuntimeError: the handlers are not available.
        TypeError: an array has the wrong dtype.
        ValueError: x or recurrent_kernel has the wrong rank, or an activation is unknown.

    Example:
        >>> outputs, state = gru(jnp.ones((2, 3, 1)), None, jnp.zeros((1, 6)), jnp.zeros((2, 6)))
        >>> outputs.shape, state.shape
        ((2, 3, 2), (2, 2))
    """
    direction = Direction(initial_state, kernel, recurrent_kernel, bias, input_dropout, recurrent_dropout)
    outputs, (state,) = _run(
        x, mask, [direction], reset_after=reset_after, activation=activation,
        recurrent_activation=recurrent_activation, go_backwards=go_backwards, return_sequences=return_sequences,
        zero_output_for_mask=zero_output_for_mask,
    )  # fmt: skip
    return outputs, state


def bidirectional(
    x: Array,
    first: Direction,
    second: Direction,
    mask: Array | None = None,
    *,
    training: bool = False,  # noqa: ARG001  # the other frameworks need to be told
    **options: Any,
) -> tuple[Array, tuple[Array, Array]]:
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
        Those of `gru`.

    Example:
        >>> one = Direction(None, jnp.zeros((1, 6)), jnp.zeros((2, 6)), None)
        >>> outputs, (state, _) = bidirectional(
        ...     jnp.ones((2, 3, 1)),
        ...     one,
        ...     one,
        ...     reset_after=True,
        ...     activation="tanh",
        ...     recurrent_activation="sigmoid",
        ...     go_backwards=False,
        ...     return_sequences=True,
        ...     zero_output_for_mask=False,
        ... )
        >>> outputs.shape, state.shape
        ((2, 3, 4), (2, 2))
    """
    outputs, (first_state, second_state) = _run(x, mask, [first, second], **options)
    return outputs, (first_state, second_state)


def _run(
    x: Array, mask: Array | None, directions: Sequence[Direction], **named: Any
) -> tuple[Array, tuple[Array, ...]]:
    problem = xla.available()
    if problem is not None:
        raise RuntimeError(f"{_WHERE}: the engine is not available. {problem}. Reinstall gatewise.")
    options = xla.Options(recompute=recomputing(), **named)
    inputs = _by_name(x, mask, directions)
    _check(inputs, options)
    found = layer(options, inputs)
    return found["outputs"], tuple(found[xla.own("state", i)] for i in range(len(directions)))


def _by_name(x: Array, mask: Array | None, directions: Sequence[Direction]) -> dict[str, Array]:
    """Names the inputs that are there as the handlers do. Dropout factors are constants to every derivative."""
    named = {"x": x, "mask": mask}
    for i, direction in enumerate(directions):
        for name, value in direction._asdict().items():
            is_constant = value is not None and name.endswith("dropout")
            named[xla.own(name, i)] = jax.lax.stop_gradient(value) if is_constant else value
    return {name: value for name, value in named.items() if value is not None}


def _check(inputs: dict[str, Array], options: xla.Options) -> None:
    """Raises for what cannot be traced. The handlers check the shapes, against each other too, when they run."""
    for name, value in inputs.items():
        kind = name.partition("/")[0]
        axes = _AXES.get(kind)
        if axes and jnp.ndim(value) != axes.count(",") + 1:
            raise ValueError(
                f"{_WHERE}: {kind} has the wrong rank. Expected {axes}; received {jnp.shape(value)}. "
                "Check what the layer was given."
            )
        expected = "bool" if kind == "mask" else "float32"
        if jnp.result_type(value) != expected:
            raise TypeError(
                f"{_WHERE}: {kind} has the wrong type. Expected {expected}; received {jnp.result_type(value)}. "
                "Convert it first."
            )
    for name in ("activation", "recurrent_activation"):
        if getattr(options, name) not in ACTIVATIONS:
            raise ValueError(
                f"{_WHERE}: {name} is unknown. Expected one of {', '.join(ACTIVATIONS)}; received "
                f"{getattr(options, name)!r}. Choose one of these."
            )
