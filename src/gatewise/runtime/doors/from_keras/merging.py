# SPDX-License-Identifier: Apache-2.0
"""Layers that make one value of several, and the masks that come out of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_keras.calls import flat
from gatewise.runtime.doors.from_keras.errors import refused
from gatewise.runtime.doors.from_keras.row import Row, unsupported

if TYPE_CHECKING:
    from gatewise.runtime.doors.from_keras.calls import Call
    from gatewise.runtime.doors.from_keras.door import Door


def _aligned(door: Door, call: Call) -> list[tuple[str, str | None]]:
    """Brings the inputs to one rank, as Keras does: new axes of size 1 behind the batch. Those have no mask then."""
    rank = max(door.rank(flow.value) for flow in call.flows)
    inputs = []
    for flow in call.flows:
        value, mask = flow.value, flow.mask
        while door.rank(value) < rank:
            value, mask = door.emit(call, f"{call.name}/expand", "expand", [value], axis=1), None
        inputs.append((value, mask))
    return inputs


def _plain(operation: str, door: Door, call: Call) -> str:
    return door.emit(call, call.name, operation, [value for value, _ in _aligned(door, call)])


def _masked_inputs(door: Door, call: Call) -> list[tuple[str, str | None]]:
    inputs = _aligned(door, call)
    for value, mask in inputs:
        if mask is not None and door.rank(value) != 3:
            shape = str(door.shape(value))
            raise refused(call.layer, call.name, "an input has a mask", "masks of (batch, steps, features)", shape)
    return inputs


def _where(door: Door, call: Call, mask: str, a: str, b: str) -> str:
    """Takes a where the mask is true, else b; what is not taken may be NaN."""
    taken = door.emit(call, f"{call.name}/taken", "zero_masked", [a, mask])
    other = door.emit(call, f"{call.name}/other", "zero_masked", [b, _not(door, call, mask)])
    return door.emit(call, f"{call.name}/where", "add", [taken, other])


def _not(door: Door, call: Call, mask: str) -> str:
    return door.emit(call, f"{call.name}/not", "not", [mask])


def _or(door: Door, call: Call, masks: list[str]) -> str:
    """Joins masks; one that all inputs share stays as it is."""
    different = list(dict.fromkeys(masks))
    return different[0] if len(different) == 1 else door.emit(call, f"{call.name}/mask", "any", different)


def _extremum(operation: str, door: Door, call: Call) -> str:
    """Compares where both are valid; where one is not, the other counts."""
    inputs = _masked_inputs(door, call)
    if all(mask is None for _, mask in inputs):
        return _plain(operation, door, call)
    y, y_mask = inputs[0]
    for x, mask in inputs[1:]:
        if mask is not None:
            x = _where(door, call, mask, x, y)  # noqa: PLW2901  # Keras's own steps
        if y_mask is not None:
            y = _where(door, call, y_mask, y, x)
        both = [one for one in (y_mask, mask) if one is not None]
        y_mask = _or(door, call, both) if len(both) == 2 else None
        y = door.emit(call, call.name, operation, [y, x])
    return y


def _multiply(door: Door, call: Call) -> str:
    """Multiplies; a masked input counts as one, and where all are masked the product is zero."""
    inputs = _masked_inputs(door, call)
    masks = [mask for _, mask in inputs if mask is not None]
    if not masks:
        return _plain("multiply", door, call)
    factors = [value if mask is None else _or_one(door, call, value, mask) for value, mask in inputs]
    y = door.emit(call, call.name, "multiply", factors)
    if len(masks) < len(inputs):
        return y
    return door.emit(call, f"{call.name}/masked", "zero_masked", [y, _or(door, call, masks)])


def _or_one(door: Door, call: Call, value: str, mask: str) -> str:
    known = door.emit(call, f"{call.name}/known", "zero_masked", [value, mask])  # NaN times zero is no zero
    constants = {role: np.full(1, number, np.float32) for role, number in (("gain", 0.0), ("offset", 1.0))}
    ones = door.emit(
        call, f"{call.name}/ones", "affine", [known], weights=door.weights(call.layer, call.name, **constants)
    )
    return _where(door, call, mask, value, ones)


def _merge_mask(door: Door, call: Call, _values: list[str]) -> Any:
    """Valid is what is valid in any input, if each has a mask."""
    masks = [mask for mask in flat(call.mask) if mask is not None]
    return _or(door, call, masks) if len(masks) == len(call.flows) else None


def _concatenate(door: Door, call: Call) -> str:
    return concatenated(door, call, [flow.value for flow in call.flows], call.layer.axis)


def concatenated(door: Door, call: Call, values: list[str], axis: Any) -> str:
    """Joins values along an axis that is not the batch's."""
    rank = door.rank(values[0])
    if axis is None or int(axis) % rank == 0:
        raise unsupported(call, "axis", f"1 to {rank - 1}: the batch stays as it is", axis)
    kinds = {door.dtype(value) for value in values}
    if kinds == {"int64", "float32"}:
        for value in values:
            door.settle(call, value, "float32")
    return door.emit(call, call.name, "concatenate", values, axis=int(axis))


