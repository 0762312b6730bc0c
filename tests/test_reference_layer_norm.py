# SPDX-License-Identifier: Apache-2.0
"""The specification of cells with layer normalisation: finite differences of its values, and Keras's own pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewise import reference
from gatewise.cells import Cell
from gatewise.reference import ACTIVATIONS, layer_norm
from problems import BATCH, FEATURES, MASKS, TIMESTEPS, UNITS, Array, make_dropout, output_gradients

NORMALISED = [cell for cell in Cell if cell.row.weights]
EPS = float(np.finfo(np.float64).eps)


def make_arrays(cell: Cell) -> dict[str, Array]:
    """What a layer is given, under the names of the arguments; states are apart."""
    rng, gates = np.random.default_rng(30), len(cell.row.gates)
    arrays = {
        "x": rng.normal(size=(BATCH, TIMESTEPS, FEATURES)),
        "kernel": rng.normal(size=(FEATURES, gates * UNITS)),
        "recurrent_kernel": rng.normal(size=(UNITS, gates * UNITS)),
        "bias": rng.normal(size=gates * UNITS),
    }
    for name in cell.row.weights:
        arrays[name] = 1 + rng.normal(size=UNITS if name.startswith("state") else gates * UNITS) / 3
    return arrays | {f"initial_{state}": rng.normal(size=(BATCH, UNITS)) for state in cell.row.states}


def run(arrays: dict[str, Array], cell: Cell, **options: Any) -> reference.Forward:
    given = dict(arrays)
    states = tuple(given.pop(f"initial_{state}") for state in cell.row.states)
    return reference.forward(**given, cell=cell, initial_state=states if len(states) > 1 else states[0], **options)


def several(states: Any) -> tuple[Array, ...]:
    return states if isinstance(states, tuple) else (states,)


def gradients_of(arrays: dict[str, Array], cell: Cell, **options: Any) -> dict[str, Array]:
    d_outputs, d_state = output_gradients()
    d_states = (d_state, 2 * d_state)[: len(cell.row.states)]
    d = reference.backward(run(arrays, cell, **options), d_outputs, d_states if len(d_states) > 1 else d_state)
    initial = dict(zip([f"initial_{state}" for state in cell.row.states], several(d.initial_state), strict=True))
    return initial | {name: getattr(d, name) for name in arrays if name not in initial}


def terms(arrays: dict[str, Array], cell: Cell, **options: Any) -> Array:
    """The terms of the loss that `gradients_of` is about."""
    d_outputs, d_state = output_gradients()
    forward = run(arrays, cell, **options)
    of_states = [(k + 1) * d_state * state for k, state in enumerate(several(forward.state))]
    return np.concatenate([(forward.outputs * d_outputs).ravel(), *(term.ravel() for term in of_states)])


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "masked backwards": {"mask": MASKS["holes"], "go_backwards": True, "zero_output_for_mask": True},
    "activations": {"activation": "hard_sigmoid", "recurrent_activation": "tanh", "epsilon": 0.1},
    "linear": {"activation": "linear", "recurrent_activation": "hard_sigmoid"},
}


@pytest.mark.parametrize("dropout", [False, True], ids=["", "dropout"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", NORMALISED)
def test_gradients_equal_finite_differences(cell: Cell, options: str, dropout: bool) -> None:
    arrays, given = make_arrays(cell), dict(OPTIONS[options])
    gates = len(cell.row.gates)
    if dropout:
        given |= {"input_dropout": make_dropout(gates, FEATURES), "recurrent_dropout": make_dropout(gates, UNITS)}
    found = gradients_of(arrays, cell, **given)
    rng, step = np.random.default_rng(31), EPS ** (1 / 3)
    for name, array in arrays.items():
        direction = rng.normal(size=array.shape)

        def difference(s: float, name: str = name, array: Array = array, along: Array = direction) -> float:
            near = terms({**arrays, name: array + s * along}, cell, **given)
            return float((near - terms({**arrays, name: array - s * along}, cell, **given)).sum() / (2 * s))

        near, far = difference(step), difference(2 * step)
        size = np.abs(terms(arrays, cell, **given)).sum()
        # See test_reference_gradients.py; what is divided by a small deviation is rounded that much more.
        tolerance = abs(far - near) + 100 * TIMESTEPS * (FEATURES + 2 * UNITS) * EPS * size / step
        assert tolerance < 1e-4 * size, f"{name}: the difference is too rough to judge by, {tolerance}"
        error = abs((found[name] * direction).sum() - near)
        assert error <= tolerance, f"{name}: off by {error}, tolerance {tolerance}, difference {near}"


def test_every_activation_is_among_those_tried() -> None:
    tried = {value for options in OPTIONS.values() for name, value in options.items() if name.endswith("activation")}
    assert tried | {"sigmoid", "relu"} == set(ACTIVATIONS)


def test_a_gate_is_normalised_by_itself() -> None:
    arrays = make_arrays(Cell.LAYER_NORM_GRU)
    larger = arrays["kernel"].copy()
    larger[:, :UNITS] *= 1e6  # only epsilon tells the size of a gate's weights
    tiny = {"epsilon": 1e-30}
    first, second = (run(arrays | {"kernel": k}, Cell.LAYER_NORM_GRU, **tiny) for k in (arrays["kernel"], larger))
    np.testing.assert_allclose(first.outputs, second.outputs, rtol=1e-9)


def test_normal_numbers_have_mean_0_and_variance_1() -> None:
    value = layer_norm.normal(np.random.default_rng(1).normal(3, 5, (4, 50)), 0.0).value
    np.testing.assert_allclose(value.mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose((value**2).mean(-1), 1, rtol=1e-12)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", NORMALISED)
def test_keras_own_pieces_agree(cell: Cell, options: str) -> None:
    tf = pytest.importorskip("tensorflow", reason="the oracle is Keras on TensorFlow: install the extra `tensorflow`")
    keras = pytest.importorskip("keras", reason="the oracle is Keras on TensorFlow: install the extra `tensorflow`")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras runs another backend: set KERAS_BACKEND=tensorflow")
    from layer_norm_oracle import OracleCell

    given = {name: value for name, value in OPTIONS[options].items() if name != "epsilon"}  # the oracle has Keras's
    arrays = make_arrays(cell)
    functions = given.get("activation", "tanh"), given.get("recurrent_activation", "sigmoid")
    of_layer = {name: given[name] for name in ("go_backwards", "zero_output_for_mask") if name in given}
    oracle = OracleCell(arrays, cell, *functions)
    layer = keras.layers.RNN(oracle, return_sequences=True, return_state=True, dtype="float64", **of_layer)
    watched = {"x": tf.constant(arrays["x"])} | {
        f"initial_{state}": tf.constant(arrays[f"initial_{state}"]) for state in cell.row.states
    }
    mask = None if given.get("mask") is None else tf.constant(np.asarray(given["mask"], bool))
    d_outputs, d_state = output_gradients()
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs, *states = layer(watched["x"], mask=mask, initial_state=[v for k, v in watched.items() if k != "x"])
        loss = tf.reduce_sum(outputs * d_outputs)
        loss += sum(tf.reduce_sum((k + 1) * d_state * state) for k, state in enumerate(states))
    variables = {v.name: v.value for v in oracle.own.values()}
    gradients = tape.gradient(loss, watched | variables)
    expected = {name: gradients[name].numpy() for name in watched}
    expected |= {name: oracle.gradient_of(name, gradients) for name in arrays if name not in watched}
    forward = run(arrays, cell, **given)
    received = gradients_of(arrays, cell, **given)
    pairs = {"outputs": (forward.outputs, outputs.numpy())}
    pairs |= {
        f"state {k}": pair for k, pair in enumerate(zip(several(forward.state), map(np.asarray, states), strict=True))
    }
    pairs |= {f"d_{name}": (received[name], value) for name, value in expected.items()}
    for name, (got, want) in pairs.items():
        size = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * size, err_msg=name)
