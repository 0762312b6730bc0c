# SPDX-License-Identifier: Apache-2.0
"""What the studies in this folder share: their command line, and where their figures, picture and page go.

A study trains on real data and says how well it did beside a baseline. It prints its tables, writes them with a picture
to `build/studies/`, and, with `--publish`, into its page `docs/NAME.md`, between the markers.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Screen

import gatewise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- study:begin -->", "<!-- study:end -->"
INK, GREY, PALE = "#1b2a33", "#6b7a82", "#d9dfe2"
OURS, OTHER, THIRD = "#00798c", "#d1495b", "#edae49"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "gatewise",
    "axes.edgecolor": PALE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
}
console = Console(highlight=False)


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        title: what it shows, one line.
        columns: their headings; the first column names the rows, the others hold figures.
        rows: the cells, as text.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self) -> None:
        """Prints it."""
        screen = Screen(title=self.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        for i, column in enumerate(self.columns):
            screen.add_column(column, justify="right" if i else "left")
        for row in self.rows:
            screen.add_row(*row)
        console.print(screen)

    def for_document(self) -> str:
        """Writes it as Markdown."""
        head = f"| {' | '.join(self.columns)} |\n|---|{'--:|' * (len(self.columns) - 1)}"
        return "\n".join([f"**{self.title}**\n", head, *(f"| {' | '.join(row)} |" for row in self.rows)])


@dataclass(frozen=True)
class Study:
    """A study that has begun.

    Attributes:
        name: of its script, its page and its picture.
        data: the folder that its data lies in.
        quick: whether it runs in small, to show that it works: its figures then say nothing.
        publish: whether its page is written.
        out: the folder that results and models go to.
        page: the name of its page and picture in `docs/`.
        minutes: the budget of each of its tasks, where it has one; else 0.
        begun: when, by `time.perf_counter`.
    """

    name: str
    data: Path
    quick: bool
    publish: bool
    out: Path
    page: str
    minutes: float = 0.0
    begun: float = field(default_factory=time.perf_counter)

    def report(self, tables: Sequence[Table], figure: Figure, facts: dict[str, Any]) -> None:
        """Prints the tables and writes everything.

        Args:
            tables: what the page shows.
            figure: the picture.
            facts: figures by name, for `build/studies/NAME.json`.
        """
        minutes = (time.perf_counter() - self.begun) / 60
        forward, backward = gatewise.native.calls()
        for table in tables:
            table.show()
        remark = f"Took {minutes:.1f} minutes; the engine ran {forward:,} times forward, {backward:,} times backward."
        console.print(remark)
        self.out.mkdir(parents=True, exist_ok=True)
        facts = {**facts, "quick": self.quick, "minutes": minutes, "forward": forward, "backward": backward}
        (self.out / f"{self.name}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        pictures = [self.out / f"{self.name}.svg", self.out / f"{self.name}.png"]
        if self.publish:
            pictures.append(ROOT / "docs" / f"{self.page}.svg")
            self._write_page(tables)
        with rc_context(STYLE):  # whose salt makes the same SVG of the same figure
            for picture in pictures:
                figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None)
        console.print(f"[dim]{', '.join(str(picture) for picture in pictures)}[/]", soft_wrap=True)

    def _write_page(self, tables: Sequence[Table]) -> None:
        """Replaces what stands between the markers of the page."""
        page = ROOT / "docs" / f"{self.page}.md"
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        remark = f"Written by `examples/{self.name}.py --publish`."
        text = "\n\n".join([f"![Results]({self.page}.svg)", *(table.for_document() for table in tables), remark])
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def begin(
    name: str, about: str, data: str | None = None, page: str | None = None, minutes: float | None = None
) -> Study:
    """Reads the command line.

    Args:
        name: of the script.
        about: what the study does, one line.
        data: the file or folder that it reads, inside of the folder that `--data` names; None for a study that needs
            none.
        page: the name of its page and picture in `docs/`; None: that of the script.
        minutes: the budget of each of its tasks, if nothing else is given; None for a study that has none.

    Returns:
        The study. A folder that is missing ends the program with a message.
    """
    page = page or name
    parser = argparse.ArgumentParser(prog=f"{name}.py", description=about)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder that the data lies in")
    parser.add_argument("--quick", action="store_true", help="run in small, to see that it works")
    parser.add_argument("--publish", action="store_true", help=f"write the figures into docs/{page}.md")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "studies", help="the folder that results go to")
    if minutes is not None:
        parser.add_argument("--minutes", type=float, default=minutes, help="the budget of each task, %(default)s")
    given = parser.parse_args()
    if given.quick and given.publish:
        parser.error("--publish: figures of a quick run say nothing. Expected one of --quick and --publish.")
    if data and not (given.data / data).exists():
        parser.error(f"--data: {given.data / data} is not there. Expected what docs/{page}.md describes under 'Data'.")
    console.print(f"[bold]{about}[/]")
    return Study(name, given.data, given.quick, given.publish, given.out, page, getattr(given, "minutes", 0.0))
