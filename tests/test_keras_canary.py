# SPDX-License-Identifier: Apache-2.0
"""What the layer takes for granted of Keras, a claim each: a new Keras that changes it fails here first, by name.

The layer lives on `inner_loop`, which is public but in no reference, and on attributes of the stock layer and its cell.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="these are claims about Keras: install the extra of KERAS_BACKEND")

from backends import call  # noqa: E402  # after the skip

L = keras.layers
BATCH, TIMESTEPS, FEATURES, UNITS = 2, 3, 4, 5
X = np.ones((BATCH, TIMESTEPS, FEATURES), np.float32)
MASK = np.array([[1, 1, 0], [1, 0, 0]], bool)
INNER_LOOP = "(self, sequences, initial_state, mask, training=False)"
LOOP, PATCH, FALLBACK = ("src/gatewise/keras/loop.py", "src/gatewise/keras/patch.py", "src/gatewise/keras/fallback.py")

LAYER_ATTRIBUTES = [
    *("go_backwards", "return_sequences", "return_state", "stateful", "unroll", "zero_output_for_mask", "states"),
    *("cell", "units", "activation", "recurrent_activation", "supports_jit", "compute_dtype", "built", "name"),
]
CELL_ATTRIBUTES = {  # of GRU(UNITS, dropout=0.25, recurrent_dropout=0.5).cell
    "units": UNITS,
    "state_size": UNITS,
    "dropout": 0.25,
    "recurrent_dropout": 0.5,
    "reset_after": True,
    "activation": keras.activations.tanh,
    "recurrent_activation": keras.activations.sigmoid,
    "compute_dtype": "float32",
    "activity_regularizer": None,
}


def changed(what: str, expected: Any, received: Any, where: str) -> str:
    """What a failing claim says."""
    return f"Keras {keras.__version__} has changed {what}. Expected {expected}; received {received}. See {where}."


def signature_problem(cls: Any) -> str | None:
    """Says how a class's `inner_loop` differs from what the layer overrides; None if it does not."""
    method = getattr(cls, "inner_loop", None)
    received = "no such method" if method is None else str(inspect.signature(method))
    return None if received == INNER_LOOP else changed(f"{cls.__name__}.inner_loop", INNER_LOOP, received, LOOP)


@pytest.mark.parametrize("cls", [L.GRU, L.RNN], ids=["GRU", "RNN"])
def test_inner_loop_has_the_signature_that_the_layer_overrides(cls: Any) -> None:
    problem = signature_problem(cls)
    assert problem is None, problem


def test_a_changed_inner_loop_is_named_with_both_signatures_and_the_file_to_change() -> None:
    class GRU:
        def inner_loop(self, sequences: Any, states: Any) -> None: ...

    problem = str(signature_problem(GRU))
    for part in (keras.__version__, "GRU.inner_loop", INNER_LOOP, "states: 'Any'", LOOP):
        assert part in problem


def test_call_hands_inner_loop_what_the_layer_reads_and_takes_three_results() -> None:
    seen: dict[str, Any] = {}

    class Recorder(L.GRU):  # type: ignore[misc, name-defined]
        def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
            seen.update(sequences=sequences, initial_state=initial_state, mask=mask, training=training)
            zeros = keras.ops.zeros((BATCH, TIMESTEPS, UNITS))
            return zeros[:, -1] + 1, zeros + 2, [zeros[:, -1] + 3]

    for sequences in (False, True):
        layer = Recorder(UNITS, return_sequences=sequences, return_state=True)
        outputs, state = call(layer, X, mask=MASK, training=True)
        where = changed(
            "what RNN.call makes of inner_loop's results", "(last output, outputs, [state])", "others", LOOP
        )
        assert outputs.shape == ((BATCH, TIMESTEPS, UNITS) if sequences else (BATCH, UNITS)), where
        assert (np.unique(outputs).tolist(), np.unique(state).tolist()) == ([2.0 if sequences else 1.0], [3.0]), where
    states = seen["initial_state"] if isinstance(seen["initial_state"], list | tuple) else [seen["initial_state"]]
    received = [tuple(seen["sequences"].shape), [tuple(s.shape) for s in states], tuple(seen["mask"].shape)]
    expected = [X.shape, [(BATCH, UNITS)], MASK.shape]
    assert received == expected, changed("the arguments of inner_loop", expected, received, LOOP)
    assert seen["training"] is True, changed("inner_loop's training", True, seen["training"], LOOP)


