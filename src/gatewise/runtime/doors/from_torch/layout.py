# SPDX-License-Identifier: Apache-2.0
"""Where the axes of a tensor stand in its value, and the nodes that bring them elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewise.runtime.doors.from_torch.values import Size, Sizes, Tensor, is_one, same
from gatewise.runtime.operations import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewise.runtime.doors.from_torch.builder import Builder

Groups = list[tuple[list[int], list[int]]]


def moved(b: Builder, t: Tensor, order: Sequence[int]) -> Tensor:
    """Brings the axes of the value, the batch apart, in an order."""
    order = list(order)
    if order == list(range(1, len(t.sizes))):
        return t
    [value] = b.emit("permute", [t.value], {"axes": order})
    place = {0: 0, **{axis: i for i, axis in enumerate(order, 1)}}
    sizes = (t.sizes[0], *(t.sizes[axis] for axis in order))
    return replace(t, value=value, axes=_renamed(t.axes, place), sizes=sizes)


def single(b: Builder, t: Tensor, axis: int) -> Tensor:
    """Makes an axis of the tensor one axis of the value."""
    joined = t.axes[axis]
    n = len(t.sizes)
    if len(joined) == 1:
        return t
    if not joined:
        [value] = b.emit("expand", [t.value], {"axis": n})
        return replace(t, value=value, axes=_with(t.axes, axis, (n,)), sizes=(*t.sizes, 1))
    if 0 in joined:
        return _folded(b, t, axis)
    others = [i for i in range(1, n) if i not in joined]
    t = moved(b, t, [*others, *joined])
    return _reshaped(b, t, len(others) + 1, [math.prod(t.sizes[len(others) + 1 :])], axis)


def _folded(b: Builder, t: Tensor, axis: int) -> Tensor:
    """Joins steps to the batch, where the batch is the slower of both."""
    joined = t.axes[axis]
    if joined[0] != 0:
        raise Problem(
            "it joins other axes with the batch, the batch last. Expected the batch first; transpose before the view, "
            "or leave the axes apart: torch.nn.Linear takes any number of them"
        )
    others = [i for i in range(1, len(t.sizes)) if i not in joined]
    t = moved(b, t, [*joined[1:], *others])
    value = t.value
    for n in range(1, len(joined)):
        like = Tensor(value, (), (math.prod(t.sizes[:n]), *t.sizes[n:]))
        [value] = b.emit("fold", [value])
        b.folds.append((like.sizes[0] * like.sizes[1], like))
    place = {i + len(joined): i + 1 for i in range(len(others))}
    axes = tuple((0,) if i == axis else tuple(place[a] for a in own) for i, own in enumerate(t.axes))
    return replace(t, value=value, axes=axes, sizes=(math.prod(t.sizes[: len(joined)]), *t.sizes[len(joined) :]))


def _reshaped(b: Builder, t: Tensor, first: int, sizes: Sequence[Size], axis: int) -> Tensor:
    """Cuts the last axes of the value, from `first` on, which are the tensor's `axis`, into others."""
    whole = [*t.sizes[1:first], *sizes]
    if sum(not isinstance(size, int) for size in whole) > 1:
        raise Problem("it joins or splits axes where the sizes of two are open. Expected one; give a fixed size")
    shape = [size if isinstance(size, int) else -1 for size in whole]
    [value] = b.emit("reshape", [t.value], {"shape": shape})
    axes = _with(t.axes, axis, tuple(range(first, first + len(sizes))))
    return replace(t, value=value, axes=axes, sizes=(t.sizes[0], *whole))


def last(b: Builder, t: Tensor, axis: int) -> Tensor:
    """Makes an axis of the tensor the last one of the value."""
    axis %= len(t.axes)
    if 0 in t.axes[axis]:
        raise Problem("it computes along the batch. Expected rows that know nothing of each other; check the axis")
    t = single(b, t, axis)
    [own] = t.axes[axis]
    return moved(b, t, [*(i for i in range(1, len(t.sizes)) if i != own), own])


def plain(b: Builder, t: Tensor, order: Iterable[int] | None = None) -> Tensor:
    """Makes each axis of the tensor one of the value: the batch, then the others in an order, theirs by default."""
    for axis in range(len(t.axes)):
        t = single(b, t, axis)
    wanted = range(len(t.axes)) if order is None else order
    return moved(b, t, [t.axes[axis][0] for axis in wanted if t.axes[axis] != (0,)])


def dropped(b: Builder, t: Tensor, axis: int) -> Tensor:
    """Leaves out an axis of size 1."""
    return taken(b, t, axis, 0) if t.axes[axis] else replace(t, axes=_without(t.axes, axis))


