# SPDX-License-Identifier: Apache-2.0
"""Where runs are made: it trains what is asked for, keeps what came out, and gives it again when asked again."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewise.compare.plan import Cost
from gatewise.compare.progress import duration, spark
from gatewise.compare.result import trial_of
from gatewise.compare.speed import OneStep, one_step
from gatewise.compare.start_over import start_over
from gatewise.compare.trial import Training, Trial, run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewise.compare.clock import Clock, Deadline
    from gatewise.compare.model import Builder, Made
    from gatewise.compare.plan import Contender
    from gatewise.compare.progress import Progress
    from gatewise.compare.records import Records
    from gatewise.compare.score import Score
    from gatewise.compare.trial import Limit, Point

_TRACED_STEPS = 2  # TensorFlow traces a graph again after the step that made its variables
_MEASURED_STEPS, _MEASURED_SECONDS = 3, 0.1  # at the least, of each in a round
_ROUNDS, _CHEAP = 3, 0.02  # at the most, as long as one takes no more than this share of what is left of the budget


@dataclass
class Bench:
    """What runs need.

    Attributes:
        builder: of models.
        batch_size: rows of a step of training.
        records: of what was found.
        clock: what time is taken by.
        deadline: when the budget is used up.
        progress: what a person sees.
        before: seconds of the budget that were spent before.
        score: what models are judged by, once one has been.
    """

    builder: Builder
    batch_size: int
    records: Records
    clock: Clock
    deadline: Deadline
    progress: Progress
    before: float = 0.0
    score: Score | None = None

    def __post_init__(self) -> None:
        self._begun = self.clock.wall()
        self._traced: dict[tuple[str, int, float | None], Made] = {}

    def spent(self) -> float:
        """How many seconds of the budget are spent."""
        return self.before + self.clock.wall() - self._begun

    def note_time(self) -> None:
        """Keeps how many seconds are spent, for who goes on later."""
        self.records.put("spent", self.spent())

    def measure(self, some: Iterable[Contender]) -> list[tuple[Cost, OneStep]]:
        """Measures what cells of a size take; runs find their graphs traced.

        All in turn, several times, and the least counts: whatever else the machine does in passing makes nothing dear.
        """
        found, round_seconds = [], 0.0
        for one in some:
            begun = self.clock.wall()
            self._made(one, 0)
            traced = self.clock.wall()
            cost, made = self._measured(one, traced - begun)
            round_seconds += self.clock.wall() - traced
            found.append((one, cost, one_step(made.model, self.builder.data, self.clock)))
        for _ in range(1, _ROUNDS):
            if round_seconds > _CHEAP * self.deadline.left():
                break
            found = [(one, cost.least(self._measured(one, cost.trace)[0]), step) for one, cost, step in found]
        return [(cost, step) for _, cost, step in found]

    def _measured(self, one: Contender, trace: float) -> tuple[Cost, Made]:
        """Measures once, with graphs that are traced, which took so long."""
        self.progress.now(f"measuring {one.cell}, {one.units} units")
        begun, made = self.clock.wall(), self._made(one, 0)
        training, steps = self._training(made, 0), 0
        training.step()  # sets up what no later one does
        built = self.clock.wall()
        while steps < _MEASURED_STEPS or (self.clock.wall() - built < _MEASURED_SECONDS and steps < training.epoch):
            training.step()
            steps += 1
        stepped = self.clock.wall()
        training.judge()
        judged = self.clock.wall()
        self.score = training.score
        cost = Cost(trace, built - begun, (stepped - built) / steps, training.cpu_seconds / steps, judged - stepped)
        return cost, made

    def holds(self, one: Contender, seed: int, limit: Limit) -> bool:
        """Says whether a run has been made."""
        return self.records.get(_name(one, seed, limit)) is not None

    def trial(
        self, one: Contender, seed: int, limit: Limit, cost: Cost, what: str, *, keep: bool = True
    ) -> Trial | None:
        """Makes a run, or finds it in the records.

        Args:
            one: the cell, its size and its rate of learning.
            seed: of its weights and its batches.
            limit: when it ends.
            cost: what it takes, so that none is begun that cannot be judged once.
            what: what it is for, as a person reads it.
            keep: whether there will be more runs of this cell, of this size and rate.

        Returns:
            The run; None if the budget ended before it.
        """
        name = _name(one, seed, limit)
        kept = self.records.made(name, trial_of)
        if kept is not None:
            return kept
        if self.deadline.left() < cost.begin + cost.judge:
            return None
        where = f"{one.cell}, {one.units} units, seed {seed}, {what}"
        self.progress.now(f"{where}: building")
        training = self._training(self._made(one, seed, keep=keep), seed)
        begun = self.clock.wall()

        def watch(point: Point) -> None:
            left = duration(self.deadline.left())
            epoch = f"epoch {point.steps / training.epoch:.0f}{f' of {limit.epochs}' if limit.epochs else ''}"
            self.progress.now(f"{where}: {epoch}, {self._scored(point.score)}; {left} of the budget left")

        found = run(training, limit, self.deadline, cost.judge, watch)
        if found is None:
            return None
        curve, end = found
        trial = Trial(one.cell, one.units, one.rate, seed, curve, end, self.clock.wall() - begun)
        self.records.put(name, dataclasses.asdict(trial))
        self.note_time()
        self._show(trial, what)
        return trial

    def _training(self, made: Made, seed: int) -> Training:
        return Training(made, self.builder.data, self.batch_size, seed, self.clock)

    def _made(self, one: Contender, seed: int, *, keep: bool = True) -> Made:
        """Builds a model whose graphs are traced: another that was built alike is traced once, and starts over."""
        key, new = (one.cell, one.units, one.rate), self.builder(one.cell, one.units, one.rate, seed)
        used = self._traced.get(key)
        if used is None:
            used = self.builder(one.cell, one.units, one.rate, seed)
            training = self._training(used, seed)
            for _ in range(_TRACED_STEPS):
                training.step()
            training.judge()
            new = self.builder(one.cell, one.units, one.rate, seed)
        if keep:
            self._traced[key] = used
        return used if start_over(used.model, new.model) else new

    def _show(self, trial: Trial, what: str) -> None:
        """Writes the line of a run."""
        width = max(map(len, self.builder.cells))
        best = trial.best
        score = self._scored(best.score) if best else "diverged"
        curve = spark([point.score for point in trial.curve]) if trial.curve else ""
        rate = "" if trial.rate is None else f"  rate {trial.rate:.2g}"
        self.progress.line(
            f"{what:<20}  seed {trial.seed:<2}  {trial.cell:<{width}}  {trial.units:>4} units{rate}  {score:<18} "
            f"{len(trial.curve):>4} epochs  {duration(trial.seconds):>8}  {curve}".rstrip()
        )

    def _scored(self, value: float) -> str:
        return f"{self.score.name if self.score else 'score'} {value:.4g}"


def _name(one: Contender, seed: int, limit: Limit) -> str:
    """Names a run's record by all that decides what comes out of it."""
    cell = re.sub(r"\W", lambda found: f"-{ord(found[0]):x}-", one.cell)
    until: Any = f"{limit.epochs}-epochs" if limit.epochs else f"{limit.cpu_seconds!r}-seconds"
    return f"run-{cell}-{one.units}-units-{one.rate}-rate-{until}-seed-{seed}"
