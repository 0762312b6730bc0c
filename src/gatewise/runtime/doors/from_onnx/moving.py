# SPDX-License-Identifier: Apache-2.0
"""Nodes that move numbers, and change none: most vanish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.reshape import reshaped
from gatewise.runtime.doors.from_onnx.values import ONE, Filled, Parts, Size, Sizes, Tensor, as_sizes, product

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewise.runtime.doors.from_onnx.node import Read

_FLOATS = {1, 10, 11, 16}  # of TensorProto: float, float16, double, bfloat16
_INTEGERS = {6, 7}  # int32, int64
FEW = 64  # parts that an axis is cut into, one node each


def _identity(node: Read) -> list[Any]:
    return [node.given[0]]


def _dropout(node: Read) -> list[Any]:
    if node.wants(1):
        raise node.fail(
            "the mask of Dropout is used", "its first output alone", "both", "Export the model for inference."
        )
    training = node.constant(2)
    if training is not None and np.any(training):
        raise node.fail("it drops numbers", "training_mode false", "true", "Export the model for inference.")
    return [node.given[0]]


def _cast(node: Read) -> list[Any]:
    value, to = node.given[0], node.attribute("to", 1)
    if isinstance(value, Filled) and isinstance(value.base, np.ndarray):
        kind = np.float32 if to in _FLOATS else np.int64
        return [Filled(value.sizes, value.base.astype(kind))]
    if isinstance(value, Sizes | Filled):
        if to not in _INTEGERS:
            raise node.fail("sizes become other than whole numbers", "int32 or int64", f"data type {to}")
        return [value]
    t = node.settled(value)
    dtype = node.builder.known[t.value].dtype
    if to not in {"float32": _FLOATS, "int64": _INTEGERS}.get(dtype, {9}):
        raise node.fail(
            "it changes the kind of numbers",
            f"{dtype} to stay {dtype}",
            f"data type {to} of TensorProto",
            "Give the model's input the type that it is used with.",
        )
    return [t]


def _transpose(node: Read) -> list[Any]:
    value = node.given[0]
    rank = node.rank_of(value)
    perm = node.attribute("perm", list(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise node.fail("attribute perm does not fit", f"0 to {rank - 1} in some order", str(perm), "Export it again.")
    if isinstance(value, Parts):
        return [Parts(tuple(layout.transposed(part, perm) for part in value.parts), perm.index(value.axis))]
    if isinstance(value, Filled):
        base = value.base.transpose(perm) if isinstance(value.base, np.ndarray) else value.base
        return [Filled(tuple(value.sizes[axis] for axis in perm), base)]
    return [layout.transposed(node.settled(value), perm)]


def _axes_of_ones(node: Read, *, added: bool) -> list[int] | None:
    """The axes of Squeeze or Unsqueeze, sorted, of the value with the ones in it."""
    axes = node.integers(1 if node.opset >= 13 else -1, "axes")
    if axes is None:
        return None
    rank = node.rank_of(node.given[0]) + (len(axes) if added else 0)
    found = sorted(node.axis(axis, rank) for axis in axes)
    if len(set(found)) < len(found):
        raise node.fail("an axis stands twice", "axes that differ", str(axes), "Export the model again.")
    return found


def _unsqueeze(node: Read) -> list[Any]:
    value, axes = node.given[0], _axes_of_ones(node, added=True) or []
    for axis in axes:
        if isinstance(value, Sizes):
            if not value.scalar:
                raise node.fail("sizes get a second axis", "one axis", "two")
            value = Sizes(value.elements)
        elif isinstance(value, Filled):
            base = np.expand_dims(value.base, axis) if isinstance(value.base, np.ndarray) else value.base
            value = Filled((*value.sizes[:axis], ONE, *value.sizes[axis:]), base)
        elif isinstance(value, Parts):
            value = Parts(tuple(layout.with_one(part, axis) for part in value.parts), value.axis + (axis <= value.axis))
        else:
            value = layout.with_one(node.settled(value), axis)
    return [value]


def _squeeze(node: Read) -> list[Any]:
    value, axes = node.given[0], _axes_of_ones(node, added=False)
    if isinstance(value, Sizes):
        return [Sizes(value.elements, scalar=len(value.elements) == 1)]
    if isinstance(value, Parts) and (axes is None or value.axis in axes):
        value = node.settled(value)
    if axes is None:
        if node.builder.batch == 1:
            raise node.fail(
                "it drops every axis of size one, the batch's too", "named axes", "none", "Name them in the model."
            )
        axes = [axis for axis, size in enumerate(node.sizes_of(value)) if size == ONE]
    for axis in reversed(axes):
        if isinstance(value, Filled):
            base = value.base.take(0, axis) if isinstance(value.base, np.ndarray) else value.base
            value = Filled(value.sizes[:axis] + value.sizes[axis + 1 :], base)
        elif isinstance(value, Parts):
            parts = tuple(layout.squeezed(node, part, axis) for part in value.parts)
            value = Parts(parts, value.axis - (axis < value.axis))
        else:
            value = layout.squeezed(node, node.settled(value), axis)
    return [value]


def _reshape(node: Read) -> list[Any]:
    value = node.given[0]
    target = as_sizes(node.there(1))
    if target is None:
        raise node.fail(
            "the target is computed from numbers", "constants and sizes", "another value", "Export it again."
        )
    if node.attribute("allowzero", 0) and Size(0) in target:
        raise node.fail("the target holds zeros", "sizes of one and more", "allowzero", "Export the model again.")
    sizes = as_sizes(value) if isinstance(value, Sizes) else None
    if sizes is not None:
        return [Sizes(sizes, scalar=not target)]
    rank = node.rank_of(value)
    if any(size == Size(0) and axis >= rank for axis, size in enumerate(target)):
        raise node.fail(
            "the target copies an axis that is not there", f"{rank} axes", f"{len(target)}", "Export it again."
        )
    if isinstance(value, Parts):
        whole = _with_parts_merged(node, value, target)
        if whole is not None:
            return [whole]
    if isinstance(value, Filled):
        return [_filled_reshaped(node, value, target)]
    t = node.settled(value)
    have = layout.sizes(node, t)
    return [reshaped(node, t, [have[axis] if size == Size(0) else size for axis, size in enumerate(target)])]


def _with_parts_merged(node: Read, parts: Parts, target: Sequence[Size]) -> Tensor | None:
    """The directions of a layer, side by side as features, where that is what the target says; else None."""
    axis = parts.axis
    first = layout.sizes(node, parts.parts[0])
    if axis + 2 != len(first) or any(layout.sizes(node, part)[axis] != ONE for part in parts.parts):
        return None
    total = Size(len(parts.parts)) * first[-1]
    have = [*first[:axis], total]
    if len(target) != len(have):
        return None
    for mine, size in zip(have, target, strict=True):
        same = size in {Size(0), Size(-1), mine} if mine is not total else size in {Size(-1), total}
        number = size.fixed is not None and mine.symbols == ("batch",) and size.fixed == node.builder.batch
        if not same and not number:
            return None
    flat = tuple(layout.without(layout.taken(node, part, axis, 0), axis) for part in parts.parts)
    return layout.joined(node, Parts(flat, axis))


def _filled_reshaped(node: Read, value: Filled, target: Sequence[Size]) -> Filled:
    if isinstance(value.base, np.ndarray) and value.base.size != 1:
        raise node.fail("a constant that is repeated gets other axes", "one number", f"{value.base.size}")
    sizes = [value.sizes[axis] if size == Size(0) else size for axis, size in enumerate(target)]
    if Size(-1) in sizes:
        place = sizes.index(Size(-1))
        rest = product(value.sizes).over(product(size for i, size in enumerate(sizes) if i != place))
        if rest is None:
            raise node.fail("sizes do not fit", "as many numbers", "others", "Export the model again.")
        sizes[place] = rest
    base = value.base.reshape((1,) * len(sizes)) if isinstance(value.base, np.ndarray) else value.base
    return Filled(tuple(sizes), base)


def _flatten(node: Read) -> list[Any]:
    t = node.tensor(0)
    rank = len(t.axes)
    axis = node.attribute("axis", 1)
    axis = rank if axis == rank else node.axis(axis, rank)
    have = layout.sizes(node, t)
    return [reshaped(node, t, [product(have[:axis]), product(have[axis:])])]


def _concat(node: Read) -> list[Any]:
    sizes = [as_sizes(value) for value in node.given]
    if any(isinstance(value, Sizes) for value in node.given) and None not in sizes:
        return [Sizes(tuple(size for each in sizes for size in each or ()))]
    rank = max(node.rank_of(value) for value in node.given if not isinstance(value, np.ndarray))
    axis = node.axis(node.attribute("axis", 1), rank)
    if all(isinstance(value, Filled) for value in node.given):
        return [_filled_joined(node, node.given, axis)]
    parts: list[Tensor] = []
    for i, value in enumerate(node.given):
        if isinstance(value, Parts) and value.axis == axis:
            parts += value.parts
        else:
            parts.append(node.settled(value, node.what(i)))
    if any(0 in part.axes[axis] for part in parts):
        raise node.fail("it joins along the batch's axis", "another axis", f"axis {axis}", layout.BATCH_APART)
    whole = Parts(tuple(parts), axis)
    side_by_side = all(layout.sizes(node, part)[axis] == ONE for part in parts)
    return [whole if side_by_side else layout.joined(node, whole)]


def _filled_joined(node: Read, given: list[Filled], axis: int) -> Filled:
    sizes, base = given[0].sizes, given[0].base
    bases = [each.base for each in given if isinstance(each.base, np.ndarray)]
    if (
        not isinstance(base, np.ndarray)
        or not all(np.array_equal(each, base) for each in bases)
        or len(bases) < len(given)
    ):
        raise node.fail("it joins constants that differ", "the same ones", "others")
    ends = [each.sizes[axis].fixed for each in given]
    if None in ends or base.shape[axis] != 1:
        raise node.fail("it joins constants along an unknown size", "sizes that are known", "others")
    return Filled((*sizes[:axis], Size(sum(n or 0 for n in ends)), *sizes[axis + 1 :]), base)


def _pad(node: Read) -> list[Any]:
    node.only("mode", "constant")
    t = node.tensor(0)
    pads = node.integers(1 if node.opset >= 11 else -1, "pads") or []
    fill = node.constant(2) if node.opset >= 11 else node.attribute("value", 0.0)
    named = node.integers(3) if node.opset >= 18 else None
    axes = list(range(len(t.axes))) if named is None else [node.axis(axis, len(t.axes)) for axis in named]
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0 or (fill is not None and np.any(fill)):
        raise node.fail("it pads with other than zeros", "zeros, before and after each axis", f"{pads} of {fill}")
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if before or after:
            if not t.axes[axis]:
                t = layout.laid(node, t, [*[i for i, ours in enumerate(t.axes) if ours and 0 not in ours], axis])
            t, ours = layout.plain(node, t, axis)
            options = {"axis": ours, "before": before, "after": after}
            t = Tensor(node.emit("pad", (t.value,), options, part="pad")[0], t.axes)
    return [t]


HANDLERS: dict[str, Callable[[Read], list[Any]]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Concat": _concat,
    "Pad": _pad,
}
