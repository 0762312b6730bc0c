# SPDX-License-Identifier: Apache-2.0
"""Training ends in the same bits whatever number of threads the engine runs on."""

from __future__ import annotations

import numpy as np
import pytest

from engine_case import threads

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
