# SPDX-License-Identifier: Apache-2.0
"""Anomalies in a sensor stream: a GRU estimates each sensor from all others, one step at a time.

Run `python examples/anomalies.py`; docs/anomalies.md describes the machine, its faults and the results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.metrics import precision_score, recall_score, roc_auc_score

import gatewise
from gatewise.data.series import Scaler, window_view
from gatewise.keras import GRU
from machine import FAULTS, SENSORS, break_machine, fit_lines, rolling_z_score, run_machine
from study import GREY, OTHER, OURS, PALE, STYLE, THIRD, Table, begin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

UNITS, WINDOW, EPOCHS, BATCH = 64, 200, 30, 64
SMOOTHING, ALARMS, RECOVERY = 0.3, 0.005, 150  # alarms: the share of sound steps that may give one


def hide_each(values: Array) -> NDArray[np.float32]:
    """Shows scaled values once for each sensor, with that one hidden.

    Args:
        values: (windows, steps, sensors).

    Returns:
        (sensors, windows, steps, 2 * sensors) float32: the values, 0 where hidden, and which are visible.
    """
    count = len(SENSORS)
    visible = np.broadcast_to((1 - np.eye(count))[:, None, None], (count, *values.shape))
    return np.concatenate([values * visible, visible], axis=-1).astype(np.float32)


def build() -> keras.Model:
    """Builds a model that estimates the sensor that is hidden, from all others up to the same step."""
    inputs = keras.Input((None, 2 * len(SENSORS)))
    estimates = layers.Dense(len(SENSORS))(GRU(UNITS, return_sequences=True)(inputs))
    hidden = 1 - inputs[..., len(SENSORS) :]
    return keras.Model(inputs, ops.sum(estimates * hidden, axis=-1, keepdims=True))


def train(values: Array, quick: bool) -> keras.Model:
    """Trains the model on the scaled values of a sound machine, (steps, sensors)."""
    keras.utils.set_random_seed(1)
    windows = window_view(values, WINDOW, WINDOW // 4)
    x = hide_each(windows).reshape(-1, WINDOW, 2 * len(SENSORS))
    y = np.moveaxis(windows, -1, 0).reshape(-1, WINDOW, 1)
    epochs = 12 if quick else EPOCHS
    model = build()
    rate = keras.optimizers.schedules.CosineDecay(5e-3, epochs * len(x) // BATCH)
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


class Monitor:
    """Watches a stream one step at a time, in NumPy: what a machine would run beside its sensors.

    Args:
        model: the trained one; its weights are copied.
        scaler: what its training data were scaled by.
        spread: (sensors,) how far the estimates are off while nothing is wrong.
        threshold: the score from which on a step is an alarm.
    """

    def __init__(self, model: keras.Model, scaler: Scaler, spread: Array, threshold: float = np.inf) -> None:
        layer, dense = (one for one in model.layers if one.weights)
        self.step = gatewise.Step(gatewise.GRUWeights(*layer.get_weights()))
        self.kernel, self.bias = dense.get_weights()
        self.scaler, self.spread, self.threshold = scaler, spread, threshold
        self.state = np.zeros((len(SENSORS), UNITS), np.float32)
        self.score = np.zeros(len(SENSORS))

    def __call__(self, values: Array) -> tuple[float, bool]:
        """Takes the values of one step, (sensors,); gives their score, and whether it is an alarm."""
        if not np.isfinite(values).all():
            raise ValueError(
                f"Monitor: values are not finite. Expected a number from each sensor; received {values}. A sensor that "
                "gives none is a fault by itself; leave the step out."
            )
        scaled = self.scaler(values)
        self.state = self.step(hide_each(scaled[None, None])[:, 0, 0], self.state)  # a row for each hidden sensor
        estimates = np.diagonal(self.state @ self.kernel + self.bias)
        self.score += SMOOTHING * (np.abs(estimates - scaled) / self.spread - self.score)
        return float(self.score.max()), bool(self.score.max() > self.threshold)


def estimate(model: keras.Model, scaled: Array) -> Array:
    """Estimates each sensor from the others, (steps, sensors), for a whole recording at once."""
    return np.asarray(model.predict(hide_each(scaled[None])[:, 0], verbose=0))[..., 0].T


def smooth(errors: Array) -> Array:
    """Averages how far off each sensor is, (steps, sensors), the latest counting most; gives the largest, (steps,)."""
    scores, score = np.empty(len(errors)), np.zeros(errors.shape[1])
    for step, error in enumerate(np.abs(errors)):
        score += SMOOTHING * (error - score)
        scores[step] = score.max()
    return scores


def draw(examples: dict[str, tuple[Array, NDArray[np.bool_]]], rows: dict[str, dict[str, list[float]]]) -> Figure:
    """Draws a piece of the score for each kind of fault, and how well each way tells broken from sound."""
    colours = {"GRU": OURS, "linear estimate": OTHER, "rolling z-score": THIRD}
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 6.5), layout="constrained")
        grid = figure.add_gridspec(len(FAULTS), 2, width_ratios=[1.6, 1])
        for line, (kind, (score, broken)) in enumerate(examples.items()):
            axes = figure.add_subplot(grid[line, 0])
            axes.fill_between(
                range(len(score)), 0, 1, where=broken, color=PALE, lw=0, transform=axes.get_xaxis_transform()
            )
            axes.semilogy(np.clip(score, 0.2, 20), color=OURS, lw=1)
            axes.axhline(1, color=GREY, lw=0.8, ls=":")
            axes.set_title(kind, fontsize=9, loc="left")
            axes.set(xlim=(0, len(score)), ylim=(0.2, 20), yticks=[1, 10], yticklabels=["1", "10"])
            axes.tick_params(labelbottom=line == len(FAULTS) - 1)
        axes.set_xlabel("step; shaded: broken; the line is the score over its threshold", fontsize=9, color=GREY)
        right = figure.add_subplot(grid[:, 1])
        places = np.arange(len(FAULTS))[::-1]
        for number, (way, colour) in enumerate(colours.items()):
            right.barh(
                places + 0.25 * (1 - number), [rows[kind][way][2] for kind in FAULTS], 0.22, color=colour, label=way
            )
        right.set_yticks(places, FAULTS)
        right.set(xlim=(0, 1))
        right.axvline(0.5, color=GREY, lw=0.8, ls=":")
        right.set_title("area under the ROC curve", fontsize=10, loc="left")
        right.legend(
            frameon=False, fontsize=8, labelcolor=GREY, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2
        )
    return figure


def stream(monitor: Monitor, values: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Gives each step to a monitor as it comes: (steps,) scores and alarms."""
    scores, alarms = zip(*(monitor(now) for now in values), strict=True)
    return np.array(scores), np.array(alarms)


