# SPDX-License-Identifier: Apache-2.0
"""Constructors that are given nonsense say so in our words: ours beforehand, patched ones when Keras has refused."""

from __future__ import annotations

import inspect
import textwrap
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
from backends import call  # noqa: E402
from gatewise.keras import GRU  # noqa: E402
from gatewise.keras.constructor_errors import CELL_CURE  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

L = keras.layers
NAMES = {"ours": "gatewise.keras.GRU", "patched": "keras.layers.GRU", "cell": "keras.layers.GRUCell"}


@pytest.fixture(params=NAMES)
def kind(request: pytest.FixtureRequest) -> Iterator[tuple[Any, str]]:
    """Our layer, and that of stock Keras and its cell, patched; with the name that an error begins with."""
    classes = {"ours": GRU, "patched": L.GRU, "cell": L.GRUCell}
    if request.param != "ours":
        gatewise.patch_keras()
    yield classes[request.param], NAMES[request.param]
    gatewise.unpatch_keras()


@pytest.fixture
def patched() -> Iterator[None]:
    """Patches Keras for a test."""
    gatewise.patch_keras()
    yield
    gatewise.unpatch_keras()


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "units_below_one": ({"units": -3}, ValueError, "units is too small. Expected an int of at least 1; received -3"),
    "units_in_text": ({"units": "5"}, TypeError, r"units is not a whole number.*received '5'.*Write GRU(Cell)?\(5\)"),
    "units_a_function": ({"units": len}, TypeError, r"units is not.*A cell goes into keras.layers.RNN\(cell\)"),
    "activation": ({"activation": "tahn"}, ValueError, "activation is unknown.*'tahn'. Did you mean 'tanh'"),
    "recurrent_activation": ({"recurrent_activation": "sgmoid"}, ValueError, "recurrent_activation.*mean 'sigmoid'"),
    "activation_list": ({"activation": ["tanh"]}, TypeError, "activation is neither a name nor a function"),
    "initializer": ({"kernel_initializer": "glorot_unifrom"}, ValueError, "Did you mean 'glorot_uniform'"),
    "regularizer": ({"bias_regularizer": "l3"}, ValueError, "bias_regularizer is unknown. Expected one of .*l2"),
    "constraint": ({"recurrent_constraint": "unitnorm_"}, ValueError, "Did you mean 'unit_norm'"),
    "dropout_in_text": ({"dropout": "0.2"}, TypeError, "dropout is no number. Expected a fraction between 0 and 1"),
}


def test_what_keras_refuses_is_named_and_cured(kind: tuple[Any, str], subtests: pytest.Subtests) -> None:
    cls, name = kind
    for case, (arguments, error, message) in REFUSED.items():
        with subtests.test(case), pytest.raises(error, match=rf"^{name}: .*{message}"):
            cls(**{"units": 4, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dropout": 20}, ValueError, r"dropout is out of range.*received 20. Write for instance dropout=0.2"),
        ({"recurrent_dropout": -0.1}, ValueError, "recurrent_dropout is out of range.*received -0.1"),
        ({"return_sequences": "False"}, TypeError, "return_sequences is neither true nor false.*received 'False'"),
        ({"go_backwards": np.array([True, False])}, TypeError, "go_backwards is neither true nor false"),
        ({"units": True}, TypeError, "units is not a whole number.*received True of type bool"),
        ({"activation": L.ReLU}, TypeError, r"activation is a class.*Write activation=ReLU\(\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_keras_would_take_for_something_else_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"gatewise.keras.GRU: {message}"):
        GRU(**{"units": 4, **arguments})


def test_what_keras_takes_is_no_mistake() -> None:
    GRU(4, dropout=np.float32(0.5), recurrent_dropout=1, return_sequences=np.True_, unroll=1, activation=None)
    GRU(4, kernel_initializer=keras.initializers.HeNormal(), kernel_regularizer={"class_name": "L2", "config": {}})
    GRU.from_config(GRU(4, recurrent_constraint="max_norm", bias_regularizer="l2").get_config())


def test_a_long_value_is_not_quoted_in_whole(kind: tuple[Any, str]) -> None:
    for argument in "units", "activation", "kernel_initializer", "dropout":
        for value in "x" * 100_000, ["x"] * 100_000:
            with pytest.raises((TypeError, ValueError), match=argument) as caught:
                kind[0](**{"units": 4, argument: value})
            assert len("".join(traceback.format_exception(caught.value))) < 10_000


def test_a_number_of_too_many_digits_is_not_quoted() -> None:
    for arguments in {"units": -(10**5000)}, {"units": 4, "dropout": 10**5000}:
        with pytest.raises(ValueError, match="received Exceeds the limit"):
            GRU(**arguments)


class Subclass(L.GRU):
    """A layer of a user's own."""


@pytest.mark.usefixtures("patched")
def test_a_subclass_is_named_as_its_user_does() -> None:
    with pytest.raises(ValueError, match=r"^Subclass: units is too small.*write for instance Subclass\(32\)"):
        Subclass(0)


# --- Cells ---


def step(inputs: Any, states: Any) -> Any:
    """A cell as it is not written."""
    return inputs, states


class Unfinished(L.Layer):
    """A cell that does not say how wide its state is."""

    def call(self, inputs: Any, states: Any) -> Any:
        return inputs, states


NO_CELLS: dict[str, tuple[Any, str]] = {
    "function": (step, r"the cell is a function.*received <function step.*write it as a layer\."),
    "no_state_size": (Unfinished(), "the cell has no state_size.*write it as a layer"),
    "number": (32, "the cell has no call and no state_size.*received 32"),
    "class": (L.GRUCell, r"the cell is a class.*Make one of it: GRUCell\(...\)"),
}


@pytest.mark.usefixtures("patched")
def test_what_is_no_cell_is_named_and_cured(subtests: pytest.Subtests) -> None:
    for case, (cell, message) in NO_CELLS.items():
        for cls, given in (L.RNN, cell), (L.RNN, [L.GRUCell(3), cell]), (L.StackedRNNCells, [cell]):
            name = f"keras.layers.{cls.__name__}"
            with subtests.test(case, name=name), pytest.raises(TypeError, match=rf"(?s)^{name}: {message}"):
                cls(given)


def test_the_cure_for_a_cell_works() -> None:
    program = textwrap.dedent("\n".join(CELL_CURE.splitlines()[1:]))
    names: dict[str, Any] = {"keras": keras}
    exec(program, names)  # noqa: S102  # what the message says to type
    assert call(names["layer"], np.ones((2, 5, 3), np.float32)).shape == (2, 32)


def test_without_the_patch_keras_keeps_its_own_errors() -> None:
    for make in (lambda: L.GRU(-3), lambda: L.GRU(4, activation="tahn"), lambda: L.RNN(step)):
        with pytest.raises(ValueError, match=r"^(Received an invalid value|Could not interpret|Argument `cell`)"):
            make()


@pytest.mark.usefixtures("patched")
def test_patched_constructors_keep_their_signatures() -> None:
    for cls in (L.RNN, L.GRU, L.GRUCell, L.StackedRNNCells):
        patched = inspect.getfullargspec(cls.__init__)
        gatewise.unpatch_keras()
        assert patched == inspect.getfullargspec(cls.__init__)
        gatewise.patch_keras()
