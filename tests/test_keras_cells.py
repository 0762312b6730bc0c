# SPDX-License-Identifier: Apache-2.0
"""`gatewise.keras.LSTM` and `SimpleRNN`: stock's layers in float64, with every option, and the doors to them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layers are Keras's: install an extra")

import gatewise  # noqa: E402  # after the skip
from backends import BACKEND, arrays_of, call, dot, float64, gradient, gradient_of_gradient, native_calls  # noqa: E402
from gatewise.keras import GRU, LSTM, SimpleRNN, convert, patch_keras, unpatch_keras  # noqa: E402

BATCH, TIMESTEPS, FEATURES, UNITS = 5, 6, 4, 7
KINDS = [LSTM, SimpleRNN]
# Stock's SimpleRNN fails in float64 on JAX: its scan finds a state in float32.
PRECISE = {LSTM: "float64", SimpleRNN: "float32" if BACKEND == "jax" else "float64"}
RNG = np.random.default_rng(12)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
MASKS = {
    "none": None,
    "right": np.arange(TIMESTEPS) < np.array([[6], [4], [1], [5], [2]]),
    "holes": RNG.random((BATCH, TIMESTEPS)) < 0.6,
}


def stock_of(layer: Any, **changed: Any) -> Any:
    """Stock's layer in float64 with a layer's options and weights."""
    config = {name: value for name, value in layer.get_config().items() if name not in {"dtype", "name"}}
    stock = type(layer).STOCK(**{**config, **changed}, dtype=PRECISE[type(layer)])
    with float64():
        stock.build((BATCH, TIMESTEPS, FEATURES))
        stock.set_weights(layer.get_weights())
    return stock


def results(layer: Any, mask: Any, states: list[Any], dtype: str) -> dict[str, Any]:
    """What a layer gives, and the gradients of a weighted sum of it."""
    rng = np.random.default_rng(3)

    def loss(x: Any, **starts: Any) -> tuple[Any, Any]:
        given = layer(x, initial_state=list(starts.values()) or None, mask=mask, training=True)
        found = given if isinstance(given, list | tuple) else [given]
        weights = [rng.normal(size=tuple(value.shape)).astype(dtype) for value in found]
        return sum(dot(value, weight) for value, weight in zip(found, weights, strict=True)), found

    arrays = {"x": X.astype(dtype)} | {f"state_{i}": state.astype(dtype) for i, state in enumerate(states)}
    found, gradients = gradient(loss, layer.trainable_variables)(arrays)
    return {f"result {i}": value for i, value in enumerate(found)} | {f"d_{n}": v for n, v in gradients.items()}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_stock_s_with_every_option(kind: Any, mask: str) -> None:
    for seed, (backwards, sequences, zero, bias, starts) in enumerate(itertools.product((False, True), repeat=5)):
        # Stock's faults on JAX: the last output of a masked step is the state, and those before the first valid step
        # are the initial state.
        if BACKEND == "jax" and MASKS[mask] is not None and (starts or not sequences):
            continue
        layer = kind(
            UNITS, go_backwards=backwards, return_sequences=sequences, zero_output_for_mask=zero, use_bias=bias,
            return_state=True, seed=seed,
        )  # fmt: skip
        layer.build(X.shape)
        weights = [np.random.default_rng(seed).normal(size=w.shape).astype(np.float32) / 2 for w in layer.get_weights()]
        layer.set_weights(weights)
        n = 2 if kind is LSTM else 1
        states = [RNG.normal(size=(BATCH, UNITS)).astype(np.float32) for _ in range(n)] if starts else []
        stock = stock_of(layer)
        with native_calls(1, 1):
            found = results(layer, MASKS[mask], states, "float32")
        assert layer.fallback_reason is None
        with float64():
            expected = results(stock, MASKS[mask], states, PRECISE[kind])
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            rows = BATCH if "kernel" in name or "bias" in name else 1
            size = max(1.0, float(np.abs(value).max()))
            allowed = 8 * tolerance(FEATURES + UNITS, TIMESTEPS, rows)
            assert_close(f"{name}, {seed}", found[name] / size, value / size, allowed)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_drawn_as_stock_draws_it(kind: Any) -> None:
    options = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 5, "return_sequences": True}
    layer, stock = kind(UNITS, **options), kind.STOCK(UNITS, **options)
    for one in (layer, stock):
        one.build(X.shape)
    stock.set_weights(layer.get_weights())
    with native_calls(1):
        found = call(layer, X, training=True)
    assert_close("outputs", found, call(stock, X, training=True), 4 * tolerance(FEATURES + UNITS, TIMESTEPS))
    assert not np.allclose(found, call(layer, X), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_run_as_one_call(kind: Any) -> None:
    ours = keras.layers.Bidirectional(kind(UNITS, return_sequences=True, return_state=True))
    stock = keras.layers.Bidirectional(kind.STOCK(UNITS, return_sequences=True, return_state=True))
    for one in (ours, stock):
        one.build(X.shape)
    stock.set_weights(ours.get_weights())
    n = 4 if kind is LSTM else 2
    states = [RNG.normal(size=(BATCH, UNITS)).astype(np.float32) for _ in range(n)]
    for mask, start in ((None, None), (MASKS["right"], states)):
        with native_calls(2):
            found = call(ours, X, initial_state=start, mask=mask)
        expected = call(stock, X, initial_state=start, mask=mask)
        assert len(found) == len(expected) == 1 + n
        for i, (value, wanted) in enumerate(zip(found, expected, strict=True)):
            assert_close(f"result {i}", value, wanted, 4 * tolerance(FEATURES + UNITS, TIMESTEPS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stateful_layer_goes_on_where_it_was(kind: Any) -> None:
    layer, whole = kind(UNITS, stateful=True, return_sequences=True), kind(UNITS, return_sequences=True)
    layer.build(X.shape)
    whole.build(X.shape)
    whole.set_weights(layer.get_weights())
    parts = [call(layer, X[:, :2]), call(layer, X[:, 2:])]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), call(whole, X))


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_derivative_is_that_of_stock(kind: Any) -> None:
    layer = kind(UNITS)
    layer.build(X.shape)
    stock = kind.STOCK(UNITS)
    stock.build(X.shape)
    stock.set_weights(layer.get_weights())
    found, expected = (gradient_of_gradient(lambda x, one=one: keras.ops.sum(one(x) ** 2), X) for one in (layer, stock))
    assert_close("second derivative", found, expected, 30 * tolerance(FEATURES + UNITS, TIMESTEPS))


def mixed() -> Any:
    keras.utils.set_random_seed(4)
    model = keras.Sequential([
        keras.Input((TIMESTEPS, FEATURES)),
        keras.layers.LSTM(UNITS, return_sequences=True),
        keras.layers.RNN([keras.layers.LSTMCell(5), keras.layers.GRUCell(4), keras.layers.SimpleRNNCell(3)],
                         return_sequences=True),
        keras.layers.Bidirectional(keras.layers.SimpleRNN(4, return_sequences=True)),
        keras.layers.GRU(3, return_sequences=True),
        keras.layers.TimeDistributed(keras.layers.Dense(2)),
    ])  # fmt: skip
    model.compile("adam", "mse")
    return model


def losses(model: Any) -> list[float]:
    y = np.random.default_rng(1).normal(size=(40, TIMESTEPS, 2)).astype(np.float32)
    x = np.random.default_rng(2).normal(size=(40, TIMESTEPS, FEATURES)).astype(np.float32)
    return list(model.fit(x, y, epochs=3, batch_size=10, shuffle=False, verbose=0).history["loss"])


def test_the_patch_carries_every_cell_with_equal_losses() -> None:
    expected = losses(mixed())
    patch_keras()
    try:
        before = gatewise.native.calls()
        found = losses(mixed())
        assert gatewise.native.calls().backward > before.backward
    finally:
        unpatch_keras()
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_convert_carries_every_layer_there_and_back() -> None:
    model = mixed()
    fast = convert(model)
    assert [type(layer) for layer in fast.layers[:1]] == [LSTM]
    assert type(fast.layers[2].forward_layer) is SimpleRNN
    assert type(fast.layers[3]) is GRU
    x = X
    tolerated = 4 * tolerance(FEATURES + UNITS, TIMESTEPS)
    assert_close("outputs", arrays_of(fast(x)), arrays_of(model(x)), tolerated)
    stock = convert(fast, to="stock")
    assert type(stock.layers[0]) is keras.layers.LSTM
    assert_close("outputs", arrays_of(stock(x)), arrays_of(model(x)), tolerated)


def test_too_few_states_are_explained() -> None:
    layer = LSTM(UNITS)
    layer.build(X.shape)
    with pytest.raises(ValueError, match=r"initial_state holds the wrong number of states. Expected 2; received"):
        layer(X, initial_state=[np.zeros((BATCH, UNITS), np.float32)])


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_rounded_once(kind: Any) -> None:
    layer = kind(UNITS, dtype="mixed_float16")
    found = call(layer, X)
    whole = kind(UNITS)
    whole.build(X.shape)
    whole.set_weights(layer.get_weights())
    assert layer.fallback_reason is None
    np.testing.assert_allclose(found, call(whole, X), atol=2e-3)
