# SPDX-License-Identifier: Apache-2.0
"""The engine's handlers in XLA (csrc/bind/xla.cpp): their registration, and calls of them on one device or on several.

A layer has one direction or two, whose inputs and results are told apart by name: "kernel/0" is the first's, "kernel/1"
the second's, and "x" belongs to both. Letters of axes: b = batch, t = timesteps, f = features, u = units, g = 3 *
units, v = the units of all directions.
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
from jax.sharding import NamedSharding, PartitionSpec

from gatewise import cells
from gatewise.native import ACTIVATIONS
from gatewise.ops.direction import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

Array: TypeAlias = Any  # a jax.Array or a tracer
Mesh: TypeAlias = Any  # a jax.sharding.Mesh, concrete or abstract

FORWARD, FORWARD_SAVING, BACKWARD = "gatewise_xla_gru", "gatewise_xla_gru_train", "gatewise_xla_gru_grad"

_LIBRARY = Path(__file__).parents[2] / "libgatewise_xla.so"
_OLDEST_JAX = (0, 5, 0)  # the first with jax.ffi
_SHARDY = (0, 7, 0)  # the first that cuts programs up by rules; the others ask a function

# What all directions share and what each has of its own, in the handlers' order
_OPERANDS = {
    FORWARD: (("x", "mask"), Direction._fields),
    FORWARD_SAVING: (("x", "mask"), Direction._fields),
    BACKWARD: (("x", "mask", "d_outputs"), (*Direction._fields, "saved", "d_state")),
}
_RESULTS = {
    FORWARD: (("outputs",), ("state",)),
    FORWARD_SAVING: (("outputs",), ("state", "saved")),
    BACKWARD: (("d_x",), ("d_initial_state", "d_kernel", "d_recurrent_kernel", "d_bias")),
}
_WEIGHTS = {"kernel", "recurrent_kernel", "bias"}  # every part of the batch has a share in their gradients

# The axes of an array; its gradient's are the same. bias and outputs hang on an option, see _axes. Other letters: m, n
# and k count factors and biases, s what is saved for a row, l the last step.
_AXES = {
    "x": "btf",
    "initial_state": "bu",
    "kernel": "fg",
    "recurrent_kernel": "ug",
    "mask": "bt",
    "input_dropout": "mbf",
    "recurrent_dropout": "nbu",
    "saved": "bs",
    "state": "bu",
}
_DTYPES: dict[str, type[np.generic]] = {"mask": np.bool_, "saved": np.uint32}  # all others are float32


class Options(NamedTuple):
    """What a layer computes, apart from numbers and sizes; see `gatewise.ops.jax.gru`."""

    reset_after: bool
    activation: str
    recurrent_activation: str
    go_backwards: bool
    return_sequences: bool
    zero_output_for_mask: bool
    recompute: bool


class Call(NamedTuple):
    """What is fixed about a call when it is traced."""

    target: str
    options: Options
    operands: tuple[str, ...]  # those that are there
    results: tuple[str, ...]  # those that are wanted
    saved_row: int  # how many numbers are saved for a row


class _Layer(ctypes.Structure):
    """gatewise_layer of csrc/engine.h."""

    _fields_ = (
        ("struct_size", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("cell", "format", "directions", "activation", "recurrent_activation")),
        *((name, ctypes.c_int32) for name in ("go_backwards", "return_sequences", "zero_output_for_mask")),
        *((name, ctypes.c_int32) for name in ("recompute", "torch_layout")),
        *((name, ctypes.c_int64) for name in ("batch", "timesteps", "features", "units")),
    )


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_LIBRARY))
    library.gatewise_workspace_floats.argtypes = [ctypes.POINTER(_Layer)]  # libgatewise's, which it is linked to
    library.gatewise_workspace_floats.restype = ctypes.c_int64
    return library


@cache
def available() -> str | None:
    """Registers the handlers, once. Returns None, or the reason why they cannot be used in this process."""
    # XLA refuses a handler that is newer than itself, and a refusal takes all of JAX with it.
    if jax.__version_info__ < _OLDEST_JAX:
        return f"JAX {jax.__version__} is too old; {'.'.join(map(str, _OLDEST_JAX))} or later is needed"
    if not _LIBRARY.exists():
        return f"{_LIBRARY.name} is missing, because gatewise was built without XLA's headers"
    try:
        library = _library()
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
        target: FORWARD, FORWARD_SAVING or BACKWARD.
        options: what the layer computes.
        operands: the arrays that are there, by name: those of the layer; and for BACKWARD `saved` and the gradients
            `d_outputs` and `d_state`, absent where they are zeros. Others are not looked at.
        gradients: names of those that are wanted of BACKWARD, which computes those of the weights in any case.

    Returns:
        The results by name.
    """

    def is_wanted(name: str) -> bool:
        is_weight = _kind(name) in _WEIGHTS and name.removeprefix("d_") in operands
        return target != BACKWARD or is_weight or name in gradients

    wanted = tuple(name for name in _names(_RESULTS[target], directions(operands)) if is_wanted(name))
    present = tuple(name for name in _names(_OPERANDS[target], directions(operands)) if name in operands)
    devices = _cpu_devices()
    saved_row = _saved_row(options, operands, devices) if target == FORWARD_SAVING else 0
    call = Call(target, options, present, wanted, saved_row)
    function = _on_one_device(call) if devices == 1 else _on_devices(call)
    return dict(zip(wanted, function(*(operands[name] for name in present)), strict=True))


