# SPDX-License-Identifier: Apache-2.0
"""`gatewise.patch_keras()`: the layers of stock Keras run on the engine; after `unpatch_keras()` none does."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="it patches Keras: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
from backends import BACKEND, call, native_calls, tensorflow_only  # noqa: E402
from gatewise.keras import FallbackWarning  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = 2 * tolerance(FEATURES + UNITS, TIMESTEPS)  # two computations in float32 beside each other
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
START = RNG.normal(size=(BATCH, UNITS)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0]], bool)
L = keras.layers


@pytest.fixture(autouse=True)
def unpatched() -> Iterator[None]:
    """Leaves Keras as it was, however a test ends."""
    yield
    gatewise.unpatch_keras()


@pytest.fixture
def patched() -> None:
    """Patches Keras for a test."""
    gatewise.patch_keras()


def assert_follows(layer: Any, calls: int = 1, **arguments: Any) -> None:
    """Asserts that a layer runs natively when patched, as it did in Keras before, and in Keras afterwards."""
    assert_all_follow([layer], calls, **arguments)


def assert_all_follow(layers: list[Any], calls: int, **arguments: Any) -> None:
    with native_calls(0):
        stock = [call(layer, X, **arguments) for layer in layers]
    gatewise.patch_keras()
    with native_calls(calls * len(layers)):
        ours = [call(layer, X, **arguments) for layer in layers]
    gatewise.unpatch_keras()
    with native_calls(0):
        np.testing.assert_array_equal(
            *(keras.tree.flatten(value)[0] for value in (call(layers[0], X, **arguments), stock))
        )
    keras.tree.assert_same_structure(stock, ours)
    for expected, found in zip(*map(keras.tree.flatten, (stock, ours)), strict=True):
        assert_close("a result", found, expected, ALLOWED)


# --- Who follows ---


class Subclass(L.GRU):
    """A layer of a user who adds something else."""


@pytest.mark.parametrize(
    ("layer", "calls"),
    [
        (L.GRU(UNITS), 1),
        (Subclass(UNITS), 1),
        (L.Bidirectional(L.GRU(UNITS)), 2),
        (L.GRU.from_config(L.GRU(UNITS).get_config()), 1),
        (gatewise.keras.GRU, 1),
    ],
    ids=["existing", "subclass", "bidirectional", "from_config", "ours"],
)
def test_a_layer_made_before_the_patch_follows(layer: Any, calls: int) -> None:
    if layer is gatewise.keras.GRU:
        with native_calls(2):
            layer = layer(UNITS)
            plain = call(layer, X)
            gatewise.patch_keras()
            np.testing.assert_array_equal(call(layer, X), plain)
            gatewise.unpatch_keras()
            assert layer.fallback_reason is None
    else:
        assert_follows(layer, calls)


@pytest.mark.usefixtures("patched")
def test_a_layer_of_a_loaded_file_and_a_copied_model_follow(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), L.GRU(UNITS)])
    model.save(tmp_path / "model.keras")
    for follower in (keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        with native_calls(1):
            call(follower, X)


@tensorflow_only
@pytest.mark.usefixtures("patched")
def test_the_layer_of_tf_keras_follows() -> None:
    import tensorflow as tf

    with native_calls(1):
        call(tf.keras.layers.GRU(UNITS), X)


NAMES = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask", "unroll")
# Every two options meet in every combination.
OPTIONS = [
    dict(zip(NAMES, flags, strict=True))
    for flags in [(0, 0, 0, 0, 0), (0, 1, 1, 1, 0), (1, 0, 1, 1, 1), (1, 1, 0, 1, 0), (1, 1, 1, 0, 1), (0, 1, 0, 0, 1)]
]


def faulty(options: dict[str, int], mask: Any) -> bool:
    """Says whether an unrolled loop of Keras is wrong on this backend: faults 4, 5 and 6 of test_keras_bugs.py."""
    if mask is None or not options["unroll"]:
        return False
    fault = {"torch": "go_backwards", "tensorflow": "go_backwards", "jax": "zero_output_for_mask"}
    return bool(options[fault[BACKEND]])


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
def test_an_rnn_of_a_grucell_follows_with_every_option(mask: Any, reset_after: bool) -> None:
    # On JAX, Keras repeats the initial state before the first valid step: fault 7.
    start = None if BACKEND == "jax" and mask is not None else [START]
    sound = [options for options in OPTIONS if not faulty(options, mask)]
    layers = [L.RNN(L.GRUCell(UNITS, reset_after=reset_after), **options) for options in sound]
    assert_all_follow(layers, 1, mask=mask, initial_state=start)


@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
def test_a_stack_of_grucells_follows_with_every_option(mask: Any) -> None:
    sound = [options for options in OPTIONS if not faulty(options, mask)]
    assert_all_follow(
        [L.RNN([L.GRUCell(7), L.GRUCell(UNITS), L.GRUCell(2)], **options) for options in sound], 3, mask=mask
    )


def test_a_stack_takes_and_returns_states_as_keras_nests_them() -> None:
    layer = L.RNN(L.StackedRNNCells([L.GRUCell(UNITS), L.GRUCell(UNITS)]), return_state=True)
    assert_follows(layer, 2)
    assert_follows(layer, 2, initial_state=[START, 2 * START])
    assert_follows(layer, 2, initial_state=[[START], [2 * START]])


def test_a_stateful_stack_carries_its_states_from_batch_to_batch() -> None:
    layer = L.RNN([L.GRUCell(UNITS), L.GRUCell(2)], stateful=True)
    stock = [call(layer, X) for _ in range(2)]
    for state in keras.tree.flatten(layer.states):
        state.assign(keras.ops.zeros_like(state.value))
    gatewise.patch_keras()
    with native_calls(4):
        ours = [call(layer, X) for _ in range(2)]
    gatewise.unpatch_keras()
    assert_close("outputs", ours, stock, 2 * ALLOWED)
    assert np.abs(stock[1] - stock[0]).max() > 100 * ALLOWED, "the states change nothing"


@pytest.mark.parametrize("dropouts", [{"dropout": 0.5}, {"dropout": 0.3, "recurrent_dropout": 0.3}], ids=str)
def test_a_stack_draws_the_dropout_that_keras_draws(dropouts: dict[str, float]) -> None:
    def outputs() -> Any:
        keras.utils.set_random_seed(1)
        return call(L.RNN([L.GRUCell(UNITS, seed=2, **dropouts), L.GRUCell(4, seed=3, **dropouts)]), X, training=True)

    stock = outputs()
    gatewise.patch_keras()
    with native_calls(2):
        ours = outputs()
    gatewise.unpatch_keras()
    assert_close("outputs", ours, stock, 2 * ALLOWED)


# --- Who does not ---


class OwnRNN(L.RNN):
    """Not exactly stock's."""


