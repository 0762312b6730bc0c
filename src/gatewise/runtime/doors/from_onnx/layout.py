# SPDX-License-Identifier: Apache-2.0
"""Axes: ONNX has them in any order, our graph has the batch first. Most moves only change what stands where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.runtime.doors.from_onnx.values import ONE, Erf, Parts, Size, Tensor, product

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

    from gatewise.runtime.doors.from_onnx.node import Read

    Array = npt.NDArray[Any]

BATCH_APART = "Keep the batch an axis of its own."


def sizes(node: Read, t: Tensor) -> tuple[Size, ...]:
    """The sizes of a value's axes, in ONNX's order."""
    ours = node.builder.sizes[t.value]
    return tuple(product(ours[axis] for axis in axes) for axes in t.axes)


def batch_axis(t: Tensor) -> int | None:
    """Which of ONNX's axes is the batch; None where it is part of one."""
    return t.axes.index((0,)) if (0,) in t.axes else None


def transposed(t: Tensor, perm: Sequence[int]) -> Tensor:
    """A value with its axes in another order."""
    return Tensor(t.value, tuple(t.axes[axis] for axis in perm))


def without(t: Tensor, axis: int) -> Tensor:
    """A value without an axis that ours has not."""
    return Tensor(t.value, t.axes[:axis] + t.axes[axis + 1 :])


def with_one(t: Tensor, axis: int) -> Tensor:
    """A value with a new axis of size one."""
    return Tensor(t.value, (*t.axes[:axis], (), *t.axes[axis:]))


def padded(t: Tensor, rank: int) -> Tensor:
    """A value with axes of size one before its own, up to this number of axes."""
    return Tensor(t.value, ((),) * (rank - len(t.axes)) + t.axes)


def plain(node: Read, t: Tensor, axis: int) -> tuple[Tensor, int]:
    """A value with one axis of ours for one of ONNX's. Returns it and our axis.

    Raises:
        GraphError: the batch is part of the axis.
    """
    ours = t.axes[axis]
    if 0 in ours:
        raise node.fail(f"it works along axis {axis}, the batch's", "another axis", "the batch", BATCH_APART)
    if len(ours) != 1:
        t = laid(node, t, [i for i in _in_our_order(t) if i != axis] + [axis])
    return t, t.axes[axis][0]


def taken(node: Read, t: Tensor, axis: int, index: int) -> Tensor:
    """One index along an axis, which stays, of size one, and is none of ours any more."""
    if not t.axes[axis]:
        return t
    t, ours = plain(node, t, axis)
    (value,) = node.emit("take", (t.value,), {"axis": ours, "index": index}, part="take")
    return Tensor(value, dropped(t.axes, ours))


def squeezed(node: Read, t: Tensor, axis: int) -> Tensor:
    """A value without an axis of size one.

    Raises:
        GraphError: it is of another size, or the batch's.
    """
    size = sizes(node, t)[axis]
    if size != ONE:
        is_batch = 0 in t.axes[axis]
        what = "the batch" if is_batch else f"size {size.fixed}"
        raise node.fail(f"axis {axis} cannot be dropped", "an axis of size one", what, BATCH_APART)
    return without(taken(node, t, axis, 0), axis)


def dropped(axes: tuple[tuple[int, ...], ...], ours: int) -> tuple[tuple[int, ...], ...]:
    """Axes after one of ours is gone."""
    return tuple(tuple(a - (a > ours) for a in group if a != ours) for group in axes)


def laid(node: Read, t: Tensor, tail: Sequence[int]) -> Tensor:
    """A value whose last axes are these of ONNX's, in this order, one of ours each; the others stand before as they do.

    Raises:
        GraphError: the batch is in one of them, or sizes are not known that would have to be.
    """
    for axis in tail:
        if 0 in t.axes[axis]:
            raise node.fail(f"it works along axis {axis}, the batch's", "another axis", "the batch", BATCH_APART)
    moving = [a for axis in tail for a in t.axes[axis]]
    n = len(node.builder.sizes[t.value])
    front = [a for a in range(n) if a not in moving]
    order = front + moving
    if order != list(range(n)):
        (value,) = node.emit("permute", (t.value,), {"axes": order[1:]}, part="permute")
        t = Tensor(value, tuple(tuple(order.index(a) for a in group) for group in t.axes))
    if any(len(t.axes[axis]) > 1 for axis in tail):
        t = _merged(node, t, tail, len(front))
    for place, axis in enumerate(tail, len(front)):
        if not t.axes[axis]:
            (value,) = node.emit("expand", (t.value,), {"axis": place}, part="expand")
            moved = [tuple(a + (a >= place) for a in group) for group in t.axes]
            moved[axis] = (place,)
            t = Tensor(value, tuple(moved))
    return t


def _merged(node: Read, t: Tensor, tail: Sequence[int], front: int) -> Tensor:
    """One axis of ours for each of these that run over several."""
    ours = node.builder.sizes[t.value]
    groups = [(a,) for a in range(front)] + [t.axes[axis] for axis in tail if t.axes[axis]]
    wanted = tuple(product(ours[a] for a in group) for group in groups)
    value = reshaped(node, t.value, wanted)
    places = {group: (i,) for i, group in enumerate(groups)}
    return Tensor(value, tuple(places.get(group, group) for group in t.axes))


def reshaped(node: Read, value: str, wanted: tuple[Size, ...]) -> str:
    """A value of our graph with these sizes, the batch first.

    Raises:
        GraphError: more than one of them is only known when the model runs.
    """
    shape = [-1 if size.fixed is None else size.fixed for size in wanted[1:]]
    if shape.count(-1) > 1:
        raise node.fail("it joins axes of unknown sizes", "one size that is not fixed, beside the batch", str(shape))
    return node.emit("reshape", (value,), {"shape": shape}, part="reshape", sizes=wanted)[0]