@pytest.mark.parametrize("name", LAYER_ATTRIBUTES)
def test_a_layer_has_the_attribute(name: str) -> None:
    layer = L.GRU(UNITS)
    layer.build(X.shape)
    assert hasattr(layer, name), changed("keras.layers.GRU", f"the attribute {name}", "none", LOOP)


@pytest.mark.parametrize("name", CELL_ATTRIBUTES)
def test_a_cell_says_what_it_was_given(name: str) -> None:
    cell = L.GRU(UNITS, dropout=0.25, recurrent_dropout=0.5).cell
    expected, received = CELL_ATTRIBUTES[name], getattr(cell, name, "no such attribute")
    assert received == expected, changed(f"keras.layers.GRUCell.{name}", expected, received, LOOP)


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_cells_weights_have_the_gates_side_by_side(reset_after: bool) -> None:
    layer = L.GRU(UNITS, reset_after=reset_after)
    layer.build(X.shape)
    expected = {
        "kernel": (FEATURES, 3 * UNITS),
        "recurrent_kernel": (UNITS, 3 * UNITS),
        "bias": (2, 3 * UNITS) if reset_after else (3 * UNITS,),
    }
    received = {name: tuple(getattr(layer.cell, name).shape) for name in expected}
    assert received == expected, changed("the weights of keras.layers.GRUCell", expected, received, LOOP)
    assert list(received) == [weight.name for weight in layer.weights]


def test_a_cell_without_bias_holds_none() -> None:
    layer = L.GRU(UNITS, use_bias=False)
    layer.build(X.shape)
    assert layer.cell.bias is None, changed("keras.layers.GRUCell.bias", None, layer.cell.bias, LOOP)


def test_a_cells_activations_are_the_functions_that_the_engine_knows_by_name() -> None:
    for name in ("tanh", "sigmoid", "relu", "linear", "hard_sigmoid"):
        received = L.GRU(UNITS, activation=name).cell.activation
        assert received is getattr(keras.activations, name), changed(f"activation={name!r}", name, received, FALLBACK)


@pytest.mark.parametrize(
    ("options", "input_masks", "recurrent_masks"),
    [
        ({"dropout": 0.5}, None, None),
        ({"recurrent_dropout": 0.5}, None, 3),
        ({"dropout": 0.5, "recurrent_dropout": 0.5}, 3, 3),
        ({"dropout": 0.5, "implementation": 1}, 3, None),
    ],
    ids=str,
)
def test_a_cells_dropout_masks_are_one_or_a_list_of_three(
    options: dict[str, Any], input_masks: int | None, recurrent_masks: int | None
) -> None:
    cell = L.GRU(UNITS, **options).cell
    state = np.ones((BATCH, UNITS), np.float32)
    for method, value, count in (
        ("get_dropout_mask", X[:, 0], input_masks),
        ("get_recurrent_dropout_mask", state, recurrent_masks),
    ):
        if not options.get(method.removeprefix("get_").removesuffix("_mask")):
            continue
        masks = getattr(cell, method)(keras.ops.convert_to_tensor(value))
        received = len(masks) if isinstance(masks, list) else None
        assert received == count, changed(f"GRUCell.{method}", f"{count or 'one, no list'}", received, LOOP)
        for mask in masks if isinstance(masks, list) else [masks]:
            assert tuple(mask.shape) == value.shape, changed(f"GRUCell.{method}", value.shape, mask.shape, LOOP)


def test_models_classes_and_exports_are_where_the_patch_looks_for_them() -> None:
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), L.GRU(UNITS)])
    for name in ("train_function", "test_function", "predict_function"):
        assert hasattr(model, name), changed("keras.Model", f"the attribute {name}", "none", PATCH)
        assert callable(getattr(model, f"make_{name}", None)), changed("keras.Model", f"make_{name}", "none", PATCH)
    assert vars(L.GRU).get("inner_loop") is not None, changed("keras.layers.GRU", "a loop of its own", "none", PATCH)
    for cls in (L.GRU, L.RNN, L.GRUCell, L.StackedRNNCells, keras.Model):
        module = cls.__module__
        assert module.startswith("keras.src."), changed(
            f"the module of {cls.__name__}", "keras.src....", module, FALLBACK
        )
    archive = keras.export.ExportArchive
    assert hasattr(archive, "add_endpoint"), changed("ExportArchive", "add_endpoint", "none", FALLBACK)
    assert archive.__module__.startswith("keras.src.export"), changed(
        "the module of ExportArchive", "keras.src.export", archive.__module__, FALLBACK
    )
