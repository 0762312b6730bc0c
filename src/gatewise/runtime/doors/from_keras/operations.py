# SPDX-License-Identifier: Apache-2.0
"""Operations of `keras.ops` inside a functional model, slices among them. No mask comes out of them, as in Keras."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_keras.activations import apply, relu
from gatewise.runtime.doors.from_keras.calls import Flow, flat
from gatewise.runtime.doors.from_keras.merging import concatenated
from gatewise.runtime.doors.from_keras.row import unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.runtime.doors.from_keras.calls import Call
    from gatewise.runtime.doors.from_keras.door import Door


def _argument(call: Call, place: int, name: str) -> Any:
    """What the operation is called with at a place, or by a name."""
    args = call.arguments["args"]
    return args[place] if place < len(args) else call.arguments.get(name)


def _x(call: Call) -> str:
    for leaf in flat([call.arguments["args"], *(call.arguments[key] for key in call.arguments if key != "args")]):
        if isinstance(leaf, Flow):
            return leaf.value
    raise unsupported(call, "x", "a value of the model", "none")


def _axis(call: Call, axis: Any, rank: int) -> int:
    """Counts an axis from the front; it is not the batch's."""
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or not -rank < int(axis) < rank or axis == 0:
        raise unsupported(call, "axis", f"1 to {rank - 1}: the batch stays as it is", axis)
    return int(axis) % rank


# --- Arithmetic ---


def _binary(operation: str, door: Door, call: Call) -> str:
    a, b = (_argument(call, place, name) for place, name in enumerate(("x1", "x2")))
    if isinstance(a, Flow) and isinstance(b, Flow):
        return door.emit(call, call.name, operation, [a.value, b.value])
    flow, other = (a, b) if isinstance(a, Flow) else (b, a)
    number = np.asarray(door.keras.ops.convert_to_numpy(other), np.float64)
    by = {"add": "offset", "multiply": "gain"}.get(operation)
    if operation in {"subtract", "divide"} and flow is a:
        by, number = ("offset", -number) if operation == "subtract" else ("gain", 1 / number)
    if by is not None and number.size == 1:
        weights = door.weights(call.layer, call.name, **{by: number.reshape(1).astype(np.float32)})
        return door.emit(call, call.name, "affine", [flow.value], weights=weights)
    rank = door.rank(flow.value)
    array = np.asarray(door.keras.ops.convert_to_numpy(other), np.float32)
    wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
    constant = door.constant(call, f"{call.name}/constant", wide)
    return door.emit(call, call.name, operation, [flow.value, constant] if flow is a else [constant, flow.value])


def _negative(door: Door, call: Call) -> str:
    weights = door.weights(call.layer, call.name, gain=np.full(1, -1, np.float32))
    return door.emit(call, call.name, "affine", [_x(call)], weights=weights)


def _square(door: Door, call: Call) -> str:
    return door.emit(call, call.name, "multiply", [_x(call)] * 2)


def _matmul(door: Door, call: Call) -> str:
    a, b = (_argument(call, place, name) for place, name in enumerate(("x1", "x2")))
    if not isinstance(a, Flow) or not isinstance(b, Flow):
        raise unsupported(call, "x2", "two values of the model; a Dense layer has a kernel", "an array")
    return door.emit(call, call.name, "matmul", [a.value, b.value])


# --- Functions of each element, and over the last axis ---


def _function(name: str, options: dict[str, str], door: Door, call: Call) -> str:
    given = {ours: getattr(call.layer, keras) for ours, keras in options.items()}
    given = {key: value if isinstance(value, bool) else float(value) for key, value in given.items()}
    if name in {"softmax", "log_softmax", "glu"}:
        rank = door.rank(_x(call))
        if _axis(call, call.layer.axis, rank) != rank - 1:
            raise unsupported(call, "axis", "the last axis, -1", call.layer.axis)
    return apply(door, call, name, _x(call), call.name, **given)


def _relu(door: Door, call: Call) -> str:
    op = call.layer
    return relu(door, call, _x(call), op.negative_slope, op.max_value, op.threshold)


# --- Masks ---


def _not_equal(door: Door, call: Call) -> Any:
    """Compares ids, or the features of steps: then the truths of a step are joined by `any`, which has to follow."""
    a, b = (_argument(call, place, name) for place, name in enumerate(("x1", "x2")))
    flow, other = (a, b) if isinstance(a, Flow) else (b, a)
    rank = door.rank(flow.value)
    if (
        isinstance(other, Flow)
        or np.size(other) != 1
        or rank not in {2, 3}
        or not (door.origins(flow.value) or rank == 3)
    ):
        raise unsupported(call, "x2", "ids (batch, steps) of an input, or steps, beside a number", "another comparison")
    door.settle(call, flow.value, "int64" if rank == 2 else "float32")
    value = float(np.asarray(door.keras.ops.convert_to_numpy(other)).reshape(()))
    return Flow(door.emit(call, call.name, "not_equal", [flow.value], value=value), of_features=rank == 3)


