# SPDX-License-Identifier: Apache-2.0
"""The mistakes of every tutorial get an error that names the mistake and shows the cure; what is no mistake does
not."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the layer runs on TensorFlow: install the extra `tensorflow`")
keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra `tensorflow`")

from gatewise.keras import GRU  # noqa: E402  # after the skips
from gatewise.keras.errors import TEXT_CURE  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="set KERAS_BACKEND=tensorflow")

WORDS = ["hello", "world"]
LABELS = np.array([0, 1])
X = np.zeros((2, 5, 3), np.float32)


def model_of(*layers: Any) -> Any:
    model = keras.Sequential()
    for layer in layers:
        model.add(layer)
    model.compile("sgd", "mse")
    return model


# --- Raw text ---

TEXTS = {
    "list": WORDS,
    "nested_list": [["a", "b"], ["c", "d"]],
    "array": np.array(WORDS),
    "object_array": np.array(WORDS, dtype=object),
    "bytes": np.array(WORDS, dtype="S"),
    "tensor": tf.constant(WORDS),
    "tensor_of_rank_3": tf.constant([[["a"], ["b"]], [["c"], ["d"]]]),
}


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("text", TEXTS)
def test_raw_text_is_named_and_cured(text: str, method: str) -> None:
    model = model_of(GRU(4), keras.layers.Dense(1))
    arguments = {} if method == "predict" else {"y": LABELS}
    with pytest.raises(ValueError, match=rf"keras.Model.{method}: x is raw text. Expected numbers") as caught:
        getattr(model, method)(TEXTS[text], verbose=0, **arguments)
    for word in ("tokenise", "pad", "embed", "gatewise.data.text", "Keras said: "):
        assert word in str(caught.value)


def test_labels_in_a_list_do_not_hide_the_text() -> None:
    with pytest.raises(ValueError, match="x is raw text"):
        model_of(GRU(4)).fit(WORDS, [0, 1], verbose=0)


def test_text_from_a_dataset_is_named() -> None:
    dataset = tf.data.Dataset.from_tensor_slices((WORDS, LABELS)).batch(2)
    with pytest.raises(ValueError, match="x is raw text"):
        model_of(keras.layers.Bidirectional(GRU(4))).fit(dataset, shuffle=False, verbose=0)


@pytest.mark.parametrize("text", TEXTS)
def test_raw_text_given_to_a_layer_is_named(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"gatewise.keras.GRU 'reader': the input is raw text. Expected numbers of shape"
    ):
        GRU(4, name="reader")(TEXTS[text])


def test_the_cure_for_text_works() -> None:
    program = textwrap.dedent("\n".join(TEXT_CURE.splitlines()[1:]))
    names = {"keras": keras, "numpy": np, "GRU": GRU, "texts": ["a good film", "a bad film"], "labels": [1, 0]}
    exec(program, names)  # noqa: S102  # what the message says to type
    assert np.isfinite(names["model"].history.history["loss"][0])


def test_a_stock_model_keeps_keras_own_error() -> None:
    with pytest.raises(ValueError, match="Unrecognized data type") as caught:
        model_of(keras.layers.GRU(4)).fit(WORDS, LABELS, verbose=0)
    assert "gatewise" not in str(caught.value)


def test_a_model_that_reads_text_keeps_its_own_errors() -> None:
    vectorize = keras.layers.TextVectorization(vocabulary=["hello", "world"], output_sequence_length=3)
    model = model_of(vectorize, keras.layers.Embedding(4, 3), GRU(4), keras.layers.Dense(1))
    with pytest.raises(ValueError, match="cardinality") as caught:  # a mistake, but not this one
        model.fit(tf.constant(WORDS), np.zeros(3), verbose=0)
    assert "raw text" not in str(caught.value)


def test_a_wrong_number_of_labels_is_not_taken_for_text() -> None:
    with pytest.raises(ValueError, match="cardinality") as caught:
        model_of(GRU(4)).fit(X, np.zeros(3), verbose=0)
    assert "raw text" not in str(caught.value)


def test_fit_keeps_its_name_and_signature() -> None:
    assert keras.Model.fit.__name__ == "fit"
    assert {"x", "y", "epochs", "validation_data"} <= inspect.signature(keras.Model.fit).parameters.keys()


# --- return_sequences ---

SEQUENCES_CURE = r"layer 'lower' below gives only its last output.*Give that layer return_sequences=True: "


def test_a_stack_without_sequences_names_the_lower_layer_when_it_is_added() -> None:
    with pytest.raises(ValueError, match=SEQUENCES_CURE + r"GRU\(64, return_sequences=True\)"):
        model_of(keras.Input((5, 3)), GRU(64, name="lower"), GRU(32))


def test_a_stack_without_sequences_names_the_lower_layer_in_fit() -> None:
    model = model_of(GRU(64, name="lower"), GRU(32))
    with pytest.raises(ValueError, match=SEQUENCES_CURE + r"GRU\(64, return_sequences=True\)"):
        model.fit(X, np.zeros((2, 32)), verbose=0)


@pytest.mark.parametrize(
    ("lower", "cure"),
    [
        (keras.layers.Bidirectional(GRU(8), name="lower"), r"Bidirectional\(GRU\(8, return_sequences=True\)\)"),
        (keras.layers.LSTM(8, name="lower"), r"LSTM\(8, return_sequences=True\)"),
    ],
    ids=["bidirectional", "lstm"],
)
def test_the_lower_layer_is_found_below_others(lower: Any, cure: str) -> None:
    with pytest.raises(ValueError, match=SEQUENCES_CURE + cure):
        model_of(keras.Input((5, 3)), lower, keras.layers.Dropout(0.1), keras.layers.BatchNormalization(), GRU(4))


def test_another_layer_that_ends_time_is_not_told_to_return_sequences() -> None:
    with pytest.raises(ValueError, match=r"layer 'flat' below \(Flatten\) removes the time axis") as caught:
        model_of(keras.Input((5, 3)), keras.layers.Flatten(name="flat"), GRU(4))
    assert "return_sequences" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "cure"), [((2, 5), "Embedding"), ((2,), "Embedding"), ((2, 3, 4, 5), "TimeDistributed")], ids=str
)
def test_a_batch_of_the_wrong_rank_is_named(shape: tuple[int, ...], cure: str) -> None:
    with pytest.raises(
        ValueError, match=r"Expected \(batch, timesteps, features\); received " + cure_of(shape)
    ) as caught:
        GRU(4)(np.zeros(shape, np.float32))
    assert cure in str(caught.value)


def cure_of(shape: tuple[int, ...]) -> str:
    return str(shape).replace("(", r"\(").replace(")", r"\)")


def test_a_stack_with_sequences_is_no_mistake() -> None:
    assert model_of(keras.Input((5, 3)), GRU(4, return_sequences=True), GRU(2)).output_shape == (None, 2)


# --- The constructor ---


@pytest.mark.parametrize(("units", "cure"), [("5", r"GRU\(5\)"), (2.5, r"GRU\(32\)"), (None, r"GRU\(32\)")])
def test_units_of_another_type_are_named(units: Any, cure: str) -> None:
    with pytest.raises(
        TypeError, match=rf"gatewise.keras.GRU: units is not a whole number.*received {units!r}.*Write {cure}"
    ):
        GRU(units=units)


@pytest.mark.parametrize("units", [0, -3])
def test_units_below_one_are_named(units: int) -> None:
    with pytest.raises(ValueError, match=f"units is too small. Expected an int of at least 1; received {units}"):
        GRU(units)


@pytest.mark.parametrize("argument", ["activation", "recurrent_activation"])
def test_an_unknown_activation_shows_the_known_ones(argument: str) -> None:
    with pytest.raises(
        ValueError,
        match=rf"{argument} is unknown. Expected one of .*relu.*tanh.*; received 'tahn'. Did you mean 'tanh'",
    ):
        GRU(4, **{argument: "tahn"})


def test_a_missing_or_unknown_argument_keeps_python_and_keras_own_errors() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'units'"):
        GRU()
    with pytest.raises(ValueError, match="Unrecognized keyword arguments"):
        GRU(4, unit=3)


# --- Masks, states, batches ---


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (5,), (2, 5, 2), (2, 5, 1, 1)], ids=str)
def test_a_mask_of_the_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"mask has the wrong shape. Expected \(batch=2, timesteps=5\); received " + cure_of(shape)
    ):
        GRU(4)(X, mask=np.ones(shape, bool))


@pytest.mark.parametrize("shape", [(2, 3), (3, 4), (4,), (2, 4, 1)], ids=str)
def test_an_initial_state_of_the_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    state = np.zeros(shape, np.float32)
    for given in (state, [state]):
        with pytest.raises(
            ValueError,
            match=r"initial_state has the wrong shape. Expected \(batch=2, units=4\); received " + cure_of(shape),
        ):
            GRU(4)(X, initial_state=given)


def test_two_states_are_one_too_many() -> None:
    state = np.zeros((2, 4), np.float32)
    with pytest.raises(ValueError, match=r"Expected 1; received 2. It has one state"):
        GRU(4)(X, initial_state=[state, state])


def test_wrong_shapes_are_named_while_a_model_is_described() -> None:
    x, mask, state = keras.Input((5, 3)), keras.Input((4,), dtype="bool"), keras.Input((7,))
    with pytest.raises(
        ValueError, match=r"mask has the wrong shape. Expected \(batch=any, timesteps=5\); received \(None, 4\)"
    ):
        GRU(4)(x, mask=mask)
    with pytest.raises(
        ValueError, match=r"initial_state has the wrong shape. Expected \(batch=any, units=4\); received \(None, 7\)"
    ):
        GRU(4)(x, initial_state=state)


@pytest.mark.parametrize("wrap", [lambda layer: layer, keras.layers.Bidirectional], ids=["alone", "bidirectional"])
def test_a_stateful_layer_without_a_batch_size_shows_where_to_give_it(wrap: Any) -> None:
    with pytest.raises(
        ValueError, match=r"a stateful layer needs a batch size.*keras.Input\(batch_shape=\(32, 5, 3\)\)"
    ):
        model_of(keras.Input((5, 3)), wrap(GRU(4, stateful=True)))