class OwnCell(L.GRUCell):
    """Not exactly stock's."""


@pytest.mark.usefixtures("patched")
@pytest.mark.parametrize(
    "layer",
    [
        OwnRNN(L.GRUCell(UNITS)),
        L.RNN(OwnCell(UNITS)),
    ],
    ids=["own_RNN", "own_cell"],
)
def test_what_is_not_exactly_stock_s_stays_keras_s_without_a_warning(layer: Any) -> None:
    with native_calls(0):
        call(layer, X)


class OwnLoop(L.GRU):
    """A subclass with a loop of its own."""

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:  # noqa: ARG002
        return sequences[:, 0, :1], sequences[:, :1, :1], initial_state


@pytest.mark.usefixtures("patched")
def test_a_subclass_with_its_own_loop_keeps_it() -> None:
    with native_calls(0):
        np.testing.assert_array_equal(call(OwnLoop(UNITS), X), X[:, 0, :1])


@pytest.mark.usefixtures("patched")
def test_a_gru_with_another_cell_runs_keras_s_path_and_says_so() -> None:
    layer = L.GRU(UNITS)
    layer.cell = OwnCell(UNITS)
    with (
        native_calls(0),
        pytest.warns(FallbackWarning, match="keras.layers.GRU: Keras's own path runs.*no cell OwnCell"),
    ):
        call(layer, X)
    known = "keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell"
    assert layer.fallback_reason == f"the engine has no cell OwnCell, only {known}"


# --- Patching and unpatching ---


def classes() -> list[dict[str, Any]]:
    return [dict(vars(cls)) for cls in (L.RNN, L.GRU, L.GRUCell, L.StackedRNNCells)]


def test_unpatching_undoes_all_of_it_however_often_it_was_patched() -> None:
    before = classes()
    gatewise.unpatch_keras()
    assert classes() == before
    for _ in range(2):
        gatewise.patch_keras()
        once = classes()
        gatewise.patch_keras()
        assert classes() == once != before
        gatewise.unpatch_keras()
        gatewise.unpatch_keras()
        assert classes() == before


def test_a_patch_put_over_ours_stays_when_ours_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    gatewise.patch_keras()
    ours, seen = L.GRU.inner_loop, []

    def over(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self)
        return ours(self, *args, **kwargs)

    monkeypatch.setattr(L.GRU, "inner_loop", over)
    layer = L.GRU(UNITS)
    with native_calls(1):
        call(layer, X)
    gatewise.unpatch_keras()
    with native_calls(0):
        call(layer, X)
    assert len(seen) == 2


def test_signatures_and_documentation_stay_stock_s() -> None:
    subjects = [L.GRU, L.GRU.__call__, L.GRU.inner_loop, L.RNN, L.RNN.inner_loop, L.GRUCell]
    before = [(inspect.signature(thing), thing.__doc__, thing.__name__) for thing in subjects]
    gatewise.patch_keras()
    subjects = [L.GRU, L.GRU.__call__, L.GRU.inner_loop, L.RNN, L.RNN.inner_loop, L.GRUCell]
    after = [(inspect.signature(thing), thing.__doc__, thing.__name__) for thing in subjects]
    gatewise.unpatch_keras()
    assert after == before


