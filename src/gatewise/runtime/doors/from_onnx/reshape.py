# SPDX-License-Identifier: Apache-2.0
"""Reshape: which axes become which, sizes that are not known included."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.values import BATCH, ONE, Size, Tensor, product

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewise.runtime.doors.from_onnx.node import Read


class Group(NamedTuple):
    """Axes in a row that become others in a row: of as many numbers."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def grouped(before: Sequence[Size], after: Sequence[Size]) -> list[Group] | None:
    """Finds which axes become which; None if they are not of as many numbers.

    Example:
        >>> grouped([Size(2), Size(3), Size(4)], [Size(6), Size(4)])
        [Group(before=(0, 1), after=(0,)), Group(before=(2,), after=(1,))]
    """
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        i0, j0 = i, j
        if i == len(before) or (j < len(after) and after[j] == ONE != before[i]):
            if after[j] != ONE:
                return None
            j += 1
        elif before[i] == ONE:
            i += 1
            j += j < len(after) and after[j] == ONE
        else:
            if j == len(after):
                return None
            left, right = before[i], after[j]
            i, j = i + 1, j + 1
            while left != right:
                more_left = i < len(before) and right.over(left) is not None
                more_right = j < len(after) and left.over(right) is not None
                if not more_left and not more_right:  # as 2, 3 and 3, 2: both grow
                    more_left, more_right = i < len(before), j < len(after)
                if more_left:
                    left, i = left * before[i], i + 1
                elif more_right:
                    right, j = right * after[j], j + 1
                else:
                    return None
        groups.append(Group(tuple(range(i0, i)), tuple(range(j0, j))))
    return groups


def pieces(before: Sequence[Size], after: Sequence[Size]) -> list[tuple[int, int, Size]] | None:
    """Cuts a group into the pieces that both sides are made of, each with its places there; None if there are none.

    Example:
        >>> pieces([Size(1, ("batch",)), Size(6)], [Size(2, ("batch",)), Size(3)])  # heads join the batch
        [(0, 0, Size(times=1, symbols=('batch',))), (1, 0, Size(times=2, symbols=())),
        (1, 1, Size(times=3, symbols=()))]
    """
    found, i, j, left, right = [], 0, 0, before[0], after[0]
    while i < len(before) and j < len(after):
        if right.over(left) is not None:
            piece = left
        elif left.over(right) is not None:
            piece = right
        else:
            return None
        found.append((i, j, piece))
        left, right = left.over(piece) or ONE, right.over(piece) or ONE
        if left == ONE:
            i += 1
            left = before[i] if i < len(before) else ONE
        if right == ONE:
            j += 1
            right = after[j] if j < len(after) else ONE
    return found


def reshaped(node: Read, t: Tensor, target: Sequence[Size]) -> Tensor:
    """A value with other axes. A size of -1 follows from the others.

    Raises:
        GraphError: the sizes do not fit, or the batch would be taken apart.
    """
    ours = node.builder.sizes[t.value]
    atoms = [axis for group in t.axes for axis in group]
    sizes = [BATCH if axis == 0 else ours[axis] for axis in atoms]
    place = layout.batch_axis(t)
    found = []
    for wanted, guess in _readings(sizes, target, node.builder.batch):
        groups = grouped(sizes, wanted)
        if groups is not None:
            of_batch = next(group for group in groups if any(atoms[i] == 0 for i in group.before))
            apart = len(of_batch.before) == len(of_batch.after) == 1
            broken = not _keeps(of_batch, sizes, wanted, atoms.index(0))
            found.append(((broken, not apart, abs(guess - (place or 0))), wanted, groups))
    if not found:
        raise node.fail("sizes do not fit", _words(layout.sizes(node, t)), _words(target), "Export the model again.")
    (broken, _, _), wanted, groups = min(found, key=lambda each: each[0])
    if broken:
        raise node.fail("the batch is taken apart", _words(sizes), _words(target), layout.BATCH_APART)
    return _moved(node, t, wanted, groups)


