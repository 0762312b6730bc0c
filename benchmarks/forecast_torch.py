# SPDX-License-Identifier: Apache-2.0
"""Training a forecasting model of a library, unchanged: neuralforecast's GRU with and without `patch_torch()`.

Both train from the same seed on the same series, in turn, so that a change of the machine's speed meets both; the table
shows seconds of `fit`, the median over the rounds and, in brackets, the fastest and the slowest round.

    python benchmarks/forecast_torch.py
    python benchmarks/forecast_torch.py --rounds 5 --steps 200
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.models import GRU

import gatewise

HORIZON, WINDOW, YEARS, SERIES = 12, 48, 20, 8


def make_series() -> pd.DataFrame:
    """Returns monthly series with a trend, a season and noise, in the library's long form."""
    rng = np.random.default_rng(0)
    months = np.arange(12 * YEARS)
    frames = []
    for name in range(SERIES):
        season = np.sin(2 * np.pi * (months + name) / 12)
        y = 0.01 * months + season + rng.normal(scale=0.1, size=months.size)
        frames.append(pd.DataFrame({"unique_id": name, "ds": months, "y": y.astype(np.float32)}))
    return pd.concat(frames)


def fit(series: pd.DataFrame, steps: int) -> tuple[float, list[float]]:
    """Trains a model from a fixed seed. Returns the seconds it took and the loss of every step."""
    model = GRU(
        h=HORIZON,
        input_size=WINDOW,
        max_steps=steps,
        random_seed=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    forecast = NeuralForecast([model], freq=1)
    begin = time.perf_counter()
    forecast.fit(series)
    return time.perf_counter() - begin, [loss for _, loss in forecast.models[0].train_trajectories]


def cell(times: list[float]) -> str:
    """Formats seconds: the median and, in brackets, the range."""
    return f"{statistics.median(times):.1f} ({min(times):.1f}-{max(times):.1f})"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each is trained")
    parser.add_argument("--steps", type=int, default=100, help="training steps of a fit")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # the library's dependencies warn of one another
    series = make_series()
    doors = {"PyTorch": gatewise.unpatch_torch, "patch_torch()": gatewise.patch_torch}
    times: dict[str, list[float]] = {name: [] for name in doors}
    losses: dict[str, list[float]] = {}
    fit(series, 2)  # what the first fit of a process sets up
    for _ in range(arguments.rounds):
        for name, door in doors.items():
            door()
            before = gatewise.native.calls()
            seconds, losses[name] = fit(series, arguments.steps)
            times[name].append(seconds)
            ran = gatewise.native.calls().backward > before.backward
            if ran != (name == "patch_torch()"):
                message = f"{name}: the engine {'ran' if ran else 'did not run'}"
                raise RuntimeError(message)
    gatewise.unpatch_torch()
    np.testing.assert_allclose(losses["patch_torch()"], losses["PyTorch"], rtol=1e-2)
    print(
        f"neuralforecast GRU, {SERIES} series, window {WINDOW}, horizon {HORIZON}: seconds a fit\n"
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; gatewise on {gatewise.isa()}, "
        f"{gatewise.num_threads()} threads; {arguments.rounds} alternating rounds of {arguments.steps} steps."
    )
    for name, seconds in times.items():
        print(f"{name:>14}: {cell(seconds)}   last loss {losses[name][-1]:.6f}")
    ratio = statistics.median(times["PyTorch"]) / statistics.median(times["patch_torch()"])
    print(f"{'faster':>14}: {ratio:.1f}x")


if __name__ == "__main__":
    main()
