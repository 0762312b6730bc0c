# SPDX-License-Identifier: Apache-2.0
"""What a GRU forgets: how well the last state still knows a symbol, by how many steps ago it was read.

Two tasks on random symbols. "Keep everything": after the last step, name each of the last 40 symbols. "Keep one": a
single symbol is marked, anywhere in the sequence; name it at the end. The first asks for room, the second for choice.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras.layers import LSTM, Dense, Input, Reshape, SimpleRNN
from matplotlib import rc_context
from matplotlib.figure import Figure

from gatewise.keras import GRU
from study import GREY, INK, OTHER, OURS, PALE, STYLE, THIRD, Study, Table, begin

SYMBOLS = 4  # a guess is right one time in four
STEPS, BACK = 50, 40  # of a sequence in which everything is to be kept, and how many symbols are asked for
KINDS = {"SimpleRNN": SimpleRNN, "GRU": GRU, "LSTM": LSTM}
COLOURS = {"SimpleRNN": OTHER, "GRU": OURS, "LSTM": THIRD}


class Examples(NamedTuple):
    """Sequences and what is asked about them."""

    x: Any  # (batch, timesteps, features) float32
    y: Any  # (batch, questions) whole numbers, the symbols asked for
    ago: Any  # (batch, questions), how many steps before the last one each of them was read


def keep_everything(count: int, rng: np.random.Generator) -> Examples:
    """Makes sequences whose last 40 symbols are asked for."""
    symbols = rng.integers(SYMBOLS, size=(count, STEPS))
    ago = np.tile(np.arange(BACK), (count, 1))
    return Examples(np.eye(SYMBOLS, dtype="float32")[symbols], symbols[:, ::-1][:, :BACK], ago)


def keep_one(count: int, rng: np.random.Generator, steps: int = 60) -> Examples:
    """Makes sequences with one marked symbol, which is asked for: a fifth feature is 1 at its step."""
    symbols, place = rng.integers(SYMBOLS, size=(count, steps)), rng.integers(steps, size=(count, 1))
    mark = np.arange(steps) == place
    x = np.concatenate([np.eye(SYMBOLS)[symbols], mark[:, :, None]], axis=-1).astype("float32")
    return Examples(x, symbols[mark][:, None], steps - 1 - place)


TASKS = {"everything": (keep_everything, 1), "one": (keep_one, 6)}  # and how many distances are averaged together


def recall(memory: keras.Layer, training: Examples, test: Examples, epochs: int) -> tuple[Any, int]:
    """Trains a memory with a layer on top that answers.

    Returns:
        Which answers on the test part are right, (batch, questions), and the number of weights of the memory.
    """
    questions = training.y.shape[1]
    answer = [Dense(questions * SYMBOLS), Reshape((questions, SYMBOLS))]
    model = keras.Sequential([Input(training.x.shape[1:]), memory, *answer])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = keras.optimizers.schedules.CosineDecay(0.005, epochs * (len(training.x) // 64))
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss)
    model.fit(training.x, training.y, batch_size=64, epochs=epochs, verbose=0)
    return model.predict(test.x, batch_size=512, verbose=0).argmax(axis=-1) == test.y, memory.count_params()


def by_distance(right: Any, ago: Any, width: int) -> Any:
    """Averages the right answers over distances: of 0 to width - 1 steps, and so on."""
    return np.array([right[ago // width == place].mean() for place in range(ago.max() // width + 1)])


def kept(curve: Any) -> float:
    """Counts for how many symbols the answers are as good as knowing: guesses do not count."""
    return float(np.clip((curve - 1 / SYMBOLS) / (1 - 1 / SYMBOLS), 0, None).sum())


def draw(everything: dict[str, Any], one: dict[str, Any]) -> Figure:
    """Draws recall against distance for both tasks."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 5.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for name, curve in everything.items():
            kind, units = name.split()[:2]
            line = {"16": ":", "64": "-", "256": "--"}[units]
            left.plot(100 * curve, line, color=COLOURS[kind], linewidth=2, label=name.removesuffix(" units"))
        for name, curve in one.items():
            right.plot(
                TASKS["one"][1] * (np.arange(len(curve)) + 0.5),
                100 * curve,
                "o-",
                color=COLOURS[name.split()[0]],
                linewidth=2,
                label=name.removesuffix(" units"),
            )
        for axes, title in (
            (left, "Keep everything: name each of the last 40"),
            (right, "Keep one: the marked symbol"),
        ):
            axes.axhline(100 / SYMBOLS, color=GREY, linewidth=1)
            axes.set_title(f"{title}, % right", loc="left", color=INK)
            axes.set_xlabel("steps ago", color=GREY)
            axes.set_ylim(15, 103)
            axes.grid(axis="y", color=PALE)
            axes.legend(frameon=False, labelcolor=GREY, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))
        right.annotate("a guess", (5, 100 / SYMBOLS - 1), color=GREY, va="top")
    return figure