def _any(_door: Door, call: Call) -> str:
    flow = _argument(call, 0, "x")
    if not flow.of_features or call.layer.keepdims or [axis % 3 for axis in flat(call.layer.axis)] != [2]:
        raise unsupported(call, "axis", "the features, -1, of not_equal(x, number)", call.layer.axis)
    return str(flow.value)


def _masks(operation: str, door: Door, call: Call) -> str:
    flows = [leaf.value for leaf in flat([*call.arguments["args"]]) if isinstance(leaf, Flow)]
    return door.emit(call, call.name, operation, flows)


# --- What moves numbers ---


def _concatenate(door: Door, call: Call) -> str:
    flows = flat(_argument(call, 0, "xs"))
    if not all(isinstance(flow, Flow) for flow in flows):
        raise unsupported(call, "xs", "values of the model", "an array")
    return concatenated(door, call, [flow.value for flow in flows], call.layer.axis)


def _stack(door: Door, call: Call) -> str:
    values = [flow.value for flow in flat(_argument(call, 0, "x"))]
    axis = _axis(call, call.layer.axis, door.rank(values[0]) + 1)
    values = [door.emit(call, f"{call.name}/expand", "expand", [value], axis=axis) for value in values]
    return concatenated(door, call, values, axis)


def _squeeze(door: Door, call: Call) -> str:
    x = _x(call)
    shape = door.shape(x)
    axes = [i for i in range(1, len(shape)) if shape[i] == 1] if call.layer.axis is None else flat(call.layer.axis)
    for axis in sorted((_axis(call, axis, len(shape)) for axis in axes), reverse=True):
        x = door.emit(call, call.name, "take", [x], axis=axis, index=0)
    return x


def _expand_dims(door: Door, call: Call) -> str:
    x, axes = _x(call), flat(call.layer.axis)
    rank = door.rank(x) + len(axes)
    for axis in sorted(_axis(call, axis, rank) for axis in axes):
        x = door.emit(call, call.name, "expand", [x], axis=axis)
    return x


def _reduce(function: str, door: Door, call: Call) -> str:
    x, op = _x(call), call.layer
    rank = door.rank(x)
    if op.axis is None:
        raise unsupported(call, "axis", f"some of 1 to {rank - 1}: the batch stays as it is", op.axis)
    for axis in sorted((_axis(call, axis, rank) for axis in flat(op.axis)), reverse=True):
        x = door.emit(call, call.name, "reduce", [x], function=function, axis=axis, keepdims=bool(op.keepdims))
    return x


def _permuted(door: Door, call: Call, order: list[int]) -> str:
    if order[0] != 0:
        raise unsupported(call, "axes", "the batch first", order)
    return door.emit(call, call.name, "permute", [_x(call)], axes=order[1:])


def _transpose(door: Door, call: Call) -> str:
    rank = door.rank(_x(call))
    axes = call.layer.axes
    return _permuted(door, call, [int(axis) % rank for axis in (reversed(range(rank)) if axes is None else axes)])


def _swapaxes(door: Door, call: Call) -> str:
    rank, op = door.rank(_x(call)), call.layer
    order = list(range(rank))
    order[op.axis1], order[op.axis2] = order[op.axis2], order[op.axis1]
    return _permuted(door, call, order)


def _reshape(door: Door, call: Call) -> str:
    from gatewise.runtime.doors.from_keras.time import reshaped

    x, target = _x(call), [int(size) for size in call.layer.newshape]
    known, rest = door.shape(x)[1:], target[1:]
    is_batch_first = target[0] == -1 and -1 not in rest and None not in known
    if not is_batch_first or np.prod(rest) != np.prod([size or 0 for size in known]):
        raise unsupported(call, "newshape", "-1 for the batch, then as many numbers a row as before", target)
    return reshaped(door, call, x, rest, call.name)


def _flip(door: Door, call: Call) -> str:
    x = _x(call)
    for axis in flat(call.layer.axis):
        x = door.emit(call, call.name, "reverse", [x], axis=_axis(call, axis, door.rank(x)))
    return x


def _cast(door: Door, call: Call) -> str:
    """Casts between ids and numbers where what is cast is an input: it then is of that dtype."""
    x, dtype = _x(call), str(call.layer.dtype)
    kind = "int64" if "int" in dtype else "float32" if "float" in dtype else "bool"
    if door.dtype(x) != kind:
        if not door.origins(x) or "bool" in {kind, door.dtype(x)}:
            raise unsupported(call, "dtype", f"{door.dtype(x)}, as it is", dtype)
        door.settle(call, x, kind)
    return x


def _same(_door: Door, call: Call) -> str:
    return _x(call)


# --- Slices ---


