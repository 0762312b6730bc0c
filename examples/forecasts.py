# SPDX-License-Identifier: Apache-2.0
"""Forecasts with intervals: tomorrow's and the next ten days' cold, and the spots of the sun, on a rolling backtest.

Run `python examples/forecasts.py --data FOLDER`; docs/forecasts.md says what FOLDER holds, and what came out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops
from matplotlib import rc_context
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

import gatewise
from gatewise.data.preprocessing import Preprocessing
from gatewise.data.series import (
    Backtest,
    SeasonalScaler,
    TimeSeries,
    Windows,
    autoregression,
    backtest,
    future_times,
    last_window,
    persistence,
    seasonal_naive,
)
from gatewise.keras import GRU
from series_cases import CASES, HORIZON, Case, read, scaler_of
from study import GREY, INK, OTHER, OURS, STYLE, THIRD, Table, begin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Forecaster = Callable[[list[TimeSeries], int], NDArray[np.float64]]
    Fit = Callable[[list[TimeSeries]], Forecaster]

QUANTILES, SEEDS, BATCH = (0.1, 0.5, 0.9), (1, 2, 3), 64
OURSELVES = "GRU and autoregression"


def loss(y: Any, quantiles: Any) -> Any:
    """The quantile loss: a forecast of level 0.9 pays nine times as much for being too low as for being too high."""
    short, levels = y - quantiles, np.float32(QUANTILES)
    return ops.mean(ops.maximum(levels * short, (levels - 1) * short), axis=-1)


def build(case: Case, features: int) -> keras.Model:
    """Builds a model that forecasts how all ten steps differ from the last value: (batch, horizon, quantiles)."""
    values = keras.Input((case.history, features), name="values")
    mask = keras.Input((case.history,), dtype="bool", name="mask")
    state = GRU(32)(layers.GaussianNoise(0.1)(values), mask=mask)
    ahead = layers.Dense(HORIZON * len(QUANTILES))(layers.Dropout(0.3)(state))
    forecast = layers.Reshape((HORIZON, len(QUANTILES)))(ahead) + values[:, -1:, :1]
    return keras.Model({"values": values, "mask": mask}, forecast)


def train(case: Case, windows: Windows, seed: int) -> keras.Model:
    """Trains a model on all windows."""
    keras.utils.set_random_seed(seed)
    batches = windows.batches(BATCH, shuffle=True, seed=seed, with_mask=True)
    model = build(case, features=3)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, case.epochs * len(batches))
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss)
    model.fit(batches, epochs=case.epochs, verbose=0)
    return keras.Model(model.input, model.output)  # without the loss, which only this file knows


def mean_of(models: list[keras.Model], scaler: SeasonalScaler) -> keras.Model:
    """Makes a model whose forecast is the mean of others', and that keeps how its input and output are scaled."""
    inputs = {one.name: keras.Input(one.shape[1:], dtype=one.dtype, name=one.name) for one in models[0].inputs}
    given = {**inputs, "values": Preprocessing(scaler=scaler)(inputs["values"])}
    forecasts = [model(given) for model in models]
    mean = layers.Average()(forecasts) if forecasts[1:] else forecasts[0]
    return keras.Model(inputs, Preprocessing("forecast", scaler=scaler)(mean))


def gru(case: Case, seeds: tuple[int, ...], trained: dict[int, keras.Model]) -> Callable[[float], Fit]:
    """Gives what makes a way to forecast: so much of the autoregression, and the rest of the mean of the networks.

    What was trained is kept in `trained`, by the length of what it saw: every share has the same networks.
    """

    def fit(past: list[TimeSeries], share: float) -> Forecaster:
        scaler, plain = (scaler_of(case, past[0], calendar=calendar) for calendar in (True, False))
        line = autoregression(case.lags)([plain.scale(past[0])])
        if len(past[0]) not in trained:
            windows = Windows(past[0], case.history, HORIZON, scaler=scaler)
            trained[len(past[0])] = mean_of([train(case, windows, seed) for seed in seeds], scaler)
        model = trained[len(past[0])]

        def forecast(past: list[TimeSeries], horizon: int) -> NDArray[np.float64]:
            recent = past[0].steps(slice(-max(case.history, case.lags), None))
            values, mask = last_window(recent, case.history, scaler)
            given = model.predict_on_batch({"values": values, "mask": mask})[0]
            straight = np.asarray(line([plain.scale(recent)], horizon))[0]
            moved = given + share * (straight - given[:, [1]])  # the interval moves along with its median
            ahead = future_times(recent.times, horizon)
            return np.sort(scaler.inverse(moved, ahead, [0] * len(QUANTILES)))[None, :, None]

        return forecast

    return lambda share: lambda past: fit(past, share)


def choose_share(case: Case, training: TimeSeries, way: Callable[[float], Fit]) -> float:
    """Finds the share with the least error on the validation part, the end of training, by what is before that."""
    shares = np.linspace(0, 1, 11)
    errors = [backtest(training, way(s), HORIZON, case.validation, quantiles=QUANTILES).mae() for s in shares]
    return float(shares[np.argmin(errors)])


def prepared(case: Case) -> Fit:
    """Gives a `fit` for `backtest`: the autoregression, on what the network reads."""

    def fit(past: list[TimeSeries]) -> Forecaster:
        scaler = scaler_of(case, past[0])
        ahead = autoregression(case.lags)([scaler.scale(past[0])])
        return lambda past, horizon: scaler.inverse(
            np.asarray(ahead([scaler.scale(past[0])], horizon))[0], future_times(past[0].times, horizon)
        )[None]

    return fit