def taken(b: Builder, t: Tensor, axis: int, index: int) -> Tensor:
    """Takes what stands at an index of an axis."""
    if 0 in t.axes[axis]:
        raise Problem("it takes one row of the batch. Expected rows that know nothing of each other; check the axis")
    if not t.axes[axis]:
        return replace(t, axes=_without(t.axes, axis))
    t = single(b, t, axis)
    [own] = t.axes[axis]
    [value] = b.emit("take", [t.value], {"axis": own, "index": index})
    place = {i: i - (i > own) for i in range(len(t.sizes))}
    sizes = (*t.sizes[:own], *t.sizes[own + 1 :])
    return replace(t, value=value, axes=_renamed(_without(t.axes, axis), place), sizes=sizes)


def inserted(t: Tensor, axis: int) -> Tensor:
    """Adds an axis of size 1."""
    return replace(t, axes=(*t.axes[:axis], (), *t.axes[axis:]))


def permuted(t: Tensor, order: Iterable[int]) -> Tensor:
    """Brings the tensor's axes in an order."""
    return replace(t, axes=tuple(t.axes[axis] for axis in order))


def viewed(b: Builder, t: Tensor, shape: Sizes) -> Tensor:
    """Reads the tensor's numbers, in their order, as another shape."""
    groups = _paired(b, t.shape, shape)
    t = replace(t, axes=tuple(tuple(g for i in group for g in t.axes[i]) for group, _ in groups))
    for k, (_, made) in enumerate(groups):
        t = _split(b, t, k, [shape[j] for j in made if not is_one(shape[j])])
    axes: list[tuple[int, ...]] = []
    loose: list[int] = []  # axes of size 1 that the shape has no place for
    for k, (_, made) in enumerate(groups):
        atoms = list(t.axes[k])
        if not made:
            loose += atoms
            continue
        own: list[list[int]] = [[] for _ in made]
        wide = [n for n, j in enumerate(made) if not is_one(shape[j])] or [0]
        for n in wide:
            size: Size = 1
            while atoms and (n == wide[-1] or not same(size, shape[made[n]])):
                size = size * t.sizes[atoms[0]]
                own[n].append(atoms.pop(0))
        axes += [tuple(group) for group in own]
    t = replace(t, axes=(*axes, *((axis,) for axis in loose)))
    for _ in loose:
        t = dropped(b, t, len(axes))
    return t


def _split(b: Builder, t: Tensor, axis: int, wanted: list[Size]) -> Tensor:
    """Splits the value's axes that an axis of the tensor joins so that they make up the sizes wanted."""
    for atoms, made in _paired(b, tuple(t.sizes[i] for i in t.axes[axis]), tuple(wanted)):
        if len(made) < 2:
            continue
        own = tuple(t.axes[axis][i] for i in atoms)
        sizes = [wanted[j] for j in made]
        return _split(b, _cut(b, t, axis, own, sizes), axis, wanted)
    return t


def _cut(b: Builder, t: Tensor, axis: int, own: tuple[int, ...], sizes: list[Size]) -> Tensor:
    """Puts axes of these sizes in the place of some of an axis' own."""
    if 0 in own:
        return _unfolded(b, t, axis, own, sizes)
    at = t.axes[axis].index(own[0])
    before, after = t.axes[axis][:at], t.axes[axis][at + len(own) :]
    # apart, so that moving and reshaping know them as an axis
    t = replace(t, axes=(*t.axes[:axis], before, own, after, *t.axes[axis + 1 :]))
    others = [i for i in range(1, len(t.sizes)) if i not in own]
    t = moved(b, t, [*others, *own])
    t = _reshaped(b, t, len(others) + 1, sizes, axis + 1)
    joined = tuple(g for group in t.axes[axis : axis + 3] for g in group)
    return replace(t, axes=(*t.axes[:axis], joined, *t.axes[axis + 3 :]))


def _unfolded(b: Builder, t: Tensor, axis: int, own: tuple[int, ...], sizes: list[Size]) -> Tensor:
    """Takes steps out of the batch again."""
    for size, like in b.folds:
        if own == (0,) and same(size, t.sizes[0]) and same(like.sizes[0], sizes[0]):
            [value] = b.emit("unfold", [t.value, like.value])
            place = {i: i + (i > 0) for i in range(len(t.sizes))}
            axes = list(_renamed(t.axes, place))
            axes[axis] = (0, 1, *axes[axis][1:])
            return replace(t, value=value, axes=tuple(axes), sizes=(*like.sizes[:2], *t.sizes[1:]))
    raise Problem(
        f"it splits the batch into {', '.join(map(str, sizes))}. Expected a batch that stays an axis; keep it apart in "
        "view and reshape"
    )


