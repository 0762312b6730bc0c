# SPDX-License-Identifier: Apache-2.0
"""Arithmetic with numbers and tensors, products of matrices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_torch.call import (
    Call,
    affine,
    as_tensor,
    is_real,
    lifted,
    numbers,
    reads,
    shape_of,
)
from gatewise.runtime.doors.from_torch.layout import dropped, inserted, last, permuted, plain, together
from gatewise.runtime.doors.from_torch.values import Fill, Lengths, Tensor, array_of, is_one, same
from gatewise.runtime.operations import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewise.runtime.doors.from_torch.builder import Builder


@reads("add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "rsub", "maximum", "minimum")
def _binary(call: Call) -> Any:
    operation = {"sub": "subtract", "mul": "multiply", "div": "divide", "true_divide": "divide"}
    name = operation.get(call.operation, call.operation)
    call.refuse("rounding_mode")
    left, right = call["self"], call["other"]
    if name == "rsub":
        name, left, right = "subtract", right, left
    alpha = 1 if call["alpha"] is None else call["alpha"]
    if alpha != 1:
        right = _scaled(call.b, right, alpha)
    return combined(call.b, name, left, right, call.shapes[0])


def _scaled(b: Builder, value: Any, factor: float) -> Any:
    if isinstance(value, int | float) or is_real(value):
        return value * factor
    return affine(b, numbers(b, as_tensor(b, value)), gain=factor)


def combined(b: Builder, name: str, left: Any, right: Any, shape: Sequence[Any]) -> Any:
    """Combines two of what stands for tensors or numbers, element by element."""
    if name == "subtract" and isinstance(right, int) and _are_lengths(b, left):
        of, less = (left.of, left.less) if isinstance(left, Lengths) else (left, 0)
        return Lengths(of, less + right)
    left, right = _number_of(left, shape, right), _number_of(right, shape, left)
    for value in (left, right):
        if value is not None and not isinstance(value, bool | int | float) and not hasattr(value, "shape"):
            as_tensor(b, value)  # which says what it is
    if isinstance(right, bool | int | float):
        found = _with_number(b, name, left, float(right))
    elif isinstance(left, bool | int | float):
        found = _of_number(b, name, float(left), right)
    else:
        found = _with_vector(b, name, left, right)
    if found is not None:
        return found
    laid, result = together(b, [numbers(b, as_tensor(b, value)) for value in (left, right)])
    [value] = b.emit("add" if name == "add" else name, [t.value for t in laid])
    return replace(result, value=value)


def _are_lengths(b: Builder, value: Any) -> bool:
    return isinstance(value, Lengths) or (isinstance(value, Tensor) and b.known[value.value].dtype == "int64")


def _number_of(value: Any, shape: Sequence[Any], other: Any) -> Any:
    """Returns the one number that a tensor holds, where the other has the result's shape."""
    wide = shape_of(other)
    if len(wide) == len(shape) and all(map(same, wide, shape)):
        if isinstance(value, Fill):
            return value.number
        if is_real(value) and value.numel() == 1:
            return value.item()
    return value


def _with_number(b: Builder, name: str, left: Any, number: float) -> Tensor | None:
    t = numbers(b, as_tensor(b, left))
    if name in {"maximum", "minimum"}:
        return bounded(b, t, name, number)
    if name == "divide":
        return affine(b, t, gain=1.0 / number)
    if name == "multiply":
        return affine(b, t, gain=number)
    return affine(b, t, offset=number if name == "add" else -number) if number else t


def _of_number(b: Builder, name: str, number: float, right: Any) -> Tensor | None:
    t = numbers(b, as_tensor(b, right))
    if name in {"add", "multiply", "maximum", "minimum"}:
        return _with_number(b, name, t, number)
    if name == "subtract":
        return affine(b, t, gain=-1.0, offset=number)
    one = lifted(b, np.full(1, number, np.float32), ("number", str(number)))
    return _pointwise(b, "divide", one, t)


def bounded(b: Builder, t: Tensor, name: str, number: float) -> Tensor:
    """Takes the larger, or the smaller, of each number and one."""
    return _pointwise(b, name, t, lifted(b, np.full(1, number, np.float32), ("number", str(number))))


def _pointwise(b: Builder, name: str, left: Tensor, right: Tensor) -> Tensor:
    laid, result = together(b, [left, right])
    [value] = b.emit(name, [t.value for t in laid])
    return replace(result, value=value)


