# SPDX-License-Identifier: Apache-2.0
"""Tables: their cells as text, shown in the terminal by rich and in documents as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import rich.table

if TYPE_CHECKING:
    from measured import Measured
    from sections import Section
    from workloads import Case


@dataclass
class Table:
    """A title, the columns' heads, rows of text, and a remark. The first column is text, the others are numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    remark: str = ""

    def for_terminal(self) -> rich.table.Table:
        """The table as rich draws it."""
        table = rich.table.Table(
            title=self.title, caption=self.remark or None, title_justify="left", caption_justify="left"
        )
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="right" if i else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def for_document(self) -> str:
        """The table in Markdown, its title a heading."""
        lines = [self.columns, ["---", *["--:"] * (len(self.columns) - 1)], *self.rows]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return "\n\n".join(part for part in (f"## {self.title}", text, self.remark) if part)


def digits(value: float) -> str:
    """Three digits or so."""
    return f"{value:.{next((d for d, top in enumerate((1e2, 1e1, 1, 0.1)) if value >= top), 4)}f}"


def spread(rounds: list[float]) -> str:
    """The median and, in brackets, the fastest and the slowest round."""
    if not rounds:
        return "-"
    ordered = sorted(rounds)
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return f"{digits(median)} ({digits(ordered[0])}-{digits(ordered[-1])})"


def sizes(case: Case) -> str:
    """The name of a case and what it is."""
    remarks = [word for word in (case.mask, case.variant) if word not in {"none", "plain"}]
    return ", ".join([case.name, *remarks])


def comparison(measured: Measured, section: Section, goals: dict[str, Any]) -> Table:
    """Ours against the peers: times, how many times as fast as the best of them, the goal, and the share of peak."""
    ours, *peers = section.subjects
    wanted = goals["faster"].get(section.goals, {})
    scale = {"ms": 1, "us": 1000}[section.unit]
    columns = [section.unit, *(s.name for s in section.subjects), "best peer / ours", "goal", "of FMA peak"]
    table = Table(section.title, columns)
    for case in section.cases:
        times = [[scale * t for t in measured.rounds(section.name, s.name, case)] for s in section.subjects]
        best = min(measured.median(section.name, peer.name, case) for peer in peers)
        goal = wanted.get(case.name)
        table.rows.append(
            [
                sizes(case),
                *map(spread, times),
                f"{best / measured.median(section.name, ours.name, case):.2f}",
                f"{goal:.2f}" if goal and case.mask == "none" else "",
                f"{measured.share_of_peak(section.name, ours.name, case):.0%}",
            ]
        )
    return table
