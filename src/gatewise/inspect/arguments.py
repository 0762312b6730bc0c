# SPDX-License-Identifier: Apache-2.0
"""What users give besides a model and its data, checked: a row, texts, a number, where to write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gatewise.options import cut

_Kind = TypeVar("_Kind")


def of_kind(where: str, name: str, value: Any, kind: type[_Kind], cure: str) -> _Kind:
    """Takes something of a class.

    Raises:
        TypeError: it is of another.

    Example:
        >>> of_kind("save", "title", 3, str, "Give a text.")
        Traceback (most recent call last):
        TypeError: save: title has the wrong type. Expected str; received 3. Give a text.
    """
    if isinstance(value, kind):
        return value
    raise TypeError(
        f"{where}: {name} has the wrong type. Expected {kind.__name__}; received {cut(repr(value))}. {cure}"
    )


def row_of(where: str, row: Any, count: int) -> int:
    """Takes the number of a row of the data.

    Raises:
        TypeError: it is no whole number.
        ValueError: there is no such row.

    Example:
        >>> row_of("save", 1.5, 3)
        Traceback (most recent call last):
        TypeError: save: row has the wrong type. Expected a whole number, 0 to 2; received 1.5. Give a sequence's
        number.
    """
    if isinstance(row, bool) or not isinstance(row, int | np.integer):
        raise TypeError(
            f"{where}: row has the wrong type. Expected a whole number, 0 to {count - 1}; received {cut(repr(row))}. "
            "Give a sequence's number."
        )
    if not 0 <= row < count:
        raise ValueError(f"{where}: row is out of range. Expected 0 to {count - 1}; received {row}. Choose another.")
    return int(row)


def number(where: str, name: str, value: Any, most: float = float("inf")) -> float:
    """Takes a number from 0 to `most`.

    Raises:
        TypeError: it is no real number.
        ValueError: it is below 0, above `most`, or NaN.

    Example:
        >>> number("Tolerances", "still", "a", 1)
        Traceback (most recent call last):
        TypeError: Tolerances: still has the wrong type. Expected a number, 0 to 1; received 'a'. Change it.
    """
    expected = f"a number, 0 to {most:g}" if most < float("inf") else "a number, 0 or more"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(
            f"{where}: {name} has the wrong type. Expected {expected}; received {cut(repr(value))}. Change it."
        )
    if not 0 <= value <= most:
        raise ValueError(f"{where}: {name} is out of range. Expected {expected}; received {value!r}. Change it.")
    return float(value)


def texts(where: str, name: str, values: Any) -> list[str]:
    """Takes texts in order.

    Args:
        where: opens the error.
        name: the argument.
        values: a list, a tuple, an array, or what else has an order.

    Raises:
        TypeError: it has no order, or one of them is no text.

    Example:
        >>> texts("save", "tokens", ["to", 3])
        Traceback (most recent call last):
        TypeError: save: tokens has the wrong type. Expected a list of texts; received 3 in it. Write each as a text.
    """
    ordered = hasattr(values, "__iter__") and not isinstance(values, str | bytes | Mapping | AbstractSet)
    if not ordered:
        raise TypeError(
            f"{where}: {name} has the wrong type. Expected a list of texts; received {cut(repr(values))}. Put them "
            "into a list."
        )
    found = list(values)
    for one in found:
        if not isinstance(one, str):
            raise TypeError(
                f"{where}: {name} has the wrong type. Expected a list of texts; received {cut(repr(one))} in it. Write "
                "each as a text."
            )
    return found


def tokens_of(where: str, tokens: Any, steps: int) -> list[str] | None:
    """Takes what the steps of a row are: a text for each, or one text for its letters; or None for numbers.

    Raises:
        TypeError: they are no texts.
        ValueError: there are more than steps.

    Example:
        >>> tokens_of("save", "Ada", 5)
        ['A', 'd', 'a']
    """
    if tokens is None:
        return None
    found = texts(where, "tokens", list(tokens) if isinstance(tokens, str) else tokens)
    if len(found) > steps:
        raise ValueError(
            f"{where}: there are more tokens than steps. Expected at most {steps}; received {len(found)}. Give those "
            "of the row that is drawn."
        )
    return found


def file_to_write(where: str, path: Any) -> Path:
    """Takes the path of a file that may be written.

    Raises:
        TypeError: it is no path.
        IsADirectoryError: it is that of a folder.
        FileNotFoundError: the folder that it is in does not exist.

    Example:
        >>> file_to_write("save", 3)
        Traceback (most recent call last):
        TypeError: save: path has the wrong type. Expected the path of a file; received 3. Give "report.html".
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(
            f"{where}: path has the wrong type. Expected the path of a file; received {cut(repr(path))}. Give "
            '"report.html".'
        )
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(
            f"{where}: path is a folder. Expected the path of a file; received {cut(repr(os.fspath(path)))}. Give "
            '"report.html", or such a name in that folder.'
        )
    if not file.parent.is_dir():
        raise FileNotFoundError(
            f"{where}: the folder of path does not exist. Expected one that is there; received {cut(repr(str(file)))}. "
            "Make it first."
        )
    return file
