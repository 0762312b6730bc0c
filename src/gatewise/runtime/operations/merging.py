# SPDX-License-Identifier: Apache-2.0
"""What makes one value of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.runtime.operations.operation import Operation, Option, Problem, axis_of, fits, numbers

if TYPE_CHECKING:
    from gatewise.runtime.operations.operation import Array, Known, Shape


def broadcast(shapes: list[Shape]) -> Shape:
    """The shape of several together, aligned at the last axis, as NumPy has it.

    Raises:
        Problem: they do not fit.
    """
    longest = max(map(len, shapes))
    aligned = [(1,) * (longest - len(shape)) + shape for shape in shapes]
    sizes = []
    for axis in zip(*aligned, strict=True):
        fixed = {size for size in axis if size not in {1, None}}
        if len(fixed) > 1:
            raise Problem(f"inputs have the shapes {', '.join(map(str, shapes))}. Expected some that broadcast.")
        sizes.append(fixed.pop() if fixed else None if None in axis else 1)
    return tuple(sizes)


def _merge(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    return [(broadcast([numbers(known, "an input") for known in given]), "float32")]


def _concatenate(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    first, dtype = given[0]
    axis, total = axis_of(options, first), 0
    for shape, other in given:
        if len(shape) != len(first) or other != dtype:
            raise Problem(f"inputs are {first} of {dtype} and {shape} of {other}. Expected some that join.")
        for i, (size, wanted) in enumerate(zip(shape, first, strict=True)):
            if i not in {0, axis}:
                fits(size, wanted, f"axis {i} of an input")
    sizes = [shape[axis] for shape, _ in given]
    known = None if None in sizes else total + sum(size for size in sizes if size is not None)
    return [((*first[:axis], known, *first[axis + 1 :]), dtype)]


def _matmul(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    a, b = (numbers(known, "an input") for known in given)
    if len(a) != len(b) or len(a) < 3:
        raise Problem(f"inputs have the shapes {a} and {b}. Expected two of as many axes, three or more.")
    fits(a[-1], b[-2], "the width of the first")
    return [((*broadcast([a[:-2], b[:-2]]), a[-2], b[-1]), "float32")]


ROWS = {
    **{
        # element by element, broadcast as NumPy does
        name: Operation(("inputs*",), ("y",), _merge)
        for name in ("add", "subtract", "multiply", "divide", "average", "maximum", "minimum")
    },
    "concatenate": Operation(("inputs*",), ("y",), _concatenate, (), {"axis": Option(-1, int, least=-8, most=8)}),
    # of the last two axes, for each of those before
    "matmul": Operation(("a", "b"), ("y",), _matmul),
}
