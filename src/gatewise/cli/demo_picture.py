# SPDX-License-Identifier: Apache-2.0
"""The demo's picture: forecast against truth, losses, errors, seconds, and the hidden states of one window."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from gatewise.cli.co2 import HISTORY, HORIZON, Windows
from gatewise.cli.demo_model import Training

INK, GREY, PALE = "#1b2a33", "#8a979e", "#d9dfe2"
OURS, STOCK, NAIVE = "#00798c", "#b9c3c8", "#edae49"
YARDSTICK = "last year + growth"  # the naive forecast that is hardest to beat


@dataclass(frozen=True, slots=True)
class Results:
    """What is pictured.

    test: the test windows
    forecasts: name to forecast (n, HORIZON) ppm of the test windows; the network's is called "GRU"
    errors: name to error at each lead, (HORIZON,) ppm
    ours, stock: what training saw; stock is None if it was not timed
    states: the hidden states (HISTORY, units) of the last test window
    """

    test: Windows
    forecasts: dict[str, NDArray[np.float64]]
    errors: dict[str, NDArray[np.float64]]
    ours: Training
    stock: Training | None
    states: NDArray[np.float32]


def draw(results: Results, path: Path) -> None:
    """Draws the picture and writes it as a PNG of 1600 x 1200 pixels."""
    figure = Figure(figsize=(16, 12), dpi=100, facecolor="white")
    margins = {"left": 0.055, "right": 0.955, "top": 0.875, "bottom": 0.05}
    grid = figure.add_gridspec(3, 1, height_ratios=[1.25, 1, 1], hspace=0.45, **margins)
    figure.text(0.055, 0.952, "Half a year of CO\N{SUBSCRIPT TWO} ahead", fontsize=22, weight="bold", color=INK)
    remark = "two stacked gatewise GRU layers on the weekly Mauna Loa record, test years"
    figure.text(0.055, 0.926, remark, fontsize=12, color=GREY)
    _draw_forecast(figure.add_subplot(grid[0]), results)
    middle = grid[1].subgridspec(1, 3 if results.stock else 2, wspace=0.22)
    _draw_losses(figure.add_subplot(middle[0]), results)
    _draw_errors(figure.add_subplot(middle[1]), results)
    if results.stock:
        _draw_seconds(figure.add_subplot(middle[2]), results.ours, results.stock)
    _draw_states(figure, grid[2].subgridspec(2, 1, height_ratios=[1, 2.6], hspace=0.08), results)
    figure.savefig(path)


def _draw_forecast(axes: Axes, results: Results) -> None:
    """Draws the test years and, end to end, a forecast for each half-year, made with what was known before it."""
    test = results.test
    _title(axes, "forecast and truth", "each stretch is one forecast of 26 weeks; its dot is the last value it knew")
    starts = range(0, len(test), HORIZON)
    width = results.errors["GRU"]
    for start in starts:
        dates = test.dates[start, HISTORY - 1 :]
        known = test.last[start]
        forecast = np.concatenate([known, results.forecasts["GRU"][start]])
        naive = np.concatenate([known, results.forecasts[YARDSTICK][start]])
        band = np.concatenate([[0.0], width])
        first = start == 0
        axes.fill_between(dates, forecast - band, forecast + band, color=OURS, alpha=0.15, lw=0)
        axes.plot(dates, naive, color=NAIVE, lw=1.3, label=YARDSTICK if first else None)
        axes.plot(dates, forecast, color=OURS, lw=2.2, label="GRU, with its error at each lead" if first else None)
        axes.plot(dates[:1], known, "o", color=OURS, ms=7, mec="white", zorder=3)
    weeks = test.dates[[*starts], HISTORY:].ravel()
    truth = test.future[[*starts]].ravel()
    axes.plot(weeks, truth, ".", color=INK, ms=3.5, label="measured")
    axes.set_ylabel("ppm", color=GREY)
    axes.set_xlim(test.dates[0, HISTORY - 1], weeks[-1])
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    years = np.unique(weeks.astype("datetime64[Y]"))
    axes.set_xticks(years, years.astype(str))
    axes.legend(frameon=False, loc="upper left", ncols=3, labelcolor=INK)


def _draw_losses(axes: Axes, results: Results) -> None:
    _title(axes, "loss", "mean square error, scaled")
    epochs = np.arange(1, len(results.ours.loss) + 1)
    marker = "o" if len(epochs) == 1 else None
    if results.stock:
        for losses in (results.stock.loss, results.stock.validation_loss):
            axes.plot(epochs, losses, color=STOCK, lw=8, marker=marker, ms=14, solid_capstyle="round")
        axes.plot([], [], color=STOCK, lw=8, label="keras.layers.GRU, both")
    axes.plot(epochs, results.ours.loss, color=OURS, lw=2, marker=marker, label="gatewise.keras.GRU, training")
    axes.plot(epochs, results.ours.validation_loss, color=OURS, lw=2, ls="--", marker=marker, label="... validation")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("epoch", color=GREY)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper right")


def _draw_errors(axes: Axes, results: Results) -> None:
    _title(axes, "test error by lead", "root mean square, ppm")
    weeks = np.arange(1, HORIZON + 1)
    top = 1.25 * float(results.errors["last year"].max())
    styles = {"last value": ":", "last year": "--", YARDSTICK: "-"}
    for name, line in styles.items():
        axes.plot(weeks, results.errors[name], color=NAIVE, ls=line, lw=1.8)
    axes.plot(weeks, results.errors["GRU"], color=OURS, lw=2.6)
    leaves = int(np.argmax(results.errors["last value"] > top)) or HORIZON // 2
    axes.text(leaves + 1.4, top, "last value", va="top", color=INK, fontsize=9)
    for name, shift, place in [("last year", 4, "bottom"), (YARDSTICK, 4, "bottom"), ("GRU", -11, "top")]:
        end = (HORIZON, float(results.errors[name][-1]))
        axes.annotate(
            name, end, (0, shift), textcoords="offset points", ha="right", va=place, fontsize=9, color=INK,
            weight="bold" if name == "GRU" else "normal",
        )  # fmt: skip
    axes.set_ylim(0, top)
    axes.set_xlim(1, HORIZON)
    axes.set_xticks([1, 4, 8, 13, 17, 21, 26])
    axes.set_xlabel("weeks ahead", color=GREY)


def _draw_seconds(axes: Axes, ours: Training, stock: Training) -> None:
    ratio = sum(stock.seconds) / sum(ours.seconds)
    _title(axes, "seconds for the same epochs", f"{ratio:.1f} times as fast")
    for row, (training, color) in enumerate([(ours, OURS), (stock, STOCK)]):
        edges = np.concatenate([[0.0], np.cumsum(training.seconds)])
        rows = [row] * len(training.seconds)
        axes.barh(rows, np.diff(edges), left=edges[:-1], color=color, edgecolor="white", height=0.5)
        axes.text(edges[-1], row, f" {edges[-1]:.1f} s", va="center", color=INK, fontsize=11)
    axes.set_yticks([0, 1], ["gatewise", "stock"], color=INK)
    axes.set_xlim(0, 1.18 * max(sum(ours.seconds), sum(stock.seconds)))
    axes.set_ylim(-0.6, 1.6)
    axes.set_xlabel("one block an epoch", color=GREY)
    axes.tick_params(left=False)
    axes.grid(visible=False, axis="y")


def _draw_states(figure: Figure, grid: GridSpecFromSubplotSpec, results: Results) -> None:
    """Draws the last test window, and below it the hidden states, the units in the order of the week of their peak."""
    window = results.test[-1:]
    dates, level = window.dates[0, :HISTORY], window.past[0]
    above = figure.add_subplot(grid[0])
    remark = f"one window of {HISTORY} weeks; below it the layer's {results.states.shape[1]} hidden states"
    _title(above, "what the upper layer thinks while it reads", remark)
    above.plot(dates, level, color=INK, lw=1.6)
    above.set_ylabel("ppm", color=GREY)
    above.tick_params(labelbottom=False)
    below = figure.add_subplot(grid[1], sharex=above)
    states = results.states.T
    order = np.argsort(np.argmax(_smooth(states[:, -52:]), axis=1))
    edges = np.append(dates, dates[-1] + np.timedelta64(7, "D"))
    mesh = below.pcolormesh(edges, np.arange(len(states) + 1), states[order], cmap="RdBu_r", vmin=-1, vmax=1)
    below.set_ylabel("units, by their peak", color=GREY)
    below.set_yticks([])
    quarters = np.arange(dates[0] + np.timedelta64(31, "D"), dates[-1], dtype="datetime64[M]")[::3]
    below.set_xticks(quarters, [f"{month.astype(object):%b %Y}" for month in quarters])
    bar = figure.colorbar(mesh, cax=below.inset_axes((1.008, 0.0, 0.008, 1.0)))
    bar.outline.set_visible(False)
    bar.set_ticks([-1, 0, 1])
    bar.ax.tick_params(colors=GREY, length=0)
    below.tick_params(colors=GREY, length=0)
    below.spines[:].set_visible(False)
    above.set_xlim(edges[0], edges[-1])


def _smooth(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """A moving mean over five weeks along the last axis, so that noise does not decide where a peak is."""
    means: NDArray[np.float32] = np.lib.stride_tricks.sliding_window_view(states, 5, axis=-1).mean(axis=-1)
    return means


def _title(axes: Axes, title: str, remark: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, weight="bold", color=INK, pad=10)
    axes.set_title(remark, loc="right", fontsize=10, color=GREY, pad=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(PALE)
    axes.tick_params(colors=GREY, length=0)
    axes.grid(visible=True, axis="y", color=PALE, lw=0.6)
    axes.set_axisbelow(True)
