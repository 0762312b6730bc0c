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
from backends import BACKEND, arrays_of, call, native_calls, tensorflow_only  # noqa: E402
from gatewise.keras import GRU  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
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


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets which reasons were warned of: no export warns, since stock operations are what is wanted there."""
    monkeypatch.setattr(gatewise.fallback, "_warned", set())


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
def test_an_exported_layer_says_why_keras_own_path_ran(tmp_path: Path) -> None:
    model, _ = used_model(GRU)
    model.export(tmp_path / "model", format="tf_saved_model", verbose=False)
    assert "traced for export" in model.layers[0].fallback_reason


def test_a_layer_that_never_runs_natively_is_exported_without_a_warning_too(layer_class: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input(batch_shape=X.shape), layer_class(UNITS, activation="elu")])
    with pytest.warns(gatewise.FallbackWarning, match="no activation 'elu'"):
        call(model, X)
    gatewise.fallback._warned.clear()
    form = WRITTEN[0]
    model.export(tmp_path / f"model{FORMATS[form][0]}", format=form, verbose=False)


# --- Sequences of another length than those that were traced ---

LONGER = np.random.default_rng(1).normal(size=(3, TIMESTEPS + 3, FEATURES)).astype(np.float32)


def model_of_any_length(layer_class: Any, **options: Any) -> Any:
    layers = [
        layer_class(UNITS, return_sequences=True, **options),
        keras.layers.Bidirectional(layer_class(UNITS, **options)),
    ]
    model = keras.Sequential([keras.Input((None, FEATURES)), *layers])
    call(model, X)
    return model


@pytest.mark.skipif(BACKEND == "torch", reason="an export from PyTorch needs a length")
@pytest.mark.parametrize("form", ["tf_saved_model", "onnx"])
def test_an_export_of_any_length_reads_other_lengths_and_batches(layer_class: Any, form: str, tmp_path: Path) -> None:
    ending, needed, reading = FORMATS[form]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the format {form} needs {' and '.join(missing)}")
    model = model_of_any_length(layer_class)
    model.export(tmp_path / f"model{ending}", format=form, verbose=False)
    np.save(tmp_path / "x.npy", LONGER)
    found = run(READ.format(ending=ending, reading=reading), tmp_path)
    assert_close("outputs", found, call(model, LONGER), 2 * ALLOWED)


torch_only = pytest.mark.skipif(BACKEND != "torch", reason="a claim about PyTorch: KERAS_BACKEND=torch")


@torch_only
@pytest.mark.parametrize("form", ["onnx", "openvino", "torch"])
@pytest.mark.parametrize("options", [{}, {"reset_after": False}], ids=["reset_after", "reset_before"])
def test_an_export_of_unknown_length_is_refused_on_torch(
    layer_class: Any, options: dict[str, Any], form: str, tmp_path: Path
) -> None:
    path = tmp_path / f"model{FORMATS[form][0] if form in FORMATS else '.xml'}"
    with pytest.raises(
        ValueError,
        match=r"keras.Model.export: (gatewise.keras|keras.layers).GRU 'gru.*' would read sequences of unknown length. "
        r"Expected a known number of steps.*received the input shapes \(None, None, 3\). "
        r"Give input_signature=\[keras.InputSpec\(shape=\(None, 50, 3\), dtype='float32'\)\]",
    ):
        model_of_any_length(layer_class, **options).export(str(path), format=form, verbose=False)
    assert not path.exists()


@torch_only
def test_the_cure_for_an_unknown_length_works(layer_class: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="it reads ONNX")
    model = model_of_any_length(layer_class)
    signature = [keras.InputSpec(shape=(None, *LONGER.shape[1:]), dtype="float32")]
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False, input_signature=signature)
    np.save(tmp_path / "x.npy", LONGER)
    found = run(READ.format(ending=".onnx", reading=FORMATS["onnx"][2]), tmp_path)
    assert_close("outputs", found, call(model, LONGER), 2 * ALLOWED)


@torch_only
def test_an_unknown_size_that_no_layer_of_ours_reads_is_no_mistake(layer_class: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="it reads ONNX")
    known, unknown = keras.Input((TIMESTEPS, FEATURES)), keras.Input((None, FEATURES))
    added = layer_class(FEATURES)(known) + keras.layers.GlobalAveragePooling1D()(unknown)
    model = keras.Model([known, unknown], added)
    call(model, [X, X])
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)


@torch_only
def test_the_length_of_a_model_class_of_one_s_own_is_asked_for(layer_class: Any, tmp_path: Path) -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.gru = layer_class(UNITS, stateful=True)

        def build(self, shape: Any) -> None:
            self.gru.build(shape)

        def call(self, x: Any) -> Any:
            return self.gru(x)

    model = Own()
    model.build((BATCH, None, FEATURES))
    call(model, X)
    before = arrays_of(model.gru.states[0] + 0)
    with pytest.raises(ValueError, match="would read sequences of unknown length"):
        model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    np.testing.assert_array_equal(arrays_of(model.gru.states[0] + 0), before)  # asking changes nothing


@torch_only
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python integer", "ignore:.*is deprecated")
def test_what_torch_jit_traced_refuses_another_length(layer_class: Any) -> None:
    import torch

    model = model_of_any_length(layer_class)
    with pytest.warns(gatewise.FallbackWarning, match="traced for export"):  # it may stay in this process, and be slow
        traced = torch.jit.trace(model, torch.from_numpy(LONGER[:, :TIMESTEPS]), check_trace=False)
    found = traced(torch.from_numpy(LONGER[:, :TIMESTEPS])).detach().numpy()
    assert_close("outputs", found, call(model, LONGER[:, :TIMESTEPS]), 2 * ALLOWED)
    with pytest.raises(RuntimeError, match="split_sizes"):  # the first steps of the longer, it would read otherwise
        traced(torch.from_numpy(LONGER))


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
