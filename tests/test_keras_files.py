# SPDX-License-Identifier: Apache-2.0
"""Models with `gatewise.keras.GRU` in files: saved, read by stock Keras, exported to run without gatewise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

tf = pytest.importorskip("tensorflow", reason="the layer runs on TensorFlow: install the extra `tensorflow`")
keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra `tensorflow`")

from gatewise import fallback, native  # noqa: E402  # after the skips
from gatewise.keras import GRU, FallbackWarning  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="set KERAS_BACKEND=tensorflow")

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = tolerance(FEATURES + UNITS, TIMESTEPS)
X = np.random.default_rng(0).normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)


@pytest.fixture
def fresh_warnings() -> Iterator[None]:
    """Forgets which reasons were warned of."""
    seen = set(fallback._warned)
    fallback._warned.clear()
    yield
    fallback._warned.clear()
    fallback._warned.update(seen)


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
    np.testing.assert_array_equal(loaded(X), model(X))


@pytest.mark.parametrize(
    ("writer", "reader"), [(GRU, keras.layers.GRU), (keras.layers.GRU, GRU)], ids=["to_stock", "from_stock"]
)
def test_weight_files_fit_stock_both_ways(tmp_path: Path, writer: Any, reader: Any) -> None:
    source, target = small_model(writer), small_model(reader)
    source.save_weights(tmp_path / "model.weights.h5")
    target.load_weights(tmp_path / "model.weights.h5")
    for one, other in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_close("outputs", target(X), source(X), 4 * ALLOWED)


def without_gatewise(program: str, folder: Path) -> dict[str, Any]:
    """Runs a program in a process that never sees gatewise. Returns the JSON object that it prints last."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.pop("gatewise") is False
    return dict(result)


READ_AS_STOCK = """
import json, sys, keras, numpy as np
model = keras.saving.load_model("model.keras", custom_objects={"gatewise>GRU": keras.layers.GRU})
print()
print(json.dumps({
    "classes": [type(layer).__module__.split(".")[0] for layer in (model.layers[0], model.layers[1].forward_layer)],
    "outputs": np.array(model(np.load("x.npy"))).tolist(),
    "gatewise": "gatewise" in sys.modules,
}))
"""


def test_a_saved_model_is_read_as_stock_where_gatewise_is_not(tmp_path: Path) -> None:
    model = small_model(GRU)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", X)
    result = without_gatewise(READ_AS_STOCK, tmp_path)
    assert result["classes"] == ["keras", "keras"]
    assert_close("outputs", result["outputs"], model(X), 4 * ALLOWED)


RUN_EXPORTED = """
import json, sys, numpy as np, tensorflow as tf
model = tf.saved_model.load("exported")
print()
print(json.dumps({"outputs": model.serve(np.load("x.npy")).numpy().tolist(), "gatewise": "gatewise" in sys.modules}))
"""


@pytest.mark.usefixtures("fresh_warnings")
def test_an_exported_model_runs_where_gatewise_is_not(tmp_path: Path) -> None:
    model = small_model(GRU)
    expected = model.predict(X, verbose=0)
    with pytest.warns(FallbackWarning, match="traced for export"):
        model.export(tmp_path / "exported", format="tf_saved_model", verbose=False)
    assert "traced for export" in model.layers[0].fallback_reason
    np.save(tmp_path / "x.npy", X)
    assert_close("outputs", without_gatewise(RUN_EXPORTED, tmp_path)["outputs"], expected, 4 * ALLOWED)
    before = native.calls()
    np.testing.assert_array_equal(model.predict(X, verbose=0), expected)
    assert native.calls().forward == before.forward + 3, "after the export the model runs natively again"
