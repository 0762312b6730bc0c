# SPDX-License-Identifier: Apache-2.0
"""What is given to a model, checked against what is known of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.options import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from gatewise.runtime.graph import Shape, Value

    Array = npt.NDArray[Any]


_OPERATION = re.compile(r"operation (\d+) \(\w+\): (.*)", re.DOTALL)  # as csrc/program names one


def checked(where: str, value: Value, given: Any, cure: str | None = None) -> Array:
    """Makes the array of a value that is given.

    Args:
        where: opens the error.
        value: what is known of it.
        given: anything that `numpy.asarray` takes.
        cure: what to do about a wrong shape, a sentence; None: what the shapes say.

    Returns:
        A C-contiguous array of the value's dtype.

    Raises:
        TypeError: it does not hold numbers of that kind.
        ValueError: it is of another shape, or holds numbers that float32 cannot.
    """
    shape, dtype = value
    array = array_of(where, given)
    wanted = {"float32": "uif", "int64": "ui", "bool": "b"}[dtype]
    if array.dtype.kind not in wanted + "b" * (dtype == "float32") or isinstance(given, np.ma.MaskedArray):
        kinds = {"float32": "real numbers", "int64": "whole numbers, ids", "bool": "True and False"}[dtype]
        make = {"float32": "numbers of it", "int64": "ids of it, as in training", "bool": "a mask of it: x != 0"}[dtype]
        make = "an array of it: x.filled(number)" if isinstance(given, np.ma.MaskedArray) else make
        raise TypeError(f"{where} has the wrong type. Expected {kinds}; received {_kind(given, array)}. Make {make}.")
    if not _fits(shape, array.shape):
        raise ValueError(
            f"{where} has the wrong shape. Expected {shape_text(value)}; received {array.shape}. "
            f"{cure or _cure(shape, array.shape)}"
        )
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, dtype)
    if dtype == "float32" and array.dtype.kind == "f" and array.dtype.itemsize > 4:
        large = np.isinf(found) & np.isfinite(array)
        if large.any():
            raise ValueError(
                f"{where} has numbers that are too large. Expected such as float32 can hold; received "
                f"{array[large][0]:g} at {np.argwhere(large)[0].tolist()}. Scale them as in training."
            )
    return found


def _fits(shape: Shape, given: tuple[int, ...]) -> bool:
    return len(shape) == len(given) and all(size in {None, n} for size, n in zip(shape, given, strict=True))


def _cure(shape: Shape, given: tuple[int, ...]) -> str:
    """Says what to do with an array of a shape that does not fit."""
    if len(given) != len(shape):
        return f"It has {len(given)} axes: give {len(shape)}, the batch first."
    if len(given) > 1 and _fits(shape, (given[1], given[0], *given[2:])):
        return "The first two axes stand the other way round: x.swapaxes(0, 1)."
    wrong = next(i for i, (size, n) in enumerate(zip(shape, given, strict=True)) if size not in {None, n})
    return f"Check axis {wrong}."


def check_named(what: str, given: Any, cure: str) -> None:
    """Raises TypeError if arrays by name are none."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"stream: {what} has the wrong type. Expected a dict of arrays by name; received {cut(repr(given))}. {cure}"
        )


def array_of(where: str, given: Any) -> Array:
    """Makes an array of what is given, of whatever dtype.

    Raises:
        ValueError: its rows differ in length.
    """
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"{where} has rows of different length. Expected an array, or lists of one length; received lists of "
            "several. Fill them up, and leave the rest out by the mask."
        ) from error


def rows_of(where: str, rows: Any, batch: int) -> npt.NDArray[np.intp]:
    """Which rows are meant: whole numbers, one or many, or a bool for each row; None: all.

    Raises:
        TypeError: it is something else.
        IndexError: there is no such row.

    Example:
        >>> rows_of("reset", [], 3).tolist(), rows_of("reset", [True, False, True], 3).tolist()
        ([], [0, 2])
    """
    if rows is None:
        return np.arange(batch)
    array = array_of(f"{where}: rows", rows)
    if array.dtype.kind == "b" and array.shape == (batch,):
        return np.flatnonzero(array)
    if array.ndim > 1 or (array.dtype.kind not in "ui" and array.shape != (0,)):
        raise TypeError(
            f"{where}: rows is no choice of rows. Expected whole numbers, or a bool for each of {batch} rows; received "
            f"{cut(repr(rows))}. Leave it out for all."
        )
    numbers = array.reshape(-1).astype(np.intp)
    wrong = numbers[(numbers < -batch) | (numbers >= batch)]
    if len(wrong):
        raise IndexError(
            f"{where}: there is no row {wrong[0]}. Expected 0 to {batch - 1}; received {cut(repr(rows))}. Leave it "
            "out for all."
        )
    return numbers


def is_text(given: Any) -> bool:
    """Whether it is text, or a list or an array of it."""
    if isinstance(given, np.ndarray):
        return given.dtype.kind in "UT" or (given.dtype.kind == "O" and any(isinstance(one, str) for one in given.flat))
    first = given[0] if isinstance(given, list | tuple) and given else given
    return isinstance(first, str)


def is_series(given: Any) -> bool:
    """Whether it is a `TimeSeries`, or a list of such; by name, for few programs have any."""
    first = given[0] if isinstance(given, list | tuple) and given else given
    return type(first).__name__ == "TimeSeries"


def _kind(given: Any, array: Array) -> str:
    """Says what came, in words that its giver knows."""
    if isinstance(given, np.ma.MaskedArray):
        return "a masked array"
    if array.dtype != object:
        return f"dtype {cut(str(array.dtype))}"
    kind = cut(type(given).__name__)
    if not array.ndim:
        return "None" if given is None else f"a {kind}, which is no array"
    odd = [one for one in array.flat if not isinstance(one, int | float | np.number)]
    return f"{kind} that holds {cut(repr(odd[0]), 40)}" if odd else f"{kind} of dtype object"


def named(where: str, error: ValueError, layers: Sequence[str]) -> ValueError:
    """Makes an error of the native program one that names the layer and says what to do.

    Args:
        where: opens it.
        error: what the program said, of an operation by its number.
        layers: the names of the operations' layers.
    """
    found = _OPERATION.fullmatch(str(error))
    what = f"layer {layers[int(found[1])]!r}: {found[2]}" if found else str(error)
    cure = "Number ids as in training" if " is out of range" in what else "Give inputs that fit each other"
    return ValueError(f"{where}: {what} {cure}.")


def told(where: str, make: Callable[[], Any]) -> Any:
    """Does something whose errors do not say where it is done.

    Raises:
        TypeError: likewise, and says where.
        ValueError: likewise.
    """
    try:
        return make()
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def shape_text(value: Value) -> str:
    """A shape as a message shows it."""
    return f"({', '.join('any' if size is None else str(size) for size in value.shape)})"
