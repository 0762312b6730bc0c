# SPDX-License-Identifier: Apache-2.0
"""`starts` and zoneout of the layers, on the backend in use: against the engine for NumPy, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import gatewise
import gatewise.keras
from backends import dot, gradient
from gatewise import reference
from gatewise import weights as layouts
from gatewise.cells import Cell
from gatewise.runtime import Model, from_keras
from tolerance import NORMALISED, assert_close, tolerance

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 9, 4)).astype(np.float32)
MASK = np.arange(9) < np.array([[9], [6], [8]])
STARTS = RNG.random((3, 9)) < 0.3
STARTS[1, 7] = True  # on padding
LAYERS = [gatewise.keras.GRU, gatewise.keras.LSTM, gatewise.keras.SimpleRNN]


def of_engine(layer: Any, x: Any = X, **options: Any) -> Any:
    """The outputs of a layer by the engine for NumPy."""
    kernel, recurrent_kernel, bias = (np.asarray(ops.convert_to_numpy(w)) for w in layer.weights[:3])
    kind = {"GRU": layouts.GRUWeights, "LSTM": layouts.LSTMWeights, "SimpleRNN": layouts.SimpleRNNWeights}
    weights = kind[type(layer).__name__](kernel, recurrent_kernel, bias)
    options |= {"go_backwards": layer.go_backwards, "zero_output_for_mask": layer.zero_output_for_mask}
    return gatewise.rnn(x, weights, **options)


def numpy(value: Any) -> Any:
    return np.asarray(ops.convert_to_numpy(value))


@pytest.mark.parametrize("cls", LAYERS)
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_a_layer_begins_anew_at_starts(cls: Any, go_backwards: bool) -> None:
    layer = cls(5, return_sequences=True, return_state=True, go_backwards=go_backwards)
    before = gatewise.native.calls().forward
    outputs, *states = layer(X, mask=MASK, starts=STARTS)
    assert gatewise.native.calls().forward == before + 1
    expected, state = of_engine(layer, mask=MASK, starts=STARTS)
    assert numpy(outputs).tobytes() == expected.tobytes()
    for found, want in zip(states, state if isinstance(state, tuple) else (state,), strict=True):
        assert numpy(found).tobytes() == want.tobytes()
    assert not np.array_equal(numpy(layer(X, mask=MASK)[0]), expected)  # and nothing is left for the next call


# --- Gradients ---

CELLS = {
    "GRU": Cell.GRU,
    "LSTM": Cell.LSTM,
    "SimpleRNN": Cell.SIMPLE_RNN,
    "LayerNormGRU": Cell.LAYER_NORM_GRU,
    "LayerNormLSTM": Cell.LAYER_NORM_LSTM,
}
D_OUTPUTS = RNG.normal(size=(3, 9, 5)).astype(np.float32)
STATES = {name: RNG.normal(size=(3, 5)).astype(np.float32) for name in ("h", "c")}


def of_layer(layer: Any, states: dict[str, Any], **options: Any) -> tuple[Any, dict[str, Any]]:
    """A layer's outputs, and the gradients of x, the initial states and the weights."""

    def loss(x: Any, **given: Any) -> tuple[Any, Any]:
        outputs = layer(x, initial_state=[given[name] for name in states], **options)
        return dot(outputs, D_OUTPUTS), outputs

    return gradient(loss, layer.trainable_weights)({"x": X, **states})


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("name", CELLS)
def test_the_gradient_of_the_initial_state_is_the_sum_over_all_segments(name: str, go_backwards: bool) -> None:
    cell = CELLS[name]
    layer = getattr(gatewise.keras, name)(5, return_sequences=True, go_backwards=go_backwards)
    layer.build(X.shape)
    rng = np.random.default_rng(5)  # biases and gains that are all one would hide whose they are
    layer.set_weights([w + rng.normal(scale=0.3, size=w.shape).astype(np.float32) for w in layer.get_weights()])
    states = {state: STATES[state] for state in cell.row.states}
    before = gatewise.native.calls().backward
    outputs, found = of_layer(layer, states, mask=MASK, starts=STARTS)
    assert gatewise.native.calls().backward == before + 1
    arrays = {weight.name: numpy(weight) for weight in layer.weights}
    initial = tuple(states.values()) if len(states) > 1 else states["h"]
    options: Any = {"cell": cell, "initial_state": initial, "mask": MASK, "go_backwards": go_backwards}
    options |= arrays if not cell.row.weights else arrays | {"epsilon": layer.cell.epsilon}
    expected = reference.forward(X, starts=STARTS, **options)
    wanted = reference.backward(expected, D_OUTPUTS)
    allowed = (NORMALISED if cell.row.weights else 1) * tolerance(9, 9, 3)
    assert_close("outputs", outputs, expected.outputs, allowed)
    of_states = wanted.initial_state if len(states) > 1 else (wanted.initial_state,)
    named = dict(zip(states, of_states, strict=True)) | {n: getattr(wanted, n) for n in ("x", *arrays)}
    for of, value in named.items():
        assert_close(of, found[of], value, allowed)
    without = reference.backward(reference.forward(X, **options), D_OUTPUTS)
    assert np.abs(np.asarray(without.initial_state) - np.asarray(wanted.initial_state)).max() > 0.1