def _in_our_order(t: Tensor) -> list[int]:
    """ONNX's axes, but for the batch's and those that ours has not, in the order in which they are ours."""
    there = [axis for axis, ours in enumerate(t.axes) if ours and 0 not in ours]
    return sorted(there, key=lambda axis: t.axes[axis])


def in_order(node: Read, t: Tensor) -> Tensor:
    """A value of our graph with all axes in ONNX's order, but the batch first.

    Raises:
        GraphError: the batch is part of an axis.
    """
    batch = batch_axis(t)
    if batch is None:
        joined_ones = [axis for axis, ours in enumerate(t.axes) if 0 in ours]
        raise node.fail(
            f"axis {joined_ones[0] if joined_ones else 0} joins the batch with others",
            "the batch as an axis of its own",
            "both in one",
            BATCH_APART,
        )
    return laid(node, t, [axis for axis in range(len(t.axes)) if axis != batch])


def aligned(node: Read, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two values with the same axes of ours for the same of ONNX's, as what combines them needs.

    Raises:
        GraphError: the batch is not the same axis of both.
    """
    rank = max(len(a.axes), len(b.axes))
    a, b = padded(a, rank), padded(b, rank)
    if a.axes == b.axes:
        return a, b
    batches = [next(axis for axis, ours in enumerate(t.axes) if 0 in ours) for t in (a, b)]
    if batches[0] != batches[1] or (0,) not in {a.axes[batches[0]]} | {b.axes[batches[1]]}:
        raise node.fail(
            "the batch is not the same axis of both inputs", f"axis {batches[0]}", f"axis {batches[1]}", BATCH_APART
        )
    main, other = (a, b) if len(_in_our_order(a)) >= len(_in_our_order(b)) else (b, a)
    tail = _in_our_order(main)
    tail += [axis for axis in _in_our_order(other) if axis not in tail]
    return laid(node, a, tail), laid(node, b, tail)


def for_constant(node: Read, t: Tensor, constant: Array) -> tuple[Tensor, Array]:
    """A value and a constant, with ONNX's axes, as arrays that broadcast: the constant's batch is of one.

    Raises:
        GraphError: the constant has a batch of rows that differ.
    """
    rank = max(len(t.axes), constant.ndim)
    t = padded(t, rank)
    constant = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    for axis, ours in enumerate(t.axes):
        if 0 in ours:
            constant = one_row(node, constant, axis)
    varied = {axis for axis in range(rank) if constant.shape[axis] != 1}
    tail = _in_our_order(t)
    if varied & {axis for axis, ours in enumerate(t.axes) if len(ours) != 1}:
        t = laid(node, t, [*tail, *(axis for axis in sorted(varied) if not t.axes[axis])])
    place = {axis: ours[0] for axis, ours in enumerate(t.axes) if len(ours) == 1}
    order = sorted(place, key=lambda axis: place[axis])
    shape = [1] * len(node.builder.sizes[t.value])
    for axis in order:
        shape[place[axis]] = constant.shape[axis]
    rest = [axis for axis in range(rank) if axis not in place]
    return t, constant.transpose(*rest, *order).reshape(shape)


def one_row(node: Read, constant: Array, axis: int) -> Array:
    """A constant whose rows, along the batch's axis, are one.

    Raises:
        GraphError: they differ.
    """
    first = constant.take([0], axis=axis) if constant.shape[axis] else constant
    if constant.shape[axis] != 1 and (not constant.shape[axis] or (constant != first).any()):
        raise node.fail(
            "a constant differs from row to row of the batch",
            "the same for every row: the batch may be of any size",
            f"{constant.shape[axis]} rows",
            "Export the model with a batch of one, or make the constant an input.",
        )
    return first


def joined(node: Read, parts: Parts) -> Tensor:
    """Values side by side, as one."""
    axis = parts.axis
    first = parts.parts[0]
    tail = [i for i in _in_our_order(first) if i != axis]
    for part in parts.parts[1:]:
        tail += [i for i in _in_our_order(part) if i != axis and i not in tail]
    at = sum(i < axis for i in tail)
    if first.axes[axis]:  # where it is
        at = sum(first.axes[i] < first.axes[axis] for i in tail)
    tail.insert(at, axis)
    ready = [laid(node, part, tail) for part in parts.parts]
    if any(part.axes != ready[0].axes for part in ready):
        raise node.fail("the values that it joins have the batch at different axes", "the same", "others", BATCH_APART)
    (ours,) = ready[0].axes[axis]
    (value,) = node.emit("concatenate", [part.value for part in ready], {"axis": ours}, part="join")
    total = [node.builder.sizes[part.value][ours].fixed for part in ready]
    if None not in total:
        kept = node.builder.sizes[value]
        node.builder.sizes[value] = (*kept[:ours], Size(sum(n or 0 for n in total)), *kept[ours + 1 :])
    return Tensor(value, ready[0].axes)


def gelu(node: Read, erf: Erf) -> Tensor:
    """What is made of the error function, where it is a GELU.

    Raises:
        GraphError: it is something else.
    """
    if not erf.times_x or not np.isclose(erf.ones, erf.erfs):
        raise node.fail(
            "the error function stands alone", "x * (1 + erf(x / sqrt(2))) / 2, a GELU", "another use of Erf"
        )
    (value,) = node.emit("activation", (erf.of.value,), {"function": "gelu"}, part="gelu")
    if not np.isclose(erf.ones, 0.5):
        gain = np.array([2 * erf.ones], np.float32)
        (value,) = node.emit("affine", (value,), None, {"gain": gain}, part="scale")
    return Tensor(value, erf.of.axes)