def _concatenate_mask(door: Door, call: Call, _values: list[str]) -> Any:
    """Joins masks along time. Along the features a step is valid where any input is valid: without a mask, always."""
    masks = flat(call.mask)
    if all(mask is None for mask in masks):
        return None
    if any(door.rank(flow.value) != 3 for flow in call.flows):
        shapes = ", ".join(str(door.shape(flow.value)) for flow in call.flows)
        raise refused(call.layer, call.name, "an input has a mask", "masks of (batch, steps, features)", shapes)
    if int(call.layer.axis) % 3 == 2:
        return None if None in masks else _or(door, call, masks)
    all_there = [
        _all_valid(door, call, flow.value) if mask is None else mask
        for flow, mask in zip(call.flows, masks, strict=True)
    ]
    return door.emit(call, f"{call.name}/mask", "concatenate", all_there, axis=1)


def _all_valid(door: Door, call: Call, x: str) -> str:
    """Makes a mask that is true everywhere: no number is both 0 and 1."""
    masks = [door.emit(call, f"{call.name}/not_{n}", "not_equal", [x], value=float(n)) for n in (0, 1)]
    return door.emit(call, f"{call.name}/valid", "any", masks)


def _dot(door: Door, call: Call) -> str:
    layer, name, (a, b) = call.layer, call.name, (flow.value for flow in call.flows)
    ranks = door.rank(a), door.rank(b)
    axes = layer.axes if isinstance(layer.axes, list | tuple) else [layer.axes] * 2
    axes = [int(axis) % rank for axis, rank in zip(axes, ranks, strict=True)]
    if max(ranks) > 3 or min(ranks) < 2:
        raise unsupported(call, "axes", "inputs of two or three axes", f"{ranks[0]} and {ranks[1]}")
    a, b = (
        _last(door, call, x, axis, f"{name}/{which}", normalize=bool(layer.normalize))
        for x, axis, which in ((a, axes[0], "a"), (b, axes[1], "b"))
    )
    b = door.emit(call, f"{name}/b/transposed", "permute", [b], axes=[2, 1])
    y = door.emit(call, name, "matmul", [a, b])
    if ranks[0] == 2:
        return door.emit(call, f"{name}/squeeze", "take", [y], axis=1, index=0)
    return y if ranks[1] == 3 else door.emit(call, f"{name}/squeeze", "take", [y], axis=2, index=0)


def _last(door: Door, call: Call, x: str, axis: int, name: str, *, normalize: bool) -> str:
    """Brings the axis that is summed over to the end, and x to three axes."""
    if door.rank(x) == 2:
        x = door.emit(call, f"{name}/expand", "expand", [x], axis=1)
    elif axis == 1:
        x = door.emit(call, f"{name}/permute", "permute", [x], axes=[2, 1])
    if not normalize:
        return x
    return door.emit(call, f"{name}/unit", "unit_normalization", [x], epsilon=float(door.keras.config.epsilon()))


ROWS = {
    **{name: Row(partial(_plain, name.lower()), _merge_mask) for name in ("Add", "Subtract", "Average")},
    "Maximum": Row(partial(_extremum, "maximum"), _merge_mask),
    "Minimum": Row(partial(_extremum, "minimum"), _merge_mask),
    "Multiply": Row(_multiply, _merge_mask),
    "Concatenate": Row(_concatenate, _concatenate_mask),
    "Dot": Row(_dot),
}
