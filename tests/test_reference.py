# SPDX-License-Identifier: Apache-2.0
"""The specification, held against the papers' formula and the meaning of its options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewise import cells, reference
from problems import BATCH, FEATURES, MASKS, TIMESTEPS, UNITS, Array, make_arrays, make_dropout, output_gradients

EPS = float(np.finfo(np.float64).eps)


def papers_form(arrays: dict[str, Array], reset_after: bool) -> Array:
    """Steps h = (1 - z) * h_prev + z * h_tilde, one row and one step at a time. Returns the outputs."""

    def sigmoid(a: Array) -> Array:
        return 1 / (1 + np.exp(-a))

    k_z, k_r, k_h = np.split(arrays["kernel"], 3, axis=1)
    r_z, r_r, r_h = np.split(arrays["recurrent_kernel"], 3, axis=1)
    biases = arrays.get("bias", np.zeros((2, 3 * UNITS)))
    if biases.ndim == 1:
        biases = np.stack([biases, np.zeros_like(biases)])
    (b_z, b_r, b_h), (c_z, c_r, c_h) = (np.split(bias, 3) for bias in biases)
    outputs = np.zeros((BATCH, TIMESTEPS, UNITS))
    for row, h in enumerate(arrays["initial_state"]):
        for t, x in enumerate(arrays["x"][row]):
            z = sigmoid(x @ k_z + b_z + h @ r_z + c_z)
            r = sigmoid(x @ k_r + b_r + h @ r_r + c_r)
            h_tilde = np.tanh(x @ k_h + b_h + (r * (h @ r_h + c_h) if reset_after else (r * h) @ r_h))
            h = (1 - z) * h + z * h_tilde  # noqa: PLW2901
            outputs[row, t] = h
    return outputs


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_papers_form_is_the_same_cell_with_the_update_gate_negated(reset_after: bool, use_bias: bool) -> None:
    arrays = make_arrays(reset_after=reset_after, use_bias=use_bias)
    negated = {name: array.copy() for name, array in arrays.items()}
    for name in {"kernel", "recurrent_kernel", "bias"} & set(arrays):
        negated[name][..., :UNITS] *= -1
    ours = reference.forward(**negated, cell=cells.gru(reset_after=reset_after)).outputs
    tolerance = EPS * TIMESTEPS * (FEATURES + 2 * UNITS)  # outputs are below 3 in size
    np.testing.assert_allclose(ours, papers_form(arrays, reset_after), rtol=0, atol=3 * tolerance)
    unchanged = reference.forward(**arrays, cell=cells.gru(reset_after=reset_after)).outputs
    assert np.abs(unchanged - ours).max() > 0.1, "the two forms must differ where nothing is negated"


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("mask", [name for name in MASKS if name != "none"])
def test_masked_step_keeps_state_and_repeats_output(mask: str, go_backwards: bool) -> None:
    arrays = make_arrays()
    order = slice(None, None, -1 if go_backwards else 1)
    forward = reference.forward(**arrays, mask=MASKS[mask], go_backwards=go_backwards)
    zeroed = reference.forward(**arrays, mask=MASKS[mask], go_backwards=go_backwards, zero_output_for_mask=True)
    weights = [arrays[name] for name in ("kernel", "recurrent_kernel", "bias")]
    for row, valid in enumerate(np.asarray(MASKS[mask], bool)[:, order]):
        x, state, output = arrays["x"][row, order], arrays["initial_state"][row], np.zeros(UNITS)
        for t in range(TIMESTEPS):
            if valid[t]:
                state = output = reference.forward(x[None, t : t + 1], *weights, initial_state=state[None]).state[0]
            np.testing.assert_allclose(forward.outputs[row, t], output, rtol=0, atol=8 * EPS)
            np.testing.assert_allclose(zeroed.outputs[row, t], output * valid[t], rtol=0, atol=8 * EPS)
        np.testing.assert_allclose(forward.state[row], state, rtol=0, atol=8 * EPS)
        np.testing.assert_array_equal(zeroed.state[row], forward.state[row])


def test_last_output_is_the_last_steps_output_and_state_is_the_state() -> None:
    forward = reference.forward(**make_arrays(), mask=MASKS["empty_row"])
    np.testing.assert_array_equal(forward.last_output, forward.outputs[:, -1])
    np.testing.assert_array_equal(forward.last_output[1], np.zeros(UNITS))
    np.testing.assert_array_equal(forward.state[1], make_arrays()["initial_state"][1])


@pytest.mark.parametrize("mask", [name for name in MASKS if name != "none"])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_nan_in_masked_steps_reaches_nothing(reset_after: bool, mask: str) -> None:
    arrays = make_arrays(reset_after=reset_after)
    masked = np.asarray(MASKS[mask]) == 0
    poisoned = {**arrays, "x": np.where(masked[:, :, None], np.nan, arrays["x"])}
    options: dict[str, Any] = {
        "cell": cells.gru(reset_after=reset_after),
        "mask": MASKS[mask],
        "input_dropout": make_dropout(3, FEATURES),
        "recurrent_dropout": make_dropout(3, UNITS),
    }
    for go_backwards in (False, True):
        clean, dirty = (reference.forward(**some, **options, go_backwards=go_backwards) for some in (arrays, poisoned))
        for name in ("outputs", "last_output", "state"):
            np.testing.assert_array_equal(getattr(dirty, name), getattr(clean, name), err_msg=name)
        expected, received = (reference.backward(forward, *output_gradients()) for forward in (clean, dirty))
        for name in expected._fields:
            assert np.isfinite(getattr(received, name)).all(), name
            np.testing.assert_array_equal(getattr(received, name), getattr(expected, name), err_msg=name)
        assert not received.x[masked].any()


@pytest.mark.parametrize("mask", MASKS)
def test_go_backwards_equals_reversed_input(mask: str) -> None:
    arrays = make_arrays()
    turned = {**arrays, "x": arrays["x"][:, ::-1]}
    turned_mask = None if MASKS[mask] is None else np.asarray(MASKS[mask])[:, ::-1]
    backwards = reference.forward(**arrays, mask=MASKS[mask], go_backwards=True)
    forwards = reference.forward(**turned, mask=turned_mask)
    np.testing.assert_array_equal(backwards.outputs, forwards.outputs)
    np.testing.assert_array_equal(backwards.state, forwards.state)
    ours, theirs = (reference.backward(forward, *output_gradients()) for forward in (backwards, forwards))
    np.testing.assert_array_equal(ours.x, theirs.x[:, ::-1])
    for name in ("initial_state", "kernel", "recurrent_kernel", "bias"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("input_masks", [1, 3])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_dropout_factors_act_as_if_on_the_rows_of_the_kernels(reset_after: bool, input_masks: int) -> None:
    arrays = make_arrays(reset_after=reset_after)
    on_x, on_h = make_dropout(input_masks, FEATURES), make_dropout(3, UNITS)
    forward = reference.forward(
        **arrays, cell=cells.gru(reset_after=reset_after), input_dropout=on_x, recurrent_dropout=on_h
    )
    for row in range(BATCH):
        of_gate_x = np.repeat(on_x[[0, 1, 2] if input_masks == 3 else [0, 0, 0], row].T, UNITS, axis=1)
        of_gate_h = np.repeat(on_h[:, row].T, UNITS, axis=1)
        alone = reference.forward(
            arrays["x"][row : row + 1],
            arrays["kernel"] * of_gate_x,
            arrays["recurrent_kernel"] * of_gate_h,
            arrays["bias"],
            cell=cells.gru(reset_after=reset_after),
            initial_state=arrays["initial_state"][row : row + 1],
        )
        tolerance = 3 * EPS * TIMESTEPS * (FEATURES + 2 * UNITS)
        np.testing.assert_allclose(forward.outputs[row], alone.outputs[0], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("tanh", [-1.0, -0.7615941559557649, 0.0, 0.46211715726000974, 1.0]),
        ("sigmoid", [1.3887943864771146e-11, 0.2689414213699951, 0.5, 0.6224593312018546, 1.0]),
        ("relu", [0.0, 0.0, 0.0, 0.5, 800.0]),
        ("linear", [-25.0, -1.0, 0.0, 0.5, 800.0]),
        ("hard_sigmoid", [0.0, 1 / 3, 0.5, 3.5 / 6, 1.0]),
    ],
)
def test_activations_have_their_textbook_values(activation: str, expected: list[float]) -> None:
    x = np.array([-25.0, -1.0, 0.0, 0.5, 800.0])
    # One unit whose update gate is linear and zero: the output is the activation of x.
    forward = reference.forward(
        x[:, None, None], [[0, 0, 1]], [[0, 0, 0]], activation=activation, recurrent_activation="linear"
    )
    np.testing.assert_allclose(forward.state[:, 0], expected, rtol=4 * EPS)


def test_arrays_of_any_real_dtype_are_taken_exactly() -> None:
    x = np.arange(12).reshape(2, 3, 2) % 3
    kernel, recurrent_kernel, bias = np.eye(2, 6), np.eye(2, 6, 2), np.ones((2, 6))
    expected = reference.forward(x.astype(np.float64), kernel, recurrent_kernel, bias).outputs
    for dtype in (np.float16, np.float32, np.longdouble, np.int8, np.uint64, ">f4"):
        arrays = [array.astype(dtype) for array in (x, kernel, recurrent_kernel, bias)]
        received = reference.forward(*arrays, mask=np.ones((2, 3), dtype)).outputs
        assert received.dtype == np.float64
        np.testing.assert_array_equal(received, expected)
    np.testing.assert_array_equal(
        reference.forward(x.tolist(), kernel.tolist(), recurrent_kernel, bias).outputs, expected
    )


@pytest.mark.parametrize(("batch", "timesteps"), [(0, 3), (2, 0), (0, 0)])
def test_empty_sequences_give_the_initial_state_and_gradients_of_zeros(batch: int, timesteps: int) -> None:
    state = np.ones((batch, 2))
    forward = reference.forward(np.zeros((batch, timesteps, 1)), np.ones((1, 6)), np.ones((2, 6)), initial_state=state)
    assert forward.outputs.shape == (batch, timesteps, 2)
    np.testing.assert_array_equal(forward.state, state)
    np.testing.assert_array_equal(forward.last_output, np.zeros((batch, 2)))
    gradients = reference.backward(forward, d_state=state)
    np.testing.assert_array_equal(gradients.initial_state, state)
    assert gradients.x.shape == (batch, timesteps, 1)
    assert not gradients.kernel.any()
    assert not gradients.recurrent_kernel.any()
    assert gradients.bias is None


def test_inputs_are_not_written_to() -> None:
    arrays = make_arrays()
    before = {name: array.copy() for name, array in arrays.items()}
    d_outputs, d_state = output_gradients()
    reference.backward(reference.forward(**arrays, mask=MASKS["holes"]), d_outputs, d_state)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    for array, fresh in zip((d_outputs, d_state), output_gradients(), strict=True):
        np.testing.assert_array_equal(array, fresh)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((4, 31))}, ValueError, r"x has the wrong rank.*features=2\); received \(4, 31\)"),
        ({"x": np.zeros((4, 5, 3))}, ValueError, r"x has the wrong shape.*features=2\); received \(4, 5, 3\)"),
        ({"x": np.full((4, 5, 2), "1")}, TypeError, "x has the wrong type. Expected real numbers; received dtype <U1"),
        ({"x": np.zeros((4, 5, 2), complex)}, TypeError, "x has the wrong type.*received dtype complex128"),
        ({"kernel": np.zeros((2, 8))}, ValueError, r"kernel has the wrong shape.*3 \* units=9\); received \(2, 8\)"),
        ({"recurrent_kernel": np.zeros((3, 8))}, ValueError, r"recurrent_kernel.*3 \* units=9\); received \(3, 8\)"),
        ({"bias": np.zeros(9)}, ValueError, r"bias has the wrong rank. Expected \(b and c=2, .*received \(9,\)"),
        ({"initial_state": np.zeros((1, 3))}, ValueError, r"initial_state.*batch=4, units=3\); received \(1, 3\)"),
        ({"mask": np.ones((4, 1))}, ValueError, r"mask has.*batch=4, timesteps=5\); received \(4, 1\)"),
        ({"recurrent_dropout": np.ones((1, 4, 3))}, ValueError, r"recurrent_dropout.*gates=3.*received \(1, 4, 3\)"),
        ({"input_dropout": np.ones((1, 1, 2))}, ValueError, r"input_dropout.*batch=4.*received \(1, 1, 2\)"),
        ({"input_dropout": np.ones((2, 4, 2))}, ValueError, r"input_dropout.*\(1 or 3, batch=4.*received \(2, 4, 2\)"),
        ({"activation": ["tanh"]}, ValueError, r"activation is unknown. Expected one of tanh, .*; received \['tanh'\]"),
        ({"activation": "swish"}, ValueError, "activation is unknown. Expected one of tanh, .*; received 'swish'"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reference.forward(**{**make_arrays(), **change})


@pytest.mark.parametrize("name", ["d_outputs", "d_state"])
def test_wrong_gradients_are_named(name: str) -> None:
    forward: reference.Forward = reference.forward(**make_arrays())
    with pytest.raises(ValueError, match=f"{name} has the wrong rank.*batch=4.*units=3"):
        reference.backward(forward, **{name: np.zeros(3)})
