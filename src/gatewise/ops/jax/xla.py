# SPDX-License-Identifier: Apache-2.0
"""The engine's handlers in XLA (csrc/bind/xla.cpp): their registration, and calls of them on one device or on several.

A layer has one direction or two, whose inputs and results are told apart by name: "kernel/0" is the first's, "kernel/1"
the second's, and "x" belongs to both. Axes have the letters of csrc/operands.h.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend import backend
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jax.sharding import NamedSharding, PartitionSpec

from gatewise import _native
from gatewise.engine import ACTIVATIONS
from gatewise.operands import (
    INPUTS,
    OPTIONS,
    OUTPUTS,
    OWN,
    OWN_OUTPUTS,
    SHARED,
    SHARED_OUTPUTS,
    Operand,
    axes_of,
    engine_options,
    exists,
    sizes_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from gatewise.cells import Cell

Array: TypeAlias = Any  # a jax.Array or a tracer
Mesh: TypeAlias = Any  # a jax.sharding.Mesh, concrete or abstract

FORWARD, FORWARD_KEEPING, BACKWARD = "gatewise_xla_rnn", "gatewise_xla_rnn_train", "gatewise_xla_rnn_grad"

_LIBRARY = Path(__file__).parents[2] / "libgatewise_xla.so"
_OLDEST_JAX = (0, 5, 0)  # the first with jax.ffi
_SHARDY = (0, 7, 0)  # the first that cuts programs up by rules; the others ask a function

# What forward keeps for backward; s = what is kept for a row of the batch.
_WORKSPACE = Operand("workspace", "bs", "uint32", "required", "own", differentiable=False)
_ROWS = {row.name: row for row in (*INPUTS, *OUTPUTS, _WORKSPACE)}
# Every part of the batch has a share in their gradients.
_WEIGHTS = {row.name for row in OWN if row.differentiable and "b" not in row.axes}


def _named(*rows: Operand) -> tuple[str, ...]:
    return tuple(row.name for row in rows)


def _gradients(*rows: Operand) -> tuple[str, ...]:
    return tuple(f"d_{row.name}" for row in rows if row.differentiable)


# What all directions share and what each has of its own, in the handlers' order
_OPERANDS = {
    FORWARD: (_named(*SHARED), _named(*OWN)),
    FORWARD_KEEPING: (_named(*SHARED), _named(*OWN)),
    BACKWARD: (
        (*_named(*SHARED), *_gradients(*SHARED_OUTPUTS)),
        (*_named(*OWN, _WORKSPACE), *_gradients(*OWN_OUTPUTS)),
    ),
}
_RESULTS = {
    FORWARD: (_named(*SHARED_OUTPUTS), _named(*OWN_OUTPUTS)),
    FORWARD_KEEPING: (_named(*SHARED_OUTPUTS), _named(*OWN_OUTPUTS, _WORKSPACE)),
    BACKWARD: (_gradients(*SHARED), _gradients(*OWN)),
}


class Options(NamedTuple):
    """What a layer computes, apart from numbers and sizes; see `gatewise.ops.jax.rnn`."""

    cell: Cell
    activation: str
    recurrent_activation: str
    go_backwards: bool
    return_sequences: bool
    zero_output_for_mask: bool
    recompute: bool
    zoneout_h: float
    zoneout_c: float


class Call(NamedTuple):
    """What is fixed about a call when it is traced."""

    target: str
    options: Options
    operands: tuple[str, ...]  # those that are there
    results: tuple[str, ...]  # those that are wanted
    workspace_row: int  # how many numbers are kept for a row


@cache
def available() -> str | None:
    """Registers the handlers, once. Returns None, or the reason why they cannot be used in this process."""
    # XLA refuses a handler that is newer than itself, and a refusal takes all of JAX with it.
    if jax.__version_info__ < _OLDEST_JAX:
        return f"JAX {jax.__version__} is too old; {'.'.join(map(str, _OLDEST_JAX))} or later is needed"
    if not _LIBRARY.exists():
        return f"{_LIBRARY.name} is missing, because gatewise was built without XLA's headers"
    try:
        library = ctypes.CDLL(str(_LIBRARY))
    except OSError as error:
        return f"{_LIBRARY.name} cannot be loaded ({error})"
    for target in _OPERANDS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    return None


def cpu_alone() -> bool:
    """Says whether the CPU is the only kind of device that JAX has in this process."""
    return set(backend.backends()) == {"cpu"}


def on_several_devices() -> bool:
    """Says whether JAX sees several CPU devices, each of which runs its part of a batch."""
    return _cpu_devices() > 1


def _cpu_devices() -> int:
    backends = backend.backends()
    return int(backends["cpu"].device_count()) if "cpu" in backends else 1


def own(name: str, direction: int) -> str:
    """Names what a direction has of its own."""
    return f"{name}/{direction}"


def run(target: str, options: Options, operands: dict[str, Array], gradients: Collection[str] = ()) -> dict[str, Array]:
    """Runs a handler, or traces a call of it. It has no derivative.

    Args:
        target: FORWARD, FORWARD_KEEPING or BACKWARD.
        options: what the layer computes.
        operands: the arrays that are there, by name: those of the layer; and for BACKWARD each workspace and the
            gradients of the outputs, absent where they are zeros. Others are not looked at.
        gradients: names of those that are wanted of BACKWARD, which computes those of the weights in any case.

    Returns:
        The results by name.
    """

    def is_wanted(name: str) -> bool:
        return name in gradients or (_kind(name) in _WEIGHTS and name.removeprefix("d_") in operands)

    if target == BACKWARD:
        wanted = tuple(filter(is_wanted, _names(_RESULTS[target], directions(operands))))
    else:
        wanted = results(target, options, operands)
    present = tuple(name for name in _names(_OPERANDS[target], directions(operands)) if name in operands)
    devices = _cpu_devices()
    workspace_row = _workspace_row(options, operands, devices) if target == FORWARD_KEEPING else 0
    call = Call(target, options, present, wanted, workspace_row)
    function = _on_one_device(call) if devices == 1 else _on_devices(call)
    return dict(zip(wanted, function(*(operands[name] for name in present)), strict=True))


def directions(operands: Iterable[str]) -> int:
    """Counts the directions of a layer by the names of its operands."""
    return sum(_kind(name) == "recurrent_kernel" for name in operands)


def results(target: str, options: Options, inputs: Iterable[str]) -> tuple[str, ...]:
    """Lists the results of FORWARD or FORWARD_KEEPING for inputs of these names: those that the cell has."""
    return _results(target, options.cell, directions(inputs))


@cache
def _results(target: str, cell: Cell, directions: int) -> tuple[str, ...]:
    return tuple(name for name in _names(_RESULTS[target], directions) if exists(_row(name), cell))


def is_workspace(name: str) -> bool:
    """Says whether a result of FORWARD_KEEPING is what the backward pass needs, and nothing else is to look at."""
    return _kind(name) == _WORKSPACE.name


def _names(names: tuple[tuple[str, ...], tuple[str, ...]], directions: int) -> tuple[str, ...]:
    """Lists the operands or the results of a handler for so many directions, in its order."""
    shared, of_each = names
    return *shared, *(own(name, i) for i in range(directions) for name in of_each)


def _kind(name: str) -> str:
    """Names an array without its direction; a gradient like what it is of."""
    return name.partition("/")[0].removeprefix("d_")


def _row(name: str) -> Operand:
    return _ROWS[_kind(name)]


def _axes(name: str, options: Options) -> str:
    return axes_of(_row(name), options.cell)


def _workspace_row(options: Options, operands: dict[str, Array], devices: int) -> int:
    """Counts what is kept for a row of the batch, at most, over the ways of cutting the batch up for the devices.

    One number besides, for each part, says how many rows it is for.
    """
    (batch, timesteps, features), most = operands["x"].shape, 0
    units, values = operands[own("recurrent_kernel", 0)].shape[0], _values(options)
    for parts in range(1, devices + 1):
        if batch % parts == 0:
            rows = max(batch // parts, 1)
            most = max(most, -(-(_native.workspace_floats(values, rows, timesteps, features, units) + 1) // rows))
    return most


def _values(options: Options) -> tuple[int, ...]:
    """Brings options to the engine's numbers and order."""
    named = options._asdict()
    return engine_options(
        **named | {name: ACTIVATIONS.index(value) for name, value in named.items() if isinstance(value, str)}
    )


