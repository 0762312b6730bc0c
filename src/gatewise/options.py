# SPDX-License-Identifier: Apache-2.0
"""Options that are no arrays, checked: a flag, a fraction, a name of a few; and how a message shows what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


def cut(text: str, limit: int = 60) -> str:
    """Cuts a text to a line of at most `limit` characters.

    Example:
        >>> cut(repr("a film that never ends"), 12)
        "'a film t..."
    """
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def flag(where: str, name: str, value: Any, cure: str = "Pass one of the two, for the whole call.") -> bool:
    """Takes True or False, and nothing that merely counts as one of them: the string "False" counts as True.

    Args:
        where: the caller's name, which opens the message.
        name: the option's name.
        value: a bool, Python's or NumPy's.
        cure: what to do if it is something else.

    Raises:
        TypeError: it is something else.

    Example:
        >>> flag("gru", "go_backwards", 1)
        Traceback (most recent call last):
        TypeError: gru: go_backwards has the wrong type. Expected True or False; received 1. Pass one of the two, for
        the whole call.
    """
    if type(value) is bool:
        return value
    if not isinstance(value, np.bool_):
        raise TypeError(
            f"{where}: {name} has the wrong type. Expected True or False; received {cut(repr(value))}. {cure}"
        )
    return bool(value)


def fraction(where: str, name: str, value: Any) -> float:
    """Takes a number from 0 to 1.

    Args:
        where: the caller's name, which opens the message.
        name: the option's name.
        value: what was given.

    Raises:
        TypeError: it is no real number.
        ValueError: it is less than 0, more than 1, or NaN.

    Example:
        >>> fraction("gru", "zoneout", 1.5)
        Traceback (most recent call last):
        ValueError: gru: zoneout is out of range. Expected 0 to 1; received 1.5. Give the part that is kept.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(
            f"{where}: {name} has the wrong type. Expected a number from 0 to 1; received {cut(repr(value))}. "
            "Give the part that is kept."
        )
    if not 0 <= value <= 1:
        raise ValueError(
            f"{where}: {name} is out of range. Expected 0 to 1; received {value}. Give the part that is kept."
        )
    return float(value)


def one_of(where: str, name: str, value: Any, names: Iterable[str]) -> str:
    """Takes one of the names.

    Args:
        where: the caller's name, which opens the message.
        name: the option's name.
        value: what was given.
        names: the names that there are.

    Raises:
        ValueError: it is none of them.

    Example:
        >>> one_of("gru", "activation", "swish", ("tanh", "relu"))
        Traceback (most recent call last):
        ValueError: gru: activation is unknown. Expected one of tanh, relu; received 'swish'. Choose one of these.
    """
    names = tuple(names)
    if isinstance(value, str) and value in names:
        return str(value)
    raise ValueError(
        f"{where}: {name} is unknown. Expected one of {', '.join(names)}; received {cut(repr(value))}. "
        "Choose one of these."
    )
