# SPDX-License-Identifier: Apache-2.0
"""What callers give as numbers: arrays of real numbers, counts and indices, or an error that says what came instead."""

from __future__ import annotations

import numbers
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.errors import list_some, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


def check_whole(caller: str, name: str, value: Any, least: int = 1, cure: str = "Give a number of steps.") -> int:
    """Checks a count.

    Args:
        caller: the function, for the message.
        name: the argument.
        value: what it was given.
        least: the smallest that it may be.
        cure: what to do, for the message.

    Returns:
        The number.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is too small.

    Example:
        >>> check_whole("Windows", "history", np.int64(3))
        3
    """
    if not is_whole(value):
        raise TypeError(
            f"{caller}: {name} is no whole number. Expected an int of at least {least}; received "
            f"{describe(value)}. {cure}"
        )
    if value < least:
        raise ValueError(
            f"{caller}: {name} is too small. Expected at least {least}; received {shorten(int(value))}. {cure}"
        )
    return int(value)


def check_choice(caller: str, name: str, value: Any, choices: Sequence[str | None], cure: str = "Choose one.") -> None:
    """Checks an argument that has few values.

    Args:
        caller: the function, for the message.
        name: the argument.
        value: what it was given.
        choices: what it may be.
        cure: what to do, for the message.

    Raises:
        ValueError: it is none of them.

    Example:
        >>> check_choice("pad", "padding", "post", ("pre", "post"))
    """
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(
            f"{caller}: {name} is unknown. Expected one of {list_some(choices)}; received {shorten(value)}. {cure}"
        )


