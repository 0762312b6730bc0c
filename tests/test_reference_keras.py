# SPDX-License-Identifier: Apache-2.0
"""The specification, held against stock Keras in float64: values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import BATCH, FEATURES, MASKS, TIMESTEPS, UNITS, Array, make_arrays, make_dropout, output_gradients

tf = pytest.importorskip("tensorflow", reason="the oracle is Keras on TensorFlow: install the extra `tensorflow`")
keras = pytest.importorskip("keras", reason="the oracle is Keras on TensorFlow: install the extra `tensorflow`")

from gatewise import cells, reference  # noqa: E402

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="Keras runs another backend: set KERAS_BACKEND=tensorflow",
)

# Two correct computations differ by a few eps for each term of the longest sum: over batch, time and a fan-in.
TOLERANCE = 8 * float(np.finfo(np.float64).eps) * BATCH * TIMESTEPS * (FEATURES + 2 * UNITS)

Results = dict[str, Array]


def run_keras(layer: Any, arrays: Results, mask: Any) -> Results:
    """Runs the layer and its gradients. Returns outputs, state and a d_ for each array."""
    weights = [arrays[name] for name in ("kernel", "recurrent_kernel", "bias") if name in arrays]
    layer.build((BATCH, TIMESTEPS, FEATURES))
    layer.set_weights(weights)
    x = tf.constant(arrays["x"])
    state = tf.constant(arrays["initial_state"]) if "initial_state" in arrays else None
    valid = None if mask is None else tf.constant(np.asarray(mask, bool))
    watched = {"x": x, "initial_state": state} if state is not None else {"x": x}
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs, last_state = layer(x, mask=valid, initial_state=state, training=True)
        d_outputs, d_state = output_gradients()
        loss = tf.reduce_sum(outputs * d_outputs) + tf.reduce_sum(last_state * d_state)
    names = ("kernel", "recurrent_kernel", "bias")
    watched |= dict(zip(names, (v.value for v in layer.trainable_variables), strict=False))
    gradients = tape.gradient(loss, watched)
    results = {f"d_{name}": gradient.numpy() for name, gradient in gradients.items()}
    return {"outputs": outputs.numpy(), "state": last_state.numpy(), **results}


def run_reference(arrays: Results, *, reset_after: bool, **options: Any) -> Results:
    forward = reference.forward(**arrays, cell=cells.gru(reset_after=reset_after), **options)
    gradients = reference.backward(forward, *output_gradients())
    results = {f"d_{name}": getattr(gradients, name) for name in arrays}
    return {"outputs": forward.outputs, "state": forward.state, **results}


def assert_same(received: Results, expected: Results) -> None:
    assert received.keys() == expected.keys()
    for name, array in expected.items():
        size = max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(received[name], array, rtol=0, atol=TOLERANCE * size, err_msg=name)


def make_layer(**options: Any) -> Any:
    return keras.layers.GRU(UNITS, return_sequences=True, return_state=True, unroll=False, dtype="float64", **options)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_keras_agrees_for_all_masks(reset_after: bool, use_bias: bool, go_backwards: bool, mask: str) -> None:
    for initial_state, zero_output in ((True, False), (False, True)):
        arrays = make_arrays(reset_after=reset_after, use_bias=use_bias, initial_state=initial_state)
        options = {"reset_after": reset_after, "go_backwards": go_backwards, "zero_output_for_mask": zero_output}
        expected = run_keras(make_layer(use_bias=use_bias, **options), arrays, MASKS[mask])
        assert_same(run_reference(arrays, mask=MASKS[mask], **options), expected)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_keras_agrees_for_all_activations_in_both_places(reset_after: bool, shift: int) -> None:
    names = ["tanh", "sigmoid", "relu", "linear", "hard_sigmoid"]
    arrays = make_arrays(reset_after=reset_after)
    for activation, recurrent_activation in zip(names, names[shift:] + names[:shift], strict=True):
        options = {"activation": activation, "recurrent_activation": recurrent_activation, "reset_after": reset_after}
        expected = run_keras(make_layer(**options), arrays, MASKS["none"])
        assert_same(run_reference(arrays, **options), expected)


@pytest.mark.parametrize("mask", ["none", "holes"])
@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)], ids=["input", "recurrent", "both"])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_keras_agrees_with_dropout(reset_after: bool, rates: tuple[float, float], mask: str) -> None:
    dropout, recurrent_dropout = rates
    arrays = make_arrays(reset_after=reset_after)
    # Keras draws one mask for x, or three where there is recurrent dropout. Here both sides are given the same.
    on_x, on_h = make_dropout(3 if recurrent_dropout else 1, FEATURES), make_dropout(3, UNITS)
    layer = make_layer(reset_after=reset_after, dropout=dropout, recurrent_dropout=recurrent_dropout, use_cudnn=False)
    layer.cell.get_dropout_mask = lambda _: list(on_x) if recurrent_dropout else on_x[0]
    layer.cell.get_recurrent_dropout_mask = lambda _: list(on_h)
    expected = run_keras(layer, arrays, MASKS[mask])
    received = run_reference(
        arrays,
        reset_after=reset_after,
        mask=MASKS[mask],
        input_dropout=on_x if dropout else None,
        recurrent_dropout=on_h if recurrent_dropout else None,
    )
    assert_same(received, expected)
