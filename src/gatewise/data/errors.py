# SPDX-License-Identifier: Apache-2.0
"""The error for a file that cannot be read, and how the messages here show what they received."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewise.options import cut

if TYPE_CHECKING:
    from collections.abc import Iterable


class FormatError(ValueError):
    """A file does not hold what it should: it is empty, damaged, of another format or in another encoding.

    Example:
        >>> issubclass(FormatError, ValueError)
        True
    """


def shorten(value: object, limit: int = 60) -> str:
    """Shows the beginning of a value in a line.

    Returns:
        Its `repr` without line breaks, of at most `limit` characters.

    Example:
        >>> shorten("a film that never ends", 12)
        "'a film t..."
    """
    return cut(repr(value), limit)


def list_some(names: Iterable[object], limit: int = 5) -> str:
    """Lists the first few names, each cut where it is long, and how many more there are.

    Returns:
        The names, with commas.

    Example:
        >>> list_some(["Month", "Passengers", "Sunspots"], 2)
        "'Month', 'Passengers' and 1 more"
    """
    names = list(names)
    text = ", ".join(shorten(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"
