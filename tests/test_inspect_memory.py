# SPDX-License-Identifier: Apache-2.0
"""`inspect` where more than gates keeps or ends a memory: zoneout and starts, in every cell, against loops by hand."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.runtime import Graph, Node, Value
from inspect_case import GATES, KEEPS, data, layer_graph, nothing, set_bias, slow_gates, weights

ZONEOUT = (0.3, 0.6)
STARTS = np.array([[True, False, True, False, False, True, True], [False, False, False, False, True, False, False]])


def zoned(operation: str, h: float, c: float = 0.0) -> dict[str, Any]:
    return {"zoneout_h": h} | ({"zoneout_c": c} if "lstm" in operation else {})


@pytest.mark.parametrize("operation", GATES)
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_gates_are_those_of_a_loop_by_hand(operation: str, go_backwards: bool) -> None:
    """A start is a boundary before its step in time: read from the end, the step before it is the one that begins."""
    tensors, x = weights(operation, 2, 3), data(2, 7, 2)
    mask = np.ones((2, 7), bool)
    mask[0, 2] = mask[1, 3] = mask[1, 4] = False
    options = zoned(operation, *ZONEOUT) | {"go_backwards": go_backwards}
    graph = layer_graph(operation, tensors, masked=True, started=True, **options)
    layer = gatewise.inspect(graph, {"x": x, "mask": mask, "starts": STARTS}).layers["reader"]
    assert layer.zoneout == dict(zip("hc" if "lstm" in operation else "h", ZONEOUT, strict=False))
    for row in range(2):
        steps = [t for t in range(7) if mask[row, t]][:: -1 if go_backwards else 1]
        between = [sorted(pair) for pair in pairwise(steps)]
        anew = [False, *(bool(STARTS[row, first + 1 : last + 1].any()) for first, last in between)]
        expected = slow_gates(operation, tensors, x[row, steps], zoneout=ZONEOUT, starts=anew)
        found = {**layer.gates, **layer.states}
        assert {*found} == {*expected}
        for name, values in expected.items():
            np.testing.assert_allclose(found[name][row, steps], values, rtol=1e-12, atol=1e-14, err_msg=name)
        assert layer.restarts[row, steps[1:]].tolist() == anew[1:]
        assert not layer.restarts[row, ~mask[row]].any()
    assert layer.longest == 3


@pytest.mark.parametrize("operation", [one for one in GATES if KEEPS[one] is not None])
def test_what_a_step_keeps_is_by_the_gate_and_by_zoneout(operation: str) -> None:
    """A gate of 0.9 and zoneout of one half keep 0.5 + 0.5 * 0.9 = 0.95: 13.5 steps, where the gate has 6.6."""
    tensors = nothing(operation, 1, 2)
    set_bias(tensors, KEEPS[operation], slice(None), math.log(9))
    h, c = (0.25, 0.5) if "lstm" in operation else (0.5, 0.0)  # what is kept of an LSTM's h is no part of what c keeps
    found = gatewise.inspect(layer_graph(operation, tensors, **zoned(operation, h, c)), data(2, 200, 1))
    layer = found.layers["reader"]
    np.testing.assert_allclose(layer.mean_keep, [0.95, 0.95], rtol=1e-6)
    np.testing.assert_allclose(layer.half_lives, 2 * [math.log(0.5) / math.log(0.95)], rtol=1e-6)
    assert round(float(layer.half_lives[0]), 1) == 13.5
    np.testing.assert_allclose(layer.gates[str(layer.keep)], 0.9, rtol=1e-6)
    # nothing comes back by the recurrent weights, and of an LSTM the quarter of h is soon below what c keeps
    assert layer.gradient_half_life == pytest.approx(math.log(0.5) / math.log(0.95), rel=0.05)
    text = "\n".join(found.findings)
    assert f"13.5 steps by its {layer.keep} gate and zoneout" in text
    assert (
        f"zoneout keeps 50% of {'c' if 'lstm' in operation else 'h'} at every step, which the half-lives have" in text
    )
    assert ("zoneout keeps 25% of h at every step, which no unit's half-life has" in text) is ("lstm" in operation)


def test_zoneout_is_all_that_keeps_in_a_simple_rnn() -> None:
    """A quarter is left of what it holds after a step, and nothing comes back: half a step."""
    found = gatewise.inspect(layer_graph("simple_rnn", nothing("simple_rnn", 1, 2), zoneout_h=0.25), data(2, 9, 1))
    layer = found.layers["reader"]
    np.testing.assert_allclose(layer.half_lives, [0.5, 0.5])
    assert layer.gradient_half_life == pytest.approx(0.5)
    assert "unit 0 holds on longest, 0.5 steps by its zoneout" in "\n".join(found.findings)
    assert (
        gatewise.inspect(layer_graph("simple_rnn", nothing("simple_rnn", 1, 2)), data(2, 9, 1))
        .layers["reader"]
        .half_lives
        is None
    )


@pytest.mark.parametrize("operation", ["gru", "layer_norm_lstm"])
def test_a_start_every_few_steps_makes_a_row_as_several(operation: str) -> None:
    """Every third step: all figures are those of rows of three steps; unit 0 never lets go, but for the starts."""
    tensors, x = weights(operation, 2, 3), data(2, 12, 2)
    for name in {*tensors} - {"state_gain", "state_bias"}:
        tensors[name][..., KEEPS[operation] * 3] = 0
    set_bias(tensors, KEEPS[operation], 0, 5)
    starts = np.broadcast_to(np.arange(12) % 3 == 0, (2, 12))
    options = zoned(operation, 0.1, 0.2)
    found = gatewise.inspect(layer_graph(operation, tensors, started=True, **options), {"x": x, "starts": starts})
    cut = found.layers["reader"]
    short = gatewise.inspect(layer_graph(operation, tensors, **options), x.reshape(8, 3, 2)).layers["reader"]
    np.testing.assert_allclose(cut.half_lives, short.half_lives, rtol=1e-12)
    np.testing.assert_allclose(cut.inputs, short.inputs, rtol=1e-12)
    np.testing.assert_allclose(cut.states["h"].reshape(8, 3, 3), short.states["h"], rtol=1e-12)
    assert cut.longest == short.longest == 3
    assert cut.half_lives[0] > 100
    text = "\n".join(found.findings)
    assert "more than half over the whole of the longest segment, 3 steps" in text
    assert (
        "starts cut its rows at 6 steps: what it holds ends there, whatever its half-lives are, after 3 steps" in text
    )


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_no_gradient_crosses_a_start(go_backwards: bool) -> None:
    """A linear step keeps 0.9 of unit 0 and 0.1 of unit 1.

    Over many steps a gradient turns to unit 0, and halves every ln(1/2) / ln(0.9) = 6.6. With a start before every
    step each has a gradient of random direction, whose mean logarithm is that of (0.9 + 0.1) / 2: it halves in one.
    """
    tensors = nothing("simple_rnn", 1, 2)
    tensors["recurrent_kernel"][:] = np.diag([0.9, 0.1])
    options = {"activation": "linear", "go_backwards": go_backwards}
    graph, x = layer_graph("simple_rnn", tensors, started=True, **options), data(20, 200, 1)
    lives = [
        gatewise.inspect(graph, {"x": x, "starts": np.full((20, 200), each)}).layers["reader"].gradient_half_life
        for each in (False, True)
    ]
    assert lives == pytest.approx([math.log(0.5) / math.log(0.9), 1.0], rel=0.03)


@pytest.mark.parametrize("zoneout", [(0, 0), ZONEOUT], ids=["plain", "zoneout"])
@pytest.mark.parametrize("operation", GATES)
def test_the_gradients_half_life_is_that_of_differences(operation: str, zoneout: tuple[float, float]) -> None:
    """The same random direction goes back through steps whose derivative is that of differences of the loop by hand."""
    tensors, steps, units = weights(operation, 2, 3), 12, 3
    if "recurrent_gain" in tensors:  # else the first step back, at a state of zeros without variance, makes it grow
        tensors["recurrent_gain"] *= 0.3
    x = data(1, steps, 2, seed=4)
    layer = gatewise.inspect(layer_graph(operation, tensors, **zoned(operation, *zoneout)), x).layers["reader"]
    names = [*layer.states]
    states = [np.concatenate([np.zeros(units)] * len(names))]
    states += [np.concatenate([layer.states[name][0, t] for name in names]) for t in range(steps)]

    def stepped(state: np.ndarray, t: int) -> np.ndarray:
        both = [*np.split(state, len(names)), np.zeros(units)]
        after = slow_gates(operation, tensors, x[0, t : t + 1], zoneout=zoneout, initial=(both[0], both[1]))
        return np.concatenate([after[name][0] for name in names])

    d, growth = np.random.default_rng(0).normal(size=len(states[0])), []
    d /= np.linalg.norm(d)
    for t in reversed(range(steps)):
        nudges = 1e-6 * np.eye(len(d))
        d = np.array([(stepped(states[t] + n, t) - stepped(states[t] - n, t)) @ d for n in nudges]) / 2e-6
        growth.append(np.log(np.linalg.norm(d)))
        d /= np.linalg.norm(d)
    assert layer.gradient_half_life == pytest.approx(math.log(0.5) / np.mean(growth), rel=1e-6)


@pytest.mark.parametrize("operation", GATES)
def test_what_moves_the_state_is_less_by_what_zoneout_keeps(operation: str) -> None:
    tensors, x = weights(operation, 2, 3), data(1, 3, 2)
    graph = layer_graph(operation, tensors, started=True, **zoned(operation, *ZONEOUT))
    anew = np.array([[False, False, True]])
    layer = gatewise.inspect(graph, {"x": x, "starts": anew}).layers["reader"]
    slopes = np.zeros((3, 2))
    for t, f in np.ndindex(3, 2):
        ends = []
        for nudge in (-1e-5, 1e-5):
            moved = x[0, : t + 1].astype(np.float64)
            moved[t, f] += nudge
            ends.append(slow_gates(operation, tensors, moved, zoneout=ZONEOUT, starts=anew[0])["h"][-1])
        slopes[t, f] = np.abs(ends[1] - ends[0]).mean() / 2e-5
    np.testing.assert_allclose(layer.inputs, slopes.mean(axis=0) * x[0].astype(np.float64).std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("operation", GATES)
def test_whom_a_unit_moves_is_by_hand(operation: str) -> None:
    """With zoneout and starts; cut off, a unit's h, and a c that is normalised, reads as zero."""
    tensors, read, x = weights(operation, 2, 3), data(3, 2), data(2, 5, 2)
    anew = np.array([[False, False, True, False, False], [False] * 5])
    graph = layer_graph(operation, tensors, started=True, read=read, **zoned(operation, *ZONEOUT))
    layer = gatewise.inspect(graph, {"x": x, "starts": anew}).layers["reader"]

    def last(dropped: int | None) -> np.ndarray:
        rows = zip(x, anew, strict=True)
        found = [
            slow_gates(operation, tensors, row, zoneout=ZONEOUT, starts=starts, dropped=dropped)["h"][-1]
            for row, starts in rows
        ]
        return np.array([np.where(np.arange(3) == dropped, 0, h) for h in found]) @ read

    before = last(None)
    expected = [np.abs(last(unit) - before).max() / np.ptp(before) for unit in range(3)]
    np.testing.assert_allclose(layer.influence, expected, rtol=1e-3)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("name", "activation"), [("tanh", np.tanh), ("sigmoid", _sigmoid)])
