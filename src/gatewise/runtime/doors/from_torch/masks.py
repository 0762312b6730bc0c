# SPDX-License-Identifier: Apache-2.0
"""Masks: of ids, of lengths, of what came before; and what is left out by them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_torch.call import (
    Call,
    affine,
    as_number,
    as_tensor,
    is_mask,
    is_real,
    numbers,
    positive,
    reads,
    shape_of,
)
from gatewise.runtime.doors.from_torch.layout import dropped, inserted, last, moved, plain, single, together
from gatewise.runtime.doors.from_torch.values import (
    Causal,
    Fill,
    Lengths,
    Order,
    Steps,
    Tensor,
    is_one,
)
from gatewise.runtime.operations import Problem

if TYPE_CHECKING:
    from gatewise.runtime.doors.from_torch.builder import Builder

# What stands for minus infinity: exp of it is 0, and 0 times it is 0
_LOWEST = -1e30


@reads("ne", "eq")
def _equality(call: Call) -> Any:
    t, other = call.tensor(), call["other"]
    number = as_number(other, "other")
    if is_mask(call.b, t):
        return replace(t, negated=t.negated ^ (bool(number) ^ (call.operation == "eq")))
    if call.b.known[t.value].dtype != "int64" or len(t.sizes) != 2:
        raise Problem(f"it compares numbers of the shape {t.shape}. Expected ids (batch, steps), to make a mask of")
    [value] = call.b.emit("not_equal", [t.value], {"value": float(number)})
    return replace(t, value=value, negated=call.operation == "eq")


@reads("lt", "gt", "le", "ge")
def _order(call: Call) -> Any:
    left, right, operation = call["self"], call["other"], call.operation
    if isinstance(right, Steps):
        left, right, operation = right, left, {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}[operation]
    lengths = right.of if isinstance(right, Lengths) and right.less == 0 else right
    if not isinstance(left, Steps) or not isinstance(lengths, Tensor) or operation not in {"lt", "ge"}:
        raise Problem("it compares numbers. Expected steps with lengths: torch.arange(x.size(1)) < lengths[:, None]")
    return _of_lengths(call.b, left, lengths, negated=operation == "ge")


def _of_lengths(b: Builder, steps: Steps, lengths: Tensor, *, negated: bool) -> Tensor:
    rank = max(len(steps.shape), len(lengths.axes))
    shape = (1,) * (rank - len(steps.shape)) + tuple(steps.shape)
    rows = ((),) * (rank - len(lengths.axes)) + lengths.axes
    for axis, own in enumerate(lengths.axes):
        if own and own != (0,):
            lengths = inserted(dropped(b, lengths, axis), axis)
            return _of_lengths(b, steps, lengths, negated=negated)
    time = [axis for axis, size in enumerate(shape) if not is_one(size)]
    if len(time) != 1 or rows[time[0]] or (0,) not in rows:
        raise Problem("it compares steps with lengths along one axis. Expected torch.arange(steps) < lengths[:, None]")
    size = shape[time[0]]
    value = mask_of_lengths(b, lengths, size)
    axes = tuple((1,) if axis == time[0] else own for axis, own in enumerate(rows))
    return Tensor(value, axes, (lengths.sizes[0], size), negated)


def mask_of_lengths(b: Builder, lengths: Tensor, steps: Any) -> str:
    """Makes a mask (batch, steps), true before a row's length."""
    if b.known[lengths.value].dtype != "int64":
        raise Problem("lengths are no whole numbers. Expected int64")
    [mask] = b.emit("lengths", [lengths.value, b.like(lengths.sizes[0], steps)])
    return mask


@reads("logical_not", "bitwise_not")
def _not(call: Call) -> Any:
    t = call.tensor()
    if not is_mask(call.b, t):
        raise Problem("it negates numbers. Expected a mask")
    return replace(t, negated=not t.negated)


@reads("logical_and", "bitwise_and", "__and__", "logical_or", "bitwise_or", "__or__")
def _and(call: Call) -> Any:
    given = [call.tensor("self"), call.tensor("other")]
    if not all(is_mask(call.b, t) for t in given):
        raise Problem("it joins numbers. Expected masks")
    laid, result = together(call.b, [positive(call.b, t) for t in given])
    [value] = call.b.emit("any" if "or" in call.operation else "all", [t.value for t in laid])
    return replace(result, value=value)


