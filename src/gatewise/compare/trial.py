# SPDX-License-Identifier: Apache-2.0
"""One run: a cell with one seed, trained until it gets no better or its share is used up."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gatewise.compare.order import batches, steps_an_epoch
from gatewise.compare.score import own_score

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.compare.clock import Clock, Deadline
    from gatewise.compare.data import Data
    from gatewise.compare.model import Made
    from gatewise.compare.score import Score

VALIDATED = 512  # rows that are judged at once


class Point(NamedTuple):
    """Where a run stands after an epoch.

    Attributes:
        steps: of training so far.
        cpu_seconds: of training so far.
        loss: in training, over the epoch.
        validation_loss: on the validation rows.
        score: likewise.
    """

    steps: int
    cpu_seconds: float
    loss: float
    validation_loss: float
    score: float


@dataclass(frozen=True)
class Limit:
    """When a run ends: after some epochs, or earlier where the loss gets no better; or after some processor time.

    Attributes:
        epochs: at most; None where processor time decides.
        patience: epochs without a better validation loss after which it ends.
        cpu_seconds: of training; None where epochs decide.
    """

    epochs: int | None = None
    patience: int | None = None
    cpu_seconds: float | None = None


@dataclass(frozen=True)
class Trial:
    """What came out of a run.

    Attributes:
        cell, units, rate, seed: what was trained.
        curve: a point for each epoch; what is no number any more is not in it.
        end: "no better", "limit", or "diverged": its loss was no number any more.
        seconds: that it took, with judging.
    """

    cell: str
    units: int
    rate: float | None
    seed: int
    curve: tuple[Point, ...]
    end: str
    seconds: float

    @property
    def best(self) -> Point | None:
        """Where the validation loss was least; None if it diverged before it was judged."""
        return min(self.curve, key=lambda point: point.validation_loss, default=None)

    @property
    def still_improving(self) -> bool:
        """Whether it ended at its limit with its best in the last tenth of the run: more time might have helped."""
        return self.end == "limit" and self.best is not None and self.best.steps > 0.9 * self.curve[-1].steps


class Training:
    """A run while it goes on.

    Args:
        made: the model.
        data: what it is trained and judged on.
        batch_size: rows of a step.
        seed: what decides the order of the rows.
        clock: what time is taken by.
    """

    def __init__(self, made: Made, data: Data, batch_size: int, seed: int, clock: Clock) -> None:
        self._model, self._data, self._clock = made.model, data, clock
        self.score: Score | None = made.score
        self._batches = batches(len(data.x), batch_size, seed)
        self.epoch = steps_an_epoch(len(data.x), batch_size)
        self.steps, self.cpu_seconds = 0, 0.0

    def step(self) -> float:
        """Trains on the next batch; returns its loss."""
        rows, begun = next(self._batches), self._clock.cpu()
        self._model.reset_metrics()  # which early versions of Keras do not do themselves
        x, y = self._data.x[rows], self._data.y[rows]
        measured: dict[str, float] = self._model.train_on_batch(x, y, return_dict=True)
        if self.steps:  # the first step of a run sets up what no later one does
            self.cpu_seconds += self._clock.cpu() - begun
        self.steps += 1
        return float(measured["loss"])

    def judge(self) -> tuple[float, float]:
        """Measures loss and score on all validation rows: the mean of the parts, each as heavy as it has rows.

        `Model.evaluate` finds the same, but sets up a pipeline each time, which takes longer than many an epoch.
        """
        sums: dict[str, float] = {}
        for begin in range(0, len(self._data.x_val), VALIDATED):
            x, y = (array[begin : begin + VALIDATED] for array in (self._data.x_val, self._data.y_val))
            self._model.reset_metrics()
            for name, value in self._model.test_on_batch(x, y, return_dict=True).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(x)
        measured = {name: value / len(self._data.x_val) for name, value in sums.items()}
        self.score = self.score or own_score(measured)
        return float(measured["loss"]), self.score.of(measured)


def run(
    training: Training, limit: Limit, deadline: Deadline, reserve: float, watch: Callable[[Point], None]
) -> tuple[tuple[Point, ...], str] | None:
    """Trains until the limit.

    Args:
        training: a run that has not begun.
        limit: when it ends.
        deadline: when it is given up.
        reserve: seconds that a judgement takes, which have to be left.
        watch: is told every point.

    Returns:
        The curve, and why it ended; None if the deadline came first.
    """
    curve: list[Point] = []
    while True:
        losses: list[float] = []
        while len(losses) < training.epoch:
            if deadline.left() < reserve:
                return None
            losses.append(training.step())
            if not math.isfinite(losses[-1]) or _is_over(training, limit):
                break
        point = Point(training.steps, training.cpu_seconds, statistics.fmean(losses), *training.judge())
        if not all(map(math.isfinite, point)):
            return tuple(curve), "diverged"
        curve.append(point)
        watch(point)
        end = _end(curve, training, limit)
        if end:
            return tuple(curve), end


def _is_over(training: Training, limit: Limit) -> bool:
    if limit.cpu_seconds is not None:
        return training.cpu_seconds >= limit.cpu_seconds
    return training.steps >= training.epoch * (limit.epochs or 1)


def _end(curve: list[Point], training: Training, limit: Limit) -> str | None:
    """Says why a run is over, or None."""
    if _is_over(training, limit):
        return "limit"
    losses = [point.validation_loss for point in curve]
    late = limit.patience is not None and len(losses) - 1 - losses.index(min(losses)) >= limit.patience
    return "no better" if late else None
