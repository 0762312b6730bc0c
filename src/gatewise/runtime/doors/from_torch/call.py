# SPDX-License-Identifier: Apache-2.0
"""A call of one of PyTorch's operations, and the table of rules that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gatewise.runtime.doors.from_torch.layout import dropped, inserted, last, moved, plain
from gatewise.runtime.doors.from_torch.values import (
    Causal,
    Fill,
    Lengths,
    Order,
    Packed,
    Size,
    Sizes,
    Stack,
    Steps,
    Tensor,
    array_of,
    is_one,
    same,
)
from gatewise.runtime.operations import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from gatewise.runtime.doors.from_torch.builder import Builder

    Array = npt.NDArray[Any]

LAZY = (Tensor, Stack, Fill, Steps, Causal, Lengths, Order, Packed)


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        operation: its name, without the overload's.
        given: the arguments by name, defaults included.
        shapes: of the tensors that it returns.
        b: takes the nodes.
    """

    operation: str
    given: dict[str, Any]
    shapes: tuple[Sizes, ...]
    b: Builder

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name)

    def tensor(self, name: str = "self") -> Tensor:
        """Returns an argument as a value."""
        return as_tensor(self.b, self.given[name])

    def axis(self, name: str = "dim", rank: int | None = None) -> int:
        """Returns an argument that counts an axis, from the front."""
        axis: int = self.given[name]
        return axis % (len(shape_of(self.given["self"])) if rank is None else rank) if rank != 0 else 0

    def number(self, name: str) -> float:
        """Returns an argument that is a number.

        Raises:
            Problem: it depends on the input.
        """
        return as_number(self.given[name], name)

    def refuse(self, *names: str) -> None:
        """Refuses what the arguments of these names ask for.

        Raises:
            Problem: one is given, and neither false nor zero.
        """
        for name in names:
            if self.given.get(name):
                raise Problem(f"{name} is {self.given[name]}. Expected {'none' if name == 'mask' else 'its default'}")


Rule: TypeAlias = "Callable[[Call], Any]"

RULES: dict[str, Rule] = {}


def reads(*operations: str) -> Callable[[Rule], Rule]:
    """Enters a rule in the table, for operations of these names."""

    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(operations, rule))
        return rule

    return enter


def is_real(value: Any) -> bool:
    """Says whether it is a tensor with numbers in it: a parameter, or what follows from such alone."""
    return hasattr(value, "detach") and not isinstance(value, LAZY)


def as_number(value: Any, name: str) -> float:
    """Returns a number, also out of a tensor that holds one."""
    if isinstance(value, bool | int | float):
        return value
    if is_real(value) and value.numel() == 1:
        number: float = value.item()
        return number
    if isinstance(value, Fill):
        return value.number
    raise Problem(f"{name} depends on the input or its size. Expected a number that is known")


def shape_of(value: Any) -> Sizes:
    """Returns the shape of what stands for a tensor."""
    if isinstance(value, Stack):
        first = value.items[0].shape
        return (*first[: value.axis], len(value.items), *first[value.axis :])
    if isinstance(value, Lengths):
        return value.of.shape
    if isinstance(value, Packed):
        return value.lengths.shape
    if isinstance(value, Tensor | Fill | Steps):
        return value.shape
    return tuple(value.shape) if is_real(value) else ()


