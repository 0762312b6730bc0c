# SPDX-License-Identifier: Apache-2.0
"""What is exported holds stock operations: it runs where gatewise is not, in every format that stock Keras writes."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from own_process import WITHOUT_GATEWISE, run
from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="it exports models of Keras: install the extra of KERAS_BACKEND")

import gatewise.fallback  # noqa: E402  # after the skip
from backends import BACKEND, call, native_calls, tensorflow_only  # noqa: E402
from gatewise.keras import GRU  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*traced for:gatewise.FallbackWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # the exporters' own
    pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::UserWarning:jax2onnx"),
]

BATCH, TIMESTEPS, FEATURES, UNITS = 1, 6, 3, 5  # LiteRT and torch export for a batch of one
ALLOWED = 4 * tolerance(FEATURES + UNITS, 2 * TIMESTEPS)
X = np.random.default_rng(0).normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)

# By format: the ending of the file, what writing and reading need, and how a process reads it.
FORMATS: dict[str, tuple[str, list[str], str]] = {
    "tf_saved_model": (
        "",
        ["tensorflow"],
        "import tensorflow as tf; model = tf.saved_model.load(path); found = model.serve(tf.constant(x)).numpy()",
    ),
    "litert": (
        ".tflite",
        ["tensorflow"],
        """
import tensorflow as tf
model = tf.lite.Interpreter(path)
model.allocate_tensors()
model.set_tensor(model.get_input_details()[0]["index"], x)
model.invoke()
found = model.get_tensor(model.get_output_details()[0]["index"])
""",
    ),
    "torch": (
        ".pt2",
        ["torch"],
        "import torch; found = torch.export.load(path).module()(torch.from_numpy(x)).detach().numpy()",
    ),
    "onnx": (
        ".onnx",
        ["onnxruntime", {"tensorflow": "tf2onnx", "jax": "jax2onnx", "torch": "onnxscript"}[BACKEND]],
        """
import onnxruntime
session = onnxruntime.InferenceSession(path)
found = session.run(None, {session.get_inputs()[0].name: x})[0]
""",
    ),
}
# What stock Keras 3.15 writes of a GRU; its openvino format fails on TensorFlow and JAX.
WRITTEN = {
    "tensorflow": ["tf_saved_model", "litert", "onnx"],
    "jax": ["tf_saved_model", "onnx"],
    "torch": ["torch", "onnx"],
}[BACKEND]

READ = """
import json
import numpy as np
x = np.load("x.npy")
path = "model{ending}"
{reading}
print(json.dumps(np.asarray(found).tolist()))
"""


@pytest.fixture(params=["ours", "patched"])
def layer_class(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Our layer; or that of stock Keras, patched."""
    if request.param == "ours":
        yield GRU
    else:
        gatewise.patch_keras()
        yield keras.layers.GRU
        gatewise.unpatch_keras()


def used_model(layer_class: Any, **options: Any) -> tuple[Any, Any]:
    """A model that has run natively, and its outputs for X."""
    layers = [
        layer_class(UNITS, return_sequences=True, **options),
        keras.layers.Bidirectional(layer_class(UNITS, **options)),
    ]
    model = keras.Sequential([keras.Input(batch_shape=X.shape), *layers, keras.layers.Dense(2)])
    with native_calls(6):
        call(model, X)  # without which Keras writes no ONNX on JAX
        expected = model.predict(X, batch_size=BATCH, verbose=0)
    return model, expected


@pytest.mark.parametrize("form", WRITTEN)
def test_an_exported_model_runs_where_gatewise_is_not(layer_class: Any, form: str, tmp_path: Path) -> None:
    ending, needed, reading = FORMATS[form]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the format {form} needs {' and '.join(missing)}")
    # LiteRT's interpreter has no loop over time: Keras's unrolled one is exported for it.
    model, expected = used_model(layer_class, unroll=form == "litert")
    with native_calls(0):
        model.export(tmp_path / f"model{ending}", format=form, verbose=False)
    np.save(tmp_path / "x.npy", X)
    program = READ.format(ending=ending, reading=reading)
    assert_close("outputs", run(program + WITHOUT_GATEWISE.replace("\nimport", "import"), tmp_path), expected, ALLOWED)
    with native_calls(3):  # the model itself runs on as before
        model.predict(X, batch_size=BATCH, verbose=0)


@tensorflow_only
@pytest.mark.filterwarnings("default:.*traced for:gatewise.FallbackWarning")
def test_an_export_says_that_keras_own_path_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatewise.fallback, "_warned", set())
    model, _ = used_model(GRU)
    with pytest.warns(gatewise.FallbackWarning, match="traced for export"):
        model.export(tmp_path / "model", format="tf_saved_model", verbose=False)
    assert "traced for export" in model.layers[0].fallback_reason


@tensorflow_only
@pytest.mark.parametrize("called", [True, False], ids=["called_before", "not_called"])
def test_an_endpoint_of_a_function_of_one_s_own_is_portable(layer_class: Any, called: bool, tmp_path: Path) -> None:
    import tensorflow as tf

    model, expected = used_model(layer_class)
    archive = keras.export.ExportArchive()
    archive.track(model)
    if called:
        function = tf.function(lambda x: model(x) + 1)
        with native_calls(3):
            function(tf.constant(X))
        archive.add_endpoint("serve", function)
        with native_calls(3):
            function(tf.constant(X))
    else:
        archive.add_endpoint("serve", lambda x: model(x) + 1, [keras.InputSpec(shape=X.shape, dtype="float32")])
    archive.write_out(tmp_path / "model", verbose=False)
    np.save(tmp_path / "x.npy", X)
    found = run(READ.format(ending="", reading=FORMATS["tf_saved_model"][2]), tmp_path)
    assert_close("outputs", found, expected + 1, ALLOWED)
