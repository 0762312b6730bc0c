# SPDX-License-Identifier: Apache-2.0
"""One training step of the layer against stock Keras on TensorFlow: forward, the loss sum(y * y), and every gradient.

Both layers have the same weights and see the same input, in graphs of their own. A round times one after the other,
so that a change of the machine's speed meets both; the table shows medians over the rounds and, in brackets, the
fastest and the slowest round.

    python benchmarks/train_step.py                     prints the table
    python benchmarks/train_step.py --readme README.md  also puts it between the markers of the README
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from workloads import WORKLOADS, Workload, make_input, make_mask

import gatewise
import gatewise.keras

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7
SECONDS_A_ROUND = 0.3
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"


def make_step(layer: Any, workload: Workload, mask: Any) -> Callable[[], Any]:  # Keras ships no types
    """Builds the layer and compiles one training step of it."""
    x = tf.constant(make_input(workload))
    mask = None if mask is None else tf.constant(mask)
    layer.build(x.shape)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, mask=mask, training=True)
            loss = tf.reduce_sum(y * y)
        return tape.gradient(loss, [x, *layer.trainable_weights])

    return step


def milliseconds(step: Callable[[], Any]) -> float:
    """Times a step, repeated for about SECONDS_A_ROUND."""
    begin, repeats = time.perf_counter(), 0
    while repeats == 0 or time.perf_counter() - begin < SECONDS_A_ROUND:
        step()[0].numpy()
        repeats += 1
    return (time.perf_counter() - begin) / repeats * 1e3


def compare(workload: Workload, *, masked: bool) -> tuple[list[float], list[float]]:
    """Times stock Keras and gatewise in turn: milliseconds a step, one number a round."""
    mask = make_mask(workload) if masked else None
    stock, ours = (cls(workload.units, return_sequences=True) for cls in (keras.layers.GRU, gatewise.keras.GRU))
    steps = [make_step(layer, workload, mask) for layer in (stock, ours)]
    ours.set_weights(stock.get_weights())
    before = gatewise.native.calls()
    gradients = [[np.array(g) for g in step()] for step in steps]
    ran = gatewise.native.calls()
    if (ran.forward - before.forward, ran.backward - before.backward) != (1, 1):
        message = f"{workload.name}: the engine did not run: {ours.fallback_reason}"
        raise RuntimeError(message)
    for theirs, own in zip(*gradients, strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-3 * float(np.abs(theirs).max()))
    rounds = [[milliseconds(step) for step in steps] for _ in range(ROUNDS)]
    return [r[0] for r in rounds], [r[1] for r in rounds]


def cell(times: list[float]) -> str:
    """Formats milliseconds: the median and, in brackets, the range."""
    median = statistics.median(times)
    digits = 2 if median < 10 else 1 if median < 100 else 0
    return f"{median:.{digits}f} ({min(times):.{digits}f}-{max(times):.{digits}f})"


def table() -> str:
    """Measures everything and returns the table as Markdown, printing each line as it comes."""
    columns = ("Keras ms", "gatewise ms", "faster")
    lines = [
        f"| workload | batch, steps, features, units | {' | '.join(columns)} | {', padded | '.join(columns)} |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(lines), flush=True)
    for workload in WORKLOADS:
        cells = [workload.name, ", ".join(map(str, workload[1:]))]
        for masked in (False, True):
            stock, ours = compare(workload, masked=masked)
            ratio = statistics.median(stock) / statistics.median(ours)
            cells += [cell(stock), cell(ours), f"**{ratio:.1f}x**"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def cpu_name() -> str:
    """The CPU as the system calls it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Prints the table; writes it into a README if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", type=Path, help="a file with the markers between which the table goes")
    readme = parser.parse_args().readme
    about = (
        f"One training step (forward, loss and all gradients) in milliseconds: median of {ROUNDS} alternating rounds "
        f"(fastest-slowest). Padded: sequences of different length, two thirds of the steps valid on average, given as "
        f"a mask. "
        f"{cpu_name()}, {gatewise.num_threads()} threads, {gatewise.isa()}; Keras {keras.__version__}, "
        f"TensorFlow {tf.__version__}."
    )
    print(about + "\n")
    text = f"{table()}\n\n{about}\nMeasured by [`benchmarks/train_step.py`](benchmarks/train_step.py).\n"
    if readme:
        before, rest = readme.read_text().split(BEGIN)
        after = rest.split(END)[1]
        readme.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


if __name__ == "__main__":
    main()
