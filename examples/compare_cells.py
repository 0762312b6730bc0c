# SPDX-License-Identifier: Apache-2.0
"""GRU or LSTM? `gatewise.compare` on three real data sets and on two tasks that ask for a long memory.

Run `python examples/compare_cells.py --data FOLDER`; every task gets `--minutes`. What is found is kept in
`build/studies/compare_cells/`, so that an interrupted study goes on there. With `--publish` it writes
docs/gru_or_lstm.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure

import gatewise
from cell_cases import tasks
from study import GREY, INK, OTHER, OURS, PALE, STYLE, THIRD, Table, begin, console

if TYPE_CHECKING:
    from gatewise.compare import Comparison

PAGE, SEEDS = "gru_or_lstm", 5
COLOURS = {"GRU": OURS, "LSTM": THIRD, "SimpleRNN": OTHER, "LayerNormGRU": GREY}
WAYS = {"units": "Equal units", "parameters": "Equal parameters", "time": "Equal processor time"}


def scores(results: dict[str, Comparison], way: str) -> Table:
    """Tabulates mean and interval of each cell on each task."""
    rows = []
    for name, found in results.items():
        cells = {row.cell: row for row in found.rows if row.way == way}
        if not cells:
            continue
        shown = [_score(cells[cell]) if cell in cells else "-" for cell in COLOURS]
        rows.append([name, *shown, str(max(len(row.trials) for row in cells.values()))])
    return Table(f"{WAYS[way]}: mean, and 95 % interval over the seeds", ["task", *COLOURS, "seeds"], rows)


def _score(row: Any) -> str:
    found = row.interval
    return f"{row.mean:.4g}" + (f" ({found.low:.4g} to {found.high:.4g})" if found else "")


def says(results: dict[str, Comparison]) -> Table:
    """Writes down which differences the intervals support, and what was left out."""
    rows = [[name, f"{found.sentence} {' '.join(found.left_out)}".strip()] for name, found in results.items()]
    return Table("What the figures say; nothing else follows from them", ["task", "sentence"], rows)


def costs(results: dict[str, Comparison]) -> Table:
    """Writes down what the cells take at equal units: training, and one step of a stream."""
    rows = []
    for name, found in results.items():
        for row in (row for row in found.rows if row.way == "units"):
            step, stream = row.cpu_seconds_a_step, row.one_step.seconds
            times = ["-" if one is None else f"{one * unit:.3g}" for one, unit in ((step, 1e3), (stream, 1e6))]
            sizes = str(row.units), f"{row.parameters:,}", f"{row.epochs:.0f}"
            rows.append([f"{name.rpartition(',')[0]}: {row.cell}", *sizes, *times])
    columns = ["task, cell", "units", "weights", "epochs", "training step, CPU ms", "one step of a stream, us"]
    return Table("What they take", columns, rows)


def draw(results: dict[str, Comparison]) -> Figure:
    """Draws the intervals: a row for each task with a column for each way of comparing; tasks of one way come last."""
    several = [name for name, found in results.items() if len(found.ways) > 1]
    places = [(name, way) for name in several for way in WAYS]
    places += [(name, found.ways[0]) for name, found in results.items() if name not in several]
    lines = -(-len(places) // len(WAYS))
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 0.8 + 0.95 * lines), layout="constrained")
        grid = figure.add_gridspec(lines, len(WAYS))
        first: dict[str, Any] = {}
        for place, (name, way) in enumerate(places):
            axes = figure.add_subplot(grid[*divmod(place, len(WAYS))], sharex=first.get(name))
            _draw(axes, [row for row in results[name].rows if row.way == way])
            if name in first:
                axes.tick_params(labelleft=False)
            else:
                better = "higher" if results[name].higher_is_better else "lower"
                remark = f"{better} is better" if name in several else f"at {WAYS[way].lower()}"
                axes.set_title(f"{name}; {remark}", fontsize=8, loc="left", color=INK)
            first.setdefault(name, axes)
            if place < len(several[:1]) * len(WAYS):
                axes.annotate(WAYS[way], (1, 1), (0, 20), "axes fraction", "offset points", ha="right", color=GREY)
    return figure


def _draw(axes: Any, rows: list[Any]) -> None:
    shown = [cell for cell in COLOURS if cell in {row.cell for row in rows}]
    places = {cell: -i for i, cell in enumerate(shown)}
    for row in rows:
        place, colour = places[row.cell], COLOURS[row.cell]
        axes.plot(row.scores, [place - 0.25] * len(row.scores), "o", ms=3, color=colour, alpha=0.5, mew=0)
        if row.interval:
            axes.plot(row.interval[::2], [place, place], color=colour, lw=2)
    axes.set_yticks(list(places.values()), list(places), fontsize=8, color=INK)
    axes.set_ylim(-len(places) + 0.4, 0.6)
    axes.grid(axis="x", color=PALE, lw=0.6)
    axes.tick_params(length=0, labelsize=8)


def main() -> None:
    """Compares on every task."""
    study = begin("compare_cells", "GRU or LSTM? Cells side by side on real data and on long memories",
                  data="surnames", page=PAGE, minutes=10)  # fmt: skip
    results: dict[str, Comparison] = {}
    for make in tasks(study.data, quick=study.quick):
        task = make()
        console.print(f"[bold]{task.name}[/]")
        folder = study.out / "compare_cells" / re.sub(r"\W+", "-", task.name)
        chosen: dict[str, Any] = {"units": 64, "seeds": 2 if study.quick else SEEDS, **task.options}
        if study.quick:
            chosen |= {"units": 16, "epochs": 1}
        budget = {"minutes": task.share * study.minutes, "folder": None if study.quick else folder}
        results[task.name] = gatewise.compare(task.data, **budget, **chosen, verbose=True)
        console.print(str(results[task.name]), highlight=False, markup=False)
    hours = sum(found.seconds for found in results.values()) / 3600
    machine = next(iter(results.values())).machine
    facts = {name: {"sentence": found.sentence, "rows": found.table("units")} for name, found in results.items()}
    console.print(f"{hours:.2f} hours on {machine}")
    tables = [*(scores(results, way) for way in WAYS), says(results), costs(results)]
    budget_row = [[f"{hours:.2f}", f"{study.minutes:g}", machine]]
    tables.append(Table("The budget", ["hours in all", "minutes a task", "machine"], budget_row))
    study.report(tables, draw(results), facts)


if __name__ == "__main__":
    main()
