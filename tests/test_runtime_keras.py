# SPDX-License-Identifier: Apache-2.0
"""Claims about `from_keras`: the graph of a model computes what Keras does, and what it cannot hold is named."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="these are claims about Keras models: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402
import gatewise.keras as ours  # noqa: E402
from gatewise.data.errors import FormatError  # noqa: E402
from gatewise.data.preprocessing import Preprocessing  # noqa: E402
from gatewise.data.scaling import Scaler  # noqa: E402
from gatewise.data.text import Vocabulary  # noqa: E402
from gatewise.reference.operations import run  # noqa: E402
from gatewise.runtime import Model, file  # noqa: E402
from gatewise.runtime.doors.from_keras import KerasModelError, from_keras  # noqa: E402
from own_process import FRAMEWORKS, HIDE, result, start  # noqa: E402
from runtime_models import (  # noqa: E402  # after the skip
    LENGTHS,
    MODELS,
    UNITS,
    Array,
    draw,
    lengths_of,
    model_of,
    numbers,
    of_keras,
    stack,
    without_warnings_of_masks,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewise.runtime.graph import Graph

L = keras.layers
ALLOWED = 1e-5  # of the largest output: what float32 costs in the deepest of the models


# --- The numbers ---


def error_of(expected: Array, found: Array) -> float:
    """The largest error, relative to the largest value; infinite where one has NaN and the other not."""
    assert expected.shape == found.shape
    if (np.isnan(expected) != np.isnan(found)).any():
        return np.inf
    there = ~np.isnan(expected)
    largest = np.abs(expected[there]).max(initial=0)
    return float(np.abs(expected[there] - found[there]).max(initial=0) / max(largest, 1e-30))


def errors_of(graph: Graph, inputs: dict[str, Array], expected: list[Array]) -> dict[str, float]:
    """The error of each output, by the formulas and by the engine."""
    given = {name: np.asarray(inputs[name], dtype) for name, (_, dtype) in graph.inputs.items()}
    with np.errstate(all="ignore"):  # NaN in padding
        both = {"formulas": run(graph, given), "engine": Model(graph).run(given)}
    return {
        f"{name}, {who}": error_of(one, found[name])
        for who, found in both.items()
        for name, one in zip(graph.outputs, expected, strict=True)
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_graph_computes_what_keras_does(name: str) -> None:
    model = model_of(name)
    graph = from_keras(model)
    for length in lengths_of(model):
        errors = errors_of(graph, *of_keras(name, length))
        assert max(errors.values()) <= ALLOWED, errors


PREDICT = f"""{HIDE.format(FRAMEWORKS)}
import json
from pathlib import Path
import gatewise, numpy as np
for path in Path(".").glob("*.safetensors"):
    model = gatewise.load(path)
    for given in Path(".").glob(f"{{path.stem}}.*.inputs.npz"):
        arrays = np.load(given)
        found = model.predict({{name: arrays[name] for name in model.inputs}})
        found = [found[name] for name in model.outputs] if isinstance(found, dict) else [found]
        np.savez(str(given).replace(".inputs.", ".found."), *found)
