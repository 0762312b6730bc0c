# SPDX-License-Identifier: Apache-2.0
"""When not to use a GRU: three tasks, and beside the GRU a small Transformer and a small convolution.

Each has about as many weights, reads from left to right and answers at every step. Looking up asks for something said
any time before, tracking for a state that never ends, spotting for a short shape in noise, with few examples of it.
"""

import time
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.layers import Conv1D, Dense, Input, LayerNormalization, MultiHeadAttention
from matplotlib import rc_context
from matplotlib.figure import Figure

from gatewise.keras import GRU
from study import GREY, INK, OTHER, OURS, PALE, STYLE, THIRD, Study, Table, begin

KEYS, VALUES, PLACES, NOISE, SEEDS = 16, 8, 5, 0.8, 3


class Examples(NamedTuple):
    """Sequences and the answers to them."""

    x: Any  # (batch, timesteps, features) float32
    y: Any  # (batch, timesteps) whole numbers
    asked: Any  # (batch, timesteps) float32, 1 where an answer counts


def look_up(count: int, rng: np.random.Generator, steps: int = 64) -> Examples:
    """A step tells which value a key has, or asks for it. Every sequence has values of its own."""
    key, asks = rng.integers(KEYS, size=(count, steps)), rng.random((count, steps)) < 0.5
    value = np.take_along_axis(rng.integers(VALUES, size=(count, KEYS)), key, axis=1)
    told = np.eye(KEYS)[key] * ~asks[:, :, None]
    known = np.take_along_axis(told.cumsum(axis=1), key[:, :, None], axis=2)[:, :, 0] > 0
    x = np.concatenate([np.eye(KEYS)[key], np.eye(VALUES)[value] * ~asks[:, :, None]], axis=-1)
    return Examples(x.astype("float32"), value, (asks & known).astype("float32"))


def track(count: int, rng: np.random.Generator, steps: int = 64) -> Examples:
    """A step moves a token on a row of five places, to the left, to the right or not at all. Where is it?"""
    move, place = rng.integers(3, size=(count, steps)), np.zeros((count, steps), dtype=int)
    for step in range(steps):
        place[:, step] = np.clip(place[:, step - 1] + move[:, step] - 1, 0, PLACES - 1)  # there are walls at both ends
    return Examples(np.eye(3, dtype="float32")[move], place, np.ones(move.shape, "float32"))


def spot(count: int, rng: np.random.Generator, steps: int = 64) -> Examples:
    """Noise with three shapes of nine steps in it. Which shape has just ended?"""
    phase = np.arange(9) * 2 * np.pi / 9
    shapes = np.stack([np.sin(phase), np.sin(2 * phase), np.cos(phase)])
    x, y = rng.normal(0, NOISE, size=(count, steps)), np.full((count, steps), -1)
    for row in range(count):
        for end in range(8 + rng.integers(9), steps, 18):
            y[row, end] = rng.integers(len(shapes))
            x[row, end - 8 : end + 1] += shapes[y[row, end]]
    return Examples(x[:, :, None].astype("float32"), np.maximum(y, 0), (y >= 0).astype("float32"))


class Places(keras.layers.Layer):
    """Adds to each step a code of its place, sines and cosines, as arXiv 1706.03762 does."""

    def call(self, x: Any) -> Any:
        """Adds the code to x, (batch, timesteps, features)."""
        angle = np.arange(1024)[:, None] / 10000 ** (np.arange(0, x.shape[-1], 2) / x.shape[-1])
        code = np.concatenate([np.sin(angle), np.cos(angle)], axis=-1).astype("float32")
        return x + keras.ops.convert_to_tensor(code)[: keras.ops.shape(x)[1]]


