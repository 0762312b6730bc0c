# SPDX-License-Identifier: Apache-2.0
"""ONNX files become graphs that compute what onnxruntime does, or an error that names what is not supported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import gru, lstm, rnn
from onnx.reference import ReferenceEvaluator

from gatewise.runtime.doors.from_onnx import from_onnx, read_onnx
from gatewise.runtime.graph import GraphError
from own_process import HIDE
from own_process import run as run_process
from runtime_onnx_models import FEATURES, ORDINARY, STATES, UNITS, Sketch, ordinary, recurrent
from runtime_onnx_oracle import assert_agree, by_onnxruntime, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from gatewise.runtime.graph import Graph

    Array = npt.NDArray[Any]


def operation_names(graph: Graph) -> list[str]:
    return [node.operation for node in graph.nodes]


# --- The cases of the onnx package ---

# To import a file of cases is to collect them; all files together take seconds.
CASES = {
    case.name: case
    for module in (gru, lstm, rnn)
    for case in module.expect.__globals__["_NodeTestCases"]
    if case.model.graph.node[0].op_type == module.__name__.rpartition(".")[2].upper()
}
REFUSED = {"test_lstm_with_peepholes": "peepholes are not supported"}


def test_the_onnx_package_has_the_cases_that_are_known() -> None:
    assert len(CASES) == 18
    assert {*REFUSED} < {*CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_case_of_the_onnx_package_agrees_or_is_refused(name: str) -> None:
    model, (given, expected) = onnx.ModelProto(), CASES[name].data_sets[0]
    model.CopyFrom(CASES[name].model)
    feed = {}
    for info, array in zip(list(model.graph.input), given, strict=True):
        if info.name in {"W", "R", "B", "P"}:  # the cases give weights when the model runs: here they are constants
            model.graph.initializer.append(numpy_helper.from_array(array, info.name))
            model.graph.input.remove(info)
        else:
            feed[info.name] = array
    if name in REFUSED:
        with pytest.raises(GraphError, match=REFUSED[name]):
            from_onnx(model)
        return
    found, _ = run(model, feed)
    assert_agree(found, dict(zip([output.name for output in model.graph.output], expected, strict=True)))


def test_weights_that_are_inputs_are_refused_by_name() -> None:
    with pytest.raises(GraphError, match=r"node 'Y_h' \(GRU\): input 'W' is computed when the model runs\. Expected"):
        from_onnx(CASES["test_gru_defaults"].model)


# --- Recurrent nodes ---


def feed_of(model: Any, batch: int, steps: int, lengths: Sequence[int] = ()) -> dict[str, Array]:
    """Random numbers for the inputs of a model."""
    rng, feed = np.random.default_rng(steps), {}
    for info in model.graph.input:
        named = {"B": batch, "T": steps}
        sizes = [named.get(d.dim_param, d.dim_value) for d in info.type.tensor_type.shape.dim]
        if info.name == "lens":
            feed[info.name] = np.array(lengths, np.int32)
        elif info.name == "ids":
            feed[info.name] = rng.integers(0, 11, sizes)
        else:
            feed[info.name] = rng.normal(size=sizes).astype(np.float32)
    return feed


RECURRENT: dict[str, dict[str, Any]] = {
    "forward": {},
    "reverse": {"direction": "reverse"},
    "both": {"direction": "bidirectional"},
    "lengths": {"lengths": "input"},
    "lengths, reverse": {"lengths": "input", "direction": "reverse"},
    "lengths, both, starts": {"lengths": "input", "direction": "bidirectional", "starts": "input"},
    "constant lengths": {"lengths": "constant", "direction": "bidirectional"},
    "starts": {"starts": "input", "direction": "bidirectional"},
    "constant starts": {"starts": "constant", "direction": "bidirectional"},
    "no bias, last state alone": {"bias": False, "outputs": ("Y_h",)},
    "outputs alone": {"outputs": ("Y",), "direction": "bidirectional"},
    "opset 7": {"opset": 7},
    "opset 22": {"opset": 22},
}


@pytest.mark.parametrize("op", STATES)
@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_node_agrees_with_onnxruntime(op: str, name: str) -> None:
    model = recurrent(op, **RECURRENT[name])
    for steps in (1, 7) if "lengths" not in name else (7,):
        feed = feed_of(model, 3, steps, [7, 2, 4])
        found, graph = run(model, feed)
        assert_agree(found, by_onnxruntime(model, feed))
        assert sum(each in {"gru_reset_before", "lstm", "simple_rnn"} for each in operation_names(graph)) == (
            2 if RECURRENT[name].get("direction") == "bidirectional" else 1
        )


@pytest.mark.parametrize("op", STATES)
@pytest.mark.parametrize("options", [{}, {"direction": "bidirectional", "starts": "input"}], ids=["forward", "both"])
def test_layout_1_agrees_with_onnx_and_moves_no_axis(op: str, options: dict[str, Any]) -> None:
    if options:  # onnx's own reference has one direction only: the other layout is the oracle
        model, other = recurrent(op, layout=1, **options), recurrent(op, **options)
        feed = feed_of(model, 3, 5)
        turned = {name: array.swapaxes(0, 1) for name, array in feed.items()}
        of_other = by_onnxruntime(other, turned)
        expected = {"Y": of_other["Y"].transpose(2, 0, 1, 3)} | {
            name: y.swapaxes(0, 1) for name, y in of_other.items() if name != "Y"
        }
    else:
        model = recurrent(op, layout=1, outputs=("Y", "Y_h"))
        feed = feed_of(model, 3, 5)
        expected = dict(zip(("Y", "Y_h"), ReferenceEvaluator(model).run(None, feed), strict=True))
    found, graph = run(model, feed)
    assert_agree(found, expected)
    assert "permute" not in operation_names(graph)
    assert read_onnx(model).inputs["X"] == (("B", "T", FEATURES), "tensor(float)", 0)


def test_both_reset_orders_are_told_apart() -> None:
    for after, operation in ((0, "gru_reset_before"), (1, "gru")):
        model = recurrent("GRU", linear_before_reset=after, outputs=("Y",), direction="bidirectional")
        feed = feed_of(model, 3, 7)
        found, graph = run(model, feed)
        assert_agree(found, by_onnxruntime(model, feed))
        assert operation in operation_names(graph)


ACTIVATIONS = {
    "GRU": ["Relu", "Tanh"],
    "LSTM": ["Sigmoid", "Relu", "Relu"],
    "RNN": ["Relu"],
}


@pytest.mark.parametrize("op", ACTIVATIONS)
def test_activations_agree_with_onnxruntime(op: str) -> None:
    model = recurrent(op, activations=ACTIVATIONS[op])
    feed = feed_of(model, 3, 7)
    assert_agree(run(model, feed)[0], by_onnxruntime(model, feed))


def test_parameters_of_activations_go_to_those_that_take_some_in_turn() -> None:
    model = recurrent(
        "GRU",
        direction="bidirectional",
        activations=["HardSigmoid", "Tanh", "HardSigmoid", "Affine"],
        activation_alpha=[1 / 6, 1 / 6, 1.0],
        activation_beta=[0.5, 0.5, 0.0],
    )
    feed = feed_of(model, 3, 4)
    found, graph = run(model, feed)
    assert_agree(found, by_onnxruntime(model, feed))
    assert [node.options["activation"] for node in graph.nodes if "activation" in node.options] == ["tanh", "linear"]


@pytest.mark.parametrize(
    ("op", "options", "said"),
    [
        ("GRU", {"clip": 3.0}, r"attribute clip is not supported\. Expected none; received 3\.0"),
        ("LSTM", {"input_forget": 1}, r"attribute input_forget is not supported\. Expected 0; received 1"),
        ("GRU", {"activations": ["Sigmoid", "Elu"]}, r"an activation is not supported\. Expected Tanh, .*received Elu"),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"]}, r"received HardSigmoid with alpha=0\.2, beta=0\.5"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, r"have other activations\..*received tanh, relu"),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [2.0]}, r"received Affine with alpha=2, beta=0"),
        ("RNN", {"activations": ["Tanh", "Tanh"]}, r"attribute activations does not fit\. Expected 1 names"),
        ("GRU", {"hidden_size": 4}, r"attribute hidden_size does not fit the weights\. Expected 5; received 4"),
        ("GRU", {"direction": "sideways"}, r"attribute direction is not supported\. Expected 'forward' or"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_a_recurrent_node_cannot_be_is_named(op: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(GraphError, match=rf"from_onnx: node '{op.lower()}0' \({op}\): .*{said}"):
        from_onnx(recurrent(op, **options))


# --- Ordinary nodes ---


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_node_agrees_with_onnxruntime(name: str) -> None:
    model = ordinary(name)
    for batch, steps in ((3, 7), (5, 4)):
        feed = feed_of(model, batch, steps)
        assert_agree(run(model, feed)[0], by_onnxruntime(model, feed))


@pytest.mark.parametrize("opset", [7, 12])
def test_an_older_opset_agrees_with_onnxruntime(opset: int) -> None:
    """Axes, sizes and bounds are attributes there, and a softmax works over all axes from one on."""
    s = Sketch(opset)
    x = s.given("x", "T", "B", FEATURES)
    weights = s.weight(1, 3 * UNITS, FEATURES), s.weight(1, 3 * UNITS, UNITS), s.weight(1, 6 * UNITS)
    s.add("GRU", x, *weights, outputs=["Y"], hidden_size=UNITS)
    y = s.add("Squeeze", "Y", axes=[1])
    s.add("Split", y, axis=2, split=[2, 3], outputs=["a", "b"])
    y = s.add("Concat", s.add("Clip", "b", min=0.0, max=6.0) if opset < 11 else "b", s.add("Dropout", "a"), axis=2)
    if opset < 10:
        y = s.add("Slice", y, axes=[0], starts=[1], ends=[2**31 - 1])
    y = s.add("Softmax", s.add("ReduceSum", y, axes=[0], keepdims=0), axis=1)
    s.gives(s.add("Unsqueeze", y, axes=[1]))
    feed = feed_of(s.model(), 3, 7)
    assert_agree(run(s.model(), feed)[0], by_onnxruntime(s.model(), feed))


def test_the_batch_comes_first_and_the_file_s_own_order_is_told() -> None:
    model = recurrent("GRU", starts="input", lengths="input", direction="bidirectional")
    read = read_onnx(model)
    assert {name: value.shape for name, value in read.graph.inputs.items()} == {
        "X": (None, None, FEATURES),
        "lens": (None,),
        "initial_h": (None, 2, UNITS),
    }
    assert read.graph.inputs["lens"].dtype == "int64"
    assert read.inputs == {
        "X": (("T", "B", FEATURES), "tensor(float)", 1),
        "lens": (("B",), "tensor(int32)", 0),
        "initial_h": ((2, "B", UNITS), "tensor(float)", 1),
    }
    assert {name: port.batch_axis for name, port in read.outputs.items()} == {"Y": 2, "Y_h": 1}
    assert {name: read.graph.values[value].shape for name, value in read.graph.outputs.items()} == {
        "Y": (None, None, 2, UNITS),
        "Y_h": (None, 2, UNITS),
    }


def test_transposes_around_a_recurrent_node_vanish() -> None:
    s = Sketch()
    x = s.add("Transpose", s.given("x", "B", "T", FEATURES), perm=[1, 0, 2])
    s.add("RNN", x, s.weight(1, UNITS, FEATURES), s.weight(1, UNITS, UNITS), outputs=["Y"], hidden_size=UNITS)
    s.gives(s.add("Transpose", s.add("Squeeze", "Y", s.tensor([1], "int64")), perm=[1, 0, 2]))
    read = read_onnx(s.model())
    assert operation_names(read.graph) == ["simple_rnn"]
    assert read.inputs["x"].batch_axis == read.outputs["transpose3:0"].batch_axis == 0


def test_the_caller_may_say_which_axis_is_the_batch() -> None:
    s = Sketch()
    s.gives(s.add("MatMul", s.given("x", "T", "N", FEATURES), s.weight(FEATURES, 3)))
    assert read_onnx(s.model()).inputs["x"].batch_axis == 0
    read = read_onnx(s.model(), batch_axes={"x": 1})
    assert read.inputs["x"].batch_axis == read.outputs["matmul0:0"].batch_axis == 1
    with pytest.raises(GraphError, match=r"batch_axes names an unknown input\. Expected some of x; received y"):
        from_onnx(s.model(), batch_axes={"y": 1})
    with pytest.raises(GraphError, match=r"input 'x': batch_axes is out of range\. Expected an axis below 3"):
        from_onnx(s.model(), batch_axes={"x": 3})


def test_a_batch_that_the_file_fixes_is_free() -> None:
    s = Sketch()
    x, h = s.given("x", 5, 3, FEATURES), s.tensor(np.ones((1, 3, UNITS), np.float32))
    weights = s.weight(1, UNITS, FEATURES), s.weight(1, UNITS, UNITS)
    s.add("RNN", x, *weights, "", "", h, outputs=["Y"], hidden_size=UNITS)
    s.gives(s.add("Reshape", "Y", s.tensor([5, 3, UNITS], "int64")))
    rows = np.random.default_rng(0).normal(size=(5, 6, FEATURES)).astype(np.float32)
    found, graph = run(s.model(), {"x": rows})
    assert graph.inputs["x"].shape == (None, 5, FEATURES)
    three = [by_onnxruntime(s.model(), {"x": rows[:, i : i + 3]}) for i in (0, 3)]
    assert_agree(found, {name: np.concatenate([each[name] for each in three], axis=1) for name in found})


def test_layers_that_share_weights_name_the_same_tensors() -> None:
    s = Sketch()
    weights = s.weight(1, UNITS, UNITS), s.weight(1, UNITS, UNITS)
    y = s.given("x", "T", "B", UNITS)
    for i in range(2):
        s.add("RNN", y, *weights, outputs=[f"Y{i}"], hidden_size=UNITS)
        y = s.add("Squeeze", f"Y{i}", s.tensor([1], "int64"))
    s.gives(y)
    graph = from_onnx(s.model())
    assert graph.nodes[0].weights == graph.nodes[1].weights
    assert len(graph.tensors) == 2


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_weights_of_other_floats_become_float32(kind: type) -> None:
    s = Sketch()
    kernel = s.add("Cast", s.tensor(s.rng.normal(size=(FEATURES, 3)).astype(kind)), to=onnx.TensorProto.FLOAT)
    s.gives(s.add("MatMul", s.given("x", "B", FEATURES), kernel))
    feed = feed_of(s.model(), 3, 1)
    found, graph = run(s.model(), feed)
    assert_agree(found, by_onnxruntime(s.model(), feed))
    assert {array.dtype for array in graph.tensors.values()} == {np.dtype(np.float32)}


# --- What cannot be read ---


def _sketch(make: Callable[[Sketch, str], str], *sizes: int | str) -> Any:
    s = Sketch()
    s.gives(make(s, s.given("x", *(sizes or ("B", "T", FEATURES)))))
    return s.model()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda s, x: s.add("Sin", x), r"node 'sin0' \(Sin\): the type of node is not supported\. .*received Sin"),
        (lambda s, x: s.add("Erf", x), r"node 'erf0' \(Erf\): the error function stands alone"),
        (lambda s, x: s.add("Softmax", x, axis=0), r"\(Softmax\): it works along axis 0, the batch's"),
        (lambda s, x: s.add("ReduceMean", x), r"\(ReduceMean\): it reduces axis 0, the batch's"),
        (lambda s, x: s.add("Concat", x, x, axis=0), r"\(Concat\): it joins along the batch's axis"),
        (lambda s, x: s.add("Pow", x, s.weight()), r"\(Pow\): the exponent is not supported"),
        (lambda s, x: s.add("Add", x, s.weight(3, 1, 1)), r"\(Add\): a constant differs from row to row of the batch"),
        (lambda s, x: s.add("Cast", x, to=7), r"\(Cast\): it changes the kind of numbers\. Expected float32 to stay"),
        (lambda s, x: s.add("Reshape", x, s.tensor([-1], "int64")), r"axis 0 joins the batch with others"),
        (lambda s, x: s.add("Reshape", x, s.tensor([7, 4], "int64")), r"\(Reshape\): sizes do not fit\."),
        (lambda s, x: s.add("Gather", x, s.tensor(0, "int64"), axis=0), r"\(Gather\): it works along axis 0"),
        (
            lambda s, x: s.add("LayerNormalization", x, s.weight(7, 6), axis=1),
            r"\(LayerNormalization\): it normalises over several axes",
        ),
        (
            lambda s, x: s.add("RNN", x, s.weight(1, 5, 6), s.weight(1, 5, 5), "", "", x, outputs=["Y"], hidden_size=5),
            r"node 'rnn0' \(RNN\): input 'x' does not fit\. Expected 1 directions at axis 0 of 3",
        ),
        (
            lambda s, x: s.add(
                "RNN", s.add("Unsqueeze", s.add("Gather", x, s.tensor(0, "int64"), axis=0), s.tensor([1], "int64")),
                s.weight(1, 5, 6), s.weight(1, 5, 5), outputs=["Y"], hidden_size=5,
            ),
            "works along axis 0, the batch's",
        ),
        (
            lambda s, x: s.add("GRU", x, s.weight(1, 14, 6), s.weight(1, 15, 5), outputs=["Y"], hidden_size=5),
            r"\(GRU\): the weights do not fit\. .*W has the wrong shape",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_what_cannot_be_read_is_named(make: Callable[[Sketch, str], str], said: str) -> None:
    with pytest.raises(GraphError, match=said):
        from_onnx(_sketch(make))


def test_a_sequence_without_a_batch_is_refused() -> None:
    s = Sketch()
    x = s.add("Unsqueeze", s.given("x", "T", FEATURES), s.tensor([1], "int64"))
    s.add("RNN", x, s.weight(1, UNITS, FEATURES), s.weight(1, UNITS, UNITS), outputs=["Y"], hidden_size=UNITS)
    s.gives("Y")
    with pytest.raises(GraphError, match=r"node 'rnn1' \(RNN\): input .* has the batch at another axis\. .*no batch"):
        from_onnx(s.model())


def test_a_graph_inside_the_graph_is_named_with_a_way_out() -> None:
    s = Sketch()
    inner = onnx.parser.parse_graph(
        "inner (int64 i, bool c, float v) => (bool d, float w) { d = Identity(c) w = Identity(v) }"
    )
    given = [s.tensor(3, "int64"), s.tensor(True, "bool"), s.tensor(1, "float32")]
    s.nodes.append(helper.make_node("Loop", given, ["looped"], name="loop", body=inner))
    s.gives(s.add("Identity", s.given("x", "B", 3)))
    with pytest.raises(GraphError, match=r"node 'loop': the type of node is not supported\. .*received Loop, .*Export"):
        from_onnx(s.model())


def test_nodes_of_other_domains_are_named() -> None:
    s = Sketch()
    s.nodes.append(helper.make_node("FusedGRU", [s.given("x", "B", 3)], ["y"], name="fused", domain="com.example"))
    s.gives("y")
    model = s.model()
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(GraphError, match=r"node 'fused' \(FusedGRU\): .*received FusedGRU of the domain com\.example"):
        from_onnx(model)


@pytest.mark.parametrize("opset", [6, 10_000])
def test_an_opset_out_of_range_is_refused(opset: int) -> None:
    model = ordinary("relu")
    model.opset_import[0].version = opset
    newest = onnx.defs.onnx_opset_version()
    with pytest.raises(GraphError, match=rf"opset is out of range\. Expected 7 to {newest}, .*received {opset}\."):
        from_onnx(model)


def test_the_newest_opset_is_read() -> None:
    model = ordinary("relu", onnx.defs.onnx_opset_version())
    assert operation_names(from_onnx(model)) == ["activation"]


def test_a_path_bytes_and_a_model_give_the_same_graph(tmp_path: Path) -> None:
    model, path = recurrent("GRU"), tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    graphs = [from_onnx(source) for source in (model, model.SerializeToString(), path, str(path))]
    assert all(graph.nodes == graphs[0].nodes for graph in graphs)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "other.onnx")
    with pytest.raises(TypeError, match=r"from_onnx: source has the wrong type\. Expected a path, .*received int"):
        from_onnx(3)


def test_weights_beside_the_file_are_read_by_its_path_alone(tmp_path: Path) -> None:
    model, path = recurrent("GRU", outputs=("Y_h",)), tmp_path / "model.onnx"
    expected = from_onnx(model)
    onnx.save(model, path, save_as_external_data=True, size_threshold=0)
    found = from_onnx(path)
    assert all(np.array_equal(found.tensors[name], array) for name, array in expected.tensors.items())
    with pytest.raises(GraphError, match="from_onnx: "):
        from_onnx(path.read_bytes())
    (tmp_path / next(each.name for each in tmp_path.iterdir() if each != path)).unlink()
    with pytest.raises((GraphError, FileNotFoundError)):
        from_onnx(path)


def test_a_truncated_file_is_an_error_and_no_crash() -> None:
    whole = recurrent("LSTM", starts="constant", direction="bidirectional").SerializeToString()
    for n in [*range(0, 400, 7), *range(400, len(whole) - 1, len(whole) // 50)]:
        with pytest.raises(GraphError, match="from_onnx: "):
            from_onnx(whole[:n])


def test_bytes_that_change_give_an_error_or_a_graph() -> None:
    rng = np.random.default_rng(0)
    for name in ("heads", "flatten", "convolution of two dimensions"):
        whole = np.frombuffer(ordinary(name).SerializeToString(), np.uint8)
        for _ in range(100):
            changed = whole.copy()
            changed[rng.integers(0, len(whole), 2)] = rng.integers(0, 256, 2)
            try:
                from_onnx(changed.tobytes())
            except GraphError as error:
                assert str(error).startswith("from_onnx: ")  # noqa: PT017  # either is right


def test_without_the_onnx_package_the_extra_is_named(tmp_path: Path) -> None:
    program = """
from gatewise.runtime.doors.from_onnx import from_onnx
try:
    from_onnx("model.onnx")
except ModuleNotFoundError as error:
    import json
    print(json.dumps(str(error)))
"""
    said = run_process(HIDE.format(("onnx",)) + program, tmp_path)
    assert said.startswith("from_onnx: a package is missing. Expected the extra onnx; not installed: onnx. Run: ")