@pytest.mark.parametrize("cls", LAYERS)
def test_no_gradient_crosses_a_start_and_segments_are_as_stock_layers_apart(cls: Any) -> None:
    layer = cls(5, return_sequences=True)
    layer.build(X.shape)
    stock = getattr(keras.layers, cls.__name__)(5, return_sequences=True)
    stock.build(X.shape)
    stock.set_weights(layer.get_weights())
    states = {state: STATES[state] for state in CELLS[cls.__name__].row.states}
    _, found = of_layer(layer, states, starts=STARTS)
    expected = {name: np.zeros_like(value) for name, value in found.items()}
    for row, flags in enumerate(STARTS):
        for a, b in itertools.pairwise([0, *(t for t in range(1, 9) if flags[t]), 9]):
            d = D_OUTPUTS[row : row + 1, a:b]

            def loss(x: Any, d: Any = d, **given: Any) -> tuple[Any, Any]:
                return dot(stock(x, initial_state=[given[name] for name in states]), d), x

            own = {name: value[row : row + 1] for name, value in states.items()}
            _, apart = gradient(loss, stock.trainable_weights)({"x": X[row : row + 1, a:b], **own})
            expected["x"][row, a:b] = apart.pop("x")[0]
            for name, value in apart.items():
                expected[name][row if name in states else ...] += value[0] if name in states else value
    for name, value in expected.items():
        assert_close(name, found[name], value, tolerance(9, 9, 3))


# --- Wrappers, models, what is refused ---


@pytest.mark.parametrize("merge_mode", ["concat", "sum"], ids=["joined", "apart"])
def test_a_bidirectional_hands_starts_to_both_directions(merge_mode: str) -> None:
    wrapper = keras.layers.Bidirectional(gatewise.keras.GRU(5, return_sequences=True), merge_mode=merge_mode)
    outputs = numpy(wrapper(X, mask=MASK, starts=STARTS))
    forward, backward = (
        of_engine(layer, mask=MASK, starts=STARTS)[0] for layer in (wrapper.forward_layer, wrapper.backward_layer)
    )
    halves = forward, backward[:, ::-1]
    expected = np.concatenate(halves, axis=-1) if merge_mode == "concat" else sum(halves)
    np.testing.assert_array_equal(outputs, expected)


def test_a_model_trains_with_starts_and_keeps_them_when_saved(tmp_path: Any) -> None:
    x, starts = keras.Input((9, 4)), keras.Input((9,), dtype="bool")
    hidden = gatewise.keras.LSTM(5, return_sequences=True, zoneout=0.2, zoneout_cell=0.4)(x, starts=starts)
    hidden = keras.layers.Bidirectional(gatewise.keras.GRU(3))(hidden, starts=starts)
    model = keras.Model([x, starts], keras.layers.Dense(1)(hidden))
    model.compile("sgd", "mse")
    before = gatewise.native.calls().backward
    model.fit([X, STARTS], np.ones((3, 1)), epochs=2, verbose=0)
    assert gatewise.native.calls().backward > before
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict([X, STARTS], verbose=0), model.predict([X, STARTS], verbose=0))
    assert not np.array_equal(model.predict([X, ~STARTS], verbose=0), model.predict([X, STARTS], verbose=0))


def test_a_mask_that_sequences_carry_is_kept_beside_starts() -> None:
    x, starts = keras.Input((9, 4)), keras.Input((9,), dtype="bool")
    masked = keras.layers.Masking()(x)
    gru = gatewise.keras.GRU(5, bias_initializer="ones")  # with which a step of zeros changes the state
    both = keras.layers.Bidirectional(gatewise.keras.GRU(5, bias_initializer="ones"))
    model = keras.Model([x, starts], [gru(masked, starts=starts), both(masked, starts=starts)])
    alone, joined = model.predict([np.where(MASK[..., None], X, 0), STARTS], verbose=0)
    last, _ = of_engine(gru, mask=MASK, starts=STARTS, return_sequences=False)
    np.testing.assert_array_equal(alone, last[:, 0])
    np.testing.assert_array_equal(joined, numpy(both(X, mask=MASK, starts=STARTS)))


