# SPDX-License-Identifier: Apache-2.0
"""A layer's states as a caller has them: one array where the cell has one, else a tuple with one for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewise.cells import Cell


def by_name(where: str, name: str, value: Any, cell: Cell) -> dict[str, Any]:
    """Lists what stands for the states, under what an error is to call each.

    Args:
        where: opens the error: the function.
        name: the argument.
        value: what was given for it.
        cell: whose states these are.

    Raises:
        TypeError: the cell has several states, and `value` is no tuple or list of as many.

    Example:
        >>> from gatewise.cells import Cell
        >>> by_name("f", "state", "h", Cell.GRU), by_name("f", "state", ("h", "c"), Cell.LSTM)
        ({'state': 'h'}, {'state[0]': 'h', 'state[1]': 'c'})
    """
    states = cell.row.states
    if len(states) == 1:
        return {name: value}
    if not isinstance(value, list | tuple) or len(value) != len(states):
        received = str(len(value)) if isinstance(value, list | tuple) else type(value).__name__
        raise TypeError(
            f"{where}: {name} is not one array for each state. Expected ({', '.join(states)}); received {received}. "
            f"Give a tuple of {len(states)} arrays."
        )
    return {f"{name}[{i}]": each for i, each in enumerate(value)}


def nested(states: Sequence[Any]) -> Any:
    """Brings states to what a caller has; None stands for those that the cell has not.

    Example:
        >>> nested(["h", None]), nested(["h", "c"])
        ('h', ('h', 'c'))
    """
    there = tuple([state for state in states if state is not None])
    return there[0] if len(there) == 1 else there
