# SPDX-License-Identifier: Apache-2.0
"""The limits of docs/format.md, and how a file that is wrong is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.data.errors import FormatError
from gatewise.options import cut
from gatewise.runtime.graph import MOST_AXES
from gatewise.runtime.operations import MOST

if TYPE_CHECKING:
    from collections.abc import Collection

VERSION = (1, 0)  # of the format: major, minor
KEY = "gatewise"  # of the metadata

FILE_BYTES = 2**32
HEADER_BYTES = 2**25
JSON_DEPTH = 16
JSON_CONTAINERS = 100_000  # objects and arrays
JSON_VALUES = 500_000  # members and elements
NAME_BYTES = 256
TENSORS = 2**14
NODES = 2**12
INPUTS = 256
OUTPUTS = 256
NODE_INPUTS = 256
AXES = MOST_AXES
SIZE = MOST
SAMPLE_NUMBERS = 2**22
SAMPLE_WORK = 2**31
LENGTH = 2**20  # of a text in tokens, of a step or a filter bank of sound, in preprocessing
KEPT = 64  # parts that preprocessing keeps
CHAIN = 2  # parts of preprocessing that stand one behind the other

# The rows of the page
LIMITS = {
    "bytes of a file": FILE_BYTES,
    "bytes of the header": HEADER_BYTES,
    "depth of objects and arrays within each other, in header and document": JSON_DEPTH,
    "objects and arrays, likewise": JSON_CONTAINERS,
    "members and elements, likewise; an empty object or array counts as one": JSON_VALUES,
    "bytes of a name": NAME_BYTES,
    "tensors": TENSORS,
    "nodes": NODES,
    "inputs of a graph": INPUTS,
    "outputs of a graph": OUTPUTS,
    "inputs of a node": NODE_INPUTS,
    "axes of a value or tensor, one at least": AXES,
    "size of an axis": SIZE,
    "parts that preprocessing keeps, those of chains too": KEPT,
    "numbers of a sample": SAMPLE_NUMBERS,
    "work of a sample": SAMPLE_WORK,
}

DAMAGED = "Get the file again from where it was made."
TOO_LARGE = "Make the model smaller: docs/format.md has the limits."


def wrong(where: str, what: str, expected: str, received: object, cure: str = DAMAGED) -> FormatError:
    """Makes the error for what is wrong at a place of a file."""
    return FormatError(f"{where}: {what}. Expected {expected}; received {cut(_shown(received))}. {cure}")


def _shown(value: object) -> str:
    """Shows a value by its beginning: all of it may be millions of characters."""
    if isinstance(value, str | bytes):
        shown = value[:100] if isinstance(value, str) else repr(value[:20])
        return "".join(c if c.isprintable() else " " for c in shown)  # a terminal would obey some
    if isinstance(value, list | dict):
        return f"{'an array' if isinstance(value, list) else 'an object'} of {len(value)}"
    return repr(value)


def at_most(where: str, what: str, found: int, most: int) -> None:
    """Checks a number against its limit.

    Raises:
        FormatError: it is larger.
    """
    if found > most:
        raise wrong(where, f"there are too many {what}", f"at most {most}", f"{found}", TOO_LARGE)


def members(where: str, value: Any, names: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """Checks that a value is an object with these members and no others.

    Raises:
        FormatError: it is something else.
    """
    if type(value) is not dict:
        raise wrong(where, "this is no object", f"an object with {', '.join(names)}", value)
    unknown, missing = value.keys() - {*names, *optional}, [name for name in names if name not in value]
    if unknown or missing:
        what = f"unknown: {', '.join(sorted(unknown))}" if unknown else f"missing: {', '.join(missing)}"
        raise wrong(where, "members do not fit", ", ".join([*names, *optional]), what)
    return value


def array(where: str, value: Any, most: int, least: int = 0) -> list[Any]:
    """Checks that a value is an array of a bounded length.

    Raises:
        FormatError: it is something else, or too long or too short.
    """
    if type(value) is not list:
        raise wrong(where, "this is no array", "an array", value)
    at_most(where, "elements", len(value), most)
    if len(value) < least:
        raise wrong(where, "elements are missing", f"at least {least}", f"{len(value)}")
    return value


def name(where: str, value: Any) -> str:
    """Checks a name.

    Raises:
        FormatError: it is none.
    """
    if type(value) is not str:
        raise wrong(where, "this is no name", "a string", value)
    if not 1 <= len(value.encode(errors="replace")) <= NAME_BYTES or any(c < " " or c == "\x7f" for c in value):
        expected = f"1 to {NAME_BYTES} bytes of UTF-8 without control characters"
        raise wrong(where, "this is no name", expected, value, "Rename it.")
    return value


def whole(where: str, value: Any, least: int, most: int) -> int:
    """Checks a whole number.

    Raises:
        FormatError: it is something else, or out of its range.
    """
    if type(value) is not int or not least <= value <= most:
        raise wrong(where, "this number does not fit", f"a whole number from {least} to {most}", value)
    return value
