# SPDX-License-Identifier: Apache-2.0
"""What the demo shows in the terminal: sections, facts and tables."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

WIDTH = 96
LEADS = (4, 13, 26)  # weeks ahead, the columns of the error table
_BARS = "▁▂▃▄▅▆▇█"

console = Console(highlight=False)
console.width = min(console.width, WIDTH)


def show_title(title: str, text: str) -> None:
    """Opens the demo."""
    body = Text.assemble((title, "bold"), "\n", (text, "dim"))
    console.print(Panel(body, border_style="cyan", padding=(0, 2)))


def show_section(number: int, title: str) -> None:
    """Opens one of the demo's sections."""
    console.print()
    heading = Text.assemble((f" {number} ", "bold reverse cyan"), (f"  {title} ", "bold"))
    console.print(Rule(heading, align="left", style="cyan"))


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Shows a name and what is to be said about it, line by line; values may hold rich markup."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=14)
    grid.add_column()
    for name, value in facts:
        grid.add_row(f"  {name}", value)
    console.print(grid)


def spark(values: NDArray[np.float64]) -> str:
    """Draws values as a row of bars, one character each.

    Example:
        >>> import numpy as np
        >>> spark(np.array([0.0, 1.0, 2.0, 7.0]))
        '▁▂▃█'
    """
    low, high = float(values.min()), float(values.max())
    levels = (values - low) / ((high - low) or 1.0) * (len(_BARS) - 1)
    return "".join(_BARS[round(level)] for level in levels)


def plural(count: int, noun: str) -> str:
    """Counts things.

    Example:
        >>> plural(1, "epoch"), plural(8, "epoch")
        ('1 epoch', '8 epochs')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def show_errors(errors: dict[str, NDArray[np.float64]], totals: dict[str, float], best: str) -> None:
    """Shows the test errors.

    Args:
        errors: forecast to its error at each lead, (HORIZON,) ppm.
        totals: forecast to its error over all leads, ppm.
        best: the forecast to be set in bold.
    """
    table = _table("forecast", *[f"{lead} weeks" for lead in LEADS], "all 26 weeks")
    for name, total in totals.items():
        cells = [f"{errors[name][lead - 1]:.2f}" for lead in LEADS] + [f"{total:.3f}"]
        table.add_row(name, *cells, style="bold green" if name == best else None)
    console.print(table)


def show_times(ours: Sequence[float], stock: Sequence[float]) -> None:
    """Shows both layers' seconds, epoch by epoch, and how many times as fast ours was."""
    table = _table("seconds", "keras.layers.GRU", "gatewise.keras.GRU", "speed-up")
    rows = [("first epoch, graph built", stock[0], ours[0])]
    if len(ours) > 1:
        rows.append(("later epochs, median", float(np.median(stock[1:])), float(np.median(ours[1:]))))
    rows.append((plural(len(ours), "epoch"), sum(stock), sum(ours)))
    for name, theirs, own in rows:
        table.add_row(name, f"{theirs:.2f}", f"{own:.2f}", f"[bold green]{theirs / own:.1f}x[/]")
    console.print(table)


def show_files(files: Sequence[tuple[str, str]]) -> None:
    """Closes the demo with the files that it wrote: path and meaning."""
    console.print()
    grid = Table.grid(padding=(0, 3))
    for path, meaning in files:
        grid.add_row(Text(path, style="bold"), Text(meaning, style="dim"))
    console.print(Panel(grid, title="written", title_align="left", border_style="cyan", padding=(0, 2)))


@contextmanager
def held_stderr() -> Iterator[None]:
    """Holds back what libraries log while they start; shows it after all if they fail.

    TensorFlow writes to the file descriptor, before its own log level applies, so `sys.stderr` is of no use here.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _table(first: str, *others: str) -> Table:
    table = Table(border_style="dim", header_style="dim", pad_edge=True, box=SIMPLE_HEAD)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
