# SPDX-License-Identifier: Apache-2.0
"""How cells are compared: what the caller chose, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewise.compare.intervals import MOST_SEEDS
from gatewise.compare.plan import WAYS
from gatewise.data.checks import is_real, is_whole
from gatewise.options import cut, one_of

_ASKED = ("units", "parameters", "time")  # those that `ways` may name; "tuned" comes with `tune`
_PATIENCE = 5  # if nothing else is said
_MOST_SEED = 2**32 - 1 - MOST_SEEDS  # Keras takes seeds below 2**32, and those of the runs are the next ones


@dataclass(frozen=True)
class Settings:
    """What was chosen; see `gatewise.compare`."""

    units: int
    ways: tuple[str, ...]
    minutes: float
    seeds: int
    epochs: int
    patience: int | None
    batch_size: int
    learning_rate: float | None
    tune: int
    seed: int

    def __post_init__(self) -> None:
        self._take("ways", _ways(self.ways))
        if self.patience is None:
            self._take("patience", _PATIENCE)
        elif self.ways == ("time",) and not self.tune:
            raise ValueError(
                f"compare: patience has no effect here. Expected None where ways is 'time' alone, as no run stops "
                f"before its time is used up; received {cut(repr(self.patience))}. Leave it out, or add another way."
            )
        least = {"units": 1, "seeds": 1, "epochs": 1, "patience": 1, "batch_size": 1, "tune": 0, "seed": 0}
        for name, bound in least.items():
            self._take(name, _whole(name, getattr(self, name), bound))
        for name, most in {"seeds": MOST_SEEDS, "seed": _MOST_SEED}.items():
            if getattr(self, name) > most:
                raise ValueError(
                    f"compare: {name} is too large. Expected at most {most}; received {cut(str(getattr(self, name)))}. "
                    "Take a smaller number."
                )
        for name in ("minutes",) if self.learning_rate is None else ("minutes", "learning_rate"):
            self._take(name, _above_zero(name, getattr(self, name)))

    def _take(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def all_ways(self) -> tuple[str, ...]:
        """The ways of comparing, in their order."""
        return tuple(way for way in WAYS if way in self.ways or (way == "tuned" and self.tune))


def _whole(name: str, value: Any, least: int) -> int:
    if not is_whole(value) or value < least:
        raise ValueError(
            f"compare: {name} is {cut(repr(value))}. Expected a whole number of at least {least}. Give another."
        )
    return int(value)  # of NumPy's, which JSON has not


def _above_zero(name: str, value: Any) -> Any:
    try:
        number = float(value) if is_real(value) and not isinstance(value, bool | np.bool_) else math.nan
    except OverflowError:  # an int that no float can hold
        number = math.inf
    if not 0 < number < math.inf:
        raise ValueError(f"compare: {name} is {cut(repr(value))}. Expected a number greater than 0. Give another.")
    return value if type(value) in {int, float} else number


def _ways(ways: Any) -> tuple[str, ...]:
    found = () if isinstance(ways, str) or not isinstance(ways, Iterable) else tuple(ways)
    if not found:
        raise ValueError(
            f"compare: ways is {cut(repr(ways))}. Expected one or more of {', '.join(_ASKED)}, in a list. Choose some."
        )
    for way in found:
        one_of("compare", "ways", way, _ASKED)
    if len(set(found)) < len(found):
        raise ValueError(f"compare: ways is {cut(repr(found))}. Expected each once. Leave out what is there twice.")
    return found
