# SPDX-License-Identifier: Apache-2.0
"""`inspect`: gates are those of a loop written out by hand, masks are kept out, and what is planted is found."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gatewise
from gatewise.inspect import Tolerances
from gatewise.inspect import cells as inspect_cells
from gatewise.inspect.horizon import half_life
from gatewise.runtime import Graph, Model, Node, Value
from inspect_case import GATES, KEEPS, data, layer_graph, nothing, set_bias, slow_gates, weights


def _clear(tensors: dict[str, np.ndarray], gate: int, unit: int) -> None:
    """Sets all that a gate of a unit reads to zero, and the gains of what is normalised."""
    units = len(tensors["recurrent_kernel"])
    for name in {*tensors} - {"state_gain", "state_bias"}:
        tensors[name][..., gate * units + unit] = 0


@pytest.mark.parametrize("operation", GATES)
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_gates_are_those_of_a_loop_by_hand(operation: str, go_backwards: bool) -> None:
    tensors, x = weights(operation, 2, 3), data(2, 5, 2)
    layer = gatewise.inspect(layer_graph(operation, tensors, go_backwards=go_backwards), x).layers["reader"]
    assert layer.backwards is go_backwards
    for row in range(2):
        turn = slice(None, None, -1 if go_backwards else 1)
        expected = slow_gates(operation, tensors, x[row][turn])
        found = {**layer.gates, **layer.states}
        assert {*found} == {*expected}
        for name, values in expected.items():
            np.testing.assert_allclose(found[name][row][turn], values, rtol=1e-12, atol=1e-14, err_msg=name)


def test_torch_has_the_same_gates() -> None:
    torch = pytest.importorskip("torch")
    cell, x = torch.nn.GRU(2, 3, batch_first=True).double(), torch.tensor(data(1, 4, 2)).double()
    w_x, w_h, b_x, b_h = (value.detach() for value in cell.parameters())
    with pytest.warns(UserWarning, match="float64"):
        layer = gatewise.inspect(cell, x).layers["gru"]
    h = torch.zeros(3).double()
    for t in range(4):
        of_x, of_h = (w_x @ x[0, t] + b_x).split(3), (w_h @ h + b_h).split(3)
        r, z = torch.sigmoid(of_x[0] + of_h[0]), torch.sigmoid(of_x[1] + of_h[1])
        h = (1 - z) * torch.tanh(of_x[2] + r * of_h[2]) + z * h
        for name, value in {"reset": r, "update": z}.items():
            np.testing.assert_allclose(layer.gates[name][0, t], value, atol=1e-6)
    np.testing.assert_allclose(layer.states["h"][0, -1], cell(x)[0][0, -1].detach(), atol=1e-6)


def test_padding_is_not_looked_at() -> None:
    tensors, x = weights("gru", 2, 4), data(3, 6, 2)
    mask = np.arange(6) < np.array([6, 2, 4])[:, None]
    padded = np.where(mask[..., None], x, np.nan)
    graph = layer_graph("gru", tensors, masked=True)
    layer = gatewise.inspect(graph, {"x": padded, "mask": mask}).layers["reader"]
    assert (np.isnan(layer.gates["update"]).all(axis=-1) == ~mask).all()
    alone = gatewise.inspect(graph, {"x": x[1:2, :2], "mask": mask[1:2, :2]}).layers["reader"]
    np.testing.assert_allclose(layer.gates["update"][1, :2], alone.gates["update"][0], rtol=1e-12)
    for figures in (layer.half_lives, layer.ranges, layer.influence, layer.inputs, *layer.ends.values()):
        assert np.isfinite(figures).all()
    assert math.isfinite(layer.gradient_half_life)


def test_a_row_that_is_all_padding_is_passed_over() -> None:
    mask = np.array([[True, True], [False, False]])
    given = {"x": np.where(mask[..., None], data(2, 2, 2), np.nan), "mask": mask}
    layer = gatewise.inspect(layer_graph("lstm", weights("lstm", 2, 3), masked=True), given).layers["reader"]
    assert np.isnan(layer.gates["forget"][1]).all()
    assert np.isfinite(layer.half_lives).all()


def test_the_half_life_is_that_of_the_product_of_gates() -> None:
    """Gates of 1/2 and 1/8 in turn leave (1/16) after two steps, as 1/4 twice would: half is gone after half a step."""
    tensors = nothing("gru", 1, 1)
    tensors["kernel"][0, 0] = math.log(7)  # sigmoid(-ln 7) = 1/8
    x = np.array([0, -1, 0, -1], np.float32)[None, :, None]
    layer = gatewise.inspect(layer_graph("gru", tensors), x).layers["reader"]
    np.testing.assert_allclose(layer.gates["update"][0, :, 0], [0.5, 0.125, 0.5, 0.125], rtol=1e-6)
    np.testing.assert_allclose(layer.half_lives, [0.5], rtol=1e-6)


@pytest.mark.parametrize("operation", [one for one in GATES if KEEPS[one] is not None])
def test_a_unit_that_never_lets_go_is_found(operation: str) -> None:
    """Unit 0 of three: a bias of 5 and no weights make its gate sigmoid(5) = 0.9933, whose half-life is 103.2 steps.

    Where products are normalised it takes gains of zero: a column of zeros is not zero less the mean of the others.
    """
    tensors = weights(operation, 2, 3)
    _clear(tensors, KEEPS[operation], 0)
    set_bias(tensors, KEEPS[operation], 0, 5)
    found = gatewise.inspect(layer_graph(operation, tensors), data(4, 50, 2))
    layer = found.layers["reader"]
    by_hand = math.log(0.5) / math.log(1 / (1 + math.exp(-5)))
    assert round(by_hand, 1) == 103.2
    assert layer.half_lives[0] == pytest.approx(by_hand, rel=1e-6)
    assert max(layer.half_lives[1:]) < 20
    gate = "forget" if "lstm" in operation else "update"
    assert layer.saturated(gate) == ((), (0,))
    text = "\n".join(found.findings)
    assert "unit 0 holds on longest, 103 steps" in text
    assert "unit 0 keeps more than half over the whole of the longest sequence, 50 steps" in text
    assert f"the {gate} gate of unit 0 is open in at least 95% of the steps" in text


@pytest.mark.parametrize(
    ("keep", "steps"), [(1.0, math.inf), (1.5, math.inf), (0.0, 0.0), (0.5**0.1, 10.0)], ids=["1", "above", "0", "ten"]
)
def test_half_lives_have_ends(keep: float, steps: float) -> None:
    assert half_life(keep) == pytest.approx(steps)


@pytest.mark.parametrize("operation", GATES)
def test_the_gradients_half_life_is_that_of_a_decay_by_hand(operation: str) -> None:
    """A state that shrinks by a known factor at every step, whatever is read, passes gradients on by that factor."""
    tensors = nothing(operation, 1, 3)
    factor = 1 / (1 + math.exp(-2))
    if operation == "simple_rnn":
        factor = 0.9
        tensors["recurrent_kernel"][:] = 0.9 * np.eye(3)
    else:
        set_bias(tensors, KEEPS[operation], slice(None), 2)
    layer = gatewise.inspect(layer_graph(operation, tensors), data(2, 400, 1)).layers["reader"]
    # of an LSTM the first step back goes from h to c, which is one step of 400
    assert layer.gradient_half_life == pytest.approx(math.log(0.5) / math.log(factor), rel=0.03)


@pytest.mark.parametrize("operation", GATES)
def test_a_unit_that_never_moves_is_dead(operation: str) -> None:
    tensors = weights(operation, 2, 4)
    _clear(tensors, 0 if operation == "simple_rnn" else 2, 1)  # what unit 1 takes in is nothing
    for name in {"state_gain", "state_bias"} & {*tensors}:  # and its c less the mean of the others is not read
        tensors[name][1] = 0
    found = gatewise.inspect(layer_graph(operation, tensors), data(4, 20, 2))
    assert found.layers["reader"].still == (1,)
    assert 1 in found.layers["reader"].dead
    assert "reader: unit 1 is dead: it never moves." in found.findings


@pytest.mark.parametrize("operation", [one for one in GATES if one != "layer_norm_lstm"])
def test_a_unit_that_nothing_reads_is_dead(operation: str) -> None:
    tensors = weights(operation, 2, 4)
    tensors["recurrent_kernel"][2] = 0
    read = data(4, 2)
    read[2] = 0
    found = gatewise.inspect(layer_graph(operation, tensors, read=read), data(4, 20, 2))
    layer = found.layers["reader"]
    assert (layer.still, layer.unheard, layer.dead) == ((), (2,), (2,))
    assert any(text.startswith("reader: unit 2 is dead: it moves, but cut off") for text in found.findings)
    heard = layer_graph(
        operation, {**tensors, "recurrent_kernel": weights(operation, 2, 4)["recurrent_kernel"]}, read=read
    )
    assert gatewise.inspect(heard, data(4, 20, 2)).layers["reader"].dead == ()  # read by the layer itself


def test_a_unit_whose_c_moves_the_mean_and_variance_of_others_is_heard() -> None:
    """Its h is read by nothing, as above, but the layer normalises c over all units; by hand with a c of zero there."""
    tensors, read, x = weights("layer_norm_lstm", 2, 4), data(4, 2), data(3, 6, 2)
    tensors["recurrent_kernel"][2] = 0
    read[2] = 0
    layer = gatewise.inspect(layer_graph("layer_norm_lstm", tensors, read=read), x).layers["reader"]
    for unit in range(4):
        outputs, cut = (
            np.array([slow_gates("layer_norm_lstm", tensors, row, dropped=unit if i else None)["h"][-1] for row in x])
            for i in range(2)
        )
        kept = np.arange(4) != unit
        before, after = outputs @ read, cut[:, kept] @ read[kept]
        expected = np.abs(after - before).max() / np.ptp(before)
        assert layer.influence[unit] == pytest.approx(expected, rel=1e-3)
    assert layer.influence[2] > 0.01
    assert layer.dead == ()


@pytest.mark.parametrize("sign", [1, -1], ids=["equal", "opposite"])
@pytest.mark.parametrize("operation", ["gru", "lstm"])
def test_two_units_that_do_the_same_are_duplicates(operation: str, sign: int) -> None:
    tensors, units, candidate = weights(operation, 2, 5), 5, 2
    for name in tensors:  # unit 3's columns are unit 1's, the candidate's with the sign; no unit reads either
        for gate in range(GATES[operation]):
            copied = tensors[name][..., gate * units + 1] * (sign if gate == candidate else 1)
            tensors[name][..., gate * units + 3] = copied
    found = gatewise.inspect(layer_graph(operation, tensors), data(4, 20, 2))
    [twins] = found.layers["reader"].duplicates
    assert twins == (1, 3, sign)
    end = ", with the opposite sign" if sign < 0 else ""
    assert f"reader: units 1 and 3 are duplicates{end}." in found.findings
    tensors["kernel"][0, 3] += 0.5  # the planted pair is no longer one
    assert gatewise.inspect(layer_graph(operation, tensors), data(4, 20, 2)).layers["reader"].duplicates == ()


def test_units_that_never_move_are_no_duplicates() -> None:
    tensors = weights("gru", 2, 4)
    for unit in (0, 1):
        for name in tensors:
            tensors[name][..., 8 + unit] = 0
    layer = gatewise.inspect(layer_graph("gru", tensors), data(2, 10, 2)).layers["reader"]
    assert layer.still == (0, 1)
    assert layer.duplicates == ()


@pytest.mark.parametrize("operation", GATES)
def test_what_moves_the_state_is_the_slope_of_a_step(operation: str) -> None:
    """Against differences of one step, at states that earlier steps led to, with inputs of different spread."""
    tensors, x = weights(operation, 3, 4), data(2, 3, 3) * np.float32([1, 3, 0.1])
    layer = gatewise.inspect(layer_graph(operation, tensors), x).layers["reader"]
    slopes = []
    for row in x:
        for t in range(len(row)):
            for f in range(3):
                ends = []
                for nudge in (-1e-5, 1e-5):
                    moved = row[: t + 1].astype(np.float64)
                    moved[t, f] += nudge
                    ends.append(slow_gates(operation, tensors, moved)["h"][-1])
                slopes.append(np.abs(ends[1] - ends[0]).mean() / 2e-5)
    expected = np.reshape(slopes, (-1, 3)).mean(axis=0) * x.reshape(-1, 3).astype(np.float64).std(axis=0)
    np.testing.assert_allclose(layer.inputs, expected, rtol=1e-6)


def test_stacked_layers_of_both_directions_are_named_and_read_what_is_before_them() -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    inner = [keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True, name="gru"), name="both")]
    inner += [keras.layers.SimpleRNN(4, name="top"), keras.layers.Dense(2, name="score")]
    model = keras.Sequential([keras.Input((None, 2), name="x"), keras.layers.Masking(), *inner])
    x = data(3, 6, 2)
    x[1, 4:] = 0
    found = gatewise.inspect(model, x, features=["warmth", "light"])
    assert [*found.layers] == ["both/forward_gru", "both/backward_gru", "top"]
    assert [layer.backwards for layer in found.layers.values()] == [False, True, False]
    outputs = keras.Model(model.inputs, model.get_layer("both").output).predict(x, verbose=0)
    for i, (name, first) in enumerate([("both/forward_gru", 0), ("both/backward_gru", 3)]):
        layer = found.layers[name]
        assert layer.features == ("warmth", "light")
        assert not layer.valid[1, 4:].any(), i
        np.testing.assert_allclose(
            layer.states["h"][layer.valid], outputs[layer.valid][:, first : first + 3], atol=1e-5
        )
    top = found.layers["top"]
    assert top.half_lives is None
    assert top.gradient_half_life > 0
    assert "a SimpleRNN has no gate that keeps" in "\n".join(found.findings)
    last = keras.Model(model.inputs, model.get_layer("top").output).predict(x, verbose=0)
    np.testing.assert_allclose(top.states["h"][0, -1], last[0], atol=1e-5)


def test_a_file_is_looked_into_like_its_model(tmp_path: Path) -> None:
    model = Model(layer_graph("gru", weights("gru", 2, 3)))
    gatewise.save(model, tmp_path / "model.safetensors")
    first, second = (
        gatewise.inspect(one, data(2, 4, 2)) for one in (model, gatewise.load(tmp_path / "model.safetensors"))
    )
    assert str(first) == str(second) == str(gatewise.inspect(tmp_path / "model.safetensors", data(2, 4, 2)))
    assert str(first).splitlines()[1].split()[:3] == ["reader", "GRU", "3"]


def test_a_cell_without_a_row_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {cell: row for cell, row in inspect_cells.ROWS.items() if row.title != "LSTM"}
    monkeypatch.setattr(inspect_cells, "ROWS", without)
    with pytest.raises(NotImplementedError, match=r"layer 'reader' has a cell.* not known.*received LSTM"):
        gatewise.inspect(layer_graph("lstm", weights("lstm", 2, 3)), data(1, 2, 2))


def test_errors_teach() -> None:
    graph, x = layer_graph("gru", weights("gru", 2, 3)), data(2, 4, 2)
    dense = Graph(
        {"x": Value((None, 2), "float32")},
        (Node("d", "dense", ("x",), ("y",), {}, {"kernel": "k"}),),
        {"y": "y"},
        {"k": data(2, 2)},
    )
    for error, match, run in (
        (TypeError, "inspect: model is no model.*received int", lambda: gatewise.inspect(3, x)),
        (ValueError, "no recurrent layer.*received dense", lambda: gatewise.inspect(dense, data(2, 2))),
        (ValueError, "inspect: x has the wrong shape", lambda: gatewise.inspect(graph, data(2, 4, 3))),
        (ValueError, "the data has no rows", lambda: gatewise.inspect(graph, data(0, 4, 2))),
        (ValueError, "nothing to read", lambda: gatewise.inspect(graph, data(2, 0, 2))),
        (ValueError, "features of 'x' do not fit.*x 2; received 1", lambda: gatewise.inspect(graph, x, features=["a"])),
        (ValueError, "layer 'reader' has numbers that are not finite", lambda: gatewise.inspect(graph, x * np.inf)),
        (ValueError, "features are not clear", lambda: gatewise.inspect(graph, x, features="ab")),
        (ValueError, "still is out of range", lambda: Tolerances(still=2)),
        (ValueError, "low is above high", lambda: Tolerances(low=0.9, high=0.1)),
        (TypeError, "gradients, which a file or a graph has not", lambda: gatewise.inspect(graph, x).attribute()),
    ):
        with pytest.raises(error, match=match):
            run()


def test_tolerances_are_heeded() -> None:
    graph, x = layer_graph("gru", weights("gru", 2, 3)), data(2, 10, 2)
    everything = gatewise.inspect(graph, x, tolerances=Tolerances(still=1, matter=1)).layers["reader"]
    assert len(everything.dead) > 0
    assert gatewise.inspect(graph, x).layers["reader"].dead == ()
    assert replace(everything, tolerances=Tolerances()).dead == ()
