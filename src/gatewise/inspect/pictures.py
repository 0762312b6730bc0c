# SPDX-License-Identifier: Apache-2.0
"""Pictures of what was found: horizons, gates over time, inputs, attributions; each a matplotlib figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gatewise.inspect.arguments import of_kind, row_of, texts, tokens_of
from gatewise.inspect.attribution import Attribution
from gatewise.inspect.layer import Layer
from gatewise.options import one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

INK, GREY, PALE = "#1b2a33", "#6b7a82", "#d9dfe2"
OURS, OTHER, THIRD = "#00798c", "#d1495b", "#edae49"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "gatewise",
    "text.parse_math": False,  # names of features may hold a $
    "axes.edgecolor": PALE,
    "axes.labelcolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
}
WIDTH = 4.3  # inches; a phone shows it at four fifths
_LAYERS = "Give one of the layers of an inspection."
MOST_BARS, MOST_TICKS = 12, 40
# For and against a prediction; nothing where nothing counts, on a light page and on a dark one
FOR_AND_AGAINST = LinearSegmentedColormap.from_list(
    "for_and_against",
    [(0, to_rgba(OTHER, 1)), (0.5, to_rgba(OTHER, 0)), (0.5, to_rgba(OURS, 0)), (1, to_rgba(OURS, 1))],
)


def horizons(layer: Layer) -> Figure:
    """Draws how the units' half-lives are spread, on a logarithmic axis; the units that lose nothing at its end.

    Raises:
        TypeError: layer is none.
        ValueError: nothing keeps what the layer's units hold.
    """
    of_kind("horizons", "layer", layer, Layer, _LAYERS)
    if layer.half_lives is None:
        raise ValueError(
            f"horizons: layer {layer.name!r} has no gate that keeps. Expected a GRU or an LSTM; received a "
            f"{layer.cell}. Look at gradient_half_life instead."
        )
    longest = max(float(layer.longest), 1.0)
    finite = layer.half_lives[np.isfinite(layer.half_lives)]
    top = max(2 * longest, float(finite.max(initial=1.0)) * 1.3)
    shown = np.clip(layer.half_lives, 0.1, top)
    edges = np.geomspace(0.1, top * 1.001, 25)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
        axes = figure.subplots()
        axes.hist(shown, edges.tolist(), color=OURS, rwidth=0.9)
        for place, colour, text, above in (
            (float(np.clip(np.median(shown), 0.1, top)), INK, "median", 2),
            (longest, OTHER, "longest segment" if layer.restarts.any() else "longest sequence", 12),
        ):
            axes.axvline(place, color=colour, lw=1, ls="--")
            right = place < np.sqrt(0.1 * top)
            axes.annotate(
                text,
                (place, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3 if right else -3, above),
                textcoords="offset points",
                color=colour,
                fontsize=8,
                ha="left" if right else "right",
                va="bottom",
            )
        axes.set_xscale("log")
        axes.set_xlim(0.1, top * 1.001)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.set(xlabel=f"half-life by {'the ' * (layer.keep is not None)}{layer.kept_by}, steps", ylabel="units")
    return figure


def gates(layer: Layer, row: int = 0, tokens: Sequence[str] | None = None) -> Figure:
    """Draws gates and state of every unit over the steps of one row; the units that hold on longest are on top.

    A red line stands where a start ends what was held.

    Args:
        layer: what to draw.
        row: of the data.
        tokens: what the steps are; by default numbers.

    Raises:
        TypeError: layer is none, row is no number or tokens are no texts.
        ValueError: there is no such row, or there are more tokens than steps.
    """
    of_kind("gates", "layer", layer, Layer, _LAYERS)
    row = row_of("gates", row, len(layer.valid))
    tokens = tokens_of("gates", tokens, layer.valid.shape[1])
    shown = {**layer.gates, "state h": layer.states["h"]}
    order = np.arange(layer.units) if layer.half_lives is None else np.argsort(-layer.half_lives, kind="stable")
    steps = np.flatnonzero(layer.valid[row])
    part = slice(steps[0], steps[-1] + 1) if len(steps) else slice(0, 1)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.5 + 1.35 * len(shown)), layout="constrained")
        for axes, (name, values) in zip(
            np.ravel(figure.subplots(len(shown), sharex=True, squeeze=False)), shown.items(), strict=True
        ):
            signed = name in {"candidate", "state h"}
            most = (float(np.nan_to_num(np.abs(values[row, part])).max()) or 1.0) if signed else 1.0
            image = axes.imshow(
                values[row, part][:, order].T,
                aspect="auto",
                interpolation="nearest",
                cmap=FOR_AND_AGAINST if signed else "viridis",
                vmin=-most if signed else 0,
                vmax=most,
                extent=(part.start - 0.5, part.stop - 0.5, layer.units - 0.5, -0.5),
            )
            for t in np.flatnonzero(layer.restarts[row]):
                axes.axvline(t + (0.5 if layer.backwards else -0.5), color=OTHER, lw=1.2)
            axes.set_title(name if signed else f"{name} gate", loc="left", fontsize=9)
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            bar = figure.colorbar(image, ax=axes, pad=0.01, ticks=[-most, 0, most] if signed else [0, 1])
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=0)
            bar.ax.set_yticklabels([f"{-most:.2g}", "0", f"{most:.2g}"] if signed else ["shut", "open"])
            if not len(steps):
                axes.text(0, layer.units / 2 - 0.5, "no step is read", ha="center", va="center", color=GREY)
                axes.set_xticks([])
        if len(steps):
            _name_steps(axes, tokens, part.stop)
        figure.supylabel("units, long memory on top" if layer.half_lives is not None else "units", fontsize=9)
    return figure


def inputs(layer: Layer) -> Figure:
    """Draws how much each input moves the state, the strongest on top.

    Raises:
        TypeError: layer is none.
    """
    of_kind("inputs", "layer", layer, Layer, _LAYERS)
    order = np.argsort(-layer.inputs, kind="stable")[:MOST_BARS]
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.75 + 0.24 * len(order)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(order)), layer.inputs[order], color=OURS, height=0.7)
        axes.set_yticks(range(len(order)), [layer.features[i] for i in order], color=INK)
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("mean |dh/dx| times the input's spread")
        axes.tick_params(axis="y", length=0)
    return figure


def attribution(
    found: Attribution, name: str, features: Sequence[str] | None = None, tokens: Sequence[str] | None = None
) -> Figure:
    """Draws what a prediction rests on: each step's share, and each feature's where there are several.

    Args:
        found: the attribution.
        name: the input.
        features: what its last axis means; by default numbers.
        tokens: what its steps are; by default numbers.

    Raises:
        TypeError: found is none, or features or tokens are no texts.
        ValueError: there is no such input, there are more tokens than steps, or not as many features as it has.
    """
    of_kind("attribution", "found", found, Attribution, "Give what gatewise.inspect.attribute gave.")
    one_of("attribution", "name", name, found.values)
    tokens = tokens_of("attribution", tokens, len(found.by_step(name)))
    features = None if features is None else texts("attribution", "features", features)
    if features is not None and [len(features)] != [*found.values[name].shape[1:]]:
        raise ValueError(
            f"attribution: features do not fit. Expected one for each column of {found.values[name].shape}; received "
            f"{len(features)}. Check the last axis."
        )
    values, by_step = found.values[name], found.by_step(name)
    several = values.ndim == 2 and values.shape[1] > 1
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.1 + several * (0.5 + 0.12 * min(30, values.shape[-1]))), layout="constrained")
        above, *below = np.ravel(figure.subplots(1 + several, sharex=True, height_ratios=[1.6, 2][: 1 + several]))
        above.bar(range(len(by_step)), by_step, color=np.where(by_step < 0, OTHER, OURS), width=0.85)
        above.axhline(0, color=GREY, lw=0.8)
        above.set_title("share of each step", loc="left", fontsize=9)
        above.yaxis.set_major_locator(MaxNLocator(4))
        for axes in below:
            most = float(np.abs(values).max()) or 1.0
            image = axes.imshow(
                values.T, aspect="auto", interpolation="nearest", cmap=FOR_AND_AGAINST, vmin=-most, vmax=most
            )
            axes.set_title("share of each feature", loc="left", fontsize=9)
            if values.shape[1] <= MOST_BARS:
                axes.set_yticks(range(values.shape[1]), features or [f"feature {i}" for i in range(values.shape[1])])
            bar = figure.colorbar(image, ax=axes, pad=0.01, ticks=[-most, 0, most], format="%.2g")
            bar.outline.set_visible(False)
        read = len(tokens) if tokens else len(by_step)  # what is behind the tokens is padding
        above.set_xlim(-0.6, read - 0.4)
        _name_steps(below[-1] if below else above, tokens, read)
    return figure


def _name_steps(axes: Axes, tokens: Sequence[str] | None, count: int) -> None:
    if tokens is None or count > MOST_TICKS:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("step")
        return
    long = max(map(len, tokens), default=0) > 2
    axes.set_xticks(range(min(count, len(tokens))), tokens[:count], rotation=90 if long else 0)
