# SPDX-License-Identifier: Apache-2.0
"""The pictures of cost: as timesteps, units, batch and threads grow, and of memory with recomputation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pictures import GREY, INK, OURS, PALE, STYLE
from sections import BATCH, CURVES, FEATURES, TIMESTEPS, UNITS, curves, threads
from workloads import SIZES, Case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from measured import Measured

COLORS = {"gatewise": OURS, "onnxruntime": "#edae49", "OpenVINO": "#7a5195", "torch.nn.GRU": "#d1495b"}
NAMES = {"gatewise.torch.GRU": "gatewise"}
TASKS = {"inference": "Inference", "training": "Training step"}
Lines = dict[str, list[tuple[int, Case, float]]]  # who: what grows, the case, milliseconds


def draw_growth(measured: Measured, what: str, path: Path) -> None:
    """Draws nanoseconds a row and step, and GFLOP/s, over what grows: "timesteps", "units", "batch" or "threads"."""
    by_threads = what == "threads"
    middle = dict(zip(("batch", "timesteps", "features", "units"), SIZES["text"], strict=True)) if by_threads else {
        "batch": BATCH, "timesteps": TIMESTEPS, "features": FEATURES, "units": UNITS,
    }  # fmt: skip
    rest = ", ".join(f"{name} {n}" for name, n in middle.items() if name != what)
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 7.2), facecolor="white")
        figure.text(
            0.07,
            0.945,
            f"Cost as {what} grow" + ("s" if what == "batch" else ""),
            fontsize=17,
            weight="bold",
            color=INK,
        )
        figure.text(0.07, 0.91, f"{rest}; PyTorch's own module and gatewise's in training", fontsize=10, color=GREY)
        grid = figure.subplots(
            2, 2, sharex=True, gridspec_kw={"left": 0.07, "right": 0.97, "top": 0.83, "bottom": 0.08}
        )
        for column, (task, title) in enumerate(TASKS.items()):
            lines = _thread_lines(measured, task) if by_threads else _lines(measured, what, task)
            _draw_lines(grid[0][column], lines, lambda case, ms: ms * 1e6 / (case.batch * case.timesteps))
            _draw_lines(grid[1][column], lines, lambda case, ms: case.flops() / ms / 1e6)
            grid[0][column].set_title(f"{title}: ns a row and step", loc="left", fontsize=11, color=INK)
            grid[1][column].set_title("GFLOP/s", loc="left", fontsize=11, color=INK)
            grid[0][column].set_yscale("log")
            grid[0][column].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            grid[0][column].yaxis.set_minor_locator(NullLocator())
            grid[0][column].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
            _draw_peak(grid[1][column], measured)
            grid[1][column].set_xlabel(what, color=GREY)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper right", ncols=4, frameon=False, bbox_to_anchor=(0.98, 0.975))
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _lines(measured: Measured, what: str, task: str) -> Lines:
    """The points of a curve: those cases whose other sizes are those of the middle."""
    section = curves()
    middle = Case("", task, BATCH, TIMESTEPS, FEATURES, UNITS)
    lines: Lines = {}
    for n in CURVES[what]:
        grown: Any = {what: n}
        case = next(c for c in section.cases if replace(c, name="") == replace(middle, **grown))
        for subject in section.subjects:
            if measured.rounds(section.name, subject.name, case):
                point = n, case, measured.median(section.name, subject.name, case)
                lines.setdefault(NAMES.get(subject.name, subject.name), []).append(point)
    return lines


def _thread_lines(measured: Measured, task: str) -> Lines:
    section = threads()
    case = next(c for c in section.cases if c.task == task)
    lines: Lines = {}
    for subject in section.subjects:
        who = subject.name.split(", ", maxsplit=1)[0]
        alone = task == "inference" or who != "gatewise"  # in training, the module stands for gatewise
        if alone and measured.rounds(section.name, subject.name, case):
            point = subject.threads or 1, case, measured.median(section.name, subject.name, case)
            lines.setdefault(NAMES.get(who, who), []).append(point)
    return lines


def _draw_lines(axes: Axes, lines: Lines, value: Callable[[Case, float], float]) -> None:
    for who, points in lines.items():
        ours = who == "gatewise"
        x, y = [n for n, _, _ in points], [value(case, ms) for _, case, ms in points]
        axes.plot(
            x,
            y,
            "o-",
            label=who,
            color=COLORS[who],
            lw=2.6 if ours else 1.5,
            ms=5 if ours else 3.5,
            zorder=3 if ours else 2,
        )
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{n:,}" for n in x])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=GREY, length=0)
    axes.grid(visible=True, axis="y", color=PALE, lw=0.6)
    axes.set_axisbelow(True)


def _draw_peak(axes: Axes, measured: Measured) -> None:
    peak = measured.peak_gflops()
    axes.axhline(peak, color=INK, lw=1, ls=":")
    axes.annotate(
        "FMA peak",
        (0, peak),
        (2, -3),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        va="top",
        fontsize=9,
        color=GREY,
    )
    axes.set_ylim(0, 1.05 * peak)


def draw_memory(measured: Measured, path: Path) -> None:
    """Draws the memory of a training step, beyond its arrays, over its steps: plain, and with recomputation."""
    rows = [row for row in measured.memory if row["what"] == "steps"]
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4.4), facecolor="white")
        axes = figure.add_axes((0.1, 0.13, 0.87, 0.66))
        figure.text(0.1, 0.92, "Memory of a training step as timesteps grow", fontsize=15, weight="bold", color=INK)
        remark = "MB beyond inputs, outputs and their gradients; batch 4, 40 features, 128 units"
        figure.text(0.1, 0.86, remark, fontsize=9.5, color=GREY)
        for who, color in {"gatewise": GREY, "gatewise, recompute": OURS}.items():
            points = [(row["timesteps"], row["beyond arrays"] / 1e6) for row in rows if row["subject"] == who]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=color, lw=2.4, ms=5)
                name = "with gatewise.recompute()" if "," in who else "without"
                axes.annotate(name, points[-1], (0, 8), textcoords="offset points", ha="right", color=INK)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,g}"))
            axis.set_minor_locator(NullLocator())
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(colors=GREY, length=0)
        axes.grid(visible=True, axis="y", color=PALE, lw=0.6)
        axes.set_xlabel("timesteps", color=GREY)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