def test_the_runtime_reads_starts_and_zoneout_and_streams_them() -> None:
    x, starts = keras.Input((None, 4), name="x"), keras.Input((None,), dtype="bool", name="starts")
    masked = keras.layers.Masking()(x)
    hidden = gatewise.keras.LSTM(5, return_sequences=True, zoneout=0.2, zoneout_cell=0.4)(masked, starts=starts)
    both = keras.layers.Bidirectional(gatewise.keras.GRU(3, zoneout=0.1))(masked, starts=starts)
    model = keras.Model([x, starts], [hidden, both])
    given = {"x": np.where(MASK[..., None], X, 0).astype(np.float32), "starts": STARTS}
    expected, of_both = (numpy(each) for each in model([given["x"], STARTS]))
    read = Model(from_keras(model))
    found = list(read.predict(given).values())
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    np.testing.assert_allclose(found[1], of_both, atol=1e-6)
    stream = Model(from_keras(keras.Model([x, starts], hidden))).stream(3)
    pieces = [stream.run({name: array[:, a:b] for name, array in given.items()}) for a, b in ((0, 1), (1, 7), (7, 9))]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), found[0])


def test_starts_that_cannot_be_kept_are_refused() -> None:
    layer = gatewise.keras.GRU(5)
    with pytest.raises(ValueError, match=r"starts has the wrong shape\. Expected \(batch=3, timesteps=9\)"):
        layer(X, starts=STARTS[:, :4])
    refused = pytest.raises(NotImplementedError, match=r"GRU 'gru.*': starts cannot be left out.*portable")
    with refused, gatewise.portable():
        layer(X, starts=STARTS)
    with pytest.raises(ValueError, match="starts and stateful=True do not go together"):
        gatewise.keras.GRU(5, stateful=True)(X, starts=STARTS)
    with pytest.raises(NotImplementedError, match=r"starts need layers of gatewise\.keras"):
        keras.layers.Bidirectional(keras.layers.GRU(5))(X, starts=STARTS)


@pytest.mark.parametrize("cls", LAYERS[:2])
def test_zoneout_is_the_expectation_in_inference(cls: Any) -> None:
    parts = {"zoneout": 0.25, "zoneout_cell": 0.5} if cls is gatewise.keras.LSTM else {"zoneout": 0.25}
    layer = cls(5, return_sequences=True, **parts)
    outputs = numpy(layer(X, mask=MASK))
    named = dict(zip(("zoneout_h", "zoneout_c"), parts.values(), strict=False))
    assert outputs.tobytes() == of_engine(layer, mask=MASK, **named)[0].tobytes()


def test_zoneout_draws_every_row_step_and_unit_anew_in_training() -> None:
    units, x = 64, np.zeros((20, 30, 1), np.float32)
    layer = gatewise.keras.GRU(
        units, zoneout=0.3, return_sequences=True, seed=7, bias_initializer=keras.initializers.RandomNormal(seed=1)
    )
    first, second = (numpy(layer(x, training=True)) for _ in range(2))
    kept = np.diff(first, axis=1) == 0  # the state goes on towards its limit unless it is kept
    assert abs(kept[:, :8].mean() - 0.3) < 0.02
    assert not np.array_equal(first, second)
    assert (kept[:, 1] != kept[:, 2]).mean() > 0.3  # no draw serves two steps,
    assert (kept[0, :8] != kept[1, :8]).mean() > 0.3  # nor two rows
    again = gatewise.keras.GRU.from_config(layer.get_config())
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    assert numpy(again(x, training=True)).tobytes() == first.tobytes()  # from the same seed


def test_zoneout_that_cannot_be_kept_is_refused() -> None:
    layer = gatewise.keras.GRU(5, zoneout=0.1)
    assert layer.get_config()["zoneout"] == 0.1
    assert "zoneout" not in gatewise.keras.GRU(5).get_config()  # which stock's class takes
    with pytest.raises(NotImplementedError, match="zoneout cannot be left out"), gatewise.portable():
        layer(X)
    model = keras.Sequential([keras.Input((9, 4)), layer])
    with pytest.raises(ValueError, match=r"gru.* has zoneout, which stock Keras has not"):
        gatewise.keras.convert(model, to="stock")
    with pytest.raises(ValueError, match=r"GRU: zoneout is out of range\. Expected 0 to 1; received 2"):
        gatewise.keras.GRU(5, zoneout=2)
    with pytest.raises(ValueError, match="zoneout_cell"):  # in Keras's own words
        gatewise.keras.GRU(5, zoneout_cell=0.1)
