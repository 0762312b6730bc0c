# SPDX-License-Identifier: Apache-2.0
"""Nodes that take a part of an axis: Slice, Split, Gather."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.values import ONE, Filled, Parts, Size, Sizes, Tensor, as_sizes
from gatewise.runtime.operations.operation import MOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.runtime.doors.from_onnx.node import Read


FEW = 64  # indices of an axis that are taken one by one


def _cut(node: Read, value: Any, axis: int, start: int, stop: int, step: int = 1) -> Any:
    """Steps start to stop of an axis; negative ones count from its end, MOST stands for it."""
    if isinstance(value, Parts) and value.axis != axis:
        return Parts(tuple(_cut(node, part, axis, start, stop, step) for part in value.parts), value.axis)
    if isinstance(value, Parts) and all(layout.sizes(node, part)[axis] == ONE for part in value.parts):
        kept = value.parts[start:stop:step]
        if kept:
            return kept[0] if len(kept) == 1 else Parts(kept, axis)
    if isinstance(value, Filled):
        return _filled_cut(node, value, axis, slice(start, stop, step))
    return _tensor_cut(node, node.settled(value), axis, slice(start, stop, step))


def _filled_cut(node: Read, value: Filled, axis: int, part: slice) -> Filled:
    n = value.sizes[axis].fixed
    if n is None and part != slice(0, MOST, 1):
        raise node.fail("it cuts a constant of unknown size", "a known size", "another")
    kept = value.sizes[axis] if n is None else Size(len(range(n)[part]))
    base = value.base
    if isinstance(base, np.ndarray) and base.shape[axis] != 1:
        base = base[(slice(None),) * axis + (part,)]
    return Filled((*value.sizes[:axis], kept, *value.sizes[axis + 1 :]), base)


def _tensor_cut(node: Read, t: Tensor, axis: int, part: slice) -> Tensor:
    start, stop, step = part.start, part.stop, part.step
    size = layout.sizes(node, t)[axis].fixed
    if start == 0 and step == 1 and (stop == MOST or (size is not None and stop >= size)):
        return t
    if size is not None and not range(size)[part]:
        raise node.fail(f"nothing is left of axis {axis}", "one step at least", f"{start} to {stop} of {size}")
    if not t.axes[axis]:
        return t
    if (start, stop) == (-1, MOST) or (stop == start + 1 and stop != 0):
        return layout.taken(node, t, axis, start)
    t, ours = layout.plain(node, t, axis)
    options = {"axis": ours, "start": start, "stop": stop, "step": step}
    (made,) = node.emit("slice", (t.value,), options, part="slice")
    return Tensor(made, t.axes)


def _slice(node: Read) -> list[Any]:
    value = node.given[0]
    new = node.opset >= 10
    starts, ends = (node.there(1), node.there(2)) if new else (node.attribute("starts"), node.attribute("ends"))
    starts, ends = (as_sizes(each if isinstance(each, Sizes) else np.array(each)) for each in (starts, ends))
    if starts is None or ends is None:
        raise node.fail("bounds are computed from numbers", "constants and sizes", "other values")
    axes = node.integers(3 if new else -1, "axes", list(range(len(starts)))) or []
    steps = node.integers(4 if new else -1, "", [1] * len(starts)) or []
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.fail("bounds, axes and steps are not as many", "one of each", "others", "Export the model again.")
    if isinstance(value, Sizes):
        return [_sizes_cut(node, value, starts[0], ends[0], steps[0])]
    rank = node.rank_of(value)
    for start, end, named, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.axis(named, rank)
        size = value.sizes[axis] if isinstance(value, Filled) else None
        if size is None and not (isinstance(value, Parts) and value.axis == axis):
            size = layout.sizes(node, node.settled(value))[axis] if not isinstance(value, Parts) else None
        first = start.fixed
        last = MOST if size is not None and end == size else end.fixed
        if first is None or last is None:
            raise node.fail("bounds depend on a size", "numbers, or the whole axis", "others")
        whole_backwards = step == -1 and (first == -1 or first >= MOST) and last <= -MOST
        if whole_backwards and not isinstance(value, Filled):
            t, ours = layout.plain(node, node.settled(value), axis)
            value = Tensor(node.emit("reverse", (t.value,), {"axis": ours}, part="reverse")[0], t.axes)
            continue
        if step < 1:
            raise node.fail("a step is not supported", "one or more, or -1 over the whole axis", str(step))
        first, last = max(-MOST, min(first, MOST)), max(-MOST, min(last, MOST))
        value = _cut(node, value, axis, first if first > -MOST else 0, last, step)
    return [value]


def _sizes_cut(node: Read, value: Sizes, start: Size, end: Size, step: int) -> Sizes:
    if start.fixed is None or end.fixed is None:
        raise node.fail("bounds depend on a size", "numbers", "others")
    return Sizes(value.elements[start.fixed : end.fixed : step])


def _split(node: Read) -> list[Any]:
    value = node.given[0]
    axis = node.axis(node.attribute("axis", 0), node.rank_of(value))
    sizes = node.integers(1 if node.opset >= 13 else -1, "split")
    if isinstance(value, Parts) and value.axis == axis:
        total: int | None = len(value.parts)
        if any(layout.sizes(node, part)[axis] != ONE for part in value.parts):
            value = node.settled(value)
            total = layout.sizes(node, value)[axis].fixed
    else:
        value = value if isinstance(value, Filled) else node.settled(value)
        total = node.sizes_of(value)[axis].fixed
    if sizes is None:
        n = node.attribute("num_outputs", len(node.names))
        if total is None:
            raise node.fail("it splits an axis of unknown size", "a known size, or sizes of the parts", "neither")
        each = -(-total // n)
        sizes = [max(0, min(each, total - i * each)) for i in range(n)]
    starts = np.cumsum([0, *sizes]).tolist()
    return [
        _cut(node, value, axis, start, start + size) if node.wants(i) else None
        for i, (start, size) in enumerate(zip(starts, sizes, strict=False))
    ]


def _gather(node: Read) -> list[Any]:
    data, indices = node.given[0], node.given[1]
    if isinstance(data, np.ndarray):
        return [_embedding(node, data, node.attribute("axis", 0))]
    if not isinstance(indices, np.ndarray) or indices.ndim > 1 or not indices.size:
        raise node.fail("indices do not fit", "a constant: one number or a list of them", "others")
    numbers = [int(i) for i in indices.reshape(-1)]
    if isinstance(data, Sizes):
        rank = len(data.elements)
        return [Sizes(tuple(data.elements[node.axis(i, rank)] for i in numbers), scalar=indices.ndim == 0)]
    axis = node.axis(node.attribute("axis", 0), node.rank_of(data))
    if len(numbers) > 1:
        return [_several(node, data, axis, numbers)]
    value = _cut(node, data, axis, numbers[0], numbers[0] + 1 if numbers[0] != -1 else MOST)
    if indices.ndim:
        return [value]
    if isinstance(value, Filled):
        base = value.base.take(0, axis) if isinstance(value.base, np.ndarray) else value.base
        return [Filled(value.sizes[:axis] + value.sizes[axis + 1 :], base)]
    return [layout.squeezed(node, node.settled(value), axis)]


def _several(node: Read, data: Any, axis: int, numbers: list[int]) -> Any:
    """Several indices of an axis: a slice where they are evenly spaced."""
    if len(numbers) > FEW:
        raise node.fail("too many indices", f"at most {FEW}", str(len(numbers)))
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    if len(steps) == 1 and min(steps) > 0 and (numbers[0] >= 0) == (numbers[-1] >= 0):
        stop = numbers[-1] + 1 if numbers[-1] != -1 else MOST
        return _cut(node, data, axis, numbers[0], stop, steps.pop())
    t = node.settled(data)
    return Parts(tuple(layout.taken(node, t, axis, number) for number in numbers), axis)


def _embedding(node: Read, table: Any, axis: int) -> Tensor:
    ids = node.tensor(1)
    if axis != 0 or table.ndim != 2 or not np.issubdtype(table.dtype, np.floating):
        raise node.fail(
            "the table does not fit", "(ids, features) of floats, axis 0", f"{table.dtype} {table.shape}, axis {axis}"
        )
    weights = {"table": table.astype(np.float32)}
    made = node.result("embedding", (ids.value,), None, weights, keys={"table": (node.inputs[0], "table")})
    return Tensor(made, (*ids.axes, (len(node.builder.sizes[made]) - 1,)))


HANDLERS: dict[str, Callable[[Read], list[Any]]] = {
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
}
