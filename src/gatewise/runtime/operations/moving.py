# SPDX-License-Identifier: Apache-2.0
"""What moves numbers, and changes none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gatewise.runtime.operations.operation import MOST, Operation, Option, Problem, axis_of, fits, rank

if TYPE_CHECKING:
    from gatewise.runtime.operations.operation import Array, Known


def _reshape(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    (batch, *sizes), dtype = given[0]
    target = options["shape"]
    if target.count(-1) > 1 or 0 in target:
        raise Problem(f"option shape is {target}. Expected sizes, at most one of them -1.")
    fixed = math.prod(size for size in target if size != -1)
    if None in sizes:
        return [((batch, *(None if size == -1 else size for size in target)), dtype)]
    total = math.prod(sizes)
    if total % fixed or (-1 not in target and total != fixed):
        raise Problem(f"option shape is {target}. Expected {total} numbers a row.")
    return [((batch, *(total // fixed if size == -1 else size for size in target)), dtype)]


def _permute(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    shape, dtype = given[0]
    if sorted(options["axes"]) != list(range(1, len(shape))):
        raise Problem(f"option axes is {options['axes']}. Expected 1 to {len(shape) - 1} in some order.")
    return [((shape[0], *(shape[axis] for axis in options["axes"])), dtype)]


def _repeat(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    batch, width = rank(given[0], 2, "x")
    return [((batch, options["times"], width), given[0][1])]


def _slice(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    shape, dtype = given[0]
    axis, size = axis_of(options, shape), None
    if shape[axis] is not None:
        size = len(range(*slice(options["start"], options["stop"], options["step"]).indices(shape[axis] or 0)))
    return [((*shape[:axis], size, *shape[axis + 1 :]), dtype)]


def _take(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    shape, dtype = given[0]
    axis = axis_of(options, shape)
    size, index = shape[axis], options["index"]
    if size is not None and not -size <= index < size:
        raise Problem(f"option index is {index}. Expected {-size} to {size - 1}.")
    return [((*shape[:axis], *shape[axis + 1 :]), dtype)]


def _expand(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    shape, dtype = given[0]
    axis = axis_of(options, (*shape, 1))
    return [((*shape[:axis], 1, *shape[axis:]), dtype)]


def _reverse(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    axis_of(options, given[0][0])
    return [given[0]]


def _fold(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    shape = rank(given[0], tuple(range(2, 9)), "x")
    rows = None if shape[0] is None or shape[1] is None else shape[0] * shape[1]
    return [((rows, *shape[2:]), given[0][1])]


def _unfold(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    like = rank(given[1], tuple(range(2, 9)), "like")
    batch, steps = like[:2]
    fits(given[0][0][0], None if batch is None or steps is None else batch * steps, "the first axis of x")
    return [((*like[:2], *given[0][0][1:]), given[0][1])]


def _pad(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    shape, dtype = given[0]
    axis = axis_of(options, shape)
    size = shape[axis]
    after = None if size is None else size + options["before"] + options["after"]
    return [((*shape[:axis], after, *shape[axis + 1 :]), dtype)]


def _upsample(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    batch, length, *rest = rank(given[0], (2, 3), "x")
    return [((batch, None if length is None else length * options["times"], *rest), given[0][1])]


def _constant(_given: list[Any], _options: dict[str, Any], weights: dict[str, Array]) -> list[Known]:
    value = weights["value"]
    if value.ndim < 1 or value.shape[0] != 1:
        raise Problem(f"weight value has the shape {value.shape}. Expected a batch of one, which broadcasts.")
    return [(value.shape, str(value.dtype))]


def _broadcast(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    (shape, dtype), (like, _), first = given[0], given[1], options["axes"]
    if first > min(len(shape), len(like)):
        raise Problem(f"option axes is {first}. Expected at most {min(len(shape), len(like))}, as both inputs have.")
    for size, wanted in zip(shape[:first], like[:first], strict=True):
        if size != 1:
            fits(size, wanted, "an axis of x")
    return [((*like[:first], *shape[first:]), dtype)]


def _lengths(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    if given[0][1] != "int64":
        raise Problem(f"lengths are of {given[0][1]}. Expected int64.")
    batch, steps, *_ = rank(given[1], (2, 3), "like")
    given_rows = rank(given[0], 1, "lengths")[0]
    fits(None if given_rows == 1 else given_rows, batch, "how many lengths there are")
    return [((batch, steps), "bool")]


_AXIS = {"axis": Option(1, int, least=-8, most=8)}

ROWS = {
    "reshape": Operation(("x",), ("y",), _reshape, (), {"shape": Option([-1], list, least=-1)}),  # the batch apart
    "permute": Operation(("x",), ("y",), _permute, (), {"axes": Option([1], list, least=1, most=8)}),
    "repeat": Operation(("x",), ("y",), _repeat, (), {"times": Option(1, int, least=1)}),  # (B, F) -> (B, times, F)
    "slice": Operation(
        ("x",),
        ("y",),
        _slice,
        (),
        _AXIS | {"start": Option(0, int), "stop": Option(MOST, int), "step": Option(1, int, least=1)},
    ),
    "take": Operation(("x",), ("y",), _take, (), _AXIS | {"index": Option(-1, int)}),  # without the axis
    "expand": Operation(("x",), ("y",), _expand, (), _AXIS),  # a new axis of size 1
    "reverse": Operation(("x",), ("y",), _reverse, (), _AXIS),
    "fold": Operation(("x",), ("y",), _fold),  # (B, T, ...) -> (BT, ...)
    "unfold": Operation(("x", "like"), ("y",), _unfold),  # back: (BT, ...), (B, T, ...) -> (B, T, ...)
    "pad": Operation(  # with zeros, or False
        ("x",), ("y",), _pad, (), _AXIS | {"before": Option(0, int, least=0), "after": Option(0, int, least=0)}
    ),
    "upsample": Operation(("x",), ("y",), _upsample, (), {"times": Option(2, int, least=1)}),  # each step so often
    "constant": Operation((), ("value",), _constant, ("value",)),
    # x with its first axes, each of size 1 or that of like's, of the sizes of like's
    "broadcast": Operation(("x", "like"), ("y",), _broadcast, (), {"axes": Option(1, int, least=1, most=8)}),
    # a mask: step < length, for as many steps as `like` has; one length stands for all rows
    "lengths": Operation(("lengths", "like"), ("mask",), _lengths),
}
