# SPDX-License-Identifier: Apache-2.0
"""Faults of `keras.layers.GRU` (Keras 3.15, on a CPU) that `gatewise.keras.GRU` does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

from backends import call, gradient  # noqa: E402  # after the skip
from gatewise import native, reference  # noqa: E402
from gatewise.keras import GRU  # noqa: E402

BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 4, 5
ALLOWED = tolerance(FEATURES + UNITS, TIMESTEPS)
X = np.random.default_rng(2).normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
LEFT = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]], bool)


@pytest.fixture(autouse=True)
def _runs_natively() -> Any:
    """Every test here is about the engine's path."""
    before = native.calls().forward
    yield
    assert native.calls().forward > before


def built(**options: Any) -> Any:
    layer = GRU(UNITS, **options)
    layer.build(X.shape)
    return layer


def specified(layer: Any, mask: Any = None, **options: Any) -> Any:
    """What the specification says of the layer's weights and X."""
    weights = layer.get_weights()
    return reference.forward(X, *weights, mask=mask, go_backwards=layer.go_backwards, **options)


def test_a_stateful_layer_trains_with_default_arguments() -> None:  # 1: torch fails
    model = keras.Sequential([keras.Input(batch_shape=X.shape), GRU(UNITS, stateful=True)])
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(X, np.zeros((BATCH, UNITS)), batch_size=BATCH, verbose=0).history["loss"][0])


def test_dropout_works_with_implementation_1() -> None:  # 2: every backend crashes
    ours = built(dropout=0.5, implementation=1, seed=1, return_sequences=True)
    stock = keras.layers.GRU(UNITS, dropout=0.5, implementation=1, use_cudnn=False, seed=1, return_sequences=True)
    stock.build(X.shape)
    stock.set_weights(ours.get_weights())
    assert_close("outputs", call(ours, X, training=True), call(stock, X, training=True), 2 * ALLOWED)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_layer_without_bias_runs_in_mixed_precision(policy: str) -> None:  # 3: JAX fails
    assert np.all(np.isfinite(call(built(use_bias=False, dtype=policy), X)))


def test_an_unrolled_layer_reads_a_mask_backwards() -> None:  # 4: torch fails
    layer = built(unroll=True, go_backwards=True, return_sequences=True)
    assert_close("outputs", call(layer, X, mask=LEFT), specified(layer, LEFT).outputs, ALLOWED)


def test_an_unrolled_backward_layer_zeroes_the_masked_steps() -> None:  # 5: TensorFlow zeroes the mirrored ones
    layer = built(unroll=True, go_backwards=True, return_sequences=True, zero_output_for_mask=True)
    outputs = call(layer, X, mask=LEFT)
    assert_close("outputs", outputs, specified(layer, LEFT, zero_output_for_mask=True).outputs, ALLOWED)
    np.testing.assert_array_equal(np.any(outputs != 0, axis=-1), LEFT[:, ::-1])


def test_an_unrolled_layer_zeroes_masked_steps() -> None:  # 6: JAX ignores zero_output_for_mask
    outputs = call(built(unroll=True, return_sequences=True, zero_output_for_mask=True), X, mask=LEFT)
    np.testing.assert_array_equal(np.any(outputs != 0, axis=-1), LEFT)


@pytest.mark.parametrize("unroll", [False, True])
def test_outputs_before_the_first_valid_step_are_zeros_whatever_the_initial_state(
    unroll: bool,
) -> None:  # 7: JAX repeats the state
    layer = built(unroll=unroll, return_sequences=True, return_state=True)
    start = np.ones((BATCH, UNITS), np.float32)
    outputs, state = call(layer, X, mask=LEFT, initial_state=start)
    np.testing.assert_array_equal(np.any(outputs != 0, axis=-1), LEFT)
    np.testing.assert_array_equal(state[2], start[2])


@pytest.mark.parametrize(
    "options", [{"dropout": 1.0}, {"recurrent_dropout": 1.0}, {"dropout": 1.0, "recurrent_dropout": 1.0}], ids=str
)
def test_dropout_of_one_drops_nothing_as_on_tensorflow(
    options: dict[str, float],
) -> None:  # 9: JAX and torch zero the input
    layer = built(return_sequences=True, **options)
    np.testing.assert_array_equal(call(layer, X, training=True), call(layer, X, training=False))


@pytest.mark.parametrize("reset_after", [True, False])
def test_nan_in_masked_steps_reaches_no_loss_and_no_gradient(reset_after: bool) -> None:  # 14: every backend
    poisoned = np.where(LEFT[..., None], X, np.nan).astype(np.float32)
    layer = built(return_sequences=True, reset_after=reset_after)

    def loss_of(x: Any) -> tuple[Any, Any]:
        loss = keras.ops.sum(layer(x, mask=LEFT, training=True) ** 2)
        return loss, loss

    loss, gradients = gradient(loss_of, layer.trainable_weights)({"x": poisoned})
    assert np.isfinite(loss)
    assert gradients.keys() == {"x", "kernel", "recurrent_kernel", "bias"}
    assert all(np.all(np.isfinite(value)) for value in gradients.values())
    assert not np.any(gradients["x"][~LEFT])


def test_training_on_padded_nan_keeps_the_loss_finite() -> None:  # 14, in fit
    x = np.where(LEFT[..., None], X, np.nan).astype(np.float32)
    sequences, mask = keras.Input(X.shape[1:]), keras.Input((TIMESTEPS,), dtype="bool")
    model = keras.Model([sequences, mask], keras.layers.Dense(1)(GRU(UNITS)(sequences, mask=mask)))
    model.compile("sgd", "mse")
    losses = model.fit([x, LEFT], np.ones((BATCH, 1)), epochs=3, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses))