def judge(case: Case, series: TimeSeries, seeds: tuple[int, ...], out: Path) -> tuple[dict[str, Backtest], float]:
    """Forecasts from each step of the test part, by every way; says how much of the autoregression is in ours.

    The mean of the networks that saw all before the test goes to `out`, for a program that has no Keras.
    """
    ways = {
        "persistence": persistence(),
        "seasonal naive": seasonal_naive(case.season),
        "autoregression": autoregression(case.lags),
        "autoregression, prepared": prepared(case),
    }
    found = {name: backtest(series, fit, HORIZON, case.test) for name, fit in ways.items()}
    trained: dict[int, keras.Model] = {}
    way = gru(case, seeds, trained)
    share = choose_share(case, series.before(case.test), way)
    both, alone = (backtest(series, way(s), HORIZON, case.test, quantiles=QUANTILES) for s in (share, 0.0))
    file = out / f"forecasts_{case.columns[1].lower()}"
    out.mkdir(parents=True, exist_ok=True)
    trained[max(trained)].save(file.with_suffix(".keras"))
    gatewise.save(trained[max(trained)], file.with_suffix(".safetensors"))
    return {OURSELVES: both, "GRU alone": alone, **found}, share


def draw(results: dict[str, dict[str, Backtest]]) -> Figure:
    """Draws the end of each test part beside its forecasts, and the errors by step ahead."""
    colours = {OURSELVES: OURS, "autoregression": OTHER, "persistence": THIRD, "seasonal naive": GREY}
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 6), layout="constrained")
        for (name, found), (left, right) in zip(
            results.items(), figure.subplots(2, 2, width_ratios=[1.7, 1]), strict=True
        ):
            ours = found[OURSELVES]
            times, place = (
                ours.origins[-200:] + (HORIZON - 1) * np.diff(ours.origins[:2]),
                (slice(-200, None), 0, HORIZON - 1, 0),
            )
            left.fill_between(times, *ours.quantiles[place][:, [0, -1]].T, color=OURS, alpha=0.2, lw=0)
            left.plot(
                times, ours.forecast[place], color=OURS, lw=1.5, label="forecast, and where four fifths should lie"
            )
            left.plot(times, ours.actual[place], color=INK, lw=0.8, label="measured")
            left.set_title(f"{name}, forecast ten steps before", fontsize=10, loc="left")
            left.xaxis.set_major_formatter(ConciseDateFormatter(left.xaxis.get_major_locator()))
            for way, colour in colours.items():
                right.plot(range(1, HORIZON + 1), found[way].mae(by_step=True), "o-", ms=3, color=colour, label=way)
            right.set(ylim=(0, None), xticks=range(1, HORIZON + 1), xlabel="steps ahead")
            right.set_title("mean absolute error", fontsize=10, loc="left")
        below: Any = {"frameon": False, "fontsize": 8, "labelcolor": GREY, "loc": "upper center", "ncols": 2}
        left.legend(bbox_to_anchor=(0.5, -0.12), **below)
        right.legend(bbox_to_anchor=(0.5, -0.22), **below)
    return figure


def tabulate(results: dict[str, dict[str, Backtest]], shares: dict[str, float]) -> list[Table]:
    """Writes the errors of each series, what ours is made of, and how much lay between the quantiles."""
    tables, inside = [], []
    columns = ["way", "MAE, 1 step", "MAE, 10th step", "RMSE, 1 step", "RMSE, 10th step"]
    for name, found in results.items():
        errors = {way: (one.mae(by_step=True), one.rmse(by_step=True)) for way, one in found.items()}
        rows = [[way, *(f"{error[step]:.2f}" for error in both for step in (0, -1))] for way, both in errors.items()]
        tables.append(Table(f"Errors: {name}, {len(found[OURSELVES].origins)} origins", columns, rows))
        share = found[OURSELVES].coverage(0.1, 0.9, by_step=True)
        inside.append([name, f"{share[0]:.0%}", f"{share[-1]:.0%}", f"{share.mean():.0%}"])
    title = "Measured between the quantiles 0.1 and 0.9; 80% should be"
    made = [[name, f"{1 - share:.0%}", f"{share:.0%}"] for name, share in shares.items()]
    return [
        *tables,
        Table("What ours is made of, by the validation part", ["series", "GRU", "autoregression"], made),
        Table(title, ["series", "1 step", "10th step", "all ten"], inside),
    ]


def main() -> None:
    """Forecasts both series and compares."""
    study = begin("forecasts", "Forecasts with intervals of two series, on a rolling backtest")
    pairs = [(case, read(case, study.data)) for case in CASES]
    if study.quick:
        parts = [(case, series.before(case.test).steps(slice(-1000, None))) for case, series in pairs]
        small = {"epochs": 8, "history": 24}
        pairs = [
            (replace(case, validation=str(one.times[-120]), test=str(one.times[-60]), **small), one)
            for case, one in parts
        ]
    seeds = SEEDS[: 1 if study.quick else None]
    judged = {case.name: judge(case, series, seeds, study.out) for case, series in pairs}
    results, shares = ({name: one[i] for name, one in judged.items()} for i in (0, 1))
    facts: dict[str, Any] = {
        name: {way: one.mae(by_step=True).tolist() for way, one in all_.items()} for name, all_ in results.items()
    }
    study.report(tabulate(results, shares), draw(results), facts)


if __name__ == "__main__":
    main()
