# SPDX-License-Identifier: Apache-2.0
"""A model that was saved runs where no framework is: whole sequences, streams, parts, raw text."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.cells import Cell
from gatewise.data.errors import FormatError
from gatewise.data.text import Vocabulary
from gatewise.runtime import Graph, GraphError, Model, Node, Value
from gatewise.runtime.file import preprocessing_to_json
from runtime_graphs import FEATURES, Builder, classifier, decoder, recogniser, tagger

keras = pytest.importorskip("keras", reason="a model to save: install the extra of KERAS_BACKEND")

# What a process without a framework does with the file: nothing but NumPy and safetensors can be imported
ALONE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"keras", "tensorflow", "jax", "torch", "onnx", "pandas", "matplotlib"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import numpy as np, gatewise
model = gatewise.load("model.safetensors")
given = dict(np.load("given.npz"))
found = model.predict(given)
stream = model.stream(batch=3)
steps = [stream.step(given["x"][:, t]) for t in range(given["x"].shape[1])]
np.savez("found.npz", found=found, steps=np.stack(steps, axis=1))
"""


def test_a_keras_model_predicts_and_streams_where_no_framework_is(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = keras.Input((None, FEATURES), name="x")
    h = layers.Conv1D(6, 3, padding="causal", activation="relu")(x)
    h = layers.LSTM(8, return_sequences=True)(layers.BatchNormalization()(h))
    h = layers.Add()([h, layers.GRU(8, return_sequences=True)(h)])
    model = keras.Model(x, layers.Dense(3, activation="softmax")(layers.LayerNormalization()(h)))
    rng = np.random.default_rng(0)
    model.set_weights([np.abs(rng.normal(size=w.shape)) * 0.4 + 0.05 for w in model.get_weights()])
    given = rng.normal(size=(3, 11, FEATURES)).astype(np.float32)
    gatewise.save(model, tmp_path / "model.safetensors")
    np.savez(tmp_path / "given.npz", x=given)
    subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, check=True, timeout=120)
    found = np.load(tmp_path / "found.npz")
    expected = keras.ops.convert_to_numpy(model(given))
    assert np.abs(found["found"] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert (found["steps"] == found["found"]).all()


def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    train, run = "\n".join(programs[::2]), "\n".join(programs[1::2])  # where it was trained, and where it runs
    for program in (train, ALONE.partition("import numpy")[0] + run):
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)


def test_a_row_has_the_same_bits_in_any_batch() -> None:
    model = Model(recogniser(Cell.GRU, mask=True))
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=(9, 13, FEATURES)), "valid": rng.random((9, 13)) > 0.3}
    whole = model.predict(given)
    for size in (1, 2, 5, 9, 20):
        assert (model.predict(given, batch_size=size) == whole).all()


def test_what_the_model_is_can_be_asked() -> None:
    model = Model(tagger())
    assert model.inputs == {"ids": Value((None, None), "int64")}
    assert model.outputs == {"y": Value((None, None, 3), "float32")}
    sizes = {"lstm/h": 8, "lstm/c": 8, "lstm/seen": 1}  # whether a step was valid yet: before it, outputs are zeros
    assert model.states == {name: Value((None, size), "float32") for name, size in sizes.items()}
    lines = model.summary().splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["ids", "mask", "embedding", "lstm", "tags"]
    assert re.match(r"573 weights, 2,\d+ bytes", lines[-1])


def test_several_outputs_come_by_name_and_parts_are_cut_out_by_name() -> None:
    b = Builder()
    h = b.cell("gru", Cell.GRU, b.input("x", None, 4), None, 4, 6, return_sequences=True)
    model = Model(b.graph(first=b.dense("first", h, 6, 2), second=b.dense("second", h, 6, 3)))
    x = np.ones((2, 5, 4), np.float32)
    found = model.predict(x)
    assert {name: array.shape for name, array in found.items()} == {"first": (2, 5, 2), "second": (2, 5, 3)}
    lower, upper = model.part(inputs=["x"], outputs=["gru"]), model.part(inputs=["gru"], outputs=["second"])
    assert (upper.predict(lower.predict(x)) == found["second"]).all()
    assert {*upper.graph.tensors} == {"second/kernel", "second/bias"}
    with pytest.raises(ValueError, match=r"part: value 'gur' is unknown\. Expected one of x, gru"):
        model.part(inputs=["gur"], outputs=["first"])
    with pytest.raises(ValueError, match=r"rest on x too.*Add these to inputs"):
        model.part(inputs=["first"], outputs=["second"])