def _refuse(context: Any, *_operands: Any) -> Any:
    platforms = ", ".join(context.module_context.platforms)
    raise NotImplementedError(
        "gatewise: the engine runs on the CPU. Expected a program for a CPU where zoneout, starts or gatewise.ops.jax "
        f"is used, for nothing else computes them; received one for {platforms}. Compute under "
        "jax.default_device(jax.devices('cpu')[0]), or set JAX_PLATFORMS=cpu."
    )


# An array itself, in programs for a CPU; others cannot hold it, where XLA would only say that it knows no handler.
_on_cpu = Primitive("gatewise_on_cpu")
_on_cpu.def_impl(lambda array: array)
_on_cpu.def_abstract_eval(lambda array: array)
mlir.register_lowering(_on_cpu, lambda _context, array: [array], platform="cpu")
mlir.register_lowering(_on_cpu, _refuse)
batching.primitive_batchers[_on_cpu] = lambda arrays, axes: (_on_cpu.bind(*arrays), axes[0])


@cache
def _on_one_device(call: Call) -> Callable[..., tuple[Array, ...]]:
    """Makes the function of a call's operands that calls the handler."""

    def gatewise_rnn(*operands: Array) -> tuple[Array, ...]:
        given = dict(zip(call.operands, operands, strict=True))
        batch, timesteps, features = given["x"].shape
        of_layer = sizes_of(
            call.options.cell,
            directions=directions(given),
            units=given[own("recurrent_kernel", 0)].shape[0],
            timesteps=timesteps,
            return_sequences=call.options.return_sequences,
        )
        sizes = {"b": batch, "f": features, "s": call.workspace_row, **of_layer}

        def shape_of(name: str) -> tuple[int, ...]:
            if name not in call.results:
                return (0,)
            of = name.removeprefix("d_")
            return given[of].shape if of in given else tuple(sizes[axis] for axis in _axes(name, call.options))

        names = _names(_RESULTS[call.target], directions(given))
        results = [jax.ShapeDtypeStruct(shape_of(name), _row(name).dtype) for name in names]
        arrays = [
            given[name] if name in given else jnp.zeros((0,), _row(name).dtype)
            for name in _names(_OPERANDS[call.target], directions(given))
        ]
        attributes = dict(zip(OPTIONS, map(np.int32, _values(call.options)), strict=True))
        made = jax.ffi.ffi_call(call.target, results, vmap_method="sequential")(
            *map(_on_cpu.bind, arrays), **attributes
        )
        return tuple(value for name, value in zip(names, made, strict=True) if name in call.results)

    return gatewise_rnn


