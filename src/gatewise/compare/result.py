# SPDX-License-Identifier: Apache-2.0
"""What a comparison found: tables, learning curves, sentences; for people, for programs, as a picture."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewise.compare import sentence, table
from gatewise.compare.plan import WAYS
from gatewise.compare.progress import duration
from gatewise.compare.speed import OneStep
from gatewise.compare.table import Row
from gatewise.compare.trial import Point, Trial

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_WIDTH = 110  # of the sentences, in characters


@dataclass(frozen=True)
class Comparison:
    """What a comparison found. Printed, it is tables and sentences.

    Attributes:
        score: what cells are compared by: "accuracy", "RMSE" in y's own unit, or what the caller's model measures.
        higher_is_better: which way it goes.
        rows: of the tables, those of a way of comparing together; each has its runs, and these their learning curves.
        left_out: what was asked for and is not there, with its reason, sentences.
        about: the data and how they were split, in words.
        settings: what was chosen, by name, and what the budget made of it: "seeds", "epochs", "cpu_seconds".
        seconds: what it took of the budget.
        machine: what it ran on, in words.
    """

    score: str
    higher_is_better: bool
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    about: str
    settings: dict[str, Any]
    seconds: float
    machine: str

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways of comparing, of "units", "parameters", "time" and "tuned"."""
        return tuple(dict.fromkeys(row.way for row in self.rows))

    @property
    def sentence(self) -> str:
        """What the figures say: a difference only where the intervals do not overlap."""
        return " ".join(sentence.says(self.rows, higher_is_better=self.higher_is_better))

    @property
    def not_supported(self) -> tuple[str, ...]:
        """What does not follow from the figures, sentences."""
        return tuple(sentence.says_not(self.rows))

    def table(self, way: str) -> list[tuple[str, ...]]:
        """Gives a table as text: the headings, and a row for each cell; a column that would be empty is not there."""
        rows = [table.headings(self.score), *(table.cells(row) for row in self.rows if row.way == way)]
        used = [any(cell != "-" for cell in column[1:]) for column in zip(*rows, strict=True)]
        return [tuple(cell for cell, kept in zip(row, used, strict=True) if kept) for row in rows]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def to_json(self) -> str:
        """Returns it as JSON, an object with an entry for each attribute; `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            found = json.loads(text)
            rows = tuple(_row(row) for row in found.pop("rows"))
            return cls(rows=rows, left_out=tuple(found.pop("left_out")), **found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"Comparison.from_json: this is no comparison. Expected what to_json wrote; received {error!r}. Check "
                "the file."
            ) from error

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws scores with their intervals, and learning curves, into a file: .svg, .png or .pdf.

        The file is there in whole or not at all.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
            OSError: the system does not write; what was there stays.
            TypeError: path is none.
            ValueError: there is nothing to draw, or path ends otherwise.
        """
        from gatewise.compare.picture import draw

        draw(self, path)

    def _lines(self) -> Iterator[str]:
        yield self.about
        seeds, epochs = max((len(row.trials) for row in self.rows), default=0), self.settings["epochs"]
        yield f"{seeds} seeds, at most {epochs} epochs; {duration(self.seconds)} on {self.machine}"
        for way in self.ways:
            yield ""
            yield WAYS[way]
            yield from table.laid_out(self.table(way))
        says = sentence.says(self.rows, higher_is_better=self.higher_is_better)
        parts = {"What the figures say": says, "What they do not say": self.not_supported, "Left out": self.left_out}
        for title, lines in parts.items():
            if lines:
                yield ""
                yield title
                for line in lines:
                    yield from textwrap.wrap(line, _WIDTH, initial_indent="- ", subsequent_indent="  ")


def trial_of(found: dict[str, Any]) -> Trial:
    """Makes a run of its JSON."""
    return Trial(**{**found, "curve": tuple(Point(*point) for point in found["curve"])})


def _row(found: dict[str, Any]) -> Row:
    trials = tuple(trial_of(trial) for trial in found["trials"])
    return Row(**{**found, "one_step": OneStep(*found["one_step"]), "trials": trials})
