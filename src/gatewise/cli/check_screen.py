# SPDX-License-Identifier: Apache-2.0
"""What `gatewise check` shows: a table in a terminal, and plain text where its output goes into a file."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gatewise.cli.demo_screen import console, held_stderr
from gatewise.explain import Explanation
from gatewise.explain.explanation import HEADINGS

_NARROW = 80  # columns, below which a table of four would break every word


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says what takes time, if that is a terminal, and holds back what libraries log meanwhile."""
    if what and console.is_terminal:
        with console.status(f"[dim]{what}"), held_stderr():
            yield
    else:
        with held_stderr():
            yield


def show(explanation: Explanation) -> None:
    """Shows which layers run natively."""
    if not console.is_terminal:
        typer.echo(explanation)
        return
    if explanation.rows:
        console.print(_blocks(explanation) if console.width < _NARROW else _table(explanation))
    for line in explanation.remarks():
        console.print(line, markup=False)


def _table(explanation: Explanation) -> Table:
    table = Table(border_style="dim", header_style="dim", box=SIMPLE_HEAD)
    for heading in HEADINGS:
        table.add_column(heading)
    for path, layer, native, why in explanation.cells():
        table.add_row(Text(path, style="bold"), Text(layer), _coloured(native), Text(why))
    return table


def _blocks(explanation: Explanation) -> Table:
    grid = Table.grid(padding=(0, 2))
    for path, layer, native, why in explanation.cells():
        block = Text.assemble((path, "bold"), f"\n{layer}", f"\n{why}" if why else "")
        grid.add_row(_coloured(native), block)
    return grid


def _coloured(native: str) -> Text:
    return Text(native, style="green" if native == "yes" else "yellow")
