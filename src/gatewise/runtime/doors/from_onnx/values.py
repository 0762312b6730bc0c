# SPDX-License-Identifier: Apache-2.0
"""What a value of an ONNX graph is while the graph is read: known now, or a value of our graph with its axes elsewhere.

A value that is known is a NumPy array. All others are classes of this module; `axes` and `axis` count in ONNX's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Size:
    """The size of an axis: a number times sizes that are known when the model runs, as the batch's."""

    times: int
    symbols: tuple[str, ...] = ()

    @property
    def fixed(self) -> int | None:
        """The number, if it is one."""
        return None if self.symbols else self.times

    def __mul__(self, other: Size) -> Size:
        """The product."""
        return Size(self.times * other.times, tuple(sorted(self.symbols + other.symbols)))

    def over(self, other: Size) -> Size | None:
        """The quotient, if it is whole.

        Example:
            >>> Size(6, ("batch",)).over(Size(2))
            Size(times=3, symbols=('batch',))
            >>> Size(6).over(Size(4)) is None
            True
        """
        rest = list(self.symbols)
        for symbol in other.symbols:
            if symbol not in rest:
                return None
            rest.remove(symbol)
        if not other.times or self.times % other.times:
            return None
        return Size(self.times // other.times, tuple(rest))


ONE, BATCH = Size(1), Size(1, ("batch",))


def product(sizes: Iterable[Size]) -> Size:
    """The product of several."""
    total = ONE
    for size in sizes:
        total = total * size
    return total


@dataclass(frozen=True)
class Sizes:
    """What Shape gives, and what becomes of it: whole numbers of which some are known when the model runs.

    Attributes:
        elements: in order.
        scalar: whether it is one number without an axis.
    """

    elements: tuple[Size, ...]
    scalar: bool = False


@dataclass(frozen=True)
class Filled:
    """An array that is known but for its sizes: zeros for a state, for as many rows as come.

    Attributes:
        sizes: of its axes.
        base: what is repeated, with as many axes, each of size one or the full one; or a size, as of lengths.
    """

    sizes: tuple[Size, ...]
    base: Array | Size


@dataclass(frozen=True)
class Tensor:
    """A value of our graph.

    Attributes:
        value: its name there.
        axes: for each of ONNX's axes, which of our axes it is, (); several where it runs over them in that order, as
            after a Reshape; () where it is of size one and ours has none. Each of ours stands in exactly one.
    """

    value: str
    axes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Parts:
    """Several values side by side along an axis, which nobody has needed in one yet: the directions of a layer.

    Attributes:
        parts: of as many axes.
        axis: the one.
    """

    parts: tuple[Tensor, ...]
    axis: int


@dataclass(frozen=True)
class Erf:
    """(ones + erfs * erf(x / sqrt(2))), or x times that: on the way to a GELU.

    Attributes:
        of: x.
        ones: the number beside the error function.
        erfs: its factor.
        times_x: whether it is multiplied by x.
    """

    of: Tensor
    ones: float
    erfs: float
    times_x: bool = False


def sizes_or_array(elements: tuple[Size, ...], *, scalar: bool = False) -> Sizes | Array:
    """Whole numbers as an array, if all of them are known.

    Example:
        >>> sizes_or_array((Size(2), Size(3)))
        array([2, 3])
    """
    numbers = [size.fixed for size in elements]
    if None in numbers:
        return Sizes(elements, scalar)
    return np.array(numbers[0] if scalar else numbers, np.int64)


def as_sizes(value: Any) -> tuple[Size, ...] | None:
    """The elements of `Sizes` or of an array of whole numbers; None if it is something else."""
    if isinstance(value, Sizes):
        return value.elements
    if isinstance(value, np.ndarray) and value.ndim <= 1 and np.issubdtype(value.dtype, np.integer):
        return tuple(Size(int(number)) for number in value.reshape(-1))
    return None
