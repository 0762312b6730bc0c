# SPDX-License-Identifier: Apache-2.0
"""What is given to a model, checked against what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.options import cut

if TYPE_CHECKING:
    import numpy.typing as npt

    from gatewise.runtime.graph import Value

    Array = npt.NDArray[Any]


def checked(where: str, value: Value, given: Any) -> Array:
    """Makes the array of a value that is given.

    Args:
        where: opens the error.
        value: what is known of it.
        given: anything that `numpy.asarray` takes.

    Returns:
        A C-contiguous array of the value's dtype.

    Raises:
        TypeError: it does not hold numbers of that kind.
        ValueError: it is of another shape.
    """
    shape, dtype = value
    array = np.asarray(given)
    wanted = {"float32": "uif", "int64": "ui", "bool": "b"}[dtype]
    if array.dtype.kind not in wanted + "b" * (dtype == "float32") or isinstance(given, np.ma.MaskedArray):
        kinds = {"float32": "real numbers", "int64": "whole numbers, ids", "bool": "True and False"}[dtype]
        raise TypeError(f"{where} has the wrong type. Expected {kinds}; received {_kind(given, array)}.")
    fits = array.ndim == len(shape) and all(size in {None, n} for size, n in zip(shape, array.shape, strict=True))
    if not fits:
        raise ValueError(f"{where} has the wrong shape. Expected {shape_text(value)}; received {array.shape}.")
    return np.ascontiguousarray(array, dtype)


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
    return "a masked array" if isinstance(given, np.ma.MaskedArray) else f"dtype {cut(str(array.dtype))}"


def shape_text(value: Value) -> str:
    """A shape as a message shows it."""
    return f"({', '.join('any' if size is None else str(size) for size in value.shape)})"
