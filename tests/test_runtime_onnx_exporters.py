# SPDX-License-Identifier: Apache-2.0
"""What the exporters of PyTorch and Keras write is read: graphs that compute what onnxruntime does."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from runtime_onnx_oracle import assert_agree, by_onnxruntime, run

torch = pytest.importorskip("torch", reason="its exporters write what is read: install the extra torch")

from runtime_onnx_torch_modules import MODULES, example, made  # noqa: E402  # after the skip

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporters' own

RECURRENT = ("gru", "lstm", "simple_rnn")
INPUTS = {"Tagger": ["ids"], "Forecaster": ["x", "state"], "TimeFirst": ["x"], "Attending": ["x"], "Simple": ["x"]}
# By module, which axes are not fixed; the batch's are called "batch".
DYNAMIC = {
    "Tagger": [{0: "batch", 1: "steps"}],
    "Forecaster": [{0: "batch", 1: "steps"}, {1: "batch"}],
    "TimeFirst": [{0: "steps", 1: "batch"}],
    "Attending": [{0: "batch", 1: "steps"}],
    "Simple": [{0: "batch", 1: "steps"}],
}
# What becomes of each module: the exporters write many more nodes.
OPERATIONS = {
    "Tagger": Counter(embedding=1, lstm=4, reverse=2, concatenate=2, layer_normalization=1, dense=1, log_softmax=1),
    "TimeFirst": Counter(gru=2, reverse=1, concatenate=2, dense=1, softmax=1),
    "Simple": Counter(affine=1, simple_rnn=1, reduce=1, dense=1),
}


def by_script(name: str) -> Any:
    """The older exporter's model, with batch and steps of any size."""
    file, names = io.BytesIO(), INPUTS[name]
    axes = dict(zip(names, DYNAMIC[name], strict=True))
    torch.onnx.export(made(name), example(name, 3, 7), file, dynamo=False, input_names=names, dynamic_axes=axes)
    return onnx.load_model_from_string(file.getvalue())


def by_dynamo(name: str, *, dynamic: bool) -> Any:
    """The newer exporter's model, of fixed sizes or with a batch of any size; steps of recurrent modules are fixed."""
    shapes = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, size in axes.items() if size == "batch"} for axes in DYNAMIC[name]
    )
    options = {"dynamic_shapes": shapes} if dynamic else {}
    program = torch.onnx.export(
        made(name), example(name, 3, 7), dynamo=True, verbose=False, input_names=INPUTS[name], **options
    )
    return program.model_proto


def check(model: Any, name: str, batch: int, steps: int) -> Any:
    """Asserts that the graph agrees with onnxruntime. Returns it."""
    feed = {key: tensor.numpy() for key, tensor in zip(INPUTS[name], example(name, batch, steps), strict=True)}
    found, graph = run(model, feed)
    assert_agree(found, by_onnxruntime(model, feed))
    return graph


@pytest.mark.parametrize("name", MODULES)
def test_a_module_by_the_older_exporter_agrees_with_onnxruntime(name: str) -> None:
    model = by_script(name)
    graphs = [check(model, name, *sizes) for sizes in ((3, 7), (5, 4))]
    assert Counter(node.operation for node in graphs[0].nodes) == OPERATIONS.get(
        name, Counter(node.operation for node in graphs[1].nodes)
    )


@pytest.mark.parametrize("name", MODULES)
def test_a_module_by_the_newer_exporter_agrees_with_onnxruntime(name: str) -> None:
    model = by_dynamo(name, dynamic=name != "TimeFirst")
    sizes = [(3, 7)] if name == "TimeFirst" else [(3, 7), (5, 7)]
    graphs = [check(model, name, *each) for each in sizes]
    if name != "Simple":  # a simple RNN is written step by step
        assert any(node.operation in RECURRENT for node in graphs[0].nodes)


def test_packed_sequences_agree_with_pytorch() -> None:
    module, (x,) = made("Packed"), example("Attending", 3, 7)
    lengths = torch.tensor([7, 4, 2])
    file, axes = io.BytesIO(), {"x": {0: "batch", 1: "steps"}, "lengths": {0: "batch"}}
    torch.onnx.export(
        module,
        (x, lengths),
        file,
        dynamo=False,
        input_names=["x", "lengths"],
        output_names=["y", "h"],
        dynamic_axes=axes,
    )
    found, graph = run(file.getvalue(), {"x": x.numpy(), "lengths": lengths.numpy()})
    expected = {name: y.detach().numpy() for name, y in zip(("y", "h"), module(x, lengths), strict=True)}
    assert_agree(found, expected)
    assert [node.operation for node in graph.nodes].count("lengths") == 1


def test_what_keras_exports_through_tf2onnx_agrees_with_onnxruntime(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="it exports what is read: install an extra that brings Keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf2onnx alone writes Keras's layers as LSTM nodes")
    layers, rng = keras.layers, np.random.default_rng(0)
    parts = [
        layers.Conv1D(5, 3, padding="causal", activation="relu"),
        layers.BatchNormalization(),
        layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
        layers.LayerNormalization(),
        layers.LSTM(4, return_sequences=True),
        layers.Dense(3, activation="elu"),
        layers.LSTM(3),
        layers.Dense(3, activation="softmax"),
    ]
    model = keras.Sequential([keras.Input((None, 6)), *parts])
    model.set_weights([rng.uniform(0.2, 0.9, weight.shape) for weight in model.get_weights()])
    model(np.zeros((2, 7, 6), np.float32))
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    source = onnx.load(tmp_path / "model.onnx")
    (given,) = [each.name for each in source.graph.input]
    for batch, steps in ((3, 7), (5, 4)):
        feed = {given: rng.normal(size=(batch, steps, 6)).astype(np.float32)}
        found, graph = run(source, feed)
        assert_agree(found, by_onnxruntime(source, feed))
        assert [node.operation for node in graph.nodes].count("lstm") == 4
