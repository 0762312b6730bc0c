# SPDX-License-Identifier: Apache-2.0
"""`gatewise.keras.GRU` in the place of `keras.layers.GRU`: arguments, states, wrappers, dropout and precision."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

from backends import (  # noqa: E402  # after the skip
    BACKEND,
    arrays_of,
    call,
    float64,
    gradient,
    gradient_of_gradient,
    native_calls,
    tensor,
    tensorflow_only,
)
from gatewise import native, reference  # noqa: E402
from gatewise.keras import GRU  # noqa: E402

Array = npt.NDArray[Any]

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = tolerance(FEATURES + UNITS, TIMESTEPS)
X = np.random.default_rng(0).normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0]], bool)


def stock_like(layer: Any, **changes: Any) -> Any:
    """A stock layer with the options and weights of ours."""
    stock = keras.layers.GRU.from_config({**layer.get_config(), **changes})
    stock.build(X.shape)
    stock.set_weights(layer.get_weights())
    return stock


def built(*args: Any, **kwargs: Any) -> Any:
    layer = GRU(*args, **kwargs)
    layer.build(X.shape)
    return layer


# --- Arguments ---


def test_the_signature_is_that_of_the_stock_layer_and_what_it_has_not() -> None:
    for ours, stock, more in (
        (GRU, keras.layers.GRU, ["zoneout"]),
        (GRU.__init__, keras.layers.GRU.__init__, ["zoneout"]),
        (GRU.call, keras.layers.GRU.call, ["starts", "sequences_mask"]),
    ):
        of_ours, of_stock = (
            [(one.name, one.kind, one.default) for one in inspect.signature(of).parameters.values()]
            for of in (ours, stock)
        )
        assert [one for one in of_ours if one[0] not in more] == of_stock
        assert [name for name, *_ in of_ours if name not in {one[0] for one in of_stock}] == more


def test_every_argument_reaches_the_config_as_in_the_stock_layer() -> None:
    arguments: dict[str, Any] = {
        "activation": "relu",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": False,
        "kernel_initializer": "ones",
        "recurrent_initializer": "zeros",
        "kernel_regularizer": "l2",
        "activity_regularizer": "l1",
        "kernel_constraint": "max_norm",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "seed": 3,
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "reset_after": False,
        "zero_output_for_mask": True,
        "name": "reader",
        "dtype": "mixed_bfloat16",
    }
    assert GRU(4, **arguments).get_config() == keras.layers.GRU(4, **arguments).get_config()
    assert GRU.from_config(GRU(4, **arguments).get_config()).get_config() == GRU(4, **arguments).get_config()


@pytest.mark.parametrize("recurrent_activation", ["tanh", "sigmoid", "relu", "linear", "hard_sigmoid", None])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "linear", "hard_sigmoid", None])
def test_every_activation_of_the_engine_agrees_with_stock(
    activation: str | None, recurrent_activation: str | None
) -> None:
    layer = built(UNITS, activation=activation, recurrent_activation=recurrent_activation)
    with native_calls(1):
        outputs = call(layer, X)
    with float64():
        expected = call(stock_like(layer, dtype="float64"), X)
    assert_close("outputs", outputs, expected, ALLOWED)


@pytest.mark.parametrize("kind", ["bool", "int32", "int64", "uint8", "float32", "float64"])
@pytest.mark.parametrize("make", [np.array, tensor], ids=["numpy", "tensor"])
def test_a_mask_may_have_any_dtype(make: Any, kind: str) -> None:
    layer = built(UNITS, return_sequences=True)
    expected = call(layer, X, mask=tensor(MASK))
    np.testing.assert_array_equal(call(layer, X, mask=make(MASK.astype(kind))), expected)


def test_one_mask_or_one_state_serves_the_whole_batch_as_in_stock() -> None:
    layer = built(UNITS, return_sequences=True)
    state = np.random.default_rng(1).normal(size=(1, UNITS)).astype(np.float32)
    expected = call(layer, X, mask=np.repeat(MASK[2:3], BATCH, 0), initial_state=np.repeat(state, BATCH, 0))
    np.testing.assert_array_equal(call(layer, X, mask=MASK[2:3], initial_state=state), expected)
    np.testing.assert_array_equal(call(layer, X, mask=MASK[2:3, :, None], initial_state=[state]), expected)


def test_an_embedding_passes_its_mask_on() -> None:
    tokens = np.array([[3, 1, 0, 0], [2, 2, 2, 0]])
    embedding = keras.layers.Embedding(5, FEATURES, mask_zero=True)
    layer = GRU(UNITS)
    outputs = call(layer, embedding(tokens))
    expected = reference.forward(call(embedding, tokens), *layer.get_weights(), mask=tokens != 0)
    assert_close("outputs", outputs, expected.last_output, ALLOWED)


# --- States ---


@pytest.mark.parametrize("use_mask", [False, True], ids=["no_mask", "mask"])
def test_a_stateful_layer_reads_chunks_as_one_sequence(use_mask: bool) -> None:
    whole = built(UNITS, return_sequences=True)
    chunked = built(UNITS, return_sequences=True, stateful=True, zero_output_for_mask=True)
    chunked.set_weights(whole.get_weights())
    mask = MASK if use_mask else None
    whole.zero_output_for_mask = True  # else the first masked steps of a chunk repeat zeros, not the chunk before
    expected = call(whole, X, mask=mask)
    first, rest = (
        call(chunked, X[:, part], mask=None if mask is None else mask[:, part]) for part in (slice(0, 2), slice(2, 6))
    )
    assert_close("outputs", np.concatenate([first, rest], axis=1), expected, ALLOWED)
    chunked.reset_state()
    np.testing.assert_array_equal(call(chunked, X[:, :2], mask=None if mask is None else mask[:, :2]), first)


def test_a_stateful_layer_trains_in_fit_and_predicts_natively() -> None:
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, TIMESTEPS, FEATURES)), GRU(UNITS, stateful=True), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    with native_calls(4, 4):
        history = model.fit(X, np.ones((BATCH, 1)), batch_size=2, epochs=2, shuffle=False, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    with native_calls(2):
        model.predict(X, batch_size=2, verbose=0)


def test_gradients_reach_the_initial_state() -> None:
    layer = built(UNITS, return_sequences=True)
    state = np.random.default_rng(1).normal(size=(BATCH, UNITS)).astype(np.float32)
    loss_of = lambda state: (keras.ops.sum(layer(X, initial_state=state) ** 2), None)  # noqa: E731
    _, gradients = gradient(loss_of)({"state": state})
    kernel, recurrent_kernel, bias = layer.get_weights()
    forward = reference.forward(X, kernel, recurrent_kernel, bias, initial_state=state)
    expected = reference.backward(forward, 2 * forward.outputs).initial_state
    assert_close("d_initial_state", gradients["state"], expected, ALLOWED)


@pytest.mark.parametrize("training", [False, True])
def test_a_tape_over_inference_gives_the_gradients_of_training(training: bool) -> None:
    layer = built(UNITS)
    loss_of = lambda x: (keras.ops.sum(layer(x, training=training, mask=MASK)), None)  # noqa: E731
    with native_calls(2 if BACKEND == "tensorflow" and not training else 1, 1):
        _, gradients = gradient(loss_of, layer.trainable_weights)({"x": X})
    kernel, recurrent_kernel, bias = layer.get_weights()
    expected = reference.backward(
        reference.forward(X, kernel, recurrent_kernel, bias, mask=MASK), d_state=np.ones((BATCH, UNITS))
    )
    for name in ("x", "kernel", "recurrent_kernel", "bias"):
        rows = 1 if name == "x" else BATCH
        allowed = tolerance(FEATURES + UNITS, TIMESTEPS, rows)
        assert_close(f"d_{name}", gradients[name], getattr(expected, name), allowed)


@pytest.mark.parametrize("mask", [None, MASK], ids=["no_mask", "mask"])
def test_a_gradient_of_a_gradient_is_that_of_the_specification(mask: Any) -> None:
    layer = built(UNITS)

    def gradient_at(x: Array) -> Any:  # of the sum of the outputs
        return reference.backward(
            reference.forward(x, *layer.get_weights(), mask=mask), d_state=np.ones((BATCH, UNITS))
        ).x

    before = native.calls()
    actual = gradient_of_gradient(lambda x: keras.ops.sum(layer(x, mask=mask, training=True)), X)
    assert native.calls().backward > before.backward
    assert layer.fallback_reason is None
    # The gradient of g * g / 2 is the derivative of g along g: here by differences, wrong by the order of h ** 2.
    x, g, h = X.astype(np.float64), gradient_at(X), 1e-4
    expected = (gradient_at(x + h * g) - gradient_at(x - h * g)) / (2 * h)
    assert_close("d_x", actual, expected, 2 * ALLOWED)


# --- Wrappers and models ---


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional_agrees_with_stock_and_runs_natively_both_ways(merge_mode: str, return_sequences: bool) -> None:
    ours = keras.layers.Bidirectional(GRU(UNITS, return_sequences=return_sequences), merge_mode=merge_mode)
    stock = keras.layers.Bidirectional(
        keras.layers.GRU(UNITS, return_sequences=return_sequences), merge_mode=merge_mode
    )
    for layer in (ours, stock):
        layer.build(X.shape)
    stock.set_weights(ours.get_weights())
    with native_calls(2):
        outputs = call(ours, X, mask=MASK)
    assert_close("outputs", outputs, call(stock, X, mask=MASK), 2 * ALLOWED)


def test_bidirectional_takes_a_state_for_each_direction() -> None:
    layer = keras.layers.Bidirectional(GRU(UNITS, return_state=True))
    states = [np.full((BATCH, UNITS), value, np.float32) for value in (0.5, -0.5)]
    _, forward, backward = call(layer, X, initial_state=states)
    for part, state, expected in (
        (layer.forward_layer, states[0], forward),
        (layer.backward_layer, states[1], backward),
    ):
        np.testing.assert_array_equal(call(part, X, initial_state=state)[1], expected)


def test_time_distributed_runs_the_layer_on_every_part() -> None:
    layer = GRU(UNITS)
    parts = np.stack([X, -X], axis=1)
    before = native.calls()
    outputs = call(keras.layers.TimeDistributed(layer), parts)
    assert native.calls().forward > before.forward  # the backends differ in how they go through the parts
    assert layer.fallback_reason is None
    assert_close("outputs", outputs, np.stack([call(layer, X), call(layer, -X)], axis=1), ALLOWED)


def test_a_functional_model_with_unknown_batch_and_length_runs_natively() -> None:
    x = keras.Input((None, FEATURES))
    outputs, state = GRU(UNITS, return_sequences=True, return_state=True)(x)
    model = keras.Model(x, [GRU(UNITS, unroll=False)(outputs, initial_state=state), outputs])
    assert model.outputs[1].shape == (None, None, UNITS)
    with native_calls(4):
        for length in (2, 5):
            last, sequence = model.predict(X[:, :length], verbose=0)
            assert (last.shape, sequence.shape) == ((BATCH, UNITS), (BATCH, length, UNITS))


@tensorflow_only
def test_jit_compile_is_left_off_with_keras_own_warning() -> None:
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), GRU(UNITS), keras.layers.Dense(1)])
    with pytest.warns(UserWarning, match="jit_compile"):
        model.compile("sgd", "mse", jit_compile=True)
    with native_calls(1, 1):
        model.fit(X, np.ones((BATCH, 1)), verbose=0)


@tensorflow_only
def test_a_first_layer_computes_no_gradient_of_the_data() -> None:
    import tensorflow as tf

    layer = built(UNITS)

    @tf.function
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(loss, layer.cell.kernel.value)

    graph = step.get_concrete_function(tf.constant(X)).graph
    gradients = [op for op in graph.get_operations() if op.type == "GatewiseRnnGrad"]
    assert [op.get_attr("x_gradient") for op in gradients] == [False]


# --- Dropout ---


@pytest.mark.parametrize(
    "options", [{"dropout": 0.4}, {"recurrent_dropout": 0.4}, {"dropout": 0.3, "recurrent_dropout": 0.5}], ids=str
)
@pytest.mark.parametrize("reset_after", [True, False])
def test_dropout_draws_the_masks_of_stock(options: dict[str, float], reset_after: bool) -> None:
    layer = built(UNITS, seed=5, return_sequences=True, reset_after=reset_after, **options)
    stock = stock_like(layer)
    for _ in range(2):  # the second call draws other masks
        with native_calls(1):
            outputs = call(layer, X, training=True, mask=MASK)
        assert_close("outputs", outputs, call(stock, X, training=True, mask=MASK), 2 * ALLOWED)
    assert_close("outputs", call(layer, X, training=False), call(stock, X, training=False), 2 * ALLOWED)


# --- Precision ---


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_mixed_precision_rounds_weights_and_outputs_only(half: str) -> None:
    layer = built(UNITS, return_sequences=True, return_state=True, dtype=f"mixed_{half}")
    results = layer(X, mask=MASK)
    assert [keras.backend.standardize_dtype(result.dtype) for result in results] == [half, half]
    with native_calls(1):
        outputs, state = call(layer, X, mask=MASK)
    assert layer.cell.kernel.dtype == "float32"

    def rounded(array: Array) -> Array:
        return arrays_of(keras.ops.cast(tensor(array), half))

    expected = reference.forward(rounded(X), *(rounded(weight) for weight in layer.get_weights()), mask=MASK)
    allowed = ALLOWED + {"bfloat16": 2**-8, "float16": 2**-11}[half]  # the last rounding: half of eps
    assert_close("outputs", outputs, expected.outputs, allowed)
    assert_close("state", state, expected.state, allowed)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_trains_in_mixed_precision(policy: str) -> None:
    layers = [GRU(UNITS, return_sequences=True, dtype=policy), GRU(UNITS, dtype=policy), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), *layers])
    model.compile("sgd", "mse")
    with native_calls(6, 6):
        history = model.fit(X, np.ones((BATCH, 1)), epochs=3, verbose=0)
    losses = history.history["loss"]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_a_layer_wholly_in_half_precision_runs_natively(half: str) -> None:
    layer = built(UNITS, dtype=half, recurrent_initializer="glorot_uniform", return_sequences=True)
    with native_calls(1):
        call(layer, X)
    assert layer.fallback_reason is None
    assert keras.backend.standardize_dtype(layer(X).dtype) == half
