# SPDX-License-Identifier: Apache-2.0
"""Turns what a caller gives into the array that is expected, or says what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_Float = TypeVar("_Float", np.float32, np.float64)


def real_array(
    where: str,
    name: str,
    value: npt.ArrayLike,
    axes: tuple[str | tuple[str, int], ...],
    dtype: type[_Float],
    rank_hint: str = "Check the number of axes.",
) -> npt.NDArray[_Float]:
    """Makes an aligned, C-contiguous array of `dtype` and the expected shape, without a copy where `value` is one.

    Args:
        where: the caller's name, which opens the message.
        name: the argument's name.
        value: anything that `numpy.asarray` makes an array of real numbers of.
        axes: a name for each axis that may have any size; a name and a size for each of the others.
        dtype: numpy.float32 or numpy.float64.
        rank_hint: what to do if the number of axes is wrong.

    Returns:
        The array, of the given axes.

    Raises:
        TypeError: `value` does not hold real numbers.
        ValueError: `value` is ragged or has the wrong shape.

    Example:
        >>> import numpy as np
        >>> real_array("gru", "x", [[[1, 2]]], ("batch", "timesteps", ("features", 2)), np.float32)
        array([[[1., 2.]]], dtype=float32)
        >>> real_array("gru", "x", [["hello"]], ("batch", "timesteps"), np.float32)
        Traceback (most recent call last):
        TypeError: gru: x has the wrong type. Expected real numbers; received dtype <U5. Convert it to float32 first.
    """
    if _is_ready(value, axes, dtype):
        return value  # in 2 us instead of 4, of the 66 that a small layer's call takes
    sizes = [axis if isinstance(axis, tuple) else (axis, None) for axis in axes]
    labels = [label if size is None else f"{label}={size}" for label, size in sizes]
    expected = f"({', '.join(labels)}{',' if len(labels) == 1 else ''})"
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{where}: {name} is not an array. Expected {expected}; received {type(value).__name__} ({error}). "
            "Give all rows the same length."
        ) from error
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(
            f"{where}: {name} has the wrong type. Expected real numbers; received dtype {array.dtype}. "
            f"Convert it to {np.dtype(dtype)} first."
        )
    if array.ndim != len(sizes):
        raise ValueError(
            f"{where}: {name} has the wrong rank. Expected {expected}; received {array.shape}. {rank_hint}"
        )
    for i, (_, size) in enumerate(sizes):
        if size is not None and array.shape[i] != size:
            axis = "the last axis" if i == array.ndim - 1 else f"axis {i}"
            raise ValueError(
                f"{where}: {name} has the wrong shape. Expected {expected}; received {array.shape}. Check {axis}."
            )
    return np.require(array, dtype, ("C_CONTIGUOUS", "ALIGNED"))


def _is_ready(
    value: npt.ArrayLike, axes: tuple[str | tuple[str, int], ...], dtype: type[_Float]
) -> TypeGuard[npt.NDArray[_Float]]:
    """Whether a value is what `real_array` makes, already."""
    if type(value) is not np.ndarray or value.dtype != dtype or value.ndim != len(axes):
        return False
    for axis, size in zip(axes, value.shape, strict=True):
        if isinstance(axis, tuple) and axis[1] != size:
            return False
    return value.flags.c_contiguous and value.flags.aligned