def _paired(b: Builder, have: Sizes, want: Sizes) -> Groups:
    """Pairs neighbouring axes of two shapes whose products are the same: the fewest of each."""
    groups: Groups = []
    i = j = 0
    while i < len(have) or j < len(want):
        ours: list[int] = []
        theirs: list[int] = []
        left: Size = 1
        right: Size = 1
        if i < len(have):
            ours, left, i = [i], have[i], i + 1
        if j < len(want):
            theirs, right, j = [j], want[j], j + 1
        while not same(left, right):
            if i < len(have) and (j == len(want) or b.hint(left) <= b.hint(right)):
                ours, left, i = [*ours, i], left * have[i], i + 1
            elif j < len(want):
                theirs, right, j = [*theirs, j], right * want[j], j + 1
            else:
                raise Problem(f"it reads {have} as {want}, of which the number is not known to be the same")
        groups.append((ours, theirs))
    return groups


def together(b: Builder, tensors: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Lays out tensors that are combined element by element alike.

    Returns:
        The tensors; and the result, which still has the first one's value.
    """
    rank = max(len(t.axes) for t in tensors)
    ts = [replace(t, axes=((),) * (rank - len(t.axes)) + t.axes) for t in tensors]
    for axis in range(rank):
        parts = {tuple(map(str, (t.sizes[i] for i in t.axes[axis]))) for t in ts if not _is_thin(t, axis)}
        if len(parts) > 1:
            ts = [single(b, t, axis) for t in ts]
        elif parts and len(next(iter(parts))) > 1:
            ts = [_thinned(b, t, axis) if _is_thin(t, axis) else t for t in ts]
    leader = max(ts, key=lambda t: (t.has_batch, len(t.sizes)))
    batch = next(((j, k) for j, own in enumerate(leader.axes) for k, g in enumerate(own) if g == 0), None)
    ts = [_batchless(b, t, batch) for t in ts]
    keys = [key for _, key in sorted((g, key) for key, g in _atoms(leader).items() if g)]
    keys += [key for key in dict.fromkeys(key for t in ts for key in _atoms(t)) if key not in keys and key != batch]
    if all(t.axes == ts[0].axes and len(t.sizes) == len(keys) + 1 for t in ts):
        keys = [key for _, key in sorted((g, key) for key, g in _atoms(ts[0]).items() if g)]
    laid = [_laid_out(b, t, keys) for t in ts]
    place = {key: i for i, key in enumerate(keys, 1)} | ({} if batch is None else {batch: 0})
    axes = tuple(tuple(place[key] for key in sorted(k for k in place if k[0] == j)) for j in range(rank))
    sizes = tuple(next((s for s in of if not is_one(s)), 1) for of in zip(*(t.sizes for t in laid), strict=True))
    return laid, Tensor(laid[0].value, axes, sizes)


def _is_thin(t: Tensor, axis: int) -> bool:
    return is_one(t.shape[axis])


def _thinned(b: Builder, t: Tensor, axis: int) -> Tensor:
    """Leaves an axis of size 1 to the tensor alone."""
    return inserted(dropped(b, t, axis), axis) if t.axes[axis] else t


def _batchless(b: Builder, t: Tensor, batch: tuple[int, int] | None) -> Tensor:
    """Frees the place of the batch in a tensor whose rows are one."""
    if batch is None or t.has_batch or not t.axes[batch[0]]:
        return t
    if not _is_thin(t, batch[0]):
        raise Problem(
            f"it combines the batch with a constant of {t.shape[batch[0]]} rows. Expected a batch of any size; check "
            "which axis the constant's is"
        )
    return _thinned(b, t, batch[0])


def _atoms(t: Tensor) -> dict[tuple[int, int], int]:
    return {(j, k): g for j, own in enumerate(t.axes) for k, g in enumerate(own)}


def _laid_out(b: Builder, t: Tensor, keys: list[tuple[int, int]]) -> Tensor:
    """Brings the value's axes to these, new ones of size 1 where it has none."""
    atoms = _atoms(t)
    there = [atoms[key] for key in keys if key in atoms]
    t = moved(b, t, there)
    value, sizes = t.value, list(t.sizes)
    for i, key in enumerate(keys, 1):
        if key not in atoms:
            [value] = b.emit("expand", [value], {"axis": i})
            sizes.insert(i, 1)
    return replace(t, value=value, sizes=tuple(sizes))


def _renamed(axes: tuple[tuple[int, ...], ...], place: dict[int, int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(place[axis] for axis in own) for own in axes)


def _with(axes: tuple[Any, ...], axis: int, own: tuple[int, ...]) -> tuple[Any, ...]:
    return (*axes[:axis], own, *axes[axis + 1 :])


def _without(axes: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    return (*axes[:axis], *axes[axis + 1 :])