def transformer(x: Any, width: int = 40) -> Any:
    """Two blocks of a causal Transformer."""
    x = Places()(Dense(width)(x))
    for _ in range(2):
        seen = LayerNormalization()(x)
        x = x + MultiHeadAttention(4, width // 4)(seen, seen, use_causal_mask=True)
        x = x + Dense(width)(Dense(2 * width, activation="relu")(LayerNormalization()(x)))
    return LayerNormalization()(x)


def convolution(x: Any) -> Any:
    """Three causal convolutions, which together see 29 steps back."""
    for dilation in (1, 2, 4):
        x = Conv1D(48, 5, padding="causal", dilation_rate=dilation, activation="relu")(x)
    return x


def gru(x: Any) -> Any:
    """One GRU."""
    return GRU(84, return_sequences=True)(x)


MODELS = {"GRU": gru, "Transformer": transformer, "convolution": convolution}
TASKS = {"look up": look_up, "track": track, "spot": spot}


def learn(model: keras.Model, training: Examples, epochs: int) -> float:
    """Trains a model; returns how many seconds of processor time it took."""
    batch = 32 if len(training.x) < 1000 else 64
    rate = keras.optimizers.schedules.CosineDecay(0.003, epochs * (-(-len(training.x) // batch)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss)
    begun = time.process_time()
    model.fit(training.x, training.y, sample_weight=training.asked, batch_size=batch, epochs=epochs, verbose=0)
    return time.process_time() - begun


def judge(answers: Any, part: Examples) -> float:
    """Counts how many of the answers that were asked for are right, in percent."""
    return 100 * float(np.average(answers == part.y, weights=part.asked))


def measure(task: str, sizes: dict[str, tuple[int, int]], quick: bool) -> dict[str, Any]:
    """Trains every model on a task with several seeds.

    Returns:
        By model: accuracies by seed, also on longer sequences where there are any, weights, and seconds in the mean.
    """
    make, rng, (count, epochs) = TASKS[task], np.random.default_rng(0), sizes[task]
    training, test = make(count, rng), make(500, rng)
    longer = make(200, rng, 256) if task == "track" else None
    commonest = np.bincount(training.y[training.asked > 0]).argmax()
    found: dict[str, Any] = {"the commonest answer": {"right": [judge(commonest, test)], "weights": 0, "seconds": 0.0}}
    for name in ("GRU",) if quick else MODELS:
        found[name] = {"right": [], "longer": [], "weights": 0, "seconds": 0.0}
        for seed in range(1 if quick else SEEDS):
            keras.utils.set_random_seed(seed)
            source = Input((None, training.x.shape[-1]))
            model = keras.Model(source, Dense(int(training.y.max()) + 1)(MODELS[name](source)))
            found[name]["seconds"] += learn(model, training, epochs) / (1 if quick else SEEDS)
            found[name]["weights"] = model.count_params()
            for key, part in (("right", test), ("longer", longer)):
                if part:
                    answers = model.predict(part.x, batch_size=100, verbose=0).argmax(axis=-1)
                    found[name][key].append(judge(answers, part))
        print(task, name, found[name])
    if longer:
        found["the commonest answer"]["longer"] = [judge(commonest, longer)]
    return found


def draw(found: dict[str, dict[str, Any]]) -> Figure:
    """Draws the accuracies, and the processor time that training took."""
    colours = {"GRU": OURS, "Transformer": OTHER, "convolution": THIRD}
    bars = [(task, "right", task) for task in found]
    bars.insert(-1, ("track", "longer", "track,\n4x as long"))
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(4, 3))
        for place, (name, colour) in enumerate(colours.items()):
            x = np.arange(len(bars)) + 0.27 * (place - 1)
            known = [found[task].get(name, {"right": [0], "longer": [0]})[key] for task, key, _ in bars]
            left.bar(x, [np.mean(one) for one in known], width=0.25, color=colour, label=name)
            for where, values in zip(x, known, strict=True):
                left.plot([where] * len(values), values, ".", color=INK, markersize=4)
            seconds = [found[task].get(name, {"seconds": 0})["seconds"] for task in found]
            right.bar(np.arange(len(found)) + 0.27 * (place - 1), seconds, width=0.25, color=colour)
        for where, (task, key, _) in enumerate(bars):
            guess = found[task]["the commonest answer"][key]
            left.plot([where - 0.42, where + 0.42], [*guess, *guess], color=GREY, linestyle=":")
        left.set_xticks(range(len(bars)), [label for *_, label in bars], color=INK)
        right.set_xticks(range(len(found)), list(found), color=INK)
        left.set_title("Right, %; dotted: the commonest answer", loc="left", color=INK)
        right.set_title("Training, seconds of processor time", loc="left", color=INK)
        for axes in (left, right):
            axes.grid(axis="y", color=PALE)
            axes.set_axisbelow(True)
        left.legend(frameon=False, labelcolor=GREY, ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.3))
    return figure


def tabulate(found: dict[str, dict[str, Any]]) -> list[Table]:
    """Makes a table for each task."""
    tables = []
    for task, models in found.items():
        rows = []
        for name, one in models.items():
            right = [
                f"{np.mean(one[key]):.1f} ({min(one[key]):.1f} to {max(one[key]):.1f})"
                for key in ("right", "longer")
                if one.get(key)
            ]
            rows.append([name, f"{one['weights']:,}", *right, f"{one['seconds']:.0f}"])
        longer = ["% right, 4x as long"] if task == "track" else []
        columns = ("model", "weights", "% right", *longer, "training, s")
        tables.append(Table(f"{task.capitalize()}: mean and range of the seeds", columns, rows))
    return tables


def run(study: Study) -> None:
    """Trains every model on every task, and reports."""
    full = {"look up": (4000, 6), "track": (3000, 6), "spot": (100, 20)}
    sizes = {"track": (500, 6), "spot": (60, 2)} if study.quick else full
    found = {task: measure(task, sizes, study.quick) for task in sizes}
    study.report(tabulate(found), draw(found), found)


if __name__ == "__main__":
    run(begin("when_not", "When not to use a GRU: beside a small Transformer and a small convolution"))
