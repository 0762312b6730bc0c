# SPDX-License-Identifier: Apache-2.0
"""The two clocks that a comparison keeps to, which tests replace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Clock:
    """Clocks in seconds, of which only differences mean anything.

    Attributes:
        wall: the time of day, for the budget.
        cpu: processor time of this process, the sum over all its threads, for equal processor time.
    """

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time


class Deadline:
    """When the budget is used up.

    Args:
        clock: what is asked.
        seconds: of the budget that are left, from now on.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._end = clock, clock.wall() + seconds

    def left(self) -> float:
        """How many seconds are left, negative if none."""
        return self._end - self._clock.wall()