print(json.dumps(sorted({{*{FRAMEWORKS}}} & {{*sys.modules}})))
"""


def test_every_architecture_goes_by_file_into_one_process_without_a_framework(tmp_path: Path) -> None:
    for name in MODELS:
        gatewise.save(model_of(name), tmp_path / f"{name}.safetensors")
        for length in lengths_of(model_of(name)):
            np.savez(tmp_path / f"{name}.{length}.inputs.npz", **of_keras(name, length)[0])
    assert result(start(PREDICT, tmp_path)) == []
    errors = {}
    for name in MODELS:
        for length in lengths_of(model_of(name)):
            found = np.load(tmp_path / f"{name}.{length}.found.npz")
            expected = of_keras(name, length)[1]
            assert len(found) == len(expected)
            errors[name, length] = np.max([error_of(one, found[f"arr_{i}"]) for i, one in enumerate(expected)])
    assert len(errors) > len(MODELS)
    assert {key: error for key, error in errors.items() if not error <= ALLOWED} == {}


def test_the_table_has_every_layer_and_at_least_60_architectures() -> None:
    from gatewise.runtime.doors.from_keras import LAYERS

    met = {type(layer).__name__ for name in MODELS for layer in model_of(name)._flatten_layers()}
    refused = {"GroupQueryAttention", "GroupedQueryAttention"}
    not_of_sequences = {"SpatialDropout2D", "SpatialDropout3D"}
    assert {*LAYERS} - met - refused - not_of_sequences == set()
    assert len(MODELS) >= 60


# Those with most tensors of one shape, or whose weights act on padding alone; the others in the long tests
MANY = ("wavenet", "transformer_block", "multi_head_attention_masks", "merge_with_one_mask", "stacked_bidirectional")
REST = [pytest.param(name, marks=() if name in MANY else pytest.mark.deep) for name in MODELS]


@pytest.mark.parametrize("name", REST)
def test_any_two_tensors_of_a_file_that_change_places_are_refused(name: str, tmp_path: Path) -> None:
    graph = from_keras(model_of(name))
    inputs = {name: np.asarray(a, graph.inputs[name].dtype) for name, a in of_keras(name, LENGTHS[0])[0].items()}
    expected, tensors = run(graph, inputs), graph.tensors
    pairs = [
        (a, b)
        for a, b in itertools.combinations(tensors, 2)
        if tensors[a].shape == tensors[b].shape and not np.array_equal(tensors[a], tensors[b])
    ]
    same = []
    for a, b in pairs:
        swapped = dataclasses.replace(graph, tensors={**tensors, a: tensors[b], b: tensors[a]})
        # The fingerprint is that of the swapped tensors, the sample that of the model
        file.write(swapped, tmp_path / "swapped", run=lambda _, sample: Model(graph).run(sample))
        with np.errstate(invalid="ignore"):  # a square root may be one of a negative number now
            found = run(swapped, inputs)
        if max(error_of(expected[key], found[key]) for key in found) <= ALLOWED:
            same.append((a, b))
            continue
        with pytest.raises(FormatError, match="the model does not compute what it was saved with"):
            gatewise.load(tmp_path / "swapped")
    # Two models may be one: of biases that are added up, say, or of those of keys, which softmax does not see
    assert name not in MANY or (len(pairs) - len(same) >= 10 and len(same) <= 3)


# --- Names ---


def test_inputs_and_outputs_have_the_names_of_the_model() -> None:
    graph = from_keras(model_of("encoder_decoder"))
    assert [*graph.inputs] == ["ids_source", "ids_written"]
    assert {*graph.outputs} == {"answer", "scores", "after"}
    last = L.GRU(UNITS, return_state=True, name="last")
    x = numbers()
    graph = from_keras(keras.Model(x, [*last(x), L.Dense(2, name="tags")(x)]))
    assert [*graph.outputs] == ["last", "last_2", "tags"]


def test_inputs_are_batch_first_of_any_batch_and_say_what_they_hold() -> None:
    found = from_keras(model_of("encoder_decoder")).inputs["ids_source"], from_keras(model_of("stateful")).inputs["x"]
    assert found == (((None, None), "int64"), ((None, None, 5), "float32"))


def test_ids_that_keras_takes_as_floats_are_ids() -> None:
    assert from_keras(model_of("ids_as_floats")).inputs["ids"].dtype == "int64"


def test_whole_numbers_that_are_computed_with_are_numbers() -> None:
    x = keras.Input((None, 3), name="x", dtype="int32")
    assert from_keras(keras.Model(x, L.Rescaling(1 / 255)(x))).inputs["x"].dtype == "float32"


def test_tensors_are_named_by_layer_and_shared_where_layers_are() -> None:
    graph = from_keras(model_of("nested_models"))
    names = {name for name in graph.tensors if name.startswith("encoder/gru")}
    assert {name.rsplit("/")[-1] for name in names} == {"kernel", "recurrent_kernel", "bias"}
    assert len(names) == 3
    nodes = [node for node in graph.nodes if node.name.startswith("encoder") and "gru" in node.name]
    assert len(nodes) == 2
    assert nodes[0].weights == nodes[1].weights


def test_stacked_cells_and_directions_have_names_of_their_own() -> None:
    layer = L.Bidirectional(L.RNN([L.GRUCell(3, name="low"), L.LSTMCell(2, name="high")], name="both"), name="read")
    graph = from_keras(stack(layer))
    assert "read/forward_both/low/kernel" in graph.tensors
    assert "read/backward_both/high/recurrent_kernel" in graph.tensors


def test_what_acts_in_training_alone_leaves_nothing() -> None:
    graph = from_keras(model_of("vanishing"))
    assert [node.operation for node in graph.nodes] == ["not_equal", "zero_masked", "gru", "dense"]


# --- Files, gatewise's layers, preprocessing ---


def with_preprocessing() -> Any:
    words_of = Vocabulary().adapt(["a warm film", "a cold film"])
    given = keras.Input((None,), name="text", dtype="int32")
    vector = numbers(2, name="table")
    scaled = Preprocessing(scaler=Scaler().adapt(np.arange(10.0).reshape(5, 2)))(vector)
    x = L.Embedding(8, 4, mask_zero=True)(Preprocessing(vocabulary=words_of, others=[words_of])(given))
    x = L.Concatenate()([ours.GRU(UNITS)(x), scaled])
    model = keras.Model([given, vector], Preprocessing(of_all=words_of)(L.Dense(2)(x)))
    draw(model, 1)
    return model


def test_preprocessing_is_kept_by_the_input_that_it_stands_at() -> None:
    kept = from_keras(with_preprocessing()).preprocessing
    assert {name: one["class_name"].partition(">")[2] for name, one in kept.items()} == {
        "table": "Scaler",
        "text": "Vocabulary",
        "others/0": "Vocabulary",
        "of_all": "Vocabulary",
    }
    saved = Vocabulary.from_json(json.dumps(kept["text"]))
    expected = Vocabulary().adapt(["a warm film", "a cold film"])
    assert saved(["a cold film"]).tolist() == expected(["a cold film"]).tolist()
    assert Vocabulary.from_json(json.dumps(kept["others/0"])) == saved
    assert Scaler.from_json(json.dumps(kept["table"])) is not None


READ = """
import json, sys
from gatewise.runtime import Model  # noqa: E402
from gatewise.runtime.doors.from_keras import from_keras
graph = from_keras("model.keras")
assert not {"gatewise.keras", "gatewise.data.preprocessing"} & {*sys.modules}, "those that register were imported"
sums = {name: float(array.astype("float64").sum()) for name, array in graph.tensors.items()}
print(json.dumps({"sums": sums, "nodes": [node.operation for node in graph.nodes], "kept": graph.preprocessing}))
"""


def test_a_file_is_read_on_another_backend_and_nothing_is_registered(tmp_path: Path) -> None:
    model = with_preprocessing()
    model.save(tmp_path / "model.keras")
    expected = from_keras(model)
    found = result(start(READ, tmp_path, KERAS_BACKEND="numpy"))
    assert found["sums"] == {name: float(a.astype("float64").sum()) for name, a in expected.tensors.items()}
    assert found["nodes"] == [node.operation for node in expected.nodes]
    assert found["kept"] == json.loads(json.dumps(expected.preprocessing))


FILES = [
    *("masking", "layers_of_gatewise", "rnn_of_cells", "stacked_bidirectional", "time_distributed_model"),
    *("concatenate_steps", "merge_concatenate", "merge_with_one_mask", "attention", "multi_head_attention"),
    *("encoder_decoder", "nested_models", "nested_models_of_several_inputs", "deep_residual", "elementary_operations"),
]


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_the_graph_of_its_model(name: str, tmp_path: Path) -> None:
    expected = from_keras(model_of(name))
    model_of(name).save(tmp_path / "model.keras")
    with without_warnings_of_masks():
        found = from_keras(tmp_path / "model.keras")
    assert [without_names(node) for node in found.nodes] == [without_names(node) for node in expected.nodes]
    assert found.inputs == expected.inputs
    for one, other in zip(found.tensors.values(), expected.tensors.values(), strict=True):
        assert np.array_equal(one, other)


def without_names(node: Any) -> tuple[Any, ...]:
    """What a node is, but for the names that Keras numbers anew when it reads a file."""
    return node.operation, len(node.inputs), [name is None for name in node.inputs], node.options, [*node.weights]


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        from_keras(tmp_path / "model.keras")
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(KerasModelError, match=r"model.h5 is no .keras file.*suffix '.h5'"):
        from_keras(str(tmp_path / "model.h5"))


# --- Other dtypes ---


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_float16", "mixed_bfloat16"])
def test_other_dtypes_are_float32_and_said(dtype: str) -> None:
    model = keras.Sequential(
        [
            numbers(),
            L.GRU(UNITS, recurrent_initializer="he_normal", name="reader", dtype=dtype),
            L.Dense(2, name="score"),
        ]
    )
    with pytest.warns(UserWarning, match=rf"{dtype.removeprefix('mixed_')} in reader") as warned:
        graph = from_keras(model)
    assert len([one for one in warned if one.category is UserWarning]) == 1
    assert {str(array.dtype) for array in graph.tensors.values()} == {"float32"}
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(model.layers[0].cell.kernel, "float32"))
    assert np.array_equal(graph.tensors["reader/kernel"], kernel)


# --- What a graph cannot hold is named ---


class Doubled(L.Layer):  # type: ignore[misc]  # Keras has no types
    def call(self, inputs: Any) -> Any:
        return inputs * 2


class OwnGRU(L.GRU):  # type: ignore[misc]
    pass


class OwnCell(L.GRUCell):  # type: ignore[misc]
    pass


class Program(keras.Model):  # type: ignore[misc]
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = L.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs)

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], 2)


def functional(layer: Callable[[Any], Any], *shape: int | None) -> Any:
    x = numbers(*shape)
    return keras.Model(x, layer(x))


def nested(layer: Any) -> Any:
    inner = keras.Sequential([keras.Input((None, 5)), layer], name="encoder")
    return keras.Sequential([numbers(), inner, L.GRU(2)], name="whole")


def _attention(masked: bool = False, **options: Any) -> Any:
    x, mask = numbers(), keras.Input((None, None), name="mask", dtype="bool")
    layer = L.MultiHeadAttention(2, 3, **options)
    return keras.Model([x, mask], layer(x, x, attention_mask=mask) if masked else layer(x, x))


def _grouped(x: Any) -> Any:
    return L.GroupQueryAttention(4, 4, 2)(x, x)


def _program() -> Any:
    model = Program(name="whole")
    model(np.zeros((1, 3), np.float32))
    return model


def _ids_and_numbers() -> Any:
    given, x = words()
    return keras.Model(given, L.Concatenate()([L.GRU(2)(x), L.Rescaling(0.5)(given[:, :3])]))


def _masked_joins() -> Any:
    given = keras.Input((UNITS,))
    inner = keras.Model(given, L.Maximum()([L.Dense(2)(given), L.Dense(2)(given)]))
    ids = keras.Input((None, 3), dtype="int32")
    x = L.TimeDistributed(L.GRU(UNITS))(L.Embedding(8, UNITS)(ids))
    return keras.Model(ids, L.TimeDistributed(inner)(L.Masking()(x)))


def _quantized() -> Any:
    model = stack(L.Dense(4), L.Dense(2))
    model.layers[0].quantize("int8")
    return model


CANNOT: dict[str, tuple[Callable[[], Any], str]] = {
    "lambda": (lambda: stack(L.Lambda(lambda x: x, name="odd")), r"'odd' \(Lambda\): a graph has no such layer"),
    "own_layer": (lambda: nested(Doubled(name="odd")), r"'encoder/odd' \(Doubled\).*test_runtime_keras.Doubled"),
    "own_recurrent": (lambda: stack(OwnGRU(2, name="odd")), r"'odd' \(OwnGRU\): a graph has no such layer"),
    "own_cell": (lambda: stack(L.RNN(OwnCell(2), name="odd")), r"'odd' \(RNN\): its cell.*OwnCell"),
    "activation": (
        lambda: nested(L.GRU(2, activation="elu", return_sequences=True, name="odd")),
        r"'encoder/odd' \(GRU\): its activation is one that a graph has not. Expected one of tanh.*received elu",
    ),
    "gates": (lambda: stack(L.LSTM(2, recurrent_activation="softmax")), r"its recurrent_activation is one"),
    "own_activation": (lambda: stack(L.Dense(2, activation=keras.ops.cos)), r"\(Dense\): its activation.*received cos"),
    "axis": (lambda: stack(L.LayerNormalization(axis=1, name="odd"), shape=(7, 5)), r"'odd' .*Expected the last axis"),
    "statistics": (lambda: stack(L.BatchNormalization(axis=1), shape=(7, 5)), r"axis is another.*last axis"),
    "softmax": (lambda: stack(L.Softmax(axis=1)), r"\(Softmax\): axis is another"),
    "masked_softmax": (lambda: functional(lambda x: L.Softmax()(L.Masking()(x))), r"Use Activation\('softmax'\)"),
    "einsum": (lambda: stack(L.EinsumDense("abc,cde->abde", (None, 2, 3))), r"option equation.*abc,cd->abd"),
    "channels": (lambda: stack(L.GlobalMaxPooling1D(data_format="channels_first")), r"data_format is another"),
    "batch": (lambda: functional(lambda x: L.Concatenate(axis=0)([x, x])), r"\(Concatenate\): option axis.*the batch"),
    "window": (lambda: _attention(sliding_window=3), r"\(MultiHeadAttention\): option sliding_window"),
    "whole_mask": (lambda: _attention(masked=True), r"option attention_mask .*use_causal_mask"),
    "grouped": (lambda: functional(_grouped), r"heads that share keys"),
    "operation": (lambda: functional(lambda x: keras.ops.cumsum(x, axis=1)), r"\(Cumsum\): a graph has no such oper"),
    "slice": (lambda: functional(lambda x: x[0]), r"\(GetItem\): option key .*the whole batch"),
    "reduced_batch": (lambda: functional(lambda x: keras.ops.mean(x, axis=0)), r"\(Mean\): option axis"),
    "array": (
        lambda: functional(lambda x: L.GRU(2)(x, initial_state=keras.ops.zeros((3, 2)))),
        r"\(GRU\): an array in the model has a batch of its own.*\(3, 2\)",
    ),
    "program": (_program, r"'whole' \(Program\): a model with a `call` of its own"),
    "program_inside": (lambda: nested(Program(name="odd")), r"'encoder/odd' \(Program\): a model with a `call`"),
    "unbuilt": (lambda: keras.Sequential([L.Dense(2)], name="odd"), r"'odd' \(Sequential\): the model is not built"),
    "layer": (lambda: L.Dense(2, name="odd"), r"'odd' \(Dense\): this is no model"),
    "both": (_ids_and_numbers, r"input 'ids' is read as ids and as numbers"),
    "masked_joins": (_masked_joins, r"\(Functional\): it joins values at each step.*no mask"),
    "quantized": (_quantized, r"\(Dense\): its weights are quantized.*int8"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_a_graph_cannot_hold_is_named(name: str) -> None:
    build, expected = CANNOT[name]
    with pytest.raises(KerasModelError, match=expected) as raised:
        from_keras(build())
    assert str(raised.value).startswith("from_keras: ")
    assert " Expected " in str(raised.value)
    assert "; received " in str(raised.value)