def with_text() -> Model:
    graph = tagger()
    vocabulary = Vocabulary().adapt(["a warm film", "a cold film"])
    return Model(
        Graph(graph.inputs, graph.nodes, graph.outputs, graph.tensors, {"ids": preprocessing_to_json(vocabulary)})
    )


def test_raw_text_is_read_by_what_the_model_keeps(tmp_path: Path) -> None:
    model = with_text()
    expected = model.predict(Vocabulary().adapt(["a warm film", "a cold film"])(["a warm film", "a film"]))
    gatewise.save(model, tmp_path / "model")
    assert (gatewise.load(tmp_path / "model").predict(["a warm film", "a film"]) == expected).all()
    with pytest.raises(TypeError, match=r"ids is raw.*keeps nothing that reads it"):
        Model(tagger()).predict(["a warm film"])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"y": 1}, ValueError, r"the inputs do not fit\. Expected x; received y"),
        (np.zeros((2, 3, 4)), ValueError, r"x has the wrong shape\. Expected \(any, any, 5\); received \(2, 3, 4\)"),
        (np.zeros((2, 5)), ValueError, r"x has the wrong shape"),
        (np.full((2, 3, 5), "a"), TypeError, r"x is raw"),
        (np.zeros((2, 3, 5), complex), TypeError, r"Expected real numbers; received dtype complex128"),
        (np.ma.zeros((2, 3, 5)), TypeError, r"received a masked array"),
    ],
)
def test_wrong_input_is_named(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Model(classifier(Cell.GRU)).predict(given)


def test_batches_that_differ_and_batch_sizes_are_named() -> None:
    model = Model(decoder())
    given = {"source": np.zeros((2, 3, FEATURES)), "target": np.zeros((1, 3, 6))}
    with pytest.raises(ValueError, match=r"Expected as many rows; received source 2, target 1"):
        model.predict(given)
    with pytest.raises(ValueError, match=r"batch_size is 0\. Expected a whole number from 1"):
        Model(classifier(Cell.GRU)).predict(np.zeros((1, 2, 5)), batch_size=0)


def test_an_id_out_of_range_names_the_layer() -> None:
    with pytest.raises(ValueError, match=r"layer 'embedding'.*11"):
        Model(tagger()).predict([[1, 11]])


def test_what_is_no_model_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="save: model is no model"):
        gatewise.save(3, tmp_path / "m")
    torch = pytest.importorskip("torch", reason="a module that cannot say what it takes: install the extra `torch`")
    with pytest.raises(TypeError, match=r"from_torch\(module, example_inputs\)"):
        gatewise.save(torch.nn.GRU(2, 3), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_file_whose_weights_were_changed_is_refused(tmp_path: Path) -> None:
    gatewise.save(Model(recogniser(Cell.LSTM)), tmp_path / "m")
    raw = bytearray((tmp_path / "m").read_bytes())
    raw[-40] ^= 1
    (tmp_path / "m").write_bytes(raw)
    with pytest.raises(FormatError):
        gatewise.load(tmp_path / "m")


def test_graphs_that_are_none_are_named() -> None:
    with pytest.raises(GraphError, match=r"node 'd' reads y, which nothing before it makes"):
        Graph({}, (Node("d", "softmax", ("y",), ("z",)),), {"z": "z"}, {})
    with pytest.raises(GraphError, match=r"operation 'soft' is unknown"):
        Graph({}, (Node("d", "soft", ("y",), ("z",)),), {"z": "z"}, {})