def directions(operands: Iterable[str]) -> int:
    """Counts the directions of a layer by the names of its operands."""
    return sum(_kind(name) == "kernel" for name in operands)


def results(target: str, inputs: Iterable[str]) -> tuple[str, ...]:
    """Lists the results of FORWARD or FORWARD_SAVING for inputs of these names."""
    return _names(_RESULTS[target], directions(inputs))


def is_saved(name: str) -> bool:
    """Says whether a result of FORWARD_SAVING is what the way back needs, and nothing else is to look at."""
    return _kind(name) == "saved"


def _names(names: tuple[tuple[str, ...], tuple[str, ...]], directions: int) -> tuple[str, ...]:
    """Lists the operands or the results of a handler for so many directions, in its order."""
    shared, of_each = names
    return *shared, *(own(name, i) for i in range(directions) for name in of_each)


def _kind(name: str) -> str:
    """Names an array without its direction; a gradient like what it is of."""
    return name.partition("/")[0].removeprefix("d_")


def _dtype(name: str) -> type[np.generic]:
    return _DTYPES.get(_kind(name), np.float32)


def _axes(name: str, options: Options) -> str:
    name = _kind(name)
    if name == "bias":
        return "kg" if options.reset_after else "g"
    if name == "outputs":
        return "btv" if options.return_sequences else "blv"
    return _AXES[name]


def _saved_row(options: Options, operands: dict[str, Array], devices: int) -> int:
    """Counts what is saved for a row of the batch, at most, over the ways of cutting the batch up for the devices.

    One number besides, for each part, says how many rows it is for.
    """
    (batch, timesteps, features), most = operands["x"].shape, 0
    units = operands[own("recurrent_kernel", 0)].shape[0]
    for parts in range(1, devices + 1):
        if batch % parts == 0:
            rows = max(batch // parts, 1)
            sizes = {"batch": rows, "timesteps": timesteps, "features": features, "units": units}
            most = max(most, -(-(_library().gatewise_workspace_floats(_layer(options, sizes)) + 1) // rows))
    return most


def _layer(options: Options, sizes: dict[str, int]) -> _Layer:
    attributes = _attributes(options)
    cell = cells.gru(reset_after=bool(attributes.pop("reset_after")))
    return _Layer(ctypes.sizeof(_Layer), cell=cell, directions=1, **attributes, **sizes)


def _attributes(options: Options) -> dict[str, int]:
    numbers = {"activation", "recurrent_activation"}
    return {
        name: ACTIVATIONS.index(value) if name in numbers else int(value) for name, value in options._asdict().items()
    }


@cache
def _on_one_device(call: Call) -> Callable[..., tuple[Array, ...]]:
    """Makes the function of a call's operands that calls the handler."""

    def gatewise_gru(*operands: Array) -> tuple[Array, ...]:
        given = dict(zip(call.operands, operands, strict=True))
        units = given[own("recurrent_kernel", 0)].shape[0]
        sizes = dict(zip("btf", given["x"].shape, strict=True))
        sizes |= {"u": units, "v": directions(given) * units, "s": call.saved_row, "l": 1}

        def shape_of(name: str) -> tuple[int, ...]:
            if name not in call.results:
                return (0,)
            of = name.removeprefix("d_")
            return given[of].shape if of in given else tuple(sizes[axis] for axis in _axes(name, call.options))

        names = _names(_RESULTS[call.target], directions(given))
        results = [jax.ShapeDtypeStruct(shape_of(name), _dtype(name)) for name in names]
        arrays = [
            given[name] if name in given else jnp.zeros((0,), _dtype(name))
            for name in _names(_OPERANDS[call.target], directions(given))
        ]
        attributes = {name: np.int32(value) for name, value in _attributes(call.options).items()}
        made = jax.ffi.ffi_call(call.target, results, vmap_method="sequential")(*arrays, **attributes)
        return tuple(value for name, value in zip(names, made, strict=True) if name in call.results)

    return gatewise_gru


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