def is_whole(value: object) -> bool:
    """Says whether a value is an int of Python or NumPy; True and False are none.

    Example:
        >>> is_whole(np.int8(3)), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.timedelta64)


def is_missing(value: object) -> bool:
    """Says whether a value in Python stands for none: None, NaN, NaT, pandas' NA, or what NumPy has masked.

    Example:
        >>> [is_missing(value) for value in (None, float("nan"), np.datetime64("NaT", "s"), 0.0, "NA")]
        [True, True, True, False, False]
    """
    if value is None or type(value).__name__ in {"NAType", "NaTType", "MaskedConstant"}:
        return True
    return isinstance(value, float | np.floating | np.datetime64 | np.timedelta64) and bool(value != value)  # noqa: PLR0124


def is_real(value: object) -> bool:
    """Says whether a value is a real number of Python or NumPy, a truth value included.

    Example:
        >>> [is_real(value) for value in (1, 2.5, True, Decimal("0.1"), 1j, "1", np.timedelta64(1, "D"))]
        [True, True, True, True, False, False, False]
    """
    return isinstance(value, numbers.Real | Decimal | np.bool_) and not isinstance(value, np.timedelta64)


def real_array(caller: str, name: str, value: Any, expected: str, cure: str = "Give numbers.") -> NDArray[Any]:
    """Makes an array of real numbers.

    Args:
        caller: the function, for the message.
        name: the argument.
        value: what it was given.
        expected: its shape, for the message.
        cure: what to do, for the message.

    Returns:
        An array of booleans, whole numbers or floating point; None becomes NaN.

    Raises:
        TypeError: it holds dates, text, complex numbers or something else; or it is a masked array, whose mask would be
            lost.
        ValueError: its rows differ in length.

    Example:
        >>> real_array("Scaler", "values", [[1, None]], "(..., features)")
        array([[ 1., nan]])
    """
    array = any_array(caller, name, value, expected)
    if array.dtype == object and array.ndim and all(is_real(one) or is_missing(one) for one in array.flat):
        array = np.where([is_missing(one) for one in array.flat], np.nan, array.ravel()).reshape(array.shape)
        array = array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        if array.dtype == object and hasattr(_first(value), "values"):
            cure = (
                "Give its array: series.values."
                if _first(value) is value
                else "Give arrays: [one.values for one in ...]."
            )
        raise TypeError(
            f"{caller}: {name} hold something else than real numbers. Expected {expected}; received "
            f"{describe(value)}. {cure}"
        )
    return array


def any_array(caller: str, name: str, value: Any, expected: str) -> NDArray[Any]:
    """Makes an array of whatever a caller gives.

    Args:
        caller: the function, for the message.
        name: the argument.
        value: what it was given.
        expected: its shape, for the message.

    Returns:
        An array of any type.

    Raises:
        TypeError: it is a masked array.
        ValueError: its rows differ in length.
    """
    check_mask(caller, name, value, expected, f"Give {name}.filled(numpy.nan) of floating point.")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{caller}: {name} are no array. Expected {expected}; received {type(value).__name__} whose rows differ in "
            "length. Give all rows the same length."
        ) from error


def check_mask(caller: str, name: str, value: Any, expected: str, cure: str) -> None:
    """Refuses masked arrays: NumPy drops their mask without a word.

    Args:
        caller: the function, for the message.
        name: the argument.
        value: what it was given: an array, or a list of arrays.
        expected: what it should be, for the message.
        cure: what to do, for the message.

    Raises:
        TypeError: it is a masked array, or a list that holds one.
    """
    if isinstance(value, np.ma.MaskedArray) or (
        isinstance(value, list | tuple) and any(isinstance(one, np.ma.MaskedArray) for one in value)
    ):
        raise TypeError(
            f"{caller}: {name} are a masked array, whose mask would be lost. Expected {expected}; received "
            f"numpy.ma.MaskedArray. {cure}"
        )


def check_iterable(caller: str, name: str, value: Any, expected: str, cure: str) -> Iterable[Any]:
    """Checks what is gone through one after the other: no single string, no table, of which the names would come.

    Args:
        caller: the function, for the message.
        name: the argument.
        value: what it was given.
        expected: what it should be, for the message.
        cure: what to do, for the message.

    Returns:
        What it was given: a generator stays one.

    Raises:
        TypeError: it is a string, a table, or nothing that can be gone through.

    Example:
        >>> check_iterable("Labels", "labels", ["a", "b"], "a list of strings", "Wrap it in a list.")
        ['a', 'b']
    """
    what = None
    if isinstance(value, str | bytes):
        what = "one string"
    elif "DataFrame" in {base.__name__ for base in type(value).__mro__}:
        what, cure = "a table", "Give one of its columns."
    elif not np.iterable(value):
        what = "no list"
    if what is not None:
        raise TypeError(f"{caller}: {name} is {what}. Expected {expected}; received {describe(value)}. {cure}")
    iterable: Iterable[Any] = value
    return iterable


def check_names(caller: str, name: str, value: Any) -> tuple[str, ...]:
    """Checks names of features: several strings, each once.

    Args:
        caller: the function, for the message.
        name: the argument.
        value: what it was given.

    Returns:
        The names.

    Raises:
        TypeError: it is one string, or holds something else than strings.
        ValueError: a name repeats.

    Example:
        >>> check_names("TimeSeries", "features", ["a", "b"])
        ('a', 'b')
    """
    if isinstance(value, str):
        raise TypeError(
            f"{caller}: {name} are one string. Expected a list of strings; received {shorten(value)}. Write a list: "
            f"[{shorten(value)}]."
        )
    names = tuple(value) if np.iterable(value) else None
    if names is None or not all(isinstance(one, str) for one in names):
        raise TypeError(
            f"{caller}: {name} are no names. Expected a list of strings; received {describe(value)}. Give a string "
            "for each."
        )
    if len(set(names)) < len(names):
        twice = sorted({one for one in names if names.count(one) > 1})
        raise ValueError(
            f"{caller}: {name} repeat. Expected each name once; received {list_some(twice)} more than once. Rename "
            "them, or leave the second out."
        )
    return names


def describe(value: object) -> str:
    """Says what a value is: an array by shape and type, everything else by type and beginning.

    Example:
        >>> describe(np.zeros((2, 3)) * 1j), describe([1, "b"]), describe(None)
        ('an array (2, 3) of complex128', "list [1, 'b']", 'None')
    """
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    return "None" if value is None else f"{type(value).__name__} {shorten(value)}"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value