def measure(
    task: str, sizes: tuple[int, int], settings: list[tuple[str, int]], epochs: int, seeds: int
) -> dict[str, Any]:
    """Trains memories on a task.

    Returns:
        By name of the memory: how often it was right by distance, (seeds, distances), and its number of weights.
    """
    make, width = TASKS[task]
    rng = np.random.default_rng(0)
    training, test = (make(count, rng) for count in sizes)
    found = {}
    for kind, units in settings:
        curves = []
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            right, weights = recall(KINDS[kind](units), training, test, epochs)
            curves.append(by_distance(right, test.ago, width))
        found[f"{kind} {units} units"] = (np.array(curves), weights)
        print(f"{task}: {kind} {units} units, {np.mean(curves):.0%} right")
    return found


def tabulate(everything: dict[str, Any], one: dict[str, Any]) -> list[Table]:
    """Makes the tables."""
    distances = (0, 4, 9, 19, 39)
    rows = [["a list of the last 40", "0", "40.0", *["100"] * len(distances)]]
    for name, (curves, weights) in everything.items():
        sums = [kept(curve) for curve in curves]
        shares = [f"{100 * curves.mean(axis=0)[ago]:.0f}" for ago in distances]
        rows.append([name, f"{weights:,}", f"{np.mean(sums):.1f} ({min(sums):.1f} to {max(sums):.1f})", *shares])
    rows.append(["a guess", "0", "0.0", *[f"{100 / SYMBOLS:.0f}"] * len(distances)])
    single = []
    for name, (curves, weights) in one.items():
        by_seed = ", ".join(f"{100 * curve.mean():.0f}" for curve in curves)
        single.append(
            [name, f"{weights:,}", by_seed, *(f"{100 * curves.mean(axis=0)[place]:.0f}" for place in (0, 4, 9))]
        )
    return [
        Table(
            "Keep everything: symbols kept (mean and range of the seeds), and % right by how many steps ago",
            ("memory", "weights", "symbols kept", *(f"{ago}" for ago in distances)),
            rows,
        ),
        Table(
            "Keep one: % right with each seed, and by how many steps ago",
            ("memory", "weights", "seeds", "0-5", "24-29", "54-59"),
            single,
        ),
    ]


def run(study: Study) -> None:
    """Trains every memory on both tasks, with several seeds, and reports."""
    sizes, epochs, seeds = ((1500, 300), 5, 1) if study.quick else ((5000, 500), 8, 3)
    small, middle = [(kind, 16) for kind in KINDS], [(kind, 64) for kind in KINDS]
    everything = measure(
        "everything", sizes, small[:2] if study.quick else [*small, *middle, ("GRU", 256)], epochs, seeds
    )
    one = measure("one", sizes, small[1:2] if study.quick else middle, epochs, seeds)
    figure = draw(*({name: curves.mean(axis=0) for name, (curves, _) in each.items()} for each in (everything, one)))
    facts = {
        task: {name: {"curves": curves.tolist(), "weights": weights} for name, (curves, weights) in found.items()}
        for task, found in (("everything", everything), ("one", one))
    }
    study.report(tabulate(everything, one), figure, facts)


if __name__ == "__main__":
    run(begin("forgetting", "What a GRU forgets: recall against distance, beside a simple RNN and an LSTM"))