def test_a_unit_whose_c_is_normalised_is_cut_off_whatever_it_begins_with(name: str, activation: Any) -> None:
    """Of a layer without gains and biases, whose states are given; a candidate of a sum of zero need not be zero."""
    tensors = {each: weights("layer_norm_lstm", 2, 3)[each] for each in ("kernel", "recurrent_kernel")}
    read, x, h, c = data(3, 2), data(2, 4, 2), data(2, 3, seed=2), data(2, 3, seed=3)
    inputs = {"x": Value((None, None, 2), "float32")} | dict.fromkeys("hc", Value((None, 3), "float32"))
    weighs = {each: each for each in tensors}
    reader = Node("reader", "layer_norm_lstm", ("x", None, "h", "c"), ("o",), {"activation": name}, weighs)
    score = Node("score", "dense", ("o",), ("y",), {}, {"kernel": "read"})
    graph = Graph(inputs, (reader, score), {"y": "y"}, {**tensors, "read": read})
    layer = gatewise.inspect(graph, {"x": x, "h": h, "c": c}).layers["reader"]
    full = weights("layer_norm_lstm", 2, 3) | tensors
    full |= {each: np.ones_like(full[each]) for each in ("gain", "recurrent_gain", "state_gain")}
    full |= {each: np.zeros_like(full[each]) for each in ("bias", "state_bias")}

    def last(dropped: int | None) -> np.ndarray:
        kept, found = np.arange(3) != dropped, []
        for row, *initial in zip(x, h, c, strict=True):
            given = {"initial": initial, "dropped": dropped, "activation": activation}
            found.append(slow_gates("layer_norm_lstm", full, row, **given)["h"][-1][kept] @ read[kept])
        return np.array(found)

    before = last(None)
    expected = [np.abs(last(unit) - before).max() / np.ptp(before) for unit in range(3)]
    np.testing.assert_allclose(layer.influence, expected, rtol=1e-3)


def test_a_keras_model_of_such_layers_is_looked_into() -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    x, starts = keras.Input((None, 2), name="x"), keras.Input((None,), dtype="bool", name="starts")
    below = gatewise.keras.LayerNormLSTM(3, return_sequences=True, zoneout=0.2, zoneout_cell=0.4, name="below")
    outputs = below(x, starts=starts)
    top = gatewise.keras.LayerNormGRU(4, reset_after=False, zoneout=0.3, name="top")(outputs, starts=starts)
    model = keras.Model({"x": x, "starts": starts}, keras.layers.Dense(1, name="score")(top))
    given = {"x": data(2, 7, 2), "starts": STARTS}
    found = gatewise.inspect(model, given)
    assert [(layer.cell, layer.longest) for layer in found.layers.values()] == [
        ("LayerNormLSTM", 4),
        ("LayerNormGRU, reset before", 4),
    ]
    h = keras.Model(model.inputs, outputs).predict(given, verbose=0)
    np.testing.assert_allclose(found.layers["below"].states["h"], h, atol=1e-5)
    last = keras.Model(model.inputs, top).predict(given, verbose=0)
    np.testing.assert_allclose(found.layers["top"].states["h"][:, -1], last, atol=1e-5)