def _with_vector(b: Builder, name: str, left: Any, right: Any) -> Tensor | None:
    """Multiplies by, or adds, a constant that differs along one axis alone; None if it is not that."""
    if is_real(left) and name in {"add", "multiply"}:
        left, right = right, left
    if not is_real(right) or is_real(left) or name in {"maximum", "minimum"}:
        return None
    shape = tuple(right.shape)
    wide = [axis - len(shape) for axis, size in enumerate(shape) if size != 1]
    t = numbers(b, as_tensor(b, left))
    if len(wide) != 1 or len(shape) > len(t.axes) or not same(t.shape[wide[0]], right.numel()):
        return None
    if 0 in t.axes[wide[0]]:
        return None
    t = last(b, t, wide[0])
    vector = array_of(right).reshape(-1)
    key, array = {
        "add": ("offset", vector),
        "subtract": ("offset", -vector),
        "multiply": ("gain", vector),
        "divide": ("gain", (1.0 / vector.astype(np.float64)).astype(np.float32)),
    }[name]
    [value] = b.emit("affine", [t.value], {}, {key: ((name, right), array)})
    return replace(t, value=value)


@reads("neg", "negative")
def _neg(call: Call) -> Any:
    return affine(call.b, numbers(call.b, call.tensor()), gain=-1.0)


@reads("reciprocal", "rsqrt")
def _reciprocal(call: Call) -> Any:
    t = call.tensor()
    if call.operation == "rsqrt":
        [value] = call.b.emit("activation", [t.value], {"function": "sqrt"})
        t = replace(t, value=value)
    return _of_number(call.b, "divide", 1.0, t)


@reads("pow", "square")
def _pow(call: Call) -> Any:
    exponent = 2 if call.operation == "square" else call.number("exponent")
    t = numbers(call.b, call.tensor())
    if exponent == 0.5:
        [value] = call.b.emit("activation", [t.value], {"function": "sqrt"})
    elif exponent in {2, 3, 4}:
        [value] = call.b.emit("multiply", [t.value] * int(exponent))
    else:
        raise Problem(f"its exponent is {exponent}. Expected 0.5, 2, 3 or 4")
    return replace(t, value=value)


@reads("clamp", "clip", "clamp_min", "clamp_max")
def _clamp(call: Call) -> Any:
    t = call.tensor()
    for key, name in (("min", "maximum"), ("max", "minimum")):
        if call[key] is not None:
            t = bounded(call.b, t, name, call.number(key))
    return t


# --- Products ---


@reads("addmm", "mm", "bmm", "matmul", "mv", "dot", "baddbmm", "__matmul__", "linear")
def _product(call: Call) -> Any:
    if call.operation == "linear":
        return dense(call.b, call.tensor("input"), call["weight"], call["bias"], transposed=True)
    if call.operation == "addmm":
        if call["beta"] != 1 or call["alpha"] != 1:
            raise Problem("beta or alpha is not 1. Expected a product and a sum")
        return dense(call.b, call.tensor("mat1"), call["mat2"], call["self"], transposed=False)
    left, right = list(call.given.values())[:2]
    return product(call, left, right)


def product(call: Call, left: Any, right: Any) -> Any:
    """Multiplies matrices, or a matrix by a vector."""
    b = call.b
    if is_real(right) and right.dim() == 2:
        return dense(b, as_tensor(b, left), right, None, transposed=False)
    if is_real(right) and right.dim() == 1:
        t = dense(b, as_tensor(b, left), right.unsqueeze(1), None, transposed=False, source=right)
        return dropped(b, t, len(t.axes) - 1)
    if is_real(left) and left.dim() == 2 and len(shape_of(right)) >= 2:
        t = dense(b, _turned(as_tensor(b, right)), left, None, transposed=True)
        return _turned(t)
    x, y = as_tensor(b, left), as_tensor(b, right)
    vector = len(y.axes) == 1
    y = inserted(y, 1) if vector else y
    if max(len(x.axes), len(y.axes)) < 3 or len(x.axes) == 1:
        raise Problem(f"it multiplies {x.shape} by {y.shape}. Expected a batch of matrices, or a weight of two axes")
    rank = max(len(x.axes), len(y.axes))
    for _ in range(rank - len(x.axes)):
        x = inserted(x, 0)
    for _ in range(rank - len(y.axes)):
        y = inserted(y, 0)
    if any(0 in t.axes[axis] for t in (x, y) for axis in (-1, -2)):
        raise Problem("it multiplies along the batch. Expected rows that know nothing of each other; check the axes")
    result = _matrices(b, x, y)
    return dropped(b, result, rank - 1) if vector else result


