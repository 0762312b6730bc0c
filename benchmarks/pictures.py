# SPDX-License-Identifier: Apache-2.0
"""The picture for the README: how many times as fast as its peers, workload by workload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from sections import Section, inference, layer, torch
from workloads import SIZES

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from measured import Measured

INK, GREY, PALE = "#1b2a33", "#6b7a82", "#d9dfe2"
OURS, SLOWER = "#00798c", "#d1495b"
STYLE: Any = {"font.family": "DejaVu Sans", "svg.hashsalt": "gatewise", "axes.edgecolor": PALE}


def draw_faster(measured: Measured, path: Path) -> None:
    """Draws a panel for each comparison and a bar for each workload, and writes an SVG or a PNG."""
    panels: dict[str, tuple[str, Section]] = {
        "NumPy, inference": ("the best of onnxruntime,\nOpenVINO and PyTorch = 1", inference()),
        "Keras on TensorFlow": ("training step\nkeras.layers.GRU = 1", layer("tensorflow")),
        "Keras on JAX": ("training step\nkeras.layers.GRU = 1", layer("jax")),
        "PyTorch": ("training step\ntorch.nn.GRU = 1", torch()),
    }
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 5.4), facecolor="white")
        figure.text(0.012, 0.925, "gatewise's GRU, times as fast as its peers", fontsize=19, weight="bold", color=INK)
        figure.text(0.012, 0.87, caption(measured), fontsize=10, color=GREY)
        grid = figure.add_gridspec(1, 4, left=0.15, right=0.985, top=0.72, bottom=0.03, wspace=0.13)
        for i, (title, (remark, section)) in enumerate(panels.items()):
            axes = figure.add_subplot(grid[i])
            _draw_panel(axes, measured, section)
            axes.text(0, 1.13, title, transform=axes.transAxes, fontsize=12, weight="bold", color=INK)
            axes.text(0, 1.02, remark, transform=axes.transAxes, fontsize=9, color=GREY, va="bottom")
            if i == 0:
                _name_workloads(axes)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def caption(measured: Measured) -> str:
    """The machine, in a line."""
    machine = measured.machine
    return f"{machine['cpu']}, {machine['threads']} threads, float32; the lengths of the bars are logarithmic"


def _draw_panel(axes: Axes, measured: Measured, section: Section) -> None:
    """Draws a bar from 1, as fast, to what was measured, on a logarithmic axis."""
    ours, *peers = (subject.name for subject in section.subjects)
    cases = [case for case in section.cases if case.mask == "none"]
    ratios = [measured.best(section.name, peers, c) / measured.median(section.name, ours, c) for c in cases]
    for row, ratio in enumerate(ratios):
        axes.barh(row, ratio - 1, left=1, height=0.62, color=OURS if ratio >= 1 else SLOWER)
        label = f"{ratio:.{1 if ratio >= 1.95 else 2}f}x"
        axes.text(max(ratio, 1) * 1.06, row, label, va="center", fontsize=11, weight="bold", color=INK)
    axes.set_xscale("log")
    axes.set_xlim(min(0.9, 0.95 * min(ratios)), 2.0 * max(*ratios, 2))
    axes.set_ylim(len(cases) - 0.4, -0.6)
    axes.axvline(1, color=INK, lw=1)
    axes.set_xticks([])
    axes.set_xticks([], minor=True)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _name_workloads(axes: Axes) -> None:
    for row, (name, sizes) in enumerate(SIZES.items()):
        place: Any = {"transform": axes.get_yaxis_transform(), "ha": "right"}
        axes.text(-0.04, row - 0.03, name, fontsize=11, color=INK, va="bottom", **place)
        axes.text(-0.04, row + 0.05, ", ".join(map(str, sizes)), fontsize=8.5, color=GREY, va="top", **place)
