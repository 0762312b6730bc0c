# SPDX-License-Identifier: Apache-2.0
"""The engine as a differentiable JAX function.

Three handlers in XLA stand behind it (csrc/bind/xla.cpp): one runs the layer, in one direction or both; one runs it and
keeps what the backward pass needs; and one is that pass. Which of the first two runs is JAX's to say: where it
differentiates, the keeping one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from gatewise.extras import required_by

with required_by("gatewise.ops.jax", "jax"):
    import jax
    import jax.numpy as jnp

from gatewise.engine import activation_code
from gatewise.operands import INPUTS, OWN, facts
from gatewise.ops.jax import xla
from gatewise.ops.jax.gradients import layer
from gatewise.recompute import recomputing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewise.cells import Cell
    from gatewise.operands import Direction

Array: TypeAlias = Any  # a jax.Array or a tracer
_Result = TypeVar("_Result")

CONDITIONS: tuple[str, ...] = ()  # where a call may find an obstacle: nowhere

_DTYPES = {row.name: jnp.dtype(row.dtype) for row in INPUTS}


def available() -> str | None:
    """Says whether the engine's handlers can be used.

    Returns:
        None if they can, else the reason why not.

    Example:
        >>> available() is None
        True
    """
    return xla.available()


def obstacle(x: Array) -> str | None:
    """Says what keeps the engine from running at this place: another device, if the array is there.

    Of a tracer nothing is known: `by_device` settles where traced code runs.
    """
    if cpu_alone() or isinstance(x, jax.core.Tracer) or not hasattr(x, "devices"):
        return None
    elsewhere = sorted({device.platform for device in x.devices()} - {"cpu"})
    return f"the input is on the device {elsewhere[0]} and the engine runs on the CPU" if elsewhere else None


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


def rnn(
    x: Array,
    directions: Sequence[Direction],
    mask: Array | None = None,
    starts: Array | None = None,
    *,
    cell: Cell,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    go_backwards: bool = False,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    zoneout_h: float = 0.0,
    zoneout_c: float = 0.0,
    training: bool = False,  # noqa: ARG001  # the other frameworks need to be told
) -> tuple[Array, tuple[tuple[Array, ...], ...]]:
    """Runs a recurrent layer over sequences on a CPU, eagerly or under any of JAX's transformations.

    Every float32 argument has derivatives but the dropout factors, which are constants. Gradients are the engine's;
    tangents, in forward mode, are composed of JAX's own operations, and so are second derivatives and those after them.
    On several devices each runs its part of the batch, as the arrays are sharded; a gradient through `jax.shard_map`
    needs `check_vma=False`, in its older form `check_rep=False`.

    Args:
        x: (batch, timesteps, features) float32. Masked steps are never read.
        directions: one `gatewise.operands.Direction` or two, of which the second reads the other way: what each has of
            its own, float32, of a cell with so many gates; None for what it has not.

            initial_h: (batch, units), or None for zeros.
            initial_c: likewise, of a cell with a second state.
            kernel: (features, gates * units), gates in the order of `cell.row.gates`.
            recurrent_kernel: (units, gates * units).
            bias: (gates * units,), or (2, gates * units) [input, recurrent] of a cell with both; or None for zeros.
            recurrent_bias: None; it belongs to PyTorch's layout.
            input_dropout: (1 or gates, batch, features), factors on x, one for all gates or one for each; or None.
            recurrent_dropout: (gates, batch, units), factors on h before a step, one for each gate; or None.
            kept_h: (batch, timesteps, units) bool, True = the unit keeps its h in that step: zoneout's draws; or None.
            kept_c: likewise, of a cell with a second state.
        mask: (batch, timesteps) bool, True = valid; or None. A masked step keeps the states.
        starts: (batch, timesteps) bool, True = a boundary before that step in time, which no state and no gradient
            crosses: whoever reads on beyond it begins with the initial state; or None.
        cell: what is computed at a step.
        activation: of what is added to the state, one of `gatewise.native.ACTIVATIONS`.
        recurrent_activation: the gates', likewise.
        go_backwards: the first direction reads x and mask from the last step to the first; outputs are in its order.
        return_sequences: False makes `outputs` hold the last output alone.
        zero_output_for_mask: makes a masked step's output zeros; else it is the previous output, or zeros before the
            first valid step.
        zoneout_h: what part of h, from 0 to 1, a step keeps, where the direction's `kept_h` does not say.
        zoneout_c: likewise, of the second state.
        training: changes nothing here: JAX itself knows whether a gradient follows.

    Returns:
        outputs (batch, timesteps, units), or (batch, 1, units) without `return_sequences`, those of two directions side
        by side; and for each direction its states after the last step, (batch, units) each; float32.

    Raises:
        jax.errors.JaxRuntimeError: an array has the wrong shape (INVALID_ARGUMENT), or there is no memory for the
            engine's scratch (RESOURCE_EXHAUSTED).
        RuntimeError: the handlers are not available.
        TypeError: an array has the wrong dtype.
        ValueError: x or the first recurrent kernel has the wrong number of axes, or an activation is unknown.

    Example:
        >>> from gatewise.cells import Cell
        >>> from gatewise.operands import Direction
        >>> own = Direction(kernel=jnp.zeros((1, 6)), recurrent_kernel=jnp.zeros((2, 6)))
        >>> outputs, ((h,),) = rnn(jnp.ones((2, 3, 1)), [own], cell=Cell.GRU)
        >>> outputs.shape, h.shape
        ((2, 3, 2), (2, 2))
        >>> outputs, (first, second) = rnn(jnp.ones((2, 3, 1)), [own, own], cell=Cell.GRU)
        >>> outputs.shape, len(first), len(second)
        ((2, 3, 4), 1, 1)
    """
    problem = xla.available()
    if problem is not None:
        raise RuntimeError(f"gatewise: the engine is not available. {problem}. Reinstall gatewise.")
    activation_code("gatewise", "activation", activation)
    activation_code("gatewise", "recurrent_activation", recurrent_activation)
    inputs = _by_name({"x": x, "mask": mask, "starts": starts}, directions)
    _check(inputs, cell, len(directions))
    options = xla.Options(
        cell, activation, recurrent_activation, go_backwards, return_sequences, zero_output_for_mask, recomputing(),
        float(zoneout_h), float(zoneout_c),
    )  # fmt: skip
    outputs, *states = layer(options, inputs).values()
    each = len(states) // len(directions)
    return outputs, tuple(tuple(states[i : i + each]) for i in range(0, len(states), each))


def _by_name(shared: dict[str, Array | None], directions: Sequence[Sequence[Array | None]]) -> dict[str, Array]:
    """Names the inputs that are there as the handlers do. Those of a direction without a gradient are constants."""
    inputs = {name: value for name, value in shared.items() if value is not None}
    for i, direction in enumerate(directions):
        for row, value in zip(OWN, direction, strict=True):
            if value is not None:
                inputs[xla.own(row.name, i)] = value if row.differentiable else jax.lax.stop_gradient(value)
    return inputs


def _check(inputs: dict[str, Array], cell: Cell, directions: int) -> None:
    """Raises for what cannot be traced. The handlers check the shapes, against each other too, when they run."""
    gates = facts(cell).gates
    width = "units" if gates == 1 else f"{gates} * units"
    sized = {"x": ("batch", "timesteps", "features"), xla.own("recurrent_kernel", 0): ("units", width)}
    for name, axes in sized.items():
        value = inputs.get(name)
        shape = (0,) if value is None else jnp.shape(value)  # as the handlers have what is absent
        if len(shape) != len(axes):
            raise ValueError(
                f"gatewise: {_called(name, directions)} has the wrong shape. Expected ({', '.join(axes)}); received "
                f"({', '.join(map(str, shape))}). Check what the layer was given."
            )
    for name, value in inputs.items():
        expected = _DTYPES[name.partition("/")[0]]
        if getattr(value, "dtype", None) == expected:  # in less time than JAX's own answer takes
            continue
        received = jnp.result_type(value)
        if received != expected:
            raise TypeError(
                f"gatewise: {_called(name, directions)} has the wrong type. Expected {expected}; received {received}. "
                "Convert it first."
            )


def _called(name: str, directions: int) -> str:
    """Names an input as all errors do: kernel, or first.kernel where there are two."""
    kind, _, direction = name.partition("/")
    return f"{('first', 'second')[int(direction)]}.{kind}" if direction and directions > 1 else kind
