# SPDX-License-Identifier: Apache-2.0
"""How a budget is shared out: so many seeds, so many epochs and so much processor time for every cell alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

WAYS = {
    "units": "equal units",
    "parameters": "equal parameters",
    "time": "equal processor time",
    "tuned": "each cell tuned",
}
MARGIN = 0.9  # of the budget that is planned for: what is measured in seconds may take longer in minutes
_FEW_SEEDS, _FEW_EPOCHS = 3, 10  # what has to be possible before ways of comparing are left out


def at(way: str) -> str:
    """Names a way of comparing within a sentence.

    Example:
        >>> at("units"), at("tuned")
        ('at equal units', 'with each cell tuned')
    """
    return f"{'with' if way == 'tuned' else 'at'} {WAYS[way]}"


class Cost(NamedTuple):
    """What a cell of a size takes.

    Attributes:
        trace: seconds until it is built and traced for the first time.
        begin: seconds until it is built, when that has been done.
        step: seconds of a step of training.
        cpu: processor seconds of it.
        judge: seconds of a judgement of the validation rows.
    """

    trace: float
    begin: float
    step: float
    cpu: float
    judge: float

    def least(self, other: Cost) -> Cost:
        """What is less of each."""
        return Cost(*map(min, self, other))

    def of_epochs(self, epochs: int, steps: int) -> float:
        """Seconds of a run of so many epochs, of so many steps each."""
        return self.begin + epochs * (steps * self.step + self.judge)


class Contender(NamedTuple):
    """A cell in a way of comparing, with its size, its rate of learning and its number of weights."""

    way: str
    cell: str
    units: int
    rate: float | None
    parameters: int


@dataclass(frozen=True)
class Plan:
    """What fits into the budget.

    Attributes:
        ways: of comparing, of `WAYS`.
        seeds: how many.
        epochs: of a run, at most.
        cpu_seconds: of training, of a run at equal processor time.
        left_out: what was asked for and does not fit, sentences.
    """

    ways: tuple[str, ...]
    seeds: int
    epochs: int
    cpu_seconds: float
    left_out: tuple[str, ...]


def make_plan(
    contenders: Sequence[Contender], costs: Sequence[Cost], steps: int, seconds: float, seeds: int, epochs: int
) -> Plan:
    """Shares out what is left of the budget.

    For ten epochs or more first seeds go, down to three, then ways of comparing, the last first; then epochs go, and
    the last seeds.

    Args:
        contenders: in every way of comparing.
        costs: of each.
        steps: an epoch.
        seconds: left.
        seeds: wanted.
        epochs: of a run, at most.

    Raises:
        ValueError: not even one epoch fits.
    """
    ways = tuple(dict.fromkeys(one.way for one in contenders))
    few = min(_FEW_SEEDS, seeds), min(_FEW_EPOCHS, epochs)
    tries = [(ways, count, few[1]) for count in range(seeds, few[0] - 1, -1)]
    tries += [(ways[:count], few[0], few[1]) for count in range(len(ways) - 1, 0, -1)]
    tries += [(ways[:1], count, 1) for count in range(few[0], 0, -1)]
    for some, count, least in tries:
        rows = [row for row in zip(contenders, costs, strict=True) if row[0].way in some]
        possible = _epochs(rows, steps, MARGIN * seconds / count, epochs)
        if possible >= least:
            return Plan(some, count, possible, _cpu_seconds(rows, steps, possible), _left_out(ways, some, seeds, count))
    needed = sum(cost.of_epochs(1, steps) for one, cost in zip(contenders, costs, strict=True) if one.way == ways[0])
    raise ValueError(
        f"compare: minutes is too small. Expected {1.2 * needed / MARGIN / 60:.2g} more at the least, for one epoch "
        f"of each cell; received {max(0, seconds) / 60:.2g} that are left when all are built and measured. Give more "
        "minutes, or fewer rows."
    )


def _epochs(rows: Sequence[tuple[Contender, Cost]], steps: int, seconds: float, most: int) -> int:
    """Finds how many epochs of every contender fit; a run at equal time takes as long as the mean of the others."""
    own = [cost for one, cost in distinct(rows) if one.way != "time"]
    timed = [cost for one, cost in rows if one.way == "time"]
    mean = timed or own  # of the cells at equal units
    an_epoch = [steps * cost.step + cost.judge for cost in own]
    an_epoch += [sum(steps * cost.step + cost.judge for cost in mean) / len(mean) for _ in timed]
    begin = sum(cost.begin for cost in (*own, *timed))
    return min(most, int((seconds - begin) / sum(an_epoch)))


def _cpu_seconds(rows: Sequence[tuple[Contender, Cost]], steps: int, epochs: int) -> float:
    timed = [cost for one, cost in rows if one.way == "time"]
    return epochs * steps * sum(cost.cpu for cost in timed) / len(timed) if timed else 0.0


def distinct(rows: Sequence[tuple[Contender, Cost]]) -> list[tuple[Contender, Cost]]:
    """Leaves out who runs the same in a way before: the cell that the others' numbers of weights are equal to.

    Runs at equal processor time are no others' runs.
    """
    found: dict[object, tuple[Contender, Cost]] = {}
    for one, cost in rows:
        found.setdefault((one.way == "time", one.cell, one.units, one.rate), (one, cost))
    return list(found.values())


def _left_out(ways: tuple[str, ...], some: tuple[str, ...], seeds: int, count: int) -> tuple[str, ...]:
    found = [f"No comparison {at(way)}: the budget does not suffice." for way in ways if way not in some]
    return (*found, *fewer(seeds, count))


def fewer(seeds: int, count: int) -> tuple[str, ...]:
    """Says if there are fewer seeds than were asked for."""
    if count == seeds:
        return ()
    return (f"{count} instead of {seeds} seeds: the budget does not suffice for more.",)
