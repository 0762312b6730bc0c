# SPDX-License-Identifier: Apache-2.0
"""Operations that move numbers: views, axes, slices, joining."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewise.runtime.doors.from_torch.call import (
    LAZY,
    Call,
    as_number,
    as_tensor,
    expanded,
    is_real,
    joined,
    reads,
    shape_of,
)
from gatewise.runtime.doors.from_torch.causal import chomped, padded
from gatewise.runtime.doors.from_torch.layout import dropped, inserted, permuted, single, taken, viewed
from gatewise.runtime.doors.from_torch.masks import last_valid
from gatewise.runtime.doors.from_torch.values import Fill, Lengths, Order, Size, Stack, Steps, Tensor, is_one, same
from gatewise.runtime.operations import Problem
from gatewise.runtime.operations.operation import MOST

if TYPE_CHECKING:
    from collections.abc import Callable


@reads(
    *("alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "alpha_dropout", "lift_fresh_copy"),
    *("feature_alpha_dropout", "native_dropout", "requires_grad", "type_as", "resolve_conj", "resolve_neg", "positive"),
)
def _unchanged(call: Call) -> Any:
    if call["train"] or call["training"]:
        raise Problem(
            "dropout is active. Expected one that vanishes in evaluation; use torch.nn.Dropout, or pass "
            "training=self.training"
        )
    return call.given[next(iter(call.given))]


def _of_tensor(call: Call, change: Callable[[Tensor], Tensor]) -> Any:
    """Changes the axes of whatever stands for a tensor."""
    given = call["self"]
    if isinstance(given, Fill):
        return Fill(given.number, call.shapes[0])
    if isinstance(given, Steps):
        if sum(not is_one(size) for size in call.shapes[0]) > 1:
            raise Problem("it repeats the numbers of the steps. Expected one axis that is not of size 1")
        return Steps(call.shapes[0])
    if isinstance(given, Lengths):
        return Lengths(change(given.of), given.less)
    return change(as_tensor(call.b, given))


@reads("view", "reshape", "_unsafe_view", "view_as", "reshape_as", "flatten", "unflatten", "ravel")
def _view(call: Call) -> Any:
    return _of_tensor(call, lambda t: viewed(call.b, t, call.shapes[0]))


@reads("permute", "transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "movedim", "moveaxis", "adjoint")
def _permute(call: Call) -> Any:
    rank = len(shape_of(call["self"]))
    order = list(range(rank))
    if call["dims"] is not None:
        order = [axis % rank for axis in call["dims"]]
    elif call.operation in {"movedim", "moveaxis"}:
        froms, tos = ([call[key]] if isinstance(call[key], int) else call[key] for key in ("source", "destination"))
        froms, tos = [i % rank for i in froms], [i % rank for i in tos]
        order = [axis for axis in order if axis not in froms]
        for to, axis in sorted(zip(tos, froms, strict=True)):
            order.insert(to, axis)
    elif call.operation == "numpy_T":
        order.reverse()
    else:
        names = ("dim0", "dim1") if call["dim0"] is not None else ("axis0", "axis1")
        first, second = (call[name] % rank if call[name] is not None else rank - 2 + i for i, name in enumerate(names))
        order[first], order[second] = order[second], order[first]
    stack = call["self"]
    if isinstance(stack, Stack):
        axis = order.index(stack.axis)
        rest = [i - (i > stack.axis) for i in order if i != stack.axis]
        return Stack(tuple(permuted(t, rest) for t in stack.items), axis)
    return _of_tensor(call, lambda t: permuted(t, order))


@reads("unsqueeze")
def _unsqueeze(call: Call) -> Any:
    axis = call.axis(rank=len(shape_of(call["self"])) + 1)
    return _of_tensor(call, lambda t: inserted(t, axis))


@reads("squeeze")
def _squeeze(call: Call) -> Any:
    shape = shape_of(call["self"])
    wanted = range(len(shape)) if call["dim"] is None else call["dim"]
    axes = [axis % len(shape) for axis in ([wanted] if isinstance(wanted, int) else wanted)]
    ones = sorted((axis for axis in axes if is_one(shape[axis])), reverse=True)

    def change(t: Tensor) -> Tensor:
        for axis in ones:
            t = dropped(call.b, t, axis)
        return t

    return _of_tensor(call, change)


@reads("select")
def _select(call: Call) -> Any:
    axis, index, given = call.axis(), call["index"], call["self"]
    if not isinstance(index, int):
        raise Problem("index depends on the size of an input. Expected a number")
    if isinstance(given, Stack) and axis == given.axis:
        return given.items[index]
    return _of_tensor(call, lambda t: taken(call.b, t, axis, index))


@reads("slice", "narrow")
def _slice(call: Call) -> Any:
    axis, given = call.axis(), call["self"]
    size = shape_of(given)[axis]
    start, step = call["start"] or 0, call["step"] or 1
    stop = MOST if call["end"] is None else call["end"]
    if call.operation == "narrow":
        stop = start + call["length"]
    if same(call.shapes[0][axis], size) and step == 1:
        return given
    start, stop = _from_an_end(start, size), _from_an_end(stop, size)
    if isinstance(given, Stack) and axis == given.axis:
        return replace(given, items=given.items[start:stop:step])

    def change(t: Tensor) -> Tensor:
        if 0 in t.axes[axis]:
            raise Problem("it takes some rows of the batch. Expected rows that know nothing of each other")
        t = single(call.b, t, axis)
        [own] = t.axes[axis]
        options = {"axis": own, "start": start, "stop": min(stop, MOST), "step": step}
        if options == {"axis": 1, "start": 0, "stop": stop, "step": 1}:
            value = chomped(call.b, t.value, -stop)
            if value is not None:
                return replace(t, value=value, sizes=(t.sizes[0], call.shapes[0][axis], *t.sizes[2:]))
        [value] = call.b.emit("slice", [t.value], options)
        return replace(t, value=value, sizes=(*t.sizes[:own], call.shapes[0][axis], *t.sizes[own + 1 :]))

    return _of_tensor(call, change)


def _from_an_end(place: Size, size: Size) -> int:
    """Counts a place from the start of an axis, or as Python does from its end."""
    if isinstance(place, int):
        return place
    back = place - size
    if getattr(back, "is_number", False) and int(back) <= 0:
        return int(back) or MOST
    raise Problem(
        f"it takes a part up to {place} of an axis of {size}. Expected numbers, counted from an end of the axis"
    )


@reads("unbind", "split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
def _parts(call: Call) -> Any:
    axis, given = call.axis(), call["self"]
    if isinstance(given, Stack) and axis == given.axis and call.operation == "unbind":
        return list(given.items)
    t = as_tensor(call.b, given)
    if call.operation == "unbind":
        return [taken(call.b, t, axis, i) for i in range(len(call.shapes))]
    if 0 in t.axes[axis]:
        raise Problem("it splits the batch. Expected rows that know nothing of each other; check the axis")
    t, found, at = single(call.b, t, axis), [], 0
    [own] = t.axes[axis]
    for shape in call.shapes:
        size = shape[axis]
        if not isinstance(size, int):
            raise Problem("it splits an axis whose size is open. Expected parts of fixed sizes")
        [value] = call.b.emit("slice", [t.value], {"axis": own, "start": at, "stop": at + size})
        found.append(replace(t, value=value, sizes=(*t.sizes[:own], size, *t.sizes[own + 1 :])))
        at += size
    return found


@reads("cat", "concat", "concatenate")
def _cat(call: Call) -> Any:
    given = [value for value in call["tensors"] if shape_of(value) != (0,)]
    axis = call.axis(rank=len(call.shapes[0]))
    if all(isinstance(value, Stack) and value.axis == axis for value in given):
        return Stack(tuple(t for value in given for t in value.items), axis)
    tensors = [as_tensor(call.b, value) for value in given]
    return joined(call.b, tensors, axis)


@reads("stack")
def _stack(call: Call) -> Any:
    tensors = [as_tensor(call.b, value) for value in call["tensors"]]
    return Stack(tuple(tensors), call.axis(rank=len(call.shapes[0])))


@reads("hstack", "vstack", "dstack", "column_stack")
def _several(_call: Call) -> Any:
    raise Problem("it is not known. Expected torch.cat or torch.stack, which name the axis")


@reads("expand", "expand_as", "broadcast_to")
def _expand(call: Call) -> Any:
    if isinstance(call["self"], Lengths):
        return call["self"]  # each number is read once, wherever it stands for several
    return _of_tensor(call, lambda t: expanded(call.b, t, call.shapes[0]))


@reads("repeat", "tile")
def _repeat(call: Call) -> Any:
    given = shape_of(call["self"])
    shape = (1,) * (len(call.shapes[0]) - len(given)) + tuple(given)
    times = call["repeats"] or call["dims"]
    if any(not is_one(n) and not is_one(size) for n, size in zip(times, shape[-len(times) :], strict=True)):
        tensor = as_tensor(call.b, call["self"])
        for axis, n in enumerate(times, len(shape) - len(times)):
            if not isinstance(n, int):
                raise Problem("it repeats so often as the size of an input says. Expected a number")
            tensor = tensor if n == 1 else joined(call.b, [tensor] * n, axis)
        return tensor
    return _of_tensor(call, lambda t: expanded(call.b, t, call.shapes[0]))


@reads("flip")
def _flip(call: Call) -> Any:
    t = call.tensor()
    for axis in (axis % len(t.axes) for axis in call["dims"]):
        if 0 in t.axes[axis]:
            raise Problem("it reverses the batch. Expected rows that know nothing of each other; check the axis")
        t = single(call.b, t, axis)
        [value] = call.b.emit("reverse", [t.value], {"axis": t.axes[axis][0]})
        t = replace(t, value=value)
    return t


@reads("pad", "constant_pad_nd")
def _pad(call: Call) -> Any:
    if call["mode"] not in {None, "constant"} or as_number(call["value"] or 0, "value"):
        raise Problem(f"it pads with {call['mode'] or call['value']}. Expected zeros")
    t, pairs = call.tensor(), call["pad"]
    rank = len(t.axes)
    for i in range(len(pairs) // 2):
        before, after = pairs[2 * i : 2 * i + 2]
        axis = rank - 1 - i
        if not isinstance(before, int) or not isinstance(after, int) or (0 in t.axes[axis] and (before or after)):
            raise Problem(
                "it pads the batch, or so far as the size of an input says. Expected numbers, and another axis"
            )
        if before or after:
            t = padded(call.b, t, axis, before, after)
    return t


# --- By index ---


@reads("index_select")
def _index_select(call: Call) -> Any:
    given, index, axis = call["self"], call["index"], call.axis()
    if isinstance(index, Order):
        if isinstance(given, Fill):
            return given
        before = index.of if index.inverse else None
        if isinstance(given, Tensor | Stack) and given.order == before:
            return replace(given, order=None if index.inverse else index.of)
        raise Problem("it sorts rows twice. Expected the order in which they were given")
    return _at(call, given, index, axis)


@reads("index")
def _index(call: Call) -> Any:
    given, indices = call["self"], call["indices"]
    there = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(there) == 1:
        axis, index = there[0]
        if isinstance(index, Order):
            changed = replace(call, given={"self": given, "index": index, "dim": axis})
            return _index_select(changed)
        return _at(call, given, index, axis)
    if len(there) == 2:
        (first, a), (second, b) = there
        if isinstance(a, Lengths):
            (first, a), (second, b) = (second, b), (first, a)
        if isinstance(a, Steps) and isinstance(b, Lengths):
            t = as_tensor(call.b, given)
            if t.axes[first] == (0,) and same(a.shape[0], t.sizes[0]):
                return last_valid(call.b, t, second, b)
    raise Problem(
        "it takes parts by several indices. Expected rows, and the last steps: out[arange(batch), lengths - 1]"
    )


@reads("gather")
def _gather(call: Call) -> Any:
    index, axis = call["index"], call.axis()
    if isinstance(index, Lengths) and is_one(index.of.shape[axis]):
        return inserted(last_valid(call.b, call.tensor(), axis, index), axis)
    raise Problem("it takes parts by an index. Expected the last steps of each row, lengths - 1")


def _at(call: Call, given: Any, index: Any, axis: int) -> Any:
    """Takes what stands at indices that are known."""
    if isinstance(index, LAZY) or not is_real(index) or index.dim() != 1 or str(index.dtype) != "torch.int64":
        raise Problem("it takes parts by an index that depends on the input. Expected numbers, slices")
    t = as_tensor(call.b, given)
    parts = [taken(call.b, t, axis, i) for i in index.tolist()]
    return Stack(tuple(parts), axis)
