# SPDX-License-Identifier: Apache-2.0
"""Models with `gatewise.keras.GRU` in files: saved, loaded, and read by stock Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from own_process import WITHOUT_GATEWISE, run
from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

from backends import call  # noqa: E402  # after the skip
from gatewise.keras import GRU  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = 4 * tolerance(FEATURES + UNITS, TIMESTEPS)
X = np.random.default_rng(0).normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)


def small_model(layer_class: Any) -> Any:
    layers = [
        layer_class(UNITS, return_sequences=True),
        keras.layers.Bidirectional(layer_class(UNITS)),
        keras.layers.Dense(1),
    ]
    return keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), *layers])


def test_a_saved_model_comes_back_with_our_layers(tmp_path: Path) -> None:
    model = small_model(GRU)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[0], GRU)
    assert isinstance(loaded.layers[1].forward_layer, GRU)
    np.testing.assert_array_equal(call(loaded, X), call(model, X))


@pytest.mark.parametrize(
    ("writer", "reader"), [(GRU, keras.layers.GRU), (keras.layers.GRU, GRU)], ids=["to_stock", "from_stock"]
)
def test_weight_files_fit_stock_both_ways(tmp_path: Path, writer: Any, reader: Any) -> None:
    source, target = small_model(writer), small_model(reader)
    source.save_weights(tmp_path / "model.weights.h5")
    target.load_weights(tmp_path / "model.weights.h5")
    for one, other in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_close("outputs", call(target, X), call(source, X), ALLOWED)


READ_AS_STOCK = """
import json, keras, numpy as np
model = keras.saving.load_model("model.keras", custom_objects={"gatewise>GRU": keras.layers.GRU})
classes = [type(layer).__module__.split(".")[0] for layer in (model.layers[0], model.layers[1].forward_layer)]
outputs = model.predict(np.load("x.npy"), verbose=0).tolist()
print(json.dumps({"classes": classes, "outputs": outputs}))
"""


def test_a_saved_model_is_read_as_stock_where_gatewise_is_not(tmp_path: Path) -> None:
    model = small_model(GRU)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", X)
    found = run(READ_AS_STOCK + WITHOUT_GATEWISE, tmp_path)
    assert found["classes"] == ["keras", "keras"]
    assert_close("outputs", found["outputs"], call(model, X), ALLOWED)
