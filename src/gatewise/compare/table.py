# SPDX-License-Identifier: Apache-2.0
"""A row of the tables: a cell in a way of comparing, with its runs; and how rows are laid out as text."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewise.compare.intervals import Interval, interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewise.compare.speed import OneStep
    from gatewise.compare.trial import Trial


@dataclass(frozen=True)
class Row:
    """A cell in a way of comparing.

    Attributes:
        way: of `gatewise.compare.plan.WAYS`.
        cell: its name.
        units: its size.
        rate: of learning; None: that of the model that the caller compiled, or 0.001.
        parameters: weights of the model but those of embeddings.
        one_step: what a step of a stream takes.
        trials: its runs, one of each seed, the same seeds for all cells.
    """

    way: str
    cell: str
    units: int
    rate: float | None
    parameters: int
    one_step: OneStep
    trials: tuple[Trial, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """The score of each run where its validation loss was least; of a run that diverged at once there is none."""
        return tuple(trial.best.score for trial in self.trials if trial.best)

    @property
    def interval(self) -> Interval | None:
        """The interval of the mean score; None with fewer than three seeds, or if a run has no score."""
        return interval(self.scores) if len(self.scores) == len(self.trials) else None

    @property
    def no_interval(self) -> str:
        """Why there is no interval, a clause."""
        missing = len(self.trials) - len(self.scores)
        if missing:
            return f"{missing} of {len(self.trials)} runs diverged at once"
        return "fewer than three seeds give no interval"

    @property
    def mean(self) -> float:
        """The mean score; NaN if there is none."""
        return statistics.fmean(self.scores) if self.scores else float("nan")

    @property
    def still_improving(self) -> int:
        """How many runs were still getting better when they had to stop."""
        return sum(trial.still_improving for trial in self.trials)

    @property
    def epochs(self) -> float:
        """How many epochs the runs took, the mean."""
        return statistics.fmean(len(trial.curve) for trial in self.trials)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of training, the mean over the runs."""
        return statistics.fmean(trial.curve[-1].cpu_seconds if trial.curve else 0.0 for trial in self.trials)

    @property
    def cpu_seconds_a_step(self) -> float | None:
        """Processor time of a step of training; None where no run took two."""
        ends = [trial.curve[-1] for trial in self.trials if trial.curve]
        steps = sum(end.steps - 1 for end in ends)  # the first is not counted
        return sum(end.cpu_seconds for end in ends) / steps if steps else None


def headings(score: str) -> tuple[str, ...]:
    """The headings of a table; `cells` gives what stands below them."""
    return (
        "cell",
        "units",
        "rate",
        "weights",
        "ms a step",
        "CPU s",
        "epochs",
        score,
        "95 % interval",
        "one step",
        "memory",
    )


def cells(row: Row) -> tuple[str, ...]:
    """A row of a table, as text."""
    step, found = row.cpu_seconds_a_step, row.interval
    return (
        row.cell,
        str(row.units),
        "-" if row.rate is None else f"{row.rate:.2g}",
        f"{row.parameters:,}",
        "-" if step is None else f"{1000 * step:.3g}",
        f"{row.cpu_seconds:.3g}",
        f"{row.epochs:.1f}",
        f"{row.mean:.4g}" if row.scores else "-",
        f"{found.low:.4g} to {found.high:.4g}" if found else "-",
        "-" if row.one_step.seconds is None else f"{1e6 * row.one_step.seconds:.3g} us",
        "-" if row.one_step.bytes is None else f"{row.one_step.bytes / 1000:,.1f} kB",
    )


def laid_out(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lays rows out in columns, the first to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        yield f"{first:{widths[0]}}  {numbers}".rstrip()
