# SPDX-License-Identifier: Apache-2.0
"""How cells are compared: what the caller chose, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gatewise.compare.intervals import MOST_SEEDS
from gatewise.compare.plan import WAYS
from gatewise.data.checks import is_real, is_whole
from gatewise.options import cut, one_of

_ASKED = ("units", "parameters", "time")  # those that `ways` may name; "tuned" comes with `tune`


@dataclass(frozen=True)
class Settings:
    """What was chosen; see `gatewise.compare`."""

    units: int
    ways: tuple[str, ...]
    minutes: float
    seeds: int
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float | None
    tune: int
    seed: int

    def __post_init__(self) -> None:
        for name, least in {"units": 1, "seeds": 1, "epochs": 1, "patience": 1, "batch_size": 1, "tune": 0}.items():
            _check_whole(name, getattr(self, name), least)
        _check_whole("seed", self.seed, 0)
        if self.seeds > MOST_SEEDS:
            raise ValueError(
                f"compare: seeds is too large. Expected at most {MOST_SEEDS}; received {self.seeds}. Take fewer."
            )
        for name in ("minutes",) if self.learning_rate is None else ("minutes", "learning_rate"):
            value: Any = getattr(self, name)
            if not is_real(value) or isinstance(value, bool) or not 0 < float(value) < math.inf:
                raise ValueError(
                    f"compare: {name} is {cut(repr(value))}. Expected a number greater than 0. Give another."
                )
        if len(set(self.ways)) < max(1, len(self.ways)):
            raise ValueError(
                f"compare: ways is {cut(repr(self.ways))}. Expected one or more of {', '.join(_ASKED)}, each once. "
                "Choose some."
            )
        for way in self.ways:
            one_of("compare", "ways", way, _ASKED)

    def all_ways(self) -> tuple[str, ...]:
        """The ways of comparing, in their order."""
        return tuple(way for way in WAYS if way in self.ways or (way == "tuned" and self.tune))


def _check_whole(name: str, value: Any, least: int) -> None:
    if not is_whole(value) or value < least:
        raise ValueError(
            f"compare: {name} is {cut(repr(value))}. Expected a whole number of at least {least}. Give another."
        )
