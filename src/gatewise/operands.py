# SPDX-License-Identifier: Apache-2.0
"""What a layer takes, gives and can be told: the table of csrc/operands.h, which explains its columns."""

from __future__ import annotations

import collections
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise import _native

if TYPE_CHECKING:
    from collections.abc import Mapping


class Operand(NamedTuple):
    """A row of the table.

    Attributes:
        name: what it is called.
        axes: a letter each, in Keras's layout.
        dtype: "float32" or "bool".
        presence: "required", "optional", "second state", "beside bias", "normalised" or "normalised state".
        owner: "shared" by all directions, or each direction's "own".
        differentiable: whether it has a gradient.
    """

    name: str
    axes: str
    dtype: str
    presence: str
    owner: str
    differentiable: bool


class Facts(NamedTuple):
    """What the engine says of a cell: csrc/engine.h."""

    gates: int
    states: int
    recurrent_bias: bool
    workspace: int
    normalises: bool
    normalises_state: bool


_namedtuple: Any = collections.namedtuple  # noqa: PYI024  typing.NamedTuple takes no names from a table with defaults

INPUTS = tuple(Operand(*row) for row in _native.INPUTS)
OUTPUTS = tuple(Operand(*row) for row in _native.OUTPUTS)
OPTIONS: tuple[str, ...] = _native.OPTIONS
FACTS = tuple(Facts(*row) for row in _native.FACTS)  # by the number of a cell

SHARED = tuple(row for row in INPUTS if row.owner == "shared")
OWN = tuple(row for row in INPUTS if row.owner == "own")
OWN_OUTPUTS = tuple(row for row in OUTPUTS if row.owner == "own")
SHARED_OUTPUTS = tuple(row for row in OUTPUTS if row.owner == "shared")

# What one direction of a layer has of its own, None for what it has not: its weights, where it starts, what it drops.
Direction = _namedtuple("Direction", [row.name for row in OWN], defaults=[None] * len(OWN))


def facts(cell: int) -> Facts:
    """Tells what a cell is, by its number.

    Example:
        >>> facts(0)
        Facts(gates=3, states=1, recurrent_bias=True, workspace=5, normalises=False, normalises_state=False)
    """
    return FACTS[cell]


def exists(row: Operand, cell: int, *, torch_layout: bool = False) -> bool:
    """Says whether a layer of a cell may have an operand, or has an output."""
    if row.presence == "second state":
        return facts(cell).states > 1
    if row.presence == "normalised":
        return facts(cell).normalises
    if row.presence == "normalised state":
        return facts(cell).normalises_state
    return row.presence != "beside bias" or (torch_layout and not facts(cell).normalises)


def axes_of(row: Operand, cell: int, *, torch_layout: bool = False) -> str:
    """Returns the letters of the axes that an operand has in a layer of a cell.

    Example:
        >>> kernel = next(row for row in INPUTS if row.name == "kernel")
        >>> axes_of(kernel, 0), axes_of(kernel, 0, torch_layout=True)
        ('fg', 'gf')
    """
    axes = row.axes
    if "k" in axes and (torch_layout or not facts(cell).recurrent_bias):
        axes = axes.replace("k", "")
    return axes[::-1] if torch_layout and len(axes) == 2 and axes[1] == "g" else axes


def sizes_of(cell: int, *, directions: int, units: Any, timesteps: Any, return_sequences: bool) -> Mapping[str, Any]:
    """Returns the sizes of the axes that follow from a layer's; `units` and `timesteps` may be symbols."""
    gates = facts(cell).gates
    return {
        "u": units, "g": gates * units, "n": gates, "k": 2, "e": 1, "t": timesteps,
        "l": timesteps if return_sequences else 1, "v": directions * units,
    }  # fmt: skip


@functools.lru_cache(maxsize=256, typed=True)  # whose time every small call would pay; 1 and 1.0 differ
def engine_options(**options: float) -> tuple[int, ...]:
    """Brings options to the engine's order; those that are not given are 0. A float goes as the bits of its float32.

    Example:
        >>> engine_options(cell=1, return_sequences=True, zoneout_h=0.5)
        (1, 0, 0, 0, 1, 0, 0, 0, 1056964608, 0)
    """
    values: list[Any] = [options.get(name, 0) for name in OPTIONS]
    return tuple([bits_of(value) if isinstance(value, float) else int(value) for value in values])


def bits_of(value: float) -> int:
    """Returns the bits of a float32 as a whole number.

    Example:
        >>> bits_of(0.5), float_of(bits_of(0.5))
        (1056964608, 0.5)
    """
    return int(np.float32(value).view(np.int32))


def float_of(bits: int) -> float:
    """Returns the float32 that has these bits."""
    return float(np.int32(bits).view(np.float32))


def label_of(axis: str, cell: int, directions: int = 1) -> str:
    """Names an axis for people.

    Example:
        >>> label_of("g", 0), label_of("v", 0, directions=2)
        ('3 * units', '2 * units')
    """
    names = {"b": "batch", "t": "timesteps", "l": "timesteps", "f": "features", "u": "units", "n": "gates"}
    times = {"g": facts(cell).gates, "v": directions}.get(axis, 0)
    return (
        names.get(axis)
        or {"m": "masks", "k": "input and recurrent", "e": "numbers"}.get(axis)
        or _times(times, "units")
    )


def _times(n: int, what: str) -> str:
    return what if n == 1 else f"{n} * {what}"
