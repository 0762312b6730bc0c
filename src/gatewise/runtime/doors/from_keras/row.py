# SPDX-License-Identifier: Apache-2.0
"""What a row of the table of layers says: what makes its nodes, and which masks come out, as in Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from gatewise.runtime.doors.from_keras.calls import flat
from gatewise.runtime.doors.from_keras.errors import KerasModelError, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.runtime.doors.from_keras.calls import Call
    from gatewise.runtime.doors.from_keras.door import Door

    # What they give may be nested
    Makes: TypeAlias = Callable[[Door, Call], Any]
    Masks: TypeAlias = Callable[[Door, Call, list[str]], Any]


def passes(_door: Door, call: Call, _values: list[str]) -> Any:
    """Passes the mask of the input on: what Keras does where a layer supports masking and says no more."""
    return call.mask


def stops(_door: Door, _call: Call, _values: list[str]) -> Any:
    """Passes no mask on."""
    return None


class Row(NamedTuple):
    """A layer.

    Attributes:
        makes: makes its nodes, and gives the names of the values that come out, in Keras's order.
        masks: gives the masks of those values, which may be fewer.
    """

    makes: Makes
    masks: Masks = stops


def last_axis(door: Door, call: Call, axis: Any) -> None:
    """Makes sure that an axis, or a list of one, is the last one.

    Raises:
        KerasModelError: it is another.
    """
    rank, axes = door.rank(call.x), flat(axis)
    if len(axes) != 1 or int(axes[0]) % rank != rank - 1:
        raise refused(call.layer, call.name, "axis is another", f"the last axis, -1 or {rank - 1}", str(axis))


def channels_last(call: Call) -> None:
    """Makes sure that channels are the last axis.

    Raises:
        KerasModelError: they are not.
    """
    found = getattr(call.layer, "data_format", "channels_last")
    if found != "channels_last":
        raise refused(call.layer, call.name, "data_format is another", "channels_last", str(found))


def unsupported(call: Call, option: str, expected: str, received: Any) -> KerasModelError:
    """Makes the error of an option that a graph has not."""
    return refused(call.layer, call.name, f"option {option} is one that a graph has not", expected, str(received))