def as_tensor(b: Builder, value: Any) -> Tensor:
    """Returns what stands for a tensor as a value of numbers, ids or a mask.

    Raises:
        Problem: it has no place in a graph on its own.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Stack):
        return _joined(b, value)
    if isinstance(value, Fill):
        return _filled(b, value)
    if isinstance(value, bool | int | float):
        return lifted(b, np.asarray(value, np.float32), ("number", str(value)))
    if is_real(value):
        return lifted(b, array_of(value), ("constant", value))
    raise Problem(f"it uses {_described(value)} as numbers. Expected numbers; embed or mask by it")


def _described(value: Any) -> str:
    names: dict[type, str] = {
        Steps: "the numbers of the steps",
        Lengths: "lengths",
        Order: "the order of rows",
        Causal: "a causal mask",
        Packed: "the sizes of a packed sequence",
        type(None): "no tensor",
    }
    if hasattr(value, "free_symbols"):
        return "the size of an input"
    return names.get(type(value), f"a {type(value).__name__}")


def lifted(b: Builder, array: Array, source: tuple[Any, ...]) -> Tensor:
    """Makes a constant a value: its rows are all one."""
    [value] = b.emit("constant", (), {}, {"value": (source, array[None])})
    return Tensor(value, tuple((i,) for i in range(1, array.ndim + 1)), (1, *array.shape))


def _filled(b: Builder, fill: Fill) -> Tensor:
    """Makes a tensor of one number a value: with a batch, and with steps if their number is open."""
    t = lifted(b, np.full((1,) * len(fill.shape), fill.number, np.float32), ("number", str(fill.number)))
    return expanded(b, t, fill.shape)


def expanded(b: Builder, t: Tensor, shape: Sizes) -> Tensor:
    """Repeats axes of size 1 so often that the tensor has a shape."""
    for _ in range(len(shape) - len(t.axes)):
        t = inserted(t, 0)
    wide = [axis for axis, size in enumerate(shape) if not same(t.shape[axis], size)]
    for axis in wide:
        if not is_one(t.shape[axis]):
            raise Problem(f"it repeats an axis of size {t.shape[axis]} to {shape[axis]}. Expected one of size 1")
        if isinstance(shape[axis], int):
            t = _repeated(b, t, axis, shape[axis])
    left = [axis for axis in wide if not isinstance(shape[axis], int)]
    return _broadcast(b, t, left, shape) if left else t


def _repeated(b: Builder, t: Tensor, axis: int, times: int) -> Tensor:
    if times > 4096:
        raise Problem(f"it repeats an axis {times} times. Expected at most 4096")
    t = last(b, t, axis)
    [value] = b.emit("concatenate", [t.value] * times, {"axis": -1})
    return replace(t, value=value, sizes=(*t.sizes[:-1], times))


def _broadcast(b: Builder, t: Tensor, axes: list[int], shape: Sizes) -> Tensor:
    """Repeats axes to sizes that are open: the batch, and steps."""
    for axis in axes:
        t = inserted(dropped(b, t, axis), axis)
    if t.has_batch:
        if len(axes) > 1:
            raise Problem("it repeats two axes to sizes that are open. Expected one")
        t = last(b, t, axes[0])
        n = len(t.sizes)
        t = moved(b, t, [n - 1, *range(1, n - 1)])
        [value] = b.emit("broadcast", [t.value, b.like(t.sizes[0], shape[axes[0]])], {"axes": 2})
        return replace(t, value=value, sizes=(t.sizes[0], shape[axes[0]], *t.sizes[2:]))
    # its axis 0 is free: which of the axes is the batch is what a value before it says
    for batch in axes:
        steps = [axis for axis in axes if axis != batch]
        if len(steps) > 1:
            break
        sizes = [shape[batch], *(shape[axis] for axis in steps)]
        try:
            like = b.like(*sizes)
        except Problem:
            continue
        for axis in steps:
            t = last(b, t, axis)
            n = len(t.sizes)
            t = moved(b, t, [n - 1, *range(1, n - 1)])
        [value] = b.emit("broadcast", [t.value, like], {"axes": len(sizes)})
        own = tuple((0,) if axis == batch else group for axis, group in enumerate(t.axes))
        return replace(t, value=value, axes=own, sizes=(*sizes, *t.sizes[len(sizes) :]))
    b.like(*(shape[axis] for axis in axes))  # which says what is missing
    raise Problem("it repeats axes to sizes that are open. Expected the batch, and steps")


def _joined(b: Builder, stack: Stack) -> Tensor:
    """Makes a stack one value."""
    laid = [inserted(t, stack.axis) for t in stack.items]
    return joined(b, laid, stack.axis)


def joined(b: Builder, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Concatenates tensors along an axis."""
    if any(0 in t.axes[axis] for t in tensors):
        raise Problem("it joins along the batch. Expected rows that know nothing of each other; check the axis")
    batch = next((t for t in tensors if t.has_batch), None)
    alike = []
    for t in tensors:
        whole = t
        if batch is not None and not t.has_batch:
            at = next(i for i, own in enumerate(batch.axes) if 0 in own)
            whole = expanded(b, t, (*t.shape[:at], batch.shape[at], *t.shape[at + 1 :]))
        alike.append(whole)
    first = alike[0]
    known = all(t.axes == first.axes and t.axes[axis] for t in alike) and len(first.axes[axis]) == 1
    if not known or any(not same(x, y) for t in alike for x, y in _others(t, first, axis)):
        alike = [plain(b, t) for t in alike]
    [own] = alike[0].axes[axis]
    if len(alike) == 1:
        return alike[0]
    [value] = b.emit("concatenate", [t.value for t in alike], {"axis": own})
    total: Size = sum(t.sizes[own] for t in alike)
    sizes = (*alike[0].sizes[:own], total, *alike[0].sizes[own + 1 :])
    return replace(alike[0], value=value, sizes=sizes)


def _others(t: Tensor, first: Tensor, axis: int) -> list[tuple[Size, Size]]:
    [own] = first.axes[axis]
    return [(x, y) for i, (x, y) in enumerate(zip(t.sizes, first.sizes, strict=True)) if i != own]


def is_mask(b: Builder, t: Tensor) -> bool:
    """Says whether a value is true or false."""
    return b.known[t.value].dtype == "bool"


def numbers(b: Builder, t: Tensor) -> Tensor:
    """Returns a value as numbers: of a mask, 1 where it is true."""
    if not is_mask(b, t):
        return t
    thin = [axis for axis, own in enumerate(t.axes) if not own]
    t = plain(b, replace(t, axes=tuple(own for own in t.axes if own)))
    if len(t.sizes) != 2:
        raise Problem(f"it computes with a mask of the shape {t.shape}. Expected (batch, steps)")
    for axis in thin:
        t = inserted(t, axis)
    one = lifted(b, np.ones((1, 1), np.float32), ("number", "1"))
    [ones] = b.emit("broadcast", [one.value, t.value], {"axes": 2})
    [masked] = b.emit("zero_masked", [ones, t.value])
    [value] = b.emit("take", [masked], {"axis": 2, "index": 0})
    if t.negated:
        value = affine(b, replace(t, value=value, negated=False), gain=-1.0, offset=1.0).value
    return replace(t, value=value, negated=False)


def positive(b: Builder, t: Tensor) -> Tensor:
    """Returns a mask as a value that is true where it is."""
    if not t.negated:
        return t
    [value] = b.emit("not", [t.value])
    return replace(t, value=value, negated=False)


def affine(b: Builder, t: Tensor, *, gain: float | None = None, offset: float | None = None) -> Tensor:
    """Multiplies by one number, and adds another."""
    named = {"gain": gain, "offset": offset}
    weights = {
        key: (("number", str(number)), np.full(1, number, np.float32))
        for key, number in named.items()
        if number is not None
    }
    [value] = b.emit("affine", [t.value], {}, weights)
    return replace(t, value=value)
