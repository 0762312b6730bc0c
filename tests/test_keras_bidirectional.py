# SPDX-License-Identifier: Apache-2.0
"""`keras.layers.Bidirectional` around `gatewise.keras.GRU`: both layers at once where the engine can, and when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
from backends import BACKEND, call, gradient, native_calls, tensor  # noqa: E402
from gatewise.keras import GRU, bidirectional  # noqa: E402

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = 2 * tolerance(FEATURES + UNITS, TIMESTEPS)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1]], bool)
STATES = [RNG.normal(size=(BATCH, UNITS)).astype(np.float32) for _ in range(2)]


def built(layer: Any, **options: Any) -> Any:
    wrapper = keras.layers.Bidirectional(layer, **options)
    wrapper.build(X.shape)
    return wrapper


def results_and_gradients(layer: Any, **arguments: Any) -> tuple[list[Any], dict[str, Any]]:
    def loss(x: Any) -> tuple[Any, Any]:
        results = keras.tree.flatten(layer(x, **arguments))
        return sum(keras.ops.sum(value * value * (i + 1)) for i, value in enumerate(results)), results

    return gradient(loss, layer.trainable_variables)({"x": X})


def operations_of(layer: Any) -> int:
    """Counts the engine's operations in a layer's call."""
    return {"tensorflow": _in_graph, "jax": _in_program, "torch": _dispatched}[BACKEND](layer)


def _in_graph(layer: Any) -> int:
    import tensorflow as tf

    traced = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.constant(X))
    return sum(node.op.startswith("Gatewise") for node in traced.graph.as_graph_def().node)


def _in_program(layer: Any) -> int:
    import jax

    return str(jax.make_jaxpr(lambda x: layer(x, training=True))(X)).count(" = gatewise_rnn[")


def _dispatched(layer: Any) -> int:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += function.namespace == "gatewise"
            return function(*args, **(kwargs or {}))

    with Counting() as counting:
        layer(tensor(X), training=True)
    return counting.count


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("states", [None, STATES], ids=["zeros", "states"])
def test_results_and_gradients_agree_with_stock(return_sequences: bool, mask: Any, states: Any) -> None:
    options = {"return_sequences": return_sequences, "return_state": True}
    ours, stock = built(GRU(UNITS, **options)), built(keras.layers.GRU(UNITS, **options))
    stock.set_weights(ours.get_weights())
    arguments = {
        "mask": None if mask is None else tensor(mask),
        "initial_state": None if states is None else [tensor(state) for state in states],
    }
    (found, d_found), (expected, d_expected) = (results_and_gradients(layer, **arguments) for layer in (ours, stock))
    for value, wanted in zip(found, expected, strict=True):
        assert_close("a result", value, wanted, ALLOWED)
    for value, wanted in zip(d_found.values(), d_expected.values(), strict=True):
        assert_close("a gradient", value, wanted, BATCH * ALLOWED)


@pytest.mark.parametrize("patched", [False, True])
def test_both_layers_are_one_operation(patched: bool) -> None:
    kind = keras.layers.GRU if patched else GRU
    layer = built(kind(UNITS, return_sequences=True))
    if patched:
        gatewise.patch_keras()
    try:
        assert operations_of(layer) == 1
        assert layer.forward_layer.fallback_reason is layer.backward_layer.fallback_reason is None
        with native_calls(2):
            call(layer, X)
    finally:
        gatewise.unpatch_keras()


@keras.saving.register_keras_serializable("test_keras_bidirectional")
class Subclass(GRU):
    """A layer of a user who may have changed anything."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: built(GRU(UNITS), merge_mode="sum"),
        lambda: built(Subclass(UNITS)),
        lambda: built(GRU(UNITS), backward_layer=GRU(UNITS + 1, go_backwards=True)),
        lambda: built(GRU(UNITS), backward_layer=GRU(UNITS, go_backwards=True, reset_after=False)),
        lambda: built(GRU(UNITS, activity_regularizer="l2")),
    ],
    ids=["sum", "subclass", "units", "reset_before", "activity_regularizer"],
)
def test_what_cannot_be_one_operation_is_two(make: Any) -> None:
    assert operations_of(make()) == 2


@pytest.mark.skipif(BACKEND != "jax", reason="a claim about JAX: KERAS_BACKEND=jax")
def test_beside_other_devices_each_layer_leaves_the_choice_to_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = built(GRU(UNITS, return_sequences=True, dropout=0.5))  # random numbers are drawn before the choice
    monkeypatch.setattr("gatewise.ops.jax.xla.cpu_alone", lambda: False)
    assert operations_of(layer) == 2


def test_stateful_layers_keep_their_states() -> None:
    layer = built(GRU(UNITS, stateful=True, return_sequences=True))
    fresh = built(GRU(UNITS, return_sequences=True, return_state=True))
    fresh.set_weights(layer.get_weights())
    _, *states = call(fresh, X)
    call(layer, X)
    assert_close("outputs", call(layer, X), call(fresh, X, initial_state=[tensor(s) for s in states])[0], ALLOWED)


def test_portable_runs_keras_own_path() -> None:
    layer = built(GRU(UNITS, return_sequences=True))
    with native_calls(2):
        expected = call(layer, X)
    with gatewise.portable(), native_calls(0):
        assert_close("outputs", call(layer, X), expected, ALLOWED)


def test_a_given_first_layer_may_go_backwards() -> None:
    first, second = GRU(UNITS, return_sequences=True, go_backwards=True), GRU(UNITS, return_sequences=True)
    ours = built(first, backward_layer=second)
    stock = built(
        keras.layers.GRU(UNITS, return_sequences=True, go_backwards=True),
        backward_layer=keras.layers.GRU(UNITS, return_sequences=True),
    )
    stock.set_weights(ours.get_weights())
    assert_close("outputs", call(ours, X, mask=tensor(MASK)), call(stock, X, mask=tensor(MASK)), ALLOWED)


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
def test_dropout_draws_the_random_numbers_of_each_layer(option: str) -> None:
    layer = built(GRU(UNITS, return_sequences=True, **{option: 0.5}, seed=3))
    generators = [part.cell.seed_generator for part in (layer.forward_layer, layer.backward_layer)]
    start = [keras.ops.convert_to_numpy(generator.state).copy() for generator in generators]

    def restart() -> None:
        for generator, state in zip(generators, start, strict=True):
            generator.state.assign(state)

    joined = call(layer, X, training=True)
    restart()
    first, second = (call(part, X, training=True) for part in (layer.forward_layer, layer.backward_layer))
    np.testing.assert_array_equal(joined, np.concatenate([first, second[:, ::-1]], axis=-1))
    assert not np.array_equal(joined, call(layer, X, training=True))  # drawn anew for every call


def test_half_precision_is_rounded_once() -> None:
    layer = built(GRU(UNITS, return_sequences=True, dtype="mixed_float16"), dtype="mixed_float16")
    outputs = layer(X)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    parts = [call(part, X) for part in (layer.forward_layer, layer.backward_layer)]
    np.testing.assert_array_equal(call(layer, X), np.concatenate([parts[0], parts[1][:, ::-1]], axis=-1))


def test_wrapping_twice_changes_nothing() -> None:
    before = keras.layers.Bidirectional.call
    bidirectional.join_directions()
    assert keras.layers.Bidirectional.call is before
