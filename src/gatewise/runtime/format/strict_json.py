# SPDX-License-Identifier: Apache-2.0
"""JSON as docs/format.md has it: bounded before it is parsed, no member twice, numbers in range, one canonical form."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.errors import FormatError
from gatewise.runtime.format.limits import DAMAGED, JSON_CONTAINERS, JSON_DEPTH, JSON_VALUES, at_most, wrong

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_WHOLE = 2**53 - 1
_PART = 2**20  # bytes that are counted at once
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_OPEN, _CLOSED = np.zeros((2, 256), np.int8)
_OPEN[list(b"[{")] = 1
_CLOSED[list(b"]}")] = 1


class _Refused(ValueError):  # noqa: N818  # no error of ours: it becomes one
    """What the parser met, which knows no place."""


def parse(where: str, raw: bytes | str) -> Any:
    """Parses JSON of a file.

    Args:
        where: opens the messages.
        raw: UTF-8, or text.

    Returns:
        Objects as dicts, arrays as lists, whole numbers as int and all others as float.

    Raises:
        FormatError: it is no such JSON, or beyond the limits, which is seen before anything is made.

    Example:
        >>> parse("here", b'{"a": [1, 2.5, null]}')
        {'a': [1, 2.5, None]}
        >>> parse("here", b'{"a": 1, "a": 2}')
        Traceback (most recent call last):
        gatewise.data.errors.FormatError: here: this is no JSON of a model. Expected what docs/format.md says; received
        the member 'a' twice. Get the file again from where it was made.
    """
    expected = "what docs/format.md says"
    try:
        text, half = _counted(where, raw)
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_whole, parse_float=_number
        )
        if half:  # seldom: half of a pair has no UTF-8
            json.dumps(value, ensure_ascii=False).encode()
    except FormatError:
        raise
    except _Refused as refused:
        raise wrong(where, "this is no JSON of a model", expected, str(refused)) from None
    except UnicodeError as error:
        raise wrong(where, "this is no JSON of a model", expected, f"no UTF-8: {error}") from None
    except ValueError as error:
        raise wrong(where, "this is no JSON of a model", expected, f"other text: {error}") from None
    return value


def text_of(where: str, value: Any) -> str:
    """Writes JSON: without spaces, members sorted by name, numbers that are read again to the same bits.

    Raises:
        FormatError: a number is NaN, infinite or too large, a string has no UTF-8, or JSON has no such value.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        what = "numbers, strings, lists and dicts that JSON can hold"
        raise wrong(where, "this cannot be written", what, str(error), "Write what it stands for otherwise.") from None
    return text


def canonical(value: Any) -> str:
    """Writes JSON in the one form of RFC 8785, which a fingerprint can cover.

    Example:
        >>> canonical({"b": [1e21, 0.1, 4.0, -0.0], "a": "é"})
        '{"a":"é","b":[1e+21,0.1,4,0]}'
    """
    if isinstance(value, float):
        return _ecmascript(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{_plain(name)}:{canonical(value[name])}' for name in sorted_names(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(canonical, value))}]"
    return _plain(value)


def sorted_names(names: Iterable[str]) -> list[str]:
    """Sorts names as RFC 8785 does: by their code units in UTF-16."""
    return sorted(names, key=lambda name: name.encode("utf-16-be"))


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _ecmascript(number: float) -> str:
    """Writes a number as ECMAScript's Number::toString does: the shortest digits, as Python's repr finds them."""
    if number == 0:
        return "0"
    mantissa, _, exponent = repr(abs(number)).partition("e")
    front, _, behind = mantissa.partition(".")
    digits = (front + behind).lstrip("0")
    point = len(front) + int(exponent or 0) - (len(front + behind) - len(digits))
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        text = digits[:point].ljust(point, "0") + ("." + digits[point:] if len(digits) > point else "")
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1:+d}"
    return f"-{text}" if number < 0 else text


def _counted(where: str, raw: bytes | str) -> tuple[str, bool]:
    """Brings the text of JSON whose size is checked, and whether it may hold half of a surrogate pair."""
    encoded = raw.encode() if isinstance(raw, str) else raw
    _check_size(where, encoded)
    return raw if isinstance(raw, str) else raw.decode(), bool(_SURROGATE.search(encoded))


def _check_size(where: str, raw: bytes) -> None:
    """Counts what stands outside strings, a part at a time: a parser would recurse, and make objects, first."""
    odd, depth, containers, values = np.uint8(0), 0, 0, 0
    text = raw.replace(b"\\\\", b"").replace(b'\\"', b"")  # quotes that stay begin and end strings
    for begin in range(0, len(text), _PART):
        part = np.frombuffer(text, np.uint8, min(_PART, len(text) - begin), begin)
        inside = (np.cumsum(part == ord('"'), dtype=np.uint8) + odd) & 1
        odd = inside[-1]
        part = part[inside == 0]
        opened = _OPEN[part]
        depths = depth + np.cumsum(opened - _CLOSED[part], dtype=np.int32)
        containers += int(opened.sum(dtype=np.int64))
        values += int((part == ord(",")).sum())
        at_most(where, "objects and arrays within each other", int(depths.max(initial=0)), JSON_DEPTH)
        at_most(where, "objects and arrays", containers, JSON_CONTAINERS)
        at_most(where, "members and elements", values + containers, JSON_VALUES)
        depth = int(depths[-1]) if len(depths) else depth
    if depth:
        raise wrong(where, "this is no JSON of a model", "as many brackets closed as opened", f"{depth:+d}", DAMAGED)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Refused(f"the member {twice!r} twice")
    return found


def _constant(text: str) -> float:
    raise _Refused(f"{text}, which is no number")


def _whole(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > _MOST_WHOLE:
        raise _Refused(f"the number {text[:20]}, which is too large")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused(f"the number {text[:20]}, which is too large")
    return number