def test_a_layer_s_configuration_stays_stock_s() -> None:
    layers = [L.GRU(UNITS), L.Bidirectional(L.GRU(UNITS)), L.RNN([L.GRUCell(UNITS), L.GRUCell(2)])]
    for layer in layers:
        layer.build(X.shape)
    before = [keras.saving.serialize_keras_object(layer) for layer in layers]
    gatewise.patch_keras()
    for layer in layers:
        call(layer, X)
    assert [keras.saving.serialize_keras_object(layer) for layer in layers] == before
    gatewise.unpatch_keras()
    assert [keras.saving.serialize_keras_object(layer) for layer in layers] == before


# --- What a patched layer says ---


@pytest.mark.usefixtures("patched")
def test_a_stock_layer_says_why_the_engine_did_not_run() -> None:
    layer = L.GRU(UNITS, activation="elu")
    assert layer.fallback_reason == L.RNN(L.GRUCell(3, activation="elu")).fallback_reason
    assert layer.fallback_reason.startswith("the engine has no activation 'elu'")
    layer = L.GRU(UNITS)
    assert layer.fallback_reason is None
    with gatewise.portable(), native_calls(0):
        call(layer, X)
    assert layer.fallback_reason == "gatewise.portable() is active"


def test_without_the_patch_stock_layers_have_no_reason() -> None:
    assert not hasattr(L.GRU(UNITS), "fallback_reason")


@pytest.mark.usefixtures("patched")
def test_a_call_that_fails_says_what_to_do() -> None:
    with pytest.raises(
        ValueError, match=r"keras\.layers\.GRU 'two'.*Give that layer return_sequences=True: GRU\(4, ret"
    ):
        keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), L.GRU(4, name="one"), L.GRU(3, name="two")])
    with pytest.raises(ValueError, match=r"mask has the wrong shape. Expected \(batch=4, timesteps=6\)"):
        L.GRU(3)(X, mask=MASK[:, :2])


def test_a_call_that_keras_lets_pass_is_let_pass() -> None:
    assert_follows(L.GRU(UNITS), initial_state=[START, START])  # two states, of which a GRU has one


@pytest.mark.usefixtures("patched")
def test_raw_text_is_explained() -> None:
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), L.GRU(UNITS)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="x is raw text"):
        model.fit(np.array(["a", "b"], dtype=object), np.zeros((2, UNITS)), verbose=0)


# --- Models that were used before ---


def fitted() -> Any:
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), L.GRU(UNITS)])
    model.compile("sgd", "mse")
    for _ in range(2):
        use(model)
    return model


def use(model: Any) -> None:
    model.fit(X, START, batch_size=BATCH, verbose=0)
    model.evaluate(X, START, batch_size=BATCH, verbose=0)
    model.predict(X, batch_size=BATCH, verbose=0)


def test_a_model_that_was_used_follows_there_and_back() -> None:
    model = fitted()
    expected = model.predict(X, verbose=0)
    gatewise.patch_keras()
    with native_calls(1):
        assert_close("prediction", model.predict(X, verbose=0), expected, ALLOWED)
    with native_calls(3, 1):
        use(model)
    gatewise.unpatch_keras()
    with native_calls(0):
        use(model)


@pytest.mark.skipif(BACKEND != "torch", reason="a claim about torch.compile: KERAS_BACKEND=torch")
@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:`torch.jit.script:DeprecationWarning")
def test_a_model_that_torch_compiled_follows_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))  # what is traced decides
    model = keras.Sequential([keras.Input((2, FEATURES)), L.GRU(UNITS)])
    model.compile("sgd", "mse", jit_compile=True)
    with native_calls(0):
        expected = model.predict(X[:, :2], verbose=0)
    gatewise.patch_keras()
    with native_calls(2):  # torch traces Keras's step anew, and the engine is in what came of it
        for _ in range(2):
            assert_close("prediction", model.predict(X[:, :2], verbose=0), expected, ALLOWED)
    gatewise.unpatch_keras()
    with native_calls(0):
        np.testing.assert_array_equal(model.predict(X[:, :2], verbose=0), expected)


class Switch(keras.callbacks.Callback):
    """Patches between the batches of a fit."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if batch == 0:
            gatewise.patch_keras()


@pytest.mark.usefixtures("patched")
def test_a_fit_under_way_follows_too() -> None:
    gatewise.unpatch_keras()
    model = fitted()
    with native_calls(3, 3):
        model.fit(X, START, batch_size=1, verbose=0, callbacks=[Switch()])


# --- jit_compile ---


def test_supports_jit_is_no_where_xla_cannot_hold_the_engine() -> None:
    runs, runs_not, other = L.GRU(UNITS), L.GRU(UNITS, activation="elu"), L.RNN(OwnCell(UNITS))
    assert [layer.supports_jit for layer in (runs, runs_not, other)] == [True, True, True]
    gatewise.patch_keras()
    found = [layer.supports_jit for layer in (runs, L.GRU(UNITS), L.RNN(L.GRUCell(3)), runs_not, other)]
    assert found == [BACKEND != "tensorflow"] * 3 + [True, True]
    gatewise.unpatch_keras()
    assert [layer.supports_jit for layer in (runs, runs_not, other)] == [True, True, True]
