# SPDX-License-Identifier: Apache-2.0
"""`gatewise.keras.GRU` in the place of `keras.layers.GRU`: arguments, states, wrappers, dropout and precision."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tolerance import assert_close, tolerance

tf = pytest.importorskip("tensorflow", reason="the layer runs on TensorFlow: install the extra `tensorflow`")
keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra `tensorflow`")

from gatewise import native  # noqa: E402
from gatewise.keras import GRU  # noqa: E402
from gatewise.reference import gru_backward, gru_forward  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="set KERAS_BACKEND=tensorflow")

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


def test_the_signature_is_that_of_the_stock_layer() -> None:
    assert inspect.signature(GRU) == inspect.signature(keras.layers.GRU)
    assert inspect.signature(GRU.__init__) == inspect.signature(keras.layers.GRU.__init__)
    assert inspect.signature(GRU.call) == inspect.signature(keras.layers.GRU.call)


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
    before = native.calls()
    outputs = layer(X)
    assert native.calls().forward == before.forward + 1
    assert_close("outputs", outputs, stock_like(layer, dtype="float64")(X), ALLOWED)


@pytest.mark.parametrize("kind", ["bool", "int32", "int64", "uint8", "float32", "float64"])
@pytest.mark.parametrize("make", [np.array, tf.constant], ids=["numpy", "tensor"])
def test_a_mask_may_have_any_dtype(make: Any, kind: str) -> None:
    layer = built(UNITS, return_sequences=True)
    expected = layer(X, mask=tf.constant(MASK))
    np.testing.assert_array_equal(layer(X, mask=make(MASK.astype(kind))), expected)


def test_one_mask_or_one_state_serves_the_whole_batch_as_in_stock() -> None:
    layer = built(UNITS, return_sequences=True)
    state = np.random.default_rng(1).normal(size=(1, UNITS)).astype(np.float32)
    expected = layer(X, mask=np.repeat(MASK[2:3], BATCH, 0), initial_state=np.repeat(state, BATCH, 0))
    np.testing.assert_array_equal(layer(X, mask=MASK[2:3], initial_state=state), expected)
    np.testing.assert_array_equal(layer(X, mask=MASK[2:3, :, None], initial_state=[state]), expected)


def test_an_embedding_passes_its_mask_on() -> None:
    tokens = np.array([[3, 1, 0, 0], [2, 2, 2, 0]])
    embedding = keras.layers.Embedding(5, FEATURES, mask_zero=True)
    layer = GRU(UNITS)
    outputs = layer(embedding(tokens))
    expected = gru_forward(embedding(tokens), *layer.get_weights(), mask=tokens != 0)
    assert_close("outputs", outputs, expected.last_output, ALLOWED)


# --- States ---


@pytest.mark.parametrize("use_mask", [False, True], ids=["no_mask", "mask"])
def test_a_stateful_layer_reads_chunks_as_one_sequence(use_mask: bool) -> None:
    whole = built(UNITS, return_sequences=True)
    chunked = built(UNITS, return_sequences=True, stateful=True, zero_output_for_mask=True)
    chunked.set_weights(whole.get_weights())
    mask = MASK if use_mask else None
    whole.zero_output_for_mask = True  # else the first masked steps of a chunk repeat zeros, not the chunk before
    expected = whole(X, mask=mask)
    parts = [chunked(X[:, part], mask=None if mask is None else mask[:, part]) for part in (slice(0, 2), slice(2, 6))]
    assert_close("outputs", tf.concat(parts, axis=1), expected, ALLOWED)
    chunked.reset_state()
    np.testing.assert_array_equal(chunked(X[:, :2], mask=None if mask is None else mask[:, :2]), parts[0])


def test_a_stateful_layer_trains_in_fit_and_predicts_natively() -> None:
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, TIMESTEPS, FEATURES)), GRU(UNITS, stateful=True), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    before = native.calls()
    history = model.fit(X, np.ones((BATCH, 1)), batch_size=2, epochs=2, shuffle=False, verbose=0)
    ran = native.calls()
    assert (ran.forward - before.forward, ran.backward - before.backward) == (4, 4)
    assert np.all(np.isfinite(history.history["loss"]))


def test_gradients_reach_the_initial_state() -> None:
    layer = built(UNITS, return_sequences=True)
    state = tf.random.stateless_normal((BATCH, UNITS), (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(state)
        loss = tf.reduce_sum(layer(X, initial_state=state) ** 2)
    gradient = tape.gradient(loss, state)
    kernel, recurrent_kernel, bias = layer.get_weights()
    forward = gru_forward(X, kernel, recurrent_kernel, bias, initial_state=state)
    expected = gru_backward(forward, 2 * forward.outputs).initial_state
    assert_close("d_initial_state", gradient, expected, ALLOWED)


@pytest.mark.parametrize("training", [False, True])
def test_a_tape_over_inference_gives_the_gradients_of_training(training: bool) -> None:
    layer = built(UNITS)
    x = tf.constant(X)
    before = native.calls()
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=training, mask=MASK))
    gradients = tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])
    ran = native.calls()
    kernel, recurrent_kernel, bias = layer.get_weights()
    expected = gru_backward(gru_forward(X, kernel, recurrent_kernel, bias, mask=MASK), d_state=np.ones((BATCH, UNITS)))
    for name, gradient in zip(("x", "kernel", "recurrent_kernel", "bias"), gradients, strict=True):
        rows = 1 if name == "x" else BATCH
        assert_close(f"d_{name}", gradient, getattr(expected, name), tolerance(FEATURES + UNITS, TIMESTEPS, rows))
    assert (ran.forward - before.forward, ran.backward - before.backward) == (1 if training else 2, 1)


def test_second_derivatives_say_that_they_are_missing() -> None:
    layer, x = built(UNITS), tf.constant(X)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            loss = tf.reduce_sum(layer(x))
        gradient = inner.gradient(loss, x)
    with pytest.raises(NotImplementedError, match=r"second derivatives are not implemented.*portable"):
        outer.gradient(gradient, x)


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
    before = native.calls()
    outputs = ours(X, mask=MASK)
    assert native.calls().forward == before.forward + 2
    assert_close("outputs", outputs, stock(X, mask=MASK), 2 * ALLOWED)


def test_bidirectional_takes_a_state_for_each_direction() -> None:
    layer = keras.layers.Bidirectional(GRU(UNITS, return_state=True))
    states = [np.full((BATCH, UNITS), value, np.float32) for value in (0.5, -0.5)]
    _, forward, backward = layer(X, initial_state=states)
    for part, state, expected in (
        (layer.forward_layer, states[0], forward),
        (layer.backward_layer, states[1], backward),
    ):
        np.testing.assert_array_equal(part(X, initial_state=state)[1], expected)


def test_time_distributed_runs_the_layer_on_every_part() -> None:
    layer = GRU(UNITS)
    parts = np.stack([X, -X], axis=1)
    outputs = keras.layers.TimeDistributed(layer)(parts)
    assert_close("outputs", outputs, np.stack([layer(X), layer(-X)], axis=1), ALLOWED)
    assert layer.fallback_reason is None


def test_a_functional_model_with_unknown_batch_and_length_runs_natively() -> None:
    x = keras.Input((None, FEATURES))
    outputs, state = GRU(UNITS, return_sequences=True, return_state=True)(x)
    model = keras.Model(x, [GRU(UNITS, unroll=False)(outputs, initial_state=state), outputs])
    assert model.outputs[1].shape == (None, None, UNITS)
    before = native.calls()
    for length in (2, 5):
        last, sequence = model.predict(X[:, :length], verbose=0)
        assert (last.shape, sequence.shape) == ((BATCH, UNITS), (BATCH, length, UNITS))
    assert native.calls().forward == before.forward + 4


def test_jit_compile_is_left_off_with_keras_own_warning() -> None:
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), GRU(UNITS), keras.layers.Dense(1)])
    with pytest.warns(UserWarning, match="jit_compile"):
        model.compile("sgd", "mse", jit_compile=True)
    before = native.calls()
    model.fit(X, np.ones((BATCH, 1)), verbose=0)
    assert native.calls().backward == before.backward + 1


def test_a_first_layer_computes_no_gradient_of_the_data() -> None:
    layer = built(UNITS)

    @tf.function
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(loss, layer.cell.kernel.value)

    graph = step.get_concrete_function(tf.constant(X)).graph
    gradients = [op for op in graph.get_operations() if op.type == "GatewiseGruGrad"]
    assert [op.get_attr("x_gradient") for op in gradients] == [False]


# --- Dropout ---


@pytest.mark.parametrize(
    "options", [{"dropout": 0.4}, {"recurrent_dropout": 0.4}, {"dropout": 0.3, "recurrent_dropout": 0.5}], ids=str
)
@pytest.mark.parametrize("reset_after", [True, False])
def test_dropout_draws_the_masks_of_stock(options: dict[str, float], reset_after: bool) -> None:
    layer = built(UNITS, seed=5, return_sequences=True, reset_after=reset_after, **options)
    stock = stock_like(layer)
    before = native.calls()
    for _ in range(2):  # the second call draws other masks
        assert_close("outputs", layer(X, training=True, mask=MASK), stock(X, training=True, mask=MASK), 2 * ALLOWED)
    assert native.calls().forward == before.forward + 2
    assert_close("outputs", layer(X, training=False), stock(X, training=False), 2 * ALLOWED)


# --- Precision ---


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_mixed_precision_rounds_weights_and_outputs_only(half: str) -> None:
    layer = built(UNITS, return_sequences=True, return_state=True, dtype=f"mixed_{half}")
    before = native.calls()
    outputs, state = layer(X, mask=MASK)
    assert native.calls().forward == before.forward + 1
    assert outputs.dtype.name == state.dtype.name == half
    assert layer.cell.kernel.dtype == "float32"

    def rounded(array: Array) -> Array:
        return tf.cast(tf.cast(array, half), "float32").numpy()

    expected = gru_forward(rounded(X), *(rounded(weight) for weight in layer.get_weights()), mask=MASK)
    allowed = ALLOWED + {"bfloat16": 2**-8, "float16": 2**-11}[half]  # the last rounding: half of eps
    assert_close("outputs", tf.cast(outputs, "float32"), expected.outputs, allowed)
    assert_close("state", tf.cast(state, "float32"), expected.state, allowed)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_trains_in_mixed_precision(policy: str) -> None:
    layers = [GRU(UNITS, return_sequences=True, dtype=policy), GRU(UNITS, dtype=policy), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), *layers])
    model.compile("sgd", "mse")
    before = native.calls()
    history = model.fit(X, np.ones((BATCH, 1)), epochs=3, verbose=0)
    assert native.calls().backward == before.backward + 6
    losses = history.history["loss"]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_a_layer_wholly_in_half_precision_runs_natively(half: str) -> None:
    layer = built(UNITS, dtype=half, recurrent_initializer="glorot_uniform", return_sequences=True)
    outputs = layer(X)
    assert layer.fallback_reason is None
    assert outputs.dtype.name == half