@cache
def _on_devices(call: Call) -> Callable[..., tuple[Array, ...]]:
    """Makes the function of a call's operands that each device runs on its part of the batch.

    Without it XLA would gather the batch and every device would run all of it. A partitioned call has no rule for vmap;
    here it gets the handlers' own, one call after another.
    """
    function = _on_one_device(call)

    def shardings(mesh: Mesh, names: Sequence[str], batch: Any) -> tuple[NamedSharding, ...]:
        specs = ([batch if axis == "b" else None for axis in _axes(name, call.options)] for name in names)
        return tuple(NamedSharding(mesh, PartitionSpec(*spec)) for spec in specs)

    def infer(mesh: Mesh, operands: Sequence[Any], _results: Any) -> tuple[NamedSharding, ...]:
        return shardings(mesh, call.results, _batch_axis(operands))

    def partition(mesh: Mesh, operands: Sequence[Any], _results: Any) -> tuple[Any, ...]:
        batch = _batch_axis(operands)

        def run_part(*parts: Array) -> tuple[Array, ...]:
            results = function(*parts)
            if batch is None:
                return results
            return tuple(
                jax.lax.psum(value, batch) if call.target == BACKWARD and _kind(name) in _WEIGHTS else value
                for name, value in zip(call.results, results, strict=True)
            )

        return mesh, run_part, shardings(mesh, call.results, batch), shardings(mesh, call.operands, batch)

    partitioned = custom_partitioning(function)
    partitioned.def_partition(partition, infer_sharding_from_operands=infer, **_sharding_rule(call))
    mapped: Callable[..., tuple[Array, ...]] = sequential_vmap(partitioned)
    return mapped


def _batch_axis(operands: Sequence[Any]) -> Any:
    """Names the axis or axes of the mesh that the batch of x, the first operand, is cut along; None if it is not."""
    spec: Sequence[Any] = getattr(operands[0].sharding, "spec", ())  # JAX before 0.7 also asks when nothing is settled
    return spec[0] if len(spec) else None


def _sharding_rule(call: Call) -> dict[str, Any]:
    """Tells XLA which axes belong together: "b t f, f g, u g -> b t u, b u", and that it may cut the batch alone."""
    if jax.__version_info__ < _SHARDY:
        return {}
    operands, results = ([_axes(name, call.options) for name in names] for names in (call.operands, call.results))
    rule = " -> ".join(", ".join(" ".join(axes) for axes in arrays) for arrays in (operands, results))
    whole = dict.fromkeys(axis for axes in (*operands, *results) for axis in axes if axis != "b")
    return {"sharding_rule": rule, "need_replication_factors": tuple(whole)}  # in order of first appearance, as it asks