@reads("to", "_to_copy", "type", "_autocast_to_full_precision")
def _to(call: Call) -> Any:
    given, wanted = call["self"], str(call["dtype"] or getattr(call["other"], "dtype", None) or "")
    if not isinstance(given, Tensor) or not wanted.startswith("torch."):
        return given
    kind = call.b.known[given.value].dtype
    if kind == "bool" and wanted != "torch.bool":
        return numbers(call.b, given)
    whole = wanted.startswith(("torch.int", "torch.uint", "torch.bool"))
    if (kind == "float32" and whole) or (kind == "int64" and (not whole or wanted == "torch.bool")):
        raise Problem(
            f"it turns {kind} into {wanted}. Expected ids and lengths that are given as int64, and numbers as float32; "
            "convert before the model"
        )
    if wanted in {"torch.float16", "torch.bfloat16"}:
        raise Problem(f"it computes in {wanted}. Expected float32; leave the conversion out")
    return given


@reads("masked_fill")
def _masked_fill(call: Call) -> Any:
    number = as_number(call["value"], "value")
    return _filled_in(call, call["self"], call["mask"], number, where=True)


@reads("where")
def _where(call: Call) -> Any:
    mask, a, b = call["condition"], call["self"], call["other"]
    if _is_number(b):
        return _filled_in(call, a, mask, as_number(b, "other"), where=False)
    if _is_number(a):
        return _filled_in(call, b, mask, as_number(a, "self"), where=True)
    raise Problem("it chooses between two tensors. Expected a tensor and a number")


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | Fill) or (is_real(value) and value.numel() == 1)


def _filled_in(call: Call, given: Any, mask: Any, number: float, *, where: bool) -> Tensor:
    """Puts a number where a mask is true, or where it is not."""
    b = call.b
    m = as_tensor(b, mask)
    if not is_mask(b, m) or not m.has_batch:
        raise Problem("its mask is none of the rows. Expected a mask of ids or of lengths")
    keep = replace(m, negated=m.negated ^ where)
    t = as_tensor(b, given)
    if not keep.negated:
        t = _zero_masked(b, t, keep)
    else:
        [t_laid, m_laid], result = together(b, [t, numbers(b, keep)])
        [value] = b.emit("multiply", [t_laid.value, m_laid.value])
        t = replace(result, value=value)
    if not number:
        return t
    fill = affine(b, numbers(b, keep), gain=-1.0, offset=1.0)
    fill = affine(b, fill, gain=_LOWEST if math.isinf(number) and number < 0 else number)
    laid, result = together(b, [t, fill])
    [value] = b.emit("add", [t.value for t in laid])
    return replace(result, value=value)


def _zero_masked(b: Builder, t: Tensor, mask: Tensor) -> Tensor:
    """Puts zeros where a mask is false, whatever stands there."""
    rank = max(len(t.axes), len(mask.axes))
    axes = ((),) * (rank - len(mask.axes)) + mask.axes
    for _ in range(rank - len(t.axes)):
        t = inserted(t, 0)
    at = {own[0]: axis for axis, own in enumerate(axes) if len(own) == 1}
    if len(mask.sizes) != 2 or set(at) != {0, 1} or t.axes[at[0]] != (0,) or is_one(t.shape[at[1]]):
        raise Problem(f"its mask has the shape {mask.shape}. Expected (batch, steps) of the tensor's rows and steps")
    t = last(b, t, at[1])
    n = len(t.sizes)
    t = moved(b, t, [n - 1, *range(1, n - 1)])
    if len(t.sizes) == 3:
        [value] = b.emit("zero_masked", [t.value, mask.value])
        return replace(t, value=value)
    flat = [size if isinstance(size, int) else -1 for size in t.sizes[2:]]
    if len(t.sizes) == 2:
        [value] = b.emit("expand", [t.value], {"axis": 2})
        [value] = b.emit("zero_masked", [value, mask.value])
        [value] = b.emit("take", [value], {"axis": 2, "index": 0})
        return replace(t, value=value)
    if -1 in flat:
        raise Problem(f"it masks numbers of the shape {t.shape}. Expected one axis of open size, the steps")
    [value] = b.emit("reshape", [t.value], {"shape": [-1, math.prod(flat)]})
    [value] = b.emit("zero_masked", [value, mask.value])
    [value] = b.emit("reshape", [value], {"shape": [-1, *flat]})
    return replace(t, value=value)


def valid_steps(b: Builder, value: str, lengths: Tensor, sizes: tuple[Any, ...]) -> str:
    """Puts zeros behind the end of each row of a value (batch, steps, features)."""
    [masked] = b.emit("zero_masked", [value, mask_of_lengths(b, lengths, sizes[1])])
    return masked


