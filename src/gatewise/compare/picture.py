# SPDX-License-Identifier: Apache-2.0
"""The picture of a comparison: scores with their intervals, and learning curves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.compare.plan import at
from gatewise.extras import required_by
from gatewise.options import cut
from gatewise.whole_file import write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from gatewise.compare.result import Comparison
    from gatewise.compare.table import Row

ENDINGS = (".svg", ".png", ".pdf")
INK, GREY, PALE = "#1b2a33", "#6b7a82", "#d9dfe2"
COLOURS = ("#00798c", "#d1495b", "#edae49", "#5f4b8b", "#66a182", "#2e4057", "#8d6a9f", "#b0855c")
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "gatewise",
    "text.parse_math": False,  # names of cells may hold a $
    "axes.edgecolor": PALE,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def draw(found: Comparison, path: str | os.PathLike[str]) -> None:
    """Draws it into a file: for each way of comparing a row of two, scores on the left, learning curves on the right.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: the system does not write; what was there stays.
        TypeError: path is none.
        ValueError: there is nothing to draw, or path ends otherwise.
    """
    with required_by("Comparison.plot", "cli"):
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    target = _checked(path)
    if not found.rows:
        raise ValueError(
            "Comparison.plot: there is nothing to draw. Expected a table or more; received none. Give more minutes."
        )
    cells = list(dict.fromkeys(row.cell for row in found.rows))
    colours = {cell: COLOURS[i % len(COLOURS)] for i, cell in enumerate(cells)}
    with rc_context(_STYLE):
        high = 1.0 + 0.35 * len(cells)
        figure = Figure(figsize=(9.5, 0.6 + max(2.2, high) * len(found.ways)), layout="constrained")
        grid = figure.subplots(len(found.ways), 2, squeeze=False, width_ratios=[1.2, 1])
        for (left, right), way in zip(grid, found.ways, strict=True):
            rows = [row for row in found.rows if row.way == way]
            _draw_scores(left, rows, colours)
            left.set_title(at(way).capitalize(), loc="left", fontsize=10, weight="bold")
            _draw_curves(right, rows, colours)
        better = "higher" if found.higher_is_better else "lower"
        grid[-1][0].set_xlabel(f"{found.score}, {better} is better: each seed, mean, 95 % interval", color=GREY)
        grid[-1][1].set_xlabel("processor seconds of training", color=GREY)
        grid[0][1].set_title(f"{found.score} while they learn, each seed", loc="left", fontsize=10, weight="bold")
        low, top = (min(axes.get_xlim()[0] for axes in grid[:, 0]), max(axes.get_xlim()[1] for axes in grid[:, 0]))
        for axes in grid[:, 0]:
            axes.set_xlim(low, top)
        file, kind = io.BytesIO(), target.suffix[1:].lower()
        figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_whole(target, [file.getvalue()])


def _checked(path: Any) -> Path:
    try:
        found = Path(path)
    except TypeError as error:
        raise TypeError(
            f"Comparison.plot: path is none. Expected a str or a pathlib.Path; received {cut(repr(path))}. Name a file."
        ) from error
    if found.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"Comparison.plot: path has an ending that is not known. Expected {', '.join(ENDINGS)}; received "
            f"{cut(str(path))!r}. Choose one of these."
        )
    return found


def _draw_scores(axes: Any, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    """Draws a line for each cell: a dot for each seed, the interval, and the mean."""
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        colour = colours[row.cell]
        axes.plot(row.scores, np.full(len(row.scores), place - 0.22), "o", color=colour, ms=4.5, alpha=0.5, mew=0)
        if row.interval:
            axes.plot(row.interval[::2], [place, place], color=colour, lw=2.5, solid_capstyle="round", alpha=0.9)
        if row.scores:
            axes.plot([row.mean], [place], "|", color=colour, ms=15, mew=2.5)
    axes.set_yticks(places, [f"{row.cell}, {row.units} units" for row in rows], color=INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", color=PALE, lw=0.6)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _draw_curves(axes: Any, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    """Draws the score of each run against the processor time of its training; a dot where its loss was least."""
    for row in rows:
        for trial in row.trials:
            if trial.curve and trial.best:
                seconds = [point.cpu_seconds for point in trial.curve]
                axes.plot(seconds, [point.score for point in trial.curve], color=colours[row.cell], lw=1.1, alpha=0.7)
                axes.plot([trial.best.cpu_seconds], [trial.best.score], ".", color=colours[row.cell], ms=5)
    axes.set_xlim(left=0)
    axes.grid(color=PALE, lw=0.6)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
