# SPDX-License-Identifier: Apache-2.0
"""Calls that are wrong get an error in our words on every backend: of `gatewise.keras.GRU`, of what `patch_keras`
patched, and of a `Bidirectional` around either."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
from backends import BACKEND, call, native_calls, tensor  # noqa: E402
from gatewise.keras import GRU  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH, TIMESTEPS, FEATURES, UNITS = 2, 5, 3, 4
ALLOWED = 2 * tolerance(FEATURES + UNITS, TIMESTEPS)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
STATE = RNG.normal(size=(BATCH, UNITS)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
L = keras.layers


@pytest.fixture(params=["ours", "patched"])
def layer_class(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Our layer; or that of stock Keras, patched."""
    if request.param == "ours":
        yield GRU
    else:
        gatewise.patch_keras()
        yield L.GRU
        gatewise.unpatch_keras()


@pytest.fixture
def patched() -> Iterator[None]:
    """Patches Keras for a test."""
    gatewise.patch_keras()
    yield
    gatewise.unpatch_keras()


def built(layer: Any) -> Any:
    layer.build(X.shape)
    return layer


# --- Sequences ---


@pytest.mark.parametrize("wrap", [lambda layer: layer, L.Bidirectional], ids=["alone", "bidirectional"])
def test_sequences_without_steps_are_named(layer_class: Any, wrap: Any) -> None:
    layer = built(wrap(layer_class(UNITS, return_sequences=True)))
    with pytest.raises(ValueError, match=r"the input has no steps. Expected .*at least one step; received \(2, 0, 3\)"):
        layer(X[:, :0])


def test_sequences_without_steps_are_named_in_predict(layer_class: Any) -> None:
    model = keras.Sequential([keras.Input((None, FEATURES)), layer_class(UNITS)])
    with pytest.raises(ValueError, match="the input has no steps"):
        model.predict(X[:, :0], verbose=0)


@pytest.mark.usefixtures("patched")
def test_an_rnn_of_cells_names_what_is_wrong_too() -> None:
    layer = built(L.RNN([L.GRUCell(UNITS), L.GRUCell(2)]))
    with pytest.raises(ValueError, match=r"keras.layers.RNN 'rnn.*': the input has no steps"):
        layer(X[:, :0])
    with pytest.raises(ValueError, match=r"mask has the wrong shape. Expected \(batch=2, timesteps=5\)"):
        layer(X, mask=MASK[:, :3])
    with pytest.raises(ValueError, match=r"the input has too few axes"):
        layer(X[0])


def test_a_batch_of_no_sequences_is_no_mistake(layer_class: Any) -> None:
    assert call(built(layer_class(UNITS)), X[:0]).shape == (0, UNITS)


@pytest.mark.parametrize("wrap", [lambda layer: layer, L.Bidirectional], ids=["alone", "bidirectional"])
def test_another_number_of_features_is_named(layer_class: Any, wrap: Any) -> None:
    layer = built(wrap(layer_class(UNITS)))
    with pytest.raises(ValueError, match=r"the wrong width. Expected .*features=3\).*built; received \(2, 5, 7\)"):
        layer(np.zeros((BATCH, TIMESTEPS, 7), np.float32))


def test_an_unknown_number_of_features_is_named(layer_class: Any) -> None:
    with pytest.raises(ValueError, match=r"the number of features is unknown.*received \(None, 5, None\)"):
        keras.Sequential([keras.Input((TIMESTEPS, None)), layer_class(UNITS)])


def test_no_features_are_named(layer_class: Any) -> None:
    with pytest.raises(ValueError, match=r"the number of features is zero.*received \(2, 5, 0\)"):
        layer_class(UNITS)(X[..., :0])


@pytest.mark.parametrize("shape", [(BATCH, FEATURES), (BATCH, 4, TIMESTEPS, FEATURES)], ids=str)
def test_a_layer_of_ours_is_not_built_for_another_rank(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"too (few|many) axes. Expected \(batch, timesteps, features\)"):
        GRU(UNITS).build(shape)


NO_ARRAYS: dict[str, tuple[Any, str]] = {
    "lists": (X.tolist(), r"numpy.array\(x\)"),
    "ragged": ([X[0, :2].tolist(), X[1].tolist()], "padded first"),
    "with_state": ([X, STATE], "initial_state="),
    "tuple": ((X,), "initial_state="),
    "dict": ({"x": X}, "numpy.array"),
    "none": (None, "numpy.array"),
    "number": (3.0, "numpy.array"),
}