def last_valid(b: Builder, t: Tensor, axis: int, index: Lengths) -> Tensor:
    """Takes the last valid step of each row: the sum over the steps of what is kept of them, which is one."""
    if index.less != 1:
        raise Problem(f"it takes the steps at lengths - {index.less}. Expected the last ones, at lengths - 1")
    lengths = index.of
    for i in reversed(range(len(lengths.axes))):
        if lengths.axes[i] != (0,):
            lengths = dropped(b, lengths, i)
    t = plain(b, t, [axis, *(i for i in range(len(t.axes)) if i != axis)])
    steps = single(b, t, axis).sizes[1]
    mask = Tensor(mask_of_lengths(b, lengths, steps), ((0,), (1,)), (t.sizes[0], steps))
    valid = numbers(b, mask)
    [later] = b.emit("pad", [valid.value], {"axis": 1, "before": 0, "after": 1})
    [later] = b.emit("slice", [later], {"axis": 1, "start": 1})
    [chosen] = b.emit("subtract", [valid.value, later])
    t = _zero_masked(b, t, Tensor(mask.value, tuple(own if own in {(0,), (1,)} else () for own in t.axes), mask.sizes))
    for i in range(2, len(t.sizes)):
        [chosen] = b.emit("expand", [chosen], {"axis": i})
    [value] = b.emit("multiply", [t.value, chosen])
    [value] = b.emit("reduce", [value], {"function": "sum", "axis": 1})
    axes = tuple(tuple(g - (g > 1) for g in own) for i, own in enumerate(t.axes) if i != axis)
    return Tensor(value, axes, (t.sizes[0], *t.sizes[2:]))


# --- Numbers of steps, and one number for all ---


@reads("arange")
def _arange(call: Call) -> Any:
    if call["start"] not in {None, 0} or call["step"] not in {None, 1}:
        raise Problem("it counts from another start than 0, or in other steps than 1, up to the size of an input")
    return Steps(call.shapes[0])


@reads("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones")
def _fill(call: Call) -> Any:
    if isinstance(call["self"], Order):
        return call["self"]  # of which packing makes the inverse
    name = call.operation.removeprefix("new_").removesuffix("_like")
    number = {"zeros": 0.0, "ones": 1.0, "empty": 0.0}.get(name)
    return Fill(call.number("fill_value") if number is None else number, call.shapes[0])


@reads("new_full", "new_empty")
def _new_fill(call: Call) -> Any:
    return Fill(call.number("fill_value") if call.operation == "new_full" else 0.0, call.shapes[0])


@reads("triu")
def _triu(call: Call) -> Any:
    given = call["self"]
    if isinstance(given, Fill) and call["diagonal"] == 1 and (given.number in (-math.inf, 1)):
        return Causal()
    raise Problem("it takes a triangle. Expected a causal mask: torch.triu(torch.ones(steps, steps), diagonal=1)")


@reads("sort")
def _sort(call: Call) -> Any:
    given = call["self"]
    if isinstance(given, Tensor) and given.axes == ((0,),) and call["descending"]:
        return replace(given, order=given.value), Order(given.value)
    raise Problem("it sorts numbers. Expected lengths, which packing sorts")


@reads("scatter")
def _scatter(call: Call) -> Any:
    if isinstance(call["self"], Order) and isinstance(call["index"], Order) and isinstance(call["src"], Steps):
        return replace(call["index"], inverse=not call["index"].inverse)
    raise Problem("it writes into parts of a tensor. Expected torch.cat or torch.stack of the parts")


@reads("argsort")
def _argsort(call: Call) -> Any:
    given = call["self"]
    if isinstance(given, Order):
        return replace(given, inverse=not given.inverse)
    raise Problem("it sorts numbers. Expected lengths, which packing sorts")


def causal(value: Any) -> bool:
    """Says whether a mask lets each step see itself and what came before it, and nothing else.

    Raises:
        Problem: it is a mask of another kind.
    """
    if value is None:
        return False
    if isinstance(value, Causal):
        return True
    if is_real(value) and value.dim() == 2:
        array = value.detach().cpu().numpy()
        blocked = array if array.dtype == np.bool_ else array < -1e4
        if np.array_equal(blocked, np.triu(np.ones(array.shape, bool), 1)):
            return True
    raise Problem(
        f"attn_mask has the shape {shape_of(value)}. Expected none, a causal one, or key_padding_mask for padding"
    )