_KEYS = (int, np.integer, slice, type(None), type(Ellipsis))


def _get_item(door: Door, call: Call) -> str:
    """Takes x[:, -1], x[:, 1:, :3], x[..., None] apart, axis by axis."""
    x, key = _argument(call, 0, "x"), _argument(call, 1, "key")
    keys = list(key) if isinstance(key, list | tuple) else [key]
    if not isinstance(x, Flow) or any(not isinstance(one, _KEYS) for one in keys):
        raise unsupported(call, "key", "numbers and slices", "an array")
    axes = sum(one is not None and one is not Ellipsis for one in keys)
    all_there = [slice(None)] * (door.rank(x.value) - axes)
    place = next((i for i, one in enumerate(keys) if one is Ellipsis), len(keys))
    keys = [*keys[:place], *all_there, *keys[place + 1 :]]
    if keys[0] != slice(None):
        raise unsupported(call, "key", "the whole batch, x[:, ...]", keys[0])
    value, axis = x.value, 0
    for one in keys:
        value, stays = _sliced(door, call, value, axis, one)
        axis += stays
    return value


def _sliced(door: Door, call: Call, x: str, axis: int, key: Any) -> tuple[str, bool]:
    """Applies a part of the key; says whether the axis is still there."""
    name = call.name
    if key is None:
        return door.emit(call, name, "expand", [x], axis=axis), True
    if not isinstance(key, slice):
        return door.emit(call, name, "take", [x], axis=axis, index=int(key)), False
    if key == slice(None):
        return x, True
    if key == slice(None, None, -1):
        return door.emit(call, name, "reverse", [x], axis=axis), True
    if key.step is not None and int(key.step) < 1:
        raise unsupported(call, "key", "steps of 1 or more, or ::-1", key)
    given = {"start": key.start, "stop": key.stop, "step": key.step}
    options = {part: int(number) for part, number in given.items() if number is not None}
    return door.emit(call, name, "slice", [x], axis=axis, **options), True


# --- The table, by the names of Keras's classes ---

_FUNCTIONS: dict[str, tuple[str, dict[str, str]]] = {
    **{
        name: (name.lower(), {})
        for name in (
            *("Tanh", "Sigmoid", "Relu", "Relu6", "Selu", "Silu", "Softplus", "Softsign", "Mish", "Sqrt", "Absolute"),
            "Softmax",
        )
    },
    "Abs": ("absolute", {}),
    "Exp": ("exponential", {}),
    "HardSigmoid": ("hard_sigmoid", {}),
    "HardSilu": ("hard_silu", {}),
    "HardTanh": ("hard_tanh", {}),
    "LogSigmoid": ("log_sigmoid", {}),
    "TanhShrink": ("tanh_shrink", {}),
    "SparsePlus": ("sparse_plus", {}),
    "SparseSigmoid": ("sparse_sigmoid", {}),
    "LogSoftmax": ("log_softmax", {}),
    "Glu": ("glu", {}),
    "LeakyRelu": ("leaky_relu", {"slope": "negative_slope"}),
    "Elu": ("elu", {"alpha": "alpha"}),
    "Celu": ("celu", {"alpha": "alpha"}),
    "Gelu": ("gelu", {"approximate": "approximate"}),
    "Squareplus": ("squareplus", {"alpha": "b"}),
    "SoftShrink": ("soft_shrink", {"threshold": "threshold"}),
    "HardShrink": ("hard_shrink", {"threshold": "threshold"}),
    "Threshold": ("threshold", {"threshold": "threshold", "least": "default_value"}),
}

OPERATIONS: dict[str, Callable[[Door, Call], Any]] = {
    **{name: partial(_function, *row) for name, row in _FUNCTIONS.items()},
    **{name: partial(_binary, name.lower()) for name in ("Add", "Subtract", "Multiply", "Divide")},
    **{name: partial(_binary, name.lower()) for name in ("Maximum", "Minimum")},
    "TrueDivide": partial(_binary, "divide"),
    "ReLU": _relu,
    "Negative": _negative,
    "Square": _square,
    "Matmul": _matmul,
    "NotEqual": _not_equal,
    "Any": _any,
    "LogicalAnd": partial(_masks, "all"),
    "LogicalOr": partial(_masks, "any"),
    "LogicalNot": partial(_masks, "not"),
    "Concatenate": _concatenate,
    "Stack": _stack,
    "Squeeze": _squeeze,
    "ExpandDims": _expand_dims,
    "Mean": partial(_reduce, "mean"),
    "Sum": partial(_reduce, "sum"),
    "Max": partial(_reduce, "max"),
    "Min": partial(_reduce, "min"),
    "Transpose": _transpose,
    "Swapaxes": _swapaxes,
    "Reshape": _reshape,
    "Flip": _flip,
    "Cast": _cast,
    "Copy": _same,
    "StopGradient": _same,
    "GetItem": _get_item,
}
