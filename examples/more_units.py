# SPDX-License-Identifier: Apache-2.0
"""More units are not always better: error in training and in validation against the number of units.

The task is the demo's: half a year of the CO2 record of Mauna Loa, forecast from the two years before. Everything but
the number of units stays the same, and each number is tried with several seeds.
"""

from typing import Any

import keras
import numpy as np
from keras.layers import Dense, Input
from matplotlib import rc_context
from matplotlib.figure import Figure

from gatewise.cli import co2
from gatewise.keras import GRU
from study import GREY, INK, OTHER, OURS, PALE, STYLE, THIRD, Study, Table, begin

EVERY = 4  # weeks: of the two years that a forecast may look at, the network reads every fourth, up to the last


def read(windows: co2.Windows, scale: co2.Scale) -> Any:
    """Gives what the network reads: (n, 26, 3) float32."""
    return scale.inputs(windows)[:, EVERY - 1 :: EVERY]


def errors(parts: list[co2.Windows], units: int, epochs: int, seed: int) -> tuple[list[float], int]:
    """Trains on the first part.

    Returns:
        The root mean square error on each part, in ppm, and the number of weights.
    """
    keras.utils.set_random_seed(seed)
    scale = co2.Scale.fit(parts[0])
    x = read(parts[0], scale)
    model = keras.Sequential([Input(x.shape[1:]), GRU(units), Dense(co2.HORIZON)])
    model.compile(keras.optimizers.Adam(0.003), "mse")
    model.fit(x, scale.targets(parts[0]), batch_size=64, epochs=epochs, verbose=0)
    answers = [model.predict(read(part, scale), batch_size=512, verbose=0) for part in parts]
    found = [co2.error(part, scale.forecast(part, answer)) for part, answer in zip(parts, answers, strict=True)]
    return found, model.count_params()


def draw(units: list[int], found: Any, naive: float) -> Figure:
    """Draws the errors against the number of units, with the gap between them."""
    training, validation = found[:, :, 0], found[:, :, 1]
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        for name, values, colour in (("validation", validation, OTHER), ("training", training, OURS)):
            left.plot(units, values.mean(axis=1), "o-", color=colour, linewidth=2, label=name)
            left.plot(units, values, ".", color=colour, markersize=4)
        left.axhline(naive, color=GREY, linestyle=":", label="validation: last year + growth")
        left.set_title("Error, ppm", loc="left", color=INK)
        right.plot(units, (validation - training).mean(axis=1), "o-", color=THIRD, linewidth=2)
        right.plot(units, validation - training, ".", color=THIRD, markersize=4)
        right.set_title("Gap: validation less training, ppm", loc="left", color=INK)
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(units, [str(number) for number in units])
            axes.minorticks_off()
            axes.set_xlabel("units", color=GREY)
            axes.set_ylim(bottom=0)
            axes.grid(axis="y", color=PALE)
        left.legend(frameon=False, labelcolor=GREY)
    return figure


def run(study: Study) -> None:
    """Sweeps the number of units, and reports."""
    units, epochs, seeds = ([2, 16], 5, 1) if study.quick else ([2, 4, 8, 16, 32, 64, 128, 256], 60, 3)
    parts = list(co2.split(co2.cut_windows(co2.load())))
    naive = [co2.error(part, co2.naive_forecasts(part)["last year + growth"]) for part in parts]
    rows, found = [], []
    for number in units:
        results = [errors(parts, number, epochs, seed) for seed in range(seeds)]
        found.append([error for error, _ in results])
        training, validation, test = np.mean(found[-1], axis=0)
        spread = np.ptp(np.array(found[-1])[:, 1])
        cells = (
            f"{results[0][1]:,}",
            *(f"{value:.3f}" for value in (training, validation, spread, validation - training, test)),
        )
        rows.append([str(number), *cells])
        print(*rows[-1], sep="  ")
    training, validation, test = naive
    rows.append(
        [
            "last year + growth",
            "0",
            *(f"{value:.3f}" for value in (training, validation, 0, validation - training, test)),
        ]
    )
    best = units[int(np.mean(found, axis=1)[:, 1].argmin())]
    table = Table(
        f"Root mean square error, ppm, mean of {seeds} seeds; least in validation: {best} units",
        ("units", "weights", "training", "validation", "its range", "gap", "test"),
        rows,
    )
    facts = {"units": units, "errors": found, "naive": naive, "best": best}
    study.report([table], draw(units, np.array(found), naive[1]), facts)


if __name__ == "__main__":
    run(
        begin(
            "more_units", "More units are not always better: training and validation error against the number of units"
        )
    )