def _matrices(b: Builder, x: Tensor, y: Tensor) -> Tensor:
    """Multiplies the last two axes of two tensors of as many axes."""
    rank = len(x.axes)
    batch = next((axis for axis in range(rank) if 0 in x.axes[axis] or 0 in y.axes[axis]), None)
    if batch is None:
        raise Problem("it multiplies constants. Expected one tensor that depends on the input")
    # a constant has its batch beside its axes
    x, y = (t if t.has_batch or not t.axes[batch] else inserted(dropped(b, t, batch), batch) for t in (x, y))
    x, y = (_batch_first(b, t, batch) for t in (x, y))
    [value] = b.emit("matmul", [x.value, y.value])
    others = [axis for axis in range(rank) if axis != batch]
    place = {axis: i for i, axis in enumerate(others, 1)} | {batch: 0}
    sizes = []
    for i, (s, t) in enumerate(zip(x.sizes, y.sizes, strict=True)):
        sizes.append(s if i == len(x.sizes) - 2 else t if i == len(x.sizes) - 1 or is_one(s) else s)
    return Tensor(value, tuple((place[axis],) for axis in range(rank)), tuple(sizes))


def _batch_first(b: Builder, t: Tensor, batch: int) -> Tensor:
    """Lays a tensor out in the order of its axes, the batch's first; of a constant, that is axis 0."""
    order = [axis for axis in range(len(t.axes)) if axis != batch]
    t = permuted(t, [batch, *order])
    if t.has_batch:
        return plain(b, t)
    return inserted(plain(b, replace(t, axes=t.axes[1:])), 0)


def _turned(t: Tensor) -> Tensor:
    rank = len(t.axes)
    return permuted(t, [*range(rank - 2), rank - 1, rank - 2])


def dense(b: Builder, t: Tensor, weight: Any, bias: Any, *, transposed: bool, source: Any = None) -> Tensor:
    """Multiplies the last axis by a weight, (out, in) if `transposed`."""
    if not is_real(weight) or not (bias is None or is_real(bias)):
        raise Problem("its weight depends on the input. Expected a parameter; for a product of two inputs, torch.bmm")
    t = last(b, numbers(b, t), len(t.axes) - 1)
    kernel = array_of(weight).T if transposed else array_of(weight)
    weights = {"kernel": (("T" if transposed else "N", weight if source is None else source), kernel)}
    if bias is not None:
        weights["bias"] = (("bias", bias), np.broadcast_to(array_of(bias), kernel.shape[1:]))
    if len(t.sizes) == 1:
        raise Problem("it multiplies numbers without features. Expected (batch, features) or more axes")
    [value] = b.emit("dense", [t.value], {}, weights)
    return replace(t, value=value, sizes=(*t.sizes[:-1], kernel.shape[1]))


@reads("einsum")
def _einsum(call: Call) -> Any:
    formula, given = call["equation"].replace(" ", ""), call["tensors"]
    inputs, _, output = formula.partition("->")
    letters = inputs.split(",")
    if (
        len(letters) != 2
        or "." in formula
        or not output
        or any(len({*part}) != len(part) for part in (*letters, output))
    ):
        raise Problem(f"it computes {formula!r}. Expected two tensors, each letter once in each, and '->'")
    left, right = (as_tensor(call.b, value) for value in given)
    batch = [c for c in letters[0] if c in letters[1] and c in output]
    summed = [c for c in letters[0] if c in letters[1] and c not in output]
    rows = [c for c in letters[0] if c not in letters[1]]
    columns = [c for c in letters[1] if c not in letters[0]]
    if is_real(given[0]) and not is_real(given[1]):
        swapped = f"{letters[1]},{letters[0]}->{output}"
        return _einsum(replace(call, given={"equation": swapped, "tensors": [given[1], given[0]]}))
    is_weight = is_real(given[1]) and not batch
    kept = all(c in output for c in (*rows, *columns))
    if len(summed) != 1 or not kept or len(columns) > 1 or (len(rows) > 1 and not is_weight):
        raise Problem(
            f"it computes {formula!r}. Expected products of matrices: one letter that is summed, and at most one of "
            "each tensor's own"
        )
    x = permuted(left, [letters[0].index(c) for c in (*batch, *rows, *summed)])
    y = permuted(right, [letters[1].index(c) for c in (*batch, *summed, *columns)])
    x = x if rows else inserted(x, len(batch))
    y = y if columns else inserted(y, len(batch) + 1)
    if is_weight:
        weight = given[1].permute([letters[1].index(c) for c in (*summed, *columns)])
        found = dense(call.b, x, weight if columns else weight.unsqueeze(1), None, transposed=False)
    else:
        found = _matrices(call.b, x, y)
    order = [*batch, *(rows or ["?"]), *(columns or ["!"])]
    for missing in ("!", "?"):
        if missing in order:
            found = dropped(call.b, found, order.index(missing))
            order.remove(missing)
    return permuted(found, [order.index(c) for c in output])