def test_what_is_no_array_is_named(layer_class: Any, subtests: pytest.Subtests) -> None:
    layer = built(layer_class(UNITS))
    for case, (sequences, cure) in NO_ARRAYS.items():
        message = rf"the input is no array. Expected .*; received .* of type .*{cure}"
        with subtests.test(case), pytest.raises(TypeError, match=message):
            layer(sequences)


def ragged_and_sparse() -> tuple[Any, Any]:
    """Tensors of the backend that are no plain arrays; JAX has no ragged ones."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.RaggedTensor.from_tensor(X, lengths=[3, 5]), tf.sparse.from_dense(X)
    if BACKEND == "jax":
        from jax.experimental.sparse import BCOO

        return None, BCOO.fromdense(X)
    import torch

    rows = [torch.from_numpy(X[0, :3]), torch.from_numpy(X[1])]
    return torch.nested.nested_tensor(rows, layout=torch.jagged), torch.from_numpy(X).to_sparse()


def test_ragged_and_sparse_sequences_are_named(layer_class: Any) -> None:
    ragged, sparse = ragged_and_sparse()
    layer = built(layer_class(UNITS))
    if ragged is not None:
        with pytest.raises(TypeError, match=r"the input is ragged. Expected a dense array.*Pad the sequences.*mask="):
            layer(ragged)
    with pytest.raises(TypeError, match=r"the input is sparse. Expected a dense array.*shape \(2, 5, 3\)"):
        layer(sparse)


def test_no_argument_at_all_keeps_python_s_own_error(layer_class: Any) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'sequences'"):
        built(layer_class(UNITS))()


def test_what_keras_would_drop_is_refused() -> None:
    layer = built(GRU(UNITS))
    with pytest.raises(TypeError, match=r"the input is a masked array.*mask="):
        layer(np.ma.array(X, mask=X > 0))
    with pytest.raises(TypeError, match="initial_state is a masked array"):
        layer(X, initial_state=np.ma.array(STATE, mask=STATE > 0))
    with pytest.raises(ValueError, match=r"the input holds complex numbers.*received dtype complex64"):
        layer(X.astype(np.complex64))


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_a_long_text_is_not_quoted_in_whole(layer_class: Any, method: str) -> None:
    words = [f"word {i}" for i in range(20_000)]
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), layer_class(UNITS)])
    model.compile("sgd", "mse")
    arguments = [np.zeros(len(words))] if method == "fit" else []
    with pytest.raises(ValueError, match="x is raw text") as caught:
        getattr(model, method)(words, *arguments, verbose=0)
    assert "Keras said: " in str(caught.value)
    assert len("".join(traceback.format_exception(caught.value))) < 10_000  # the causes, which Python shows too


def test_a_long_text_given_to_a_layer_is_not_quoted_in_whole(layer_class: Any) -> None:
    words = [f"word {i}" for i in range(20_000)]
    for layer in (layer_class(UNITS), L.Bidirectional(layer_class(UNITS))):
        with pytest.raises(ValueError, match="the input is raw text") as caught:
            layer(words)
        assert len("".join(traceback.format_exception(caught.value))) < 10_000


# --- Masks ---


def test_a_mask_that_is_no_array_of_truth_values_is_named(layer_class: Any, subtests: pytest.Subtests) -> None:
    for layer in built(layer_class(UNITS)), built(L.Bidirectional(layer_class(UNITS))):
        for mask in MASK.tolist(), "yes", True, np.full(MASK.shape, "a"):
            message = r"mask is no array of truth values. Expected \(batch=2, timesteps=5\); received"
            with subtests.test(str(mask)), pytest.raises(TypeError, match=message):
                layer(X, mask=mask)


def test_both_directions_name_a_mask_of_the_wrong_shape(layer_class: Any) -> None:
    layer = built(L.Bidirectional(layer_class(UNITS), name="both"))
    for mask in MASK[:, :4], np.ones((3, TIMESTEPS), bool):
        with pytest.raises(ValueError, match=r"keras.layers.Bidirectional 'both': mask has the wrong shape"):
            layer(X, mask=mask)


def test_nan_in_a_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="mask holds NaN, which would count as valid"):
        built(GRU(UNITS))(X, mask=np.where(MASK, 1.0, np.nan))


# --- States ---


def test_a_state_that_is_no_array_is_named(layer_class: Any, subtests: pytest.Subtests) -> None:
    layer = built(layer_class(UNITS))
    for state in "a", 0.0, [None], {"h": STATE}:
        message = r"initial_state is no array. Expected \(batch=2, units=4\); received"
        with subtests.test(str(state)), pytest.raises(TypeError, match=message):
            layer(X, initial_state=state)


TOO_FEW = {
    "array": STATE,
    "tensor": tensor(STATE),
    "list_of_one": [STATE],
    "nested": [[STATE, STATE]],
    "stacked": np.stack([STATE, STATE]),
    "none": [],
}


def test_a_bidirectional_needs_two_states(layer_class: Any, subtests: pytest.Subtests) -> None:
    layer = built(L.Bidirectional(layer_class(UNITS), name="both"))
    for case, state in TOO_FEW.items():
        message = (
            r"keras.layers.Bidirectional 'both': initial_state holds the wrong number of states. Expected a list of 2, "
            r"one for each direction; received .*Write initial_state=\[forward, backward\]"
        )
        with subtests.test(case), pytest.raises(ValueError, match=message):
            layer(X, initial_state=state)


def test_a_bidirectional_needs_two_states_while_a_model_is_described(layer_class: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected a list of 2.*received one of shape \(None, 4\)"):
        L.Bidirectional(layer_class(UNITS))(keras.Input((TIMESTEPS, FEATURES)), initial_state=keras.Input((UNITS,)))


def test_a_bidirectional_names_a_state_of_the_wrong_shape(layer_class: Any) -> None:
    layer = built(L.Bidirectional(layer_class(UNITS)))
    with pytest.raises(ValueError, match=r"initial_state has the wrong shape. Expected \(batch=2, units=4\); rec"):
        layer(X, initial_state=[STATE, STATE[:, :3]])


@pytest.mark.parametrize("count", [3, 4])
def test_a_bidirectional_of_ours_takes_no_more_than_two_states(count: int) -> None:
    with pytest.raises(ValueError, match=rf"Expected a list of 2.*received {count}"):
        built(L.Bidirectional(GRU(UNITS)))(X, initial_state=[STATE] * count)


def test_states_of_a_bidirectional_may_be_nested(layer_class: Any) -> None:
    layer = built(L.Bidirectional(layer_class(UNITS, return_sequences=True)))
    with native_calls(4):
        nested = call(layer, X, initial_state=[[STATE], [2 * STATE]])
        assert_close("outputs", nested, call(layer, X, initial_state=[STATE, 2 * STATE]), ALLOWED)


@pytest.mark.usefixtures("patched")
def test_a_stack_of_cells_needs_a_state_for_each() -> None:
    layer = built(L.RNN([L.GRUCell(UNITS), L.GRUCell(2)]))
    for state in STATE, [STATE]:  # with fewer, Keras leaves out the cells that have none
        with pytest.raises(ValueError, match=r"Expected 2; received .*Give all states of each cell"):
            layer(X, initial_state=state)


@pytest.mark.usefixtures("patched")
def test_both_directions_of_a_stack_of_cells_need_a_state_for_each() -> None:
    layer = built(L.Bidirectional(L.RNN([L.GRUCell(UNITS), L.GRUCell(UNITS)])))
    with pytest.raises(ValueError, match=r"Expected a list of 4, 2 for each direction; received 2"):
        layer(X, initial_state=[STATE, STATE])
    with native_calls(4):
        assert call(layer, X, initial_state=[STATE] * 4).shape == (BATCH, 2 * UNITS)


@pytest.mark.usefixtures("patched")
def test_more_states_than_needed_are_let_pass_under_the_patch() -> None:
    layer = built(L.Bidirectional(L.GRU(UNITS)))
    expected = call(layer, X, initial_state=[STATE, 2 * STATE])
    assert_close("outputs", call(layer, X, initial_state=[STATE, 2 * STATE, STATE]), expected, ALLOWED)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras's loop on JAX takes no state of another batch")
def test_without_the_patch_stock_layers_keep_keras_s_own_ways() -> None:
    layer = built(L.Bidirectional(L.GRU(UNITS)))
    halves = call(layer, X, initial_state=[STATE[:1], STATE[1:]])
    np.testing.assert_array_equal(call(layer, X, initial_state=STATE), halves)
