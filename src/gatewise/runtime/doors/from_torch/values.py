# SPDX-License-Identifier: Apache-2.0
"""What stands for the tensors of a module while it is read.

A value of a graph has its batch first, a tensor of PyTorch anywhere: so a tensor is a value and, for each axis of the
tensor, which axes of the value it stands for. Transposing, squeezing, and joining axes then make no node at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

Size = Any  # an int, or a sympy expression of the sizes that an example leaves open
Sizes = tuple[Size, ...]
Axes = tuple[tuple[int, ...], ...]
Source = tuple[Any, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the module.

    Attributes:
        value: the graph's.
        axes: for each axis of the tensor, the axes of the value that it joins, first the slowest; none for an axis of
            size 1 that the value has not. Axis 0 of the value, its batch, is in none of them if all rows are one.
        sizes: of the value's axes.
        negated: whether it is true where the value, a mask, is not.
        order: by which lengths the rows are sorted, as packing does: their value; None as they were given.
    """

    value: str
    axes: Axes
    sizes: Sizes
    negated: bool = False
    order: str | None = None

    @property
    def shape(self) -> Sizes:
        """The tensor's own shape."""
        return tuple(math.prod((self.sizes[axis] for axis in axes), start=1) for axes in self.axes)

    @property
    def has_batch(self) -> bool:
        """Says whether its rows differ."""
        return any(0 in axes for axes in self.axes)


@dataclass(frozen=True)
class Stack:
    """Tensors of one shape behind each other along a new axis, until somebody asks for them as one."""

    items: tuple[Tensor, ...]
    axis: int
    order: str | None = None


@dataclass(frozen=True)
class Fill:
    """A tensor of one number."""

    number: float
    shape: Sizes


@dataclass(frozen=True)
class Steps:
    """The numbers 0, 1, ... along one axis of a tensor of which the others have size 1."""

    shape: Sizes


@dataclass(frozen=True)
class Causal:
    """A mask (steps, steps) that lets a step see itself and what came before it."""


@dataclass(frozen=True)
class Lengths:
    """How many steps each row has, less a number."""

    of: Tensor
    less: int


@dataclass(frozen=True)
class Order:
    """Where the rows of sorted lengths came from; `inverse`: where they went."""

    of: str
    inverse: bool = False


@dataclass(frozen=True)
class Packed:
    """The sizes of a packed sequence: the lengths of its rows, in the order in which they stand."""

    lengths: Tensor


def same(a: Size, b: Size) -> bool:
    """Says whether two sizes are one, whatever is left open."""
    return a is b or bool(a == b) or (not (isinstance(a, int) and isinstance(b, int)) and bool((a - b).expand() == 0))


def is_one(size: Size) -> bool:
    """Says whether a size is 1, whatever is left open."""
    return same(size, 1)


def array_of(tensor: Any) -> Array:
    """Brings a real tensor to an array: numbers to float32, ids to int64."""
    array: Array = (
        tensor.detach().cpu().resolve_conj().numpy() if tensor.dtype.itemsize != 2 else tensor.float().numpy()
    )
    if array.dtype == np.bool_:
        return array
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
