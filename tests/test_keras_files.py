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
from gatewise.data.preprocessing import Preprocessing  # noqa: E402
from gatewise.data.text import Vocabulary  # noqa: E402
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


# --- Where gatewise is not ---

LOAD = """
import json, sys
sys.modules["gatewise"] = None
import keras
try:
    keras.saving.load_model("model.keras")
except Exception as error:
    print(json.dumps(str(error)))
"""


def test_keras_own_error_ends_in_what_to_import(tmp_path: Path) -> None:
    for model in small_model(GRU), keras.Sequential([keras.Input((2, 3)), keras.layers.Bidirectional(GRU(UNITS))]):
        model.save(tmp_path / "model.keras")
        error = run(LOAD, tmp_path)
        assert "Could not locate class 'GRU'" in error
        end = error[-150:]
        assert "import gatewise.keras first" in end
        assert "custom_objects={'gatewise>GRU': keras.layers.GRU}" in end


def test_a_layer_that_was_not_built_is_described_as_such() -> None:
    config = keras.saving.serialize_keras_object(GRU(UNITS))
    assert "build_config" not in config
    assert not keras.saving.deserialize_keras_object(config).built


# What the documentation of Preprocessing says to write.
READ_WITH_A_STAND_IN = """
import json, keras, numpy as np

class Kept(keras.layers.Identity):
    def __init__(self, kept, **kwargs):
        super().__init__(**kwargs)
        self.kept = kept

stand_ins = {"gatewise>GRU": keras.layers.GRU, "gatewise>Preprocessing": Kept}
model = keras.saving.load_model("model.keras", custom_objects=stand_ins)
outputs = model.predict(np.load("x.npy"), verbose=0).tolist()
print(json.dumps({"outputs": outputs, "words": list(model.layers[0].kept["text"]["config"]["vocabulary"])}))
"""


def test_a_model_with_preprocessing_is_read_where_gatewise_is_not(tmp_path: Path) -> None:
    vocabulary = Vocabulary(output_sequence_length=4).adapt(["a warm film", "a cold film"])
    embedding = keras.layers.Embedding(vocabulary.vocabulary_size(), 3, mask_zero=True)
    layers = [Preprocessing(text=vocabulary), embedding, GRU(UNITS)]
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    model.save(tmp_path / "model.keras")
    tokens = vocabulary(["a cold book", "film"])
    np.save(tmp_path / "x.npy", tokens)
    error = run(LOAD, tmp_path)
    assert "Could not locate class 'Preprocessing'" in error
    assert "custom_objects={'gatewise>Preprocessing': Kept}" in error[-180:]
    found = run(READ_WITH_A_STAND_IN + WITHOUT_GATEWISE, tmp_path)
    assert_close("outputs", found["outputs"], call(model, tokens), ALLOWED)
    assert found["words"] == vocabulary.get_config()["vocabulary"]
