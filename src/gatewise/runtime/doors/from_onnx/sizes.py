# SPDX-License-Identifier: Apache-2.0
"""Nodes that compute with sizes, and what is as large as they say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.values import BATCH, ONE, Filled, Parts, Size, Sizes, Tensor, as_sizes, product

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.runtime.doors.from_onnx.node import Read


def _expand(node: Read) -> list[Any]:
    value = node.given[0]
    target = as_sizes(node.there(1))
    if target is None:
        raise node.fail("the target is computed from numbers", "constants and sizes", "another value")
    if isinstance(value, np.ndarray):
        base = value.reshape((1,) * (len(target) - value.ndim) + value.shape)
        target = (ONE,) * (base.ndim - len(target)) + target
        sizes = tuple(Size(n) if n != 1 else size for n, size in zip(base.shape, target, strict=True))
        return [settled_filled(Filled(sizes, base))]
    if isinstance(value, Sizes) and len(value.elements) == 1:
        return [Filled(target, value.elements[0])]
    if isinstance(value, Filled):
        sizes = tuple(mine if size == ONE else size for mine, size in zip(value.sizes, target, strict=True))
        return [Filled(sizes, value.base)]
    t = layout.padded(node.settled(value), len(target))
    target = (ONE,) * (len(t.axes) - len(target)) + target
    times = []
    for old, new in zip(layout.sizes(node, t), target, strict=True):
        same = new in {ONE, old} or (old == BATCH and new.fixed == node.builder.batch)
        times.append(ONE if same else new)
    return [_repeated(node, t, times)]


def _tile(node: Read) -> list[Any]:
    value, times = node.given[0], as_sizes(node.there(1))
    if times is None:
        raise node.fail("repeats are computed from numbers", "constants and sizes", "another value")
    if isinstance(value, np.ndarray | Filled | Sizes):
        if isinstance(value, np.ndarray):
            value = Filled(tuple(Size(n) for n in value.shape), value)
        if isinstance(value, Sizes):
            value = Filled((ONE,) * (not value.scalar), value.elements[0])
        grows = [size != ONE for size in times]
        if any(grow and mine != ONE for grow, mine in zip(grows, value.sizes, strict=True)):
            raise node.fail("it repeats an axis", "one of size one", "a larger one")
        return [settled_filled(Filled(tuple(m * n for m, n in zip(value.sizes, times, strict=True)), value.base))]
    return [_repeated(node, node.settled(value), list(times))]


def settled_filled(filled: Filled) -> Any:
    """What is repeated, as an array where its sizes are known and few."""
    fixed = [size.fixed for size in filled.sizes]
    if isinstance(filled.base, np.ndarray) and None not in fixed and math.prod(n or 0 for n in fixed) <= 2**20:
        return np.broadcast_to(filled.base, [n or 0 for n in fixed])
    return filled


def _repeated(node: Read, t: Tensor, times: list[Size]) -> Tensor:
    """A value so often along each axis of size one."""
    grown = [axis for axis, size in enumerate(times) if size != ONE]
    if not grown:
        return t
    if len(grown) == 1 and times[grown[0]].symbols:
        return _along_steps(node, t, grown[0], times[grown[0]])
    numbers = [times[axis].fixed or 0 for axis in grown]
    if 0 in numbers or any(layout.sizes(node, t)[axis] != ONE for axis in grown):
        raise node.fail("it repeats a value", "along axes of size one, a known number of times", "another")
    if len(node.builder.sizes[t.value]) == 2 and len(grown) == 1 and not t.axes[grown[0]]:
        t = layout.laid(node, t, [i for i, ours in enumerate(t.axes) if ours and ours != (0,)])
        (value,) = node.emit("repeat", (t.value,), {"times": numbers[0]}, part="repeat")
        axes = [tuple(a + (a > 0) for a in group) for group in t.axes]
        axes[grown[0]] = (1,)
        return Tensor(value, tuple(axes))
    ones = np.ones([1 if size == ONE else size.fixed or 1 for size in times], np.float32)
    t, ones = layout.for_constant(node, t, ones)
    (constant,) = node.emit("constant", (), None, {"value": ones}, part="ones")
    return Tensor(node.result("multiply", (t.value, constant)), t.axes)


def _along_steps(node: Read, t: Tensor, axis: int, steps: Size) -> Tensor:
    """A value once for each step of another."""
    sizes = node.builder.sizes
    like = next((value for value, known in sizes.items() if known[:2] == (BATCH, steps)), None)
    if like is None or t.axes[axis]:
        raise node.fail("it repeats a value", "a number of times, or for each step of another value", "another number")
    t = layout.laid(node, t, [axis, *(i for i, ours in enumerate(t.axes) if ours and 0 not in ours)])
    wanted = BATCH, steps, *sizes[t.value][2:]
    (value,) = node.emit("broadcast", (t.value, like), {"axes": 2}, part="repeat", sizes=wanted)
    return Tensor(value, t.axes)


def _shape(node: Read) -> list[Any]:
    value = node.given[0]
    if isinstance(value, Sizes):
        return [np.full((0,) if value.scalar else (1,), len(value.elements), np.int64)]
    if isinstance(value, Parts):
        sizes = list(layout.sizes(node, value.parts[0]))
        ends = [layout.sizes(node, part)[value.axis].fixed for part in value.parts]
        if None in ends:
            return [Sizes(_part_of(node, layout.sizes(node, node.settled(value))))]
        sizes[value.axis] = Size(sum(n or 0 for n in ends))
        return [Sizes(_part_of(node, tuple(sizes)))]
    return [Sizes(_part_of(node, node.sizes_of(value)))]


def _part_of(node: Read, sizes: tuple[Size, ...]) -> tuple[Size, ...]:
    return sizes[node.attribute("start", 0) : node.attribute("end", len(sizes))]


def _count(node: Read) -> list[Any]:
    return [Sizes((product(node.sizes_of(node.given[0])),), scalar=True)]


def _product(node: Read) -> list[Any]:
    sizes = as_sizes(node.given[0])
    if sizes is None:
        raise node.fail("it multiplies numbers", "sizes", "others")
    return [Sizes((product(sizes),), scalar=not node.attribute("keepdims", 1))]


def _constant_of_shape(node: Read) -> list[Any]:
    sizes = as_sizes(node.there(0))
    if sizes is None:
        raise node.fail("the shape is computed from numbers", "constants and sizes", "another value")
    fill = np.asarray(node.attribute("value", np.zeros(1, np.float32))).reshape((1,) * len(sizes))
    return [settled_filled(Filled(sizes, fill))]


def _where(node: Read) -> list[Any]:
    """Of sizes alone: how exporters write the target of Expand."""
    condition, yes, no = (node.there(i) for i in range(3))
    a, b = as_sizes(yes), as_sizes(no)
    if not isinstance(condition, np.ndarray) or a is None or b is None:
        raise node.fail("it chooses between values", "a constant condition, of sizes", "others")
    n = max(condition.size, len(a), len(b))
    picked = np.broadcast_to(condition.reshape(-1), n)
    whole = [each * n if len(each) == 1 else each for each in (a, b)]
    return [Sizes(tuple(whole[0][i] if picked[i] else whole[1][i] for i in range(n)))]


def _equal(node: Read) -> list[Any]:
    a, b = as_sizes(node.given[0]), as_sizes(node.given[1])
    if a is None or b is None:
        raise node.fail("it compares values", "sizes and constants", "others")
    n = max(len(a), len(b))
    found = []
    for x, y in zip(a * n if len(a) == 1 else a, b * n if len(b) == 1 else b, strict=False):
        positive = min(x.times, y.times) > 0
        if x != y and positive and (x.symbols or y.symbols):  # sizes are positive: no other number is one
            raise node.fail("it compares a size that is not known", "-1 or 0", "a size that it may have")
        found.append(x == y)
    return [np.array(found)]


HANDLERS: dict[str, Callable[[Read], list[Any]]] = {
    "Expand": _expand,
    "Tile": _tile,
    "Shape": _shape,
    "Size": _count,
    "ReduceProd": _product,
    "ConstantOfShape": _constant_of_shape,
    "Where": _where,
    "Equal": _equal,
}
