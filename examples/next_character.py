# SPDX-License-Identifier: Apache-2.0
"""What layer normalisation and zoneout change: GRU and LSTM with and without them say which character comes next.

The text is that of `writer.py`, which every Python has. Run `python examples/next_character.py`; what is found is kept
in `build/studies/next_character/`, so that an interrupted study goes on there.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import gatewise
from gatewise.data.text import Vocabulary
from gatewise.keras import GRU, LSTM, LayerNormGRU, LayerNormLSTM
from study import GREY, INK, OTHER, OURS, PALE, STYLE, Table, begin, console
from writer import read_parts

if TYPE_CHECKING:
    from gatewise.compare import Comparison
    from gatewise.compare.table import Row

WINDOW, BATCH, SEEDS = 200, 32, 5
ZONEOUT, CELL = 0.05, 0.5  # of h, and of an LSTM's c: Krueger et al. 2016, section 5.1.2, on characters
CELLS = {
    "GRU": GRU,
    "GRU, zoneout": partial(GRU, zoneout=ZONEOUT),
    "LayerNormGRU": LayerNormGRU,
    "LSTM": LSTM,
    "LSTM, zoneout": partial(LSTM, zoneout=ZONEOUT, zoneout_cell=CELL),
    "LayerNormLSTM": LayerNormLSTM,
}
COLOURS = dict(zip(CELLS, (OURS, OURS, OURS, OTHER, OTHER, OTHER), strict=True))
LINES = dict(zip(CELLS, ("-", ":", "--") * 2, strict=True))


def windows(tokens: Any) -> tuple[Any, Any]:
    """Cuts a text into windows that do not overlap: what is read, and the character after each, both (rows, WINDOW)."""
    found = np.lib.stride_tricks.sliding_window_view(np.asarray(tokens, np.int32), WINDOW + 1)[::WINDOW]
    return found[:, :-1], found[:, 1:]


def build(characters: int, layer: Any, units: int) -> Any:
    """Builds a model that gives logits of the next character; its score is the cross-entropy alone."""
    ids = keras.Input((None,), dtype="int32")
    states = layer(units, return_sequences=True)(keras.layers.Embedding(characters, 64)(ids))
    model = keras.Model(ids, keras.layers.Dense(characters)(states))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003, clipnorm=1.0), loss)
    return model


def bits(nats: float) -> float:
    """Turns a cross-entropy into bits for each character."""
    return nats / math.log(2)


def curve(row: Row) -> list[float]:
    """The validation part's bits after each epoch that all seeds reached: their mean."""
    every = zip(*(trial.curve for trial in row.trials), strict=False)
    return [bits(float(np.mean([point.validation_loss for point in points]))) for points in every]


def results(found: Comparison) -> Table:
    """Tabulates what each cell reaches, how fast, and how much better it knows the text that it was trained on."""
    rows = []
    for row in found.rows:
        best = [min(trial.curve, key=lambda point: point.validation_loss) for trial in row.trials]
        epochs = [1 + trial.curve.index(point) for trial, point in zip(row.trials, best, strict=True)]
        less = bits(float(np.mean([point.validation_loss - point.loss for point in best])))
        step = "-" if row.cpu_seconds_a_step is None else f"{1e3 * row.cpu_seconds_a_step:.0f}"
        rows.append([row.cell, f"{row.parameters:,}", _score(row), f"{np.mean(epochs):.0f}", f"{less:.2f}", step])
    columns = ["", "weights", "bits", "epoch", "lower in training by", "step, CPU ms"]
    seeds = max(len(row.trials) for row in found.rows)
    return Table(f"Bits for each character of the validation part: mean, 95 % interval, {seeds} seeds", columns, rows)


def _score(row: Row) -> str:
    found = row.interval
    return f"{bits(row.mean):.3f}" + (f" ({bits(found.low):.3f} to {bits(found.high):.3f})" if found else "")


def says(found: Comparison) -> Table:
    """Writes down which differences the intervals support, and what was left out."""
    every = [found.sentence, *found.left_out]
    about = f"{found.settings['epochs']} epochs at the most; {found.seconds / 60:.0f} minutes on {found.machine}"
    return Table("What the figures say; nothing else follows from them", ["", about], [["", " ".join(every)]])


def draw(found: Comparison) -> Figure:
    """Draws the intervals, and how the validation part gets cheaper from epoch to epoch."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 4.2), layout="constrained", dpi=120)
        left, right = figure.subplots(1, 2, width_ratios=(2, 3))
        for i, row in enumerate(reversed(found.rows)):
            colour = COLOURS[row.cell]
            left.plot([bits(score) for score in row.scores], [i] * len(row.scores), "o", color=colour, alpha=0.5, mew=0)
            if row.interval:
                left.plot([bits(end) for end in row.interval[::2]], [i, i], color=colour, lw=2)
            values = curve(row)
            right.plot(range(1, len(values) + 1), values, LINES[row.cell], color=colour, label=row.cell)
        left.set_yticks(range(len(found.rows)), [row.cell for row in reversed(found.rows)], color=INK)
        left.set_xlabel("bits for each character: every seed, and the interval", color=GREY)
        right.set_xlabel("epoch", color=GREY)
        right.set_ylim(None, min(2.6, right.get_ylim()[1]))
        right.legend(*(part[::-1] for part in right.get_legend_handles_labels()), frameon=False)
        left.set_title("Fewer bits: less surprised", loc="left", color=INK)
        right.set_title("On the way: the mean of the seeds", loc="left", color=INK)
        for axes in (left, right):
            axes.grid(color=PALE, lw=0.6)
            axes.tick_params(length=0)
    return figure


def main() -> None:
    """Compares the six, and reports."""
    about = "What layer normalisation and zoneout change: GRU and LSTM say which character comes next"
    study = begin("next_character", about, minutes=48)
    parts = read_parts()[:2]
    chosen: dict[str, Any] = {"units": 128, "seeds": SEEDS, "folder": study.out / study.name}
    if study.quick:
        parts, chosen = (parts[0][:20_000], parts[1][:3_000]), {"units": 16, "seeds": 2, "epochs": 2}
    vocabulary = Vocabulary(split="character").adapt(parts[:1])
    train, valid = (windows(tokens) for tokens in vocabulary.encode(parts))
    settings: dict[str, Any] = {"ways": ("units",), "batch_size": BATCH, "task": "classes", **chosen}
    model = partial(build, vocabulary.vocabulary_size())
    found = gatewise.compare(
        (*train, *valid), minutes=study.minutes, cells=CELLS, build=model, verbose=True, **settings
    )
    console.print(str(found), highlight=False, markup=False)
    facts = {"bits": {row.cell: [bits(score) for score in row.scores] for row in found.rows}}
    study.report([results(found), says(found)], draw(found), facts)


if __name__ == "__main__":
    main()