def judge(broken: NDArray[np.bool_], score: Array, threshold: float) -> list[float]:
    """Gives precision, recall and area under the ROC curve over steps, without those soon after a fault."""
    soon_after = np.convolve(broken, np.ones(RECOVERY + 1))[: len(broken)] > 0
    judged = broken | ~soon_after
    truth, score = broken[judged], score[judged]
    alarm = score > threshold
    figures = precision_score(truth, alarm, zero_division=0), recall_score(truth, alarm), roc_auc_score(truth, score)
    return [float(figure) for figure in figures]


def main() -> None:
    """Trains on a sound machine, sets thresholds on a sound machine, and looks for faults."""
    study = begin("anomalies", "Anomalies in a sensor stream, by a GRU that estimates each sensor from the others")
    steps = 3000 if study.quick else 30000
    training, sound = run_machine(steps, seed=1), run_machine(steps, seed=2)
    scaler = Scaler().adapt(training)
    model = train(scaler(training), study.quick)
    ways = {
        "GRU": lambda scaled: estimate(model, scaled) - scaled,
        "linear estimate": fit_lines(scaler(training)),
        "rolling z-score": rolling_z_score,
    }
    errors = {way: find(scaler(sound)) for way, find in ways.items()}
    spreads = {way: np.sqrt(np.square(error).mean(axis=0)) for way, error in errors.items()}
    thresholds = {way: float(np.quantile(smooth(errors[way] / spreads[way]), 1 - ALARMS)) for way in ways}
    rows, examples, compared = {}, {}, {}
    for seed, kind in enumerate(FAULTS, start=3):
        values, broken = break_machine(kind, steps // 2, seed)
        scores = {way: smooth(find(scaler(values)) / spreads[way]) for way, find in ways.items()}
        rows[kind] = {way: judge(broken, score, thresholds[way]) for way, score in scores.items()}
        examples[kind] = (scores["GRU"] / thresholds["GRU"])[300:1500], broken[300:1500]
        streamed, alarms = stream(Monitor(model, scaler, spreads["GRU"], thresholds["GRU"]), values)
        same = bool((alarms == (scores["GRU"] > thresholds["GRU"])).all())
        compared[kind] = len(streamed), int(alarms.sum()), same, float(np.abs(streamed / scores["GRU"] - 1).max())
    cells = [[kind, way, *(f"{one:.2f}" for one in found[way])] for kind, found in rows.items() for way in ways]
    lines = [[kind, f"{a:,}", f"{b:,}", "yes" if c else "no", f"{d:.0e}"] for kind, (a, b, c, d) in compared.items()]
    tables = [
        Table("Steps with a fault, by kind of fault", ["fault", "way", "precision", "recall", "ROC-AUC"], cells),
        Table("One step at a time", ["fault", "steps", "alarms", "as of the whole", "scores apart by at most"], lines),
    ]
    study.report(tables, draw(examples, rows), {"faults": rows, "streams": compared})


if __name__ == "__main__":
    main()
