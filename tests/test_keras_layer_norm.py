# SPDX-License-Identifier: Apache-2.0
"""`gatewise.keras.LayerNormGRU` and `LayerNormLSTM`: Keras's own pieces compute the same; files, wrappers, dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tolerance import NORMALISED, assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layers are Keras's: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
import gatewise.keras as ours  # noqa: E402
from backends import arrays_of, call, dot, gradient, native_calls, tensor  # noqa: E402
from gatewise.runtime.doors.from_keras import from_keras  # noqa: E402
from layer_norm_oracle import OracleCell  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

BATCH, TIMESTEPS, FEATURES, UNITS = 3, 7, 5, 11
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gru": (ours.LayerNormGRU, {}),
    "gru, reset before": (ours.LayerNormGRU, {"reset_after": False}),
    "lstm": (ours.LayerNormLSTM, {}),
}
kinds = pytest.mark.parametrize("kind", KINDS)
RNG = np.random.default_rng(40)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
MASK = np.array([[1] * 7, [1, 0, 1, 1, 0, 1, 0], [0, 0, 1, 1, 1, 0, 0]], bool)
ALLOWED = NORMALISED * tolerance(FEATURES + UNITS, TIMESTEPS, BATCH)


def make(kind: str, **options: Any) -> Any:
    cls, own = KINDS[kind]
    layer = cls(UNITS, return_sequences=True, return_state=True, **own, **options)
    layer.build((None, None, FEATURES))
    rng = np.random.default_rng(41)
    for weight in layer.weights:
        if weight.name != "seed_generator_state":
            noise = rng.normal(size=weight.shape)
            weight.assign(1 + noise / 4 if "gain" in weight.name else noise / 2)
    return layer


def weights_of(layer: Any) -> dict[str, Any]:
    return {weight.name: keras.ops.convert_to_numpy(weight) for weight in layer.trainable_weights}


@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@kinds
def test_values_and_gradients_are_those_of_keras_own_pieces(kind: str, masked: bool) -> None:
    layer, mask = make(kind, go_backwards=masked), tensor(MASK) if masked else None
    oracle = OracleCell(weights_of(layer), layer.cell.engine_cell, "tanh", "sigmoid")
    stock = keras.layers.RNN(oracle, return_sequences=True, return_state=True, go_backwards=masked)
    d_outputs = RNG.normal(size=(BATCH, TIMESTEPS, UNITS)).astype(np.float32)
    if masked:  # a fault of Keras's loop on JAX: see test_keras_bugs.py
        d_outputs[2] = 0

    def loss_of(of: Any) -> Any:
        def loss(x: Any) -> tuple[Any, Any]:
            outputs, *states = of(x, mask=mask, training=True)
            return dot(outputs, d_outputs) + sum(keras.ops.sum(state) for state in states), (outputs, *states)

        return loss

    stock(X)
    with native_calls(1, 1):
        found, gradients = gradient(loss_of(layer), layer.trainable_weights)({"x": X})
    assert layer.fallback_reason is None
    own = list(oracle.own.values())
    wanted, of_oracle = gradient(loss_of(stock), own)({"x": X})
    rows = slice(0, 2) if masked else slice(None)
    for got, want in zip(found, wanted, strict=True):
        assert_close("results", got[rows], want[rows], ALLOWED)
    assert_close("d_x", gradients["x"][rows], of_oracle["x"][rows], ALLOWED)
    if not masked:
        for name in weights_of(layer):
            assert_close(f"d_{name}", gradients[name], oracle.gradient_of(name, of_oracle), ALLOWED)


@kinds
def test_keras_operations_compute_the_same_where_the_engine_does_not(kind: str) -> None:
    layer = make(kind, recurrent_activation="hard_sigmoid", epsilon=0.01)
    with native_calls(1):
        found = call(layer, X, mask=tensor(MASK))
    with gatewise.portable(), native_calls(0):
        expected = call(layer, X, mask=tensor(MASK))
    assert layer.fallback_reason == "gatewise.portable() is active"
    for got, want in zip(found, expected, strict=True):
        assert_close("results", got, want, ALLOWED)
    wide = make(kind, epsilon=0.5)
    assert np.abs(call(wide, X)[0] - call(make(kind), X)[0]).max() > 0.01, "epsilon changes nothing"


@pytest.mark.parametrize("recurrent", [0.0, 0.5], ids=["", "recurrent"])
@kinds
def test_dropout_drops_the_same_on_the_engine(kind: str, recurrent: float) -> None:
    first, second = (make(kind, dropout=0.4, recurrent_dropout=recurrent, seed=3) for _ in range(2))
    with native_calls(1):
        found = call(first, X, training=True)
    with gatewise.portable():
        expected = call(second, X, training=True)
    assert_close("outputs", found[0], expected[0], ALLOWED)
    assert np.abs(found[0] - call(first, X)[0]).max() > 0.01, "nothing is dropped"


@kinds
def test_half_precision_is_computed_in_float32(kind: str) -> None:
    layer = make(kind, dtype="mixed_bfloat16")
    with native_calls(1):
        outputs = layer(X)[0]
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert_close("outputs", arrays_of(outputs), call(make(kind), X)[0], 0.1)


@kinds
def test_both_directions_are_one_call_and_files_keep_all(kind: str, tmp_path: Path) -> None:
    cls, own = KINDS[kind]
    inputs = keras.Input((None, FEATURES), name="x")
    layer = cls(UNITS, epsilon=0.02, gain_regularizer="l2", return_sequences=True, **own)
    model = keras.Model(inputs, keras.layers.Dense(2, name="y")(keras.layers.Bidirectional(layer)(inputs)))
    with native_calls(2):  # one call, which counts as two
        expected = arrays_of(model(X))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(arrays_of(again(X)), expected)
    loaded = again.layers[1].forward_layer
    assert type(loaded) is cls
    assert loaded.epsilon == 0.02
    assert loaded.cell.gain_regularizer is not None
    assert len(again.losses) == len(model.losses) > 0
    found = gatewise.runtime.Model(from_keras(again)).predict(X)
    assert_close("the runtime's", found, expected, ALLOWED)


@kinds
def test_the_runtime_streams_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    layer = make(kind)
    inputs = keras.Input((None, FEATURES), name="x")
    model = gatewise.runtime.Model(from_keras(keras.Model(inputs, layer(inputs)[0])))
    gatewise.save(model, tmp_path / "model.gw")
    model = gatewise.load(tmp_path / "model.gw")
    whole = model.predict(X)
    stream = model.stream(BATCH)
    np.testing.assert_array_equal(np.stack([stream.step(X[:, t]) for t in range(TIMESTEPS)], axis=1), whole)
    assert_close("outputs", whole, call(layer, X)[0], ALLOWED)


@kinds
def test_zoneout_is_the_specification_s(kind: str) -> None:
    parts = {"zoneout": 0.25, **({"zoneout_cell": 0.5} if kind == "lstm" else {})}
    layer = make(kind, **parts)
    layer = type(layer).from_config(layer.get_config())  # which keeps them
    layer.build((None, None, FEATURES))
    assert {name: getattr(layer, name) for name in parts} == parts
    options = {"zoneout_h": 0.25, **({"zoneout_c": 0.5} if kind == "lstm" else {})}
    expected = gatewise.reference.forward(X, **weights_of(layer), cell=layer.cell.engine_cell, **options)
    with native_calls(1):
        found = call(layer, X)[0]
    assert_close("outputs", found, expected.outputs, ALLOWED)
    assert not call(make(kind, zoneout=1.0), X, training=True)[0].any(), "in training everything is kept"


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"epsilon is out of range\. Expected a finite number above 0; received 0"):
        ours.LayerNormGRU(4, epsilon=0)
    with pytest.raises(ValueError, match=r"gatewise\.keras\.LayerNormGRU: units is too small"):
        ours.LayerNormGRU(0)
    with pytest.raises(ValueError, match=r"LayerNormLSTM: gain_initializer is unknown.*received 'onez'"):
        ours.LayerNormLSTM(4, gain_initializer="onez")