def _keeps(group: Group, sizes: Sequence[Size], wanted: Sequence[Size], batch: int) -> bool:
    """Says whether the batch, of that place in the group, stays in one piece."""
    cut = pieces([sizes[i] for i in group.before], [wanted[j] for j in group.after])
    return cut is not None and sum(i == group.before.index(batch) for i, _, _ in cut) == 1


def _readings(sizes: Sequence[Size], target: Sequence[Size], batch: int | None) -> Iterator[tuple[list[Size], int]]:
    """Targets without -1; where the file has a number for the batch, each of the ways to find it in them."""
    ways: list[tuple[list[Size], int]] = [(list(target), 0)]
    if batch is not None:
        for place, size in enumerate(target):
            n = size.fixed
            if n is not None and n > 0 and n % batch == 0:
                ways.append(([*target[:place], Size(n // batch) * BATCH, *target[place + 1 :]], place))
    for wanted, guess in ways:
        if Size(-1) in wanted:
            place = wanted.index(Size(-1))
            rest = product(sizes).over(product(size for i, size in enumerate(wanted) if i != place))
            if rest is None:
                continue
            wanted[place] = rest
            if BATCH.symbols[0] in rest.symbols:
                guess = place  # noqa: PLW2901  # that is where it is
        if product(wanted) == product(sizes):
            yield wanted, guess


def _moved(node: Read, t: Tensor, wanted: list[Size], groups: list[Group]) -> Tensor:
    """The value, its axes as the groups say."""
    atoms = [axis for group in t.axes for axis in group]
    for group in groups:  # an axis of size one that is ours, and nobody's any more
        if not group.after:
            gone = atoms[group.before[0]]
            (value,) = node.emit("take", (t.value,), {"axis": gone, "index": 0}, part="take")
            t = Tensor(value, layout.dropped(t.axes, gone))
            atoms = [axis - (axis > gone) for axis in atoms]
    ours = node.builder.sizes[t.value]
    cuts: list[list[Size]] = [[] for _ in ours]  # of each of our axes
    parts: list[list[tuple[int, int]]] = [[] for _ in wanted]  # of each of ONNX's new axes: which, and which piece
    for group in groups:
        if group.before and group.after:
            of_group = [BATCH if atoms[i] == 0 else ours[atoms[i]] for i in group.before]
            cut = pieces(of_group, [wanted[j] for j in group.after])
            if cut is None:  # as (2, 3) to (3, 2): first both are one
                return _moved(node, *_joined(node, t, atoms, wanted, groups, group))
            for i, j, size in cut:
                axis = atoms[group.before[i]]
                parts[group.after[j]].append((axis, len(cuts[axis])))
                cuts[axis].append(size)
    value = t.value
    if any(len(sizes) > 1 for sizes in cuts):
        value = layout.reshaped(node, value, tuple(size for sizes in cuts for size in sizes))
    starts = [sum(len(sizes) for sizes in cuts[:axis]) for axis in range(len(cuts))]
    return Tensor(value, tuple(tuple(starts[axis] + piece for axis, piece in part) for part in parts))


def _joined(
    node: Read, t: Tensor, atoms: list[int], wanted: list[Size], groups: list[Group], group: Group
) -> tuple[Tensor, list[Size], list[Group]]:
    """What `_moved` takes, with the axes of a group in one."""
    kept = [each for each in groups if each.before and each.after]
    whole = Tensor(t.value, tuple(tuple(atoms[i] for i in each.before) for each in kept))
    whole = layout.laid(node, whole, [kept.index(group)])
    again, place = [], 0
    for each, axes in zip(kept, whole.axes, strict=True):
        again.append(Group(tuple(range(place, place + len(axes))), each.after))
        place += len(axes)
    return whole, wanted, again


def _words(sizes: Sequence[Size]) -> str:
    """Sizes for a message."""
    return str(tuple(size.times if not size.symbols else " * ".join(size.symbols) for size in sizes))
