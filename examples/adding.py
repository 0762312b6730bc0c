# SPDX-License-Identifier: Apache-2.0
"""The adding problem, on one thread: which cells can keep a number for hundreds of steps?

Run `python examples/adding.py`. Every run sees new sequences at every step; it ends when the error on sequences that it
never trains on is less than 0.01, or after `--steps`. A line is printed for each run when it ends.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import gatewise
from gatewise.keras import GRU, LSTM, SimpleRNN
from long_memory import adding

CELLS = ("GRU", "LSTM", "chrono-LSTM", "SimpleRNN")
SOLVED, EVERY, TESTED = 0.01, 100, 2000  # mean square error; steps between two tests; sequences in each


def layer(cell: str, units: int, length: int) -> Any:
    """Makes the recurrent layer.

    Keras's LSTM begins with forget gates of 0.73, which halve what it holds within three steps. A chrono-LSTM begins
    with gates that hold it for some 1 to `length` steps, by biases log(u), u uniform from 1 to `length` - 1, and input
    gates shut as far (Tallec and Ollivier 2018, arXiv 1804.11188).
    """
    if cell != "chrono-LSTM":
        return {"GRU": GRU, "LSTM": LSTM, "SimpleRNN": SimpleRNN}[cell](units)
    held = keras.random.uniform((units,), 1, length - 1)
    bias = keras.ops.concatenate([-keras.ops.log(held), keras.ops.log(held), keras.ops.zeros(2 * units)])
    begun = keras.initializers.Constant(keras.ops.convert_to_numpy(bias))  # of input, forget, candidate, output
    return LSTM(units, unit_forget_bias=False, bias_initializer=begun)


def build(cell: str, units: int, rate: float, length: int) -> Any:
    """Builds the model: a layer that reads the sequence, and a number."""
    model = keras.Sequential([keras.Input((None, 2)), layer(cell, units, length), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "mse")
    return model


def run(cell: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Trains one cell with one seed, which decides its first weights; every cell sees the same sequences.

    Returns:
        What came out: the number of steps, the error at each test, whether it was solved, and the seconds it took.
    """
    keras.utils.set_random_seed(seed)
    model = build(cell, given.units, given.rate, given.length)
    random, begun, errors = np.random.default_rng([seed, 1]), time.process_time(), []
    test = adding(TESTED, given.length, np.random.default_rng([seed, 2]))
    for step in range(1, given.steps + 1):
        model.train_on_batch(*adding(given.batch, given.length, random))
        if step % EVERY == 0 or step == given.steps:
            answers = model.predict(test[0], batch_size=500, verbose=0)
            errors.append(float(np.mean((answers - test[1]) ** 2)))
            print(f"\r{cell:<11} seed {seed}  step {step:,}: {errors[-1]:.4f}", end=" ", flush=True)
            if errors[-1] < SOLVED:
                break
    return {
        "cell": cell,
        "seed": seed,
        "steps": step,
        "solved": errors[-1] < SOLVED,
        "errors": errors,
        "cpu_seconds": time.process_time() - begun,
        "length": given.length,
        "units": given.units,
    }


def main() -> None:
    """Runs every cell with every seed."""
    parser = argparse.ArgumentParser(prog="adding.py", description="The adding problem, by cell and seed")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--length", type=int, default=400, help="steps of a sequence")
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64, help="sequences at each step of training")
    parser.add_argument("--rate", type=float, default=3e-3, help="of Adam; gradients are clipped to a norm of 1")
    parser.add_argument("--steps", type=int, default=10_000, help="of training, at most")
    parser.add_argument("--out", type=Path, help="a file that each run's results are added to, a line of JSON each")
    given = parser.parse_args()
    gatewise.set_num_threads(1)
    print(f"adding problem, {given.length} steps, {given.units} units; solved below {SOLVED}, always saying 1: 0.167")
    for seed in given.seeds:
        for cell in given.cells:
            found = run(cell, seed, given)
            end = f"solved after {found['steps']:,} steps" if found["solved"] else f"not solved in {found['steps']:,}"
            text = f"\r{cell:<11} seed {seed}  mean square error {found['errors'][-1]:.4f}  {end}"
            print(f"{text}  {found['cpu_seconds']:,.0f} CPU seconds", flush=True)
            if given.out:
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
