# SPDX-License-Identifier: Apache-2.0
"""Training ends in the same bits whatever number of threads the engine runs on, and whether gates are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gatewise
from engine_case import threads
from own_process import PEAK, run

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

from backends import native_calls  # noqa: E402  # after the skip
from gatewise.keras import GRU  # noqa: E402

STEPS = 4


def final_weights(batch: int, timesteps: int, features: int, units: int, n: int) -> list[bytes]:
    """The weights after a few steps of Adam with dropout, a masked batch among them, as bytes."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(batch, timesteps, features)).astype(np.float32)
    x[::2, timesteps // 2 :] = 0
    y = rng.normal(size=(batch, 1)).astype(np.float32)
    layers = [keras.layers.Masking(), GRU(units, return_sequences=True, dropout=0.2), GRU(units)]
    model = keras.Sequential([keras.Input((timesteps, features)), *layers, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with threads(n), native_calls(2 * STEPS, 2 * STEPS):
        for _ in range(STEPS):
            model.train_on_batch(x, y)
        return [weight.tobytes() for weight in model.get_weights()]


@pytest.mark.parametrize("shape", [(1, 50, 16, 128), (3, 17, 5, 33), (37, 20, 16, 64), (512, 10, 64, 128)], ids=str)
def test_final_weights_do_not_depend_on_the_number_of_threads(shape: tuple[int, int, int, int]) -> None:
    expected = final_weights(*shape, 1)
    for n in (2, 3, 4):
        assert final_weights(*shape, n) == expected, f"{n} threads"


def test_final_weights_are_the_same_when_gates_are_computed_again() -> None:
    shape = (3, 200, 5, 33)
    expected = final_weights(*shape, 2)
    with gatewise.recompute():
        assert final_weights(*shape, 2) == expected


# What of the gates a training step keeps of 400,000 steps of 64 units, in bytes: two floats each, or on PyTorch four.
GATES = 2 * 4 * 400_000 * 64
# What that step adds to the process's memory, in bytes. Equal runs differ by 5 MB: the framework's own.
MEMORY = """
import json
import keras, numpy as np
import gatewise, gatewise.keras
from contextlib import nullcontext
def step(timesteps):
    layer = gatewise.keras.GRU(64, return_sequences=True)
    model = keras.Sequential([keras.Input((timesteps, 1)), layer, keras.layers.Lambda(lambda y: y[:, -1, :1])])
    model.compile("sgd", "mse")
    with gatewise.recompute() if {recompute} else nullcontext():
        return peak(lambda: model.train_on_batch(np.ones((1, timesteps, 1), np.float32), np.ones((1, 1), np.float32)))
step(100)
print(json.dumps([step(400_000), list(gatewise.native.calls())]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the memory of a process from /proc")
def test_gates_that_are_computed_again_take_no_memory(tmp_path: Path) -> None:
    kept, calls = run(PEAK + MEMORY.format(recompute=False), tmp_path)
    recomputed, same_calls = run(PEAK + MEMORY.format(recompute=True), tmp_path)
    assert calls == same_calls == [2, 2]
    assert kept - recomputed > 0.9 * GATES, f"{kept / 1e6:.0f} MB with gates kept, {recomputed / 1e6:.0f} MB without"
