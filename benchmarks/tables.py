# SPDX-License-Identifier: Apache-2.0
"""Tables: their cells as text, shown in the terminal by rich and in documents as Markdown."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

import rich.table
import rich.text


@dataclass
class Table:
    """A title, the columns' heads, rows of text, and a remark. The first column is text, the others are numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    remark: str = ""

    def for_terminal(self) -> rich.table.Table:
        """The table as rich draws it; what met its goal is green."""
        table = rich.table.Table(title=f"\n{self.title}", caption=self.remark or None, box=rich.box.SIMPLE_HEAD)
        table.title_justify = table.caption_justify = "left"
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="right" if i else "left")
        for row in self.rows:
            table.add_row(*(rich.text.Text(cell, style="green" if MET in cell else "") for cell in row))
        return table

    def for_document(self) -> str:
        """The table in Markdown, its title a heading."""
        lines = [self.columns, ["---", *["--:"] * (len(self.columns) - 1)], *self.rows]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return "\n\n".join(part for part in (f"### {self.title}", text, self.remark) if part)


MET = "\N{CHECK MARK}"


def digits(value: float) -> str:
    """Three digits or so."""
    decimals = next((i for i, top in enumerate((100, 10, 1, 0.1)) if abs(value) >= top), 4)
    return f"{value:.{decimals}f}"


def spread(rounds: list[float]) -> str:
    """The median and, in brackets, the fastest and the slowest round."""
    if not rounds:
        return "-"
    return f"{digits(statistics.median(rounds))} ({digits(min(rounds))}-{digits(max(rounds))})"


def number(value: float, unit: str = "") -> str:
    """A figure, or a dash where nothing was measured."""
    return "-" if value != value else f"{digits(value)}{unit}"  # noqa: PLR0124  # not NaN


def percent(share: float) -> str:
    """A share, or a dash where nothing was measured."""
    return "-" if share != share else f"{share:.0%}"  # noqa: PLR0124  # not NaN


def aimed(value: float, goal: float | None, *, at_least: bool) -> str:
    """A figure with its goal in brackets, and a mark if it is met."""
    if goal is None or value != value:  # noqa: PLR0124  # not NaN
        return "-" if value != value else f"{value:.2f}"  # noqa: PLR0124  # not NaN
    met = value >= goal if at_least else value <= goal
    return f"{value:.2f} ({goal:g}){f' {MET}' if met else ''}"
