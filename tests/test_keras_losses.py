# SPDX-License-Identifier: Apache-2.0
"""The tutorial's model learns as it does with stock Keras: same seeds, same losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

from backends import native_calls  # noqa: E402  # after the skip
from gatewise.keras import GRU  # noqa: E402

SEQUENCES, EPOCHS, BATCH = 100, 5, 16
DROPOUTS: list[Any] = [
    {},
    pytest.param({"dropout": 0.2}, marks=pytest.mark.deep),
    pytest.param({"recurrent_dropout": 0.2}, marks=pytest.mark.deep),
    {"dropout": 0.2, "recurrent_dropout": 0.2},
]


def losses_of(layer_class: Any, dropouts: dict[str, float]) -> list[float]:
    """Trains the quickstart's model from fixed seeds. Returns each epoch's loss."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(SEQUENCES, 10, 5)).astype(np.float32), rng.integers(0, 2, SEQUENCES)
    keras.utils.set_random_seed(1)
    layers = [
        layer_class(50, return_sequences=True, **dropouts),
        layer_class(50, **dropouts),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
    model = keras.Sequential([keras.Input((10, 5)), *layers])
    model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")
    history = model.fit(x, y, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    return list(history.history["loss"])


@pytest.mark.parametrize("dropouts", DROPOUTS, ids=lambda options: "_and_".join(options) or "no_dropout")
def test_losses_equal_those_of_stock_keras(dropouts: dict[str, float]) -> None:
    calls = 2 * EPOCHS * -(-SEQUENCES // BATCH)  # two layers, every batch
    with native_calls(calls, calls):
        ours = losses_of(GRU, dropouts)
    np.testing.assert_allclose(ours, losses_of(keras.layers.GRU, dropouts), rtol=1e-4, atol=0)
    assert len(set(ours)) == EPOCHS, "the model learns nothing"
