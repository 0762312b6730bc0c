# SPDX-License-Identifier: Apache-2.0
"""GRUWeights in the layouts of PyTorch and ONNX, held against the formulas of their documentation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gatewise import cells, reference
from gatewise.weights import GRUWeights

Array = npt.NDArray[Any]

FEATURES, UNITS = 5, 4
EPS = float(np.finfo(np.float64).eps)


def make_weights(*, reset_after: bool = True, use_bias: bool = True) -> GRUWeights:
    rng = np.random.default_rng(40)
    bias = rng.normal(size=(2, 3 * UNITS) if reset_after else 3 * UNITS)
    kernels = rng.normal(size=(FEATURES, 3 * UNITS)), rng.normal(size=(UNITS, 3 * UNITS))
    return GRUWeights(*kernels, bias if use_bias else None, reset_after=reset_after)


def make_step() -> tuple[Array, Array]:
    rng = np.random.default_rng(41)
    return rng.normal(size=(3, FEATURES)), rng.normal(size=(3, UNITS))


def run_step(weights: GRUWeights, x: Array, h: Array) -> Array:
    arrays = (weights.kernel, weights.recurrent_kernel, weights.bias)
    return reference.forward(
        x[:, None], *arrays, cell=cells.gru(reset_after=weights.reset_after), initial_state=h
    ).state


def sigmoid(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


def torch_step(x: Array, h: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array) -> Array:
    """The formulas of torch.nn.GRU's documentation, word for word."""
    w_ir, w_iz, w_in = np.split(np.asarray(weight_ih, np.float64), 3)
    w_hr, w_hz, w_hn = np.split(np.asarray(weight_hh, np.float64), 3)
    b_ir, b_iz, b_in = np.split(np.asarray(bias_ih, np.float64), 3)
    b_hr, b_hz, b_hn = np.split(np.asarray(bias_hh, np.float64), 3)
    r = sigmoid(x @ w_ir.T + b_ir + h @ w_hr.T + b_hr)
    z = sigmoid(x @ w_iz.T + b_iz + h @ w_hz.T + b_hz)
    n = np.tanh(x @ w_in.T + b_in + r * (h @ w_hn.T + b_hn))
    return np.asarray((1 - z) * n + z * h)


def onnx_step(x: Array, h: Array, W: Array, R: Array, B: Array, linear_before_reset: int) -> Array:
    """The equations of ONNX's GRU operator, word for word, for one direction."""
    w_z, w_r, w_h = np.split(np.asarray(W[0], np.float64), 3)
    r_z, r_r, r_h = np.split(np.asarray(R[0], np.float64), 3)
    wb_z, wb_r, wb_h, rb_z, rb_r, rb_h = np.split(np.asarray(B[0], np.float64), 6)
    zt = sigmoid(x @ w_z.T + h @ r_z.T + wb_z + rb_z)
    rt = sigmoid(x @ w_r.T + h @ r_r.T + wb_r + rb_r)
    if linear_before_reset:
        ht = np.tanh(x @ w_h.T + rt * (h @ r_h.T + rb_h) + wb_h)
    else:
        ht = np.tanh(x @ w_h.T + (rt * h) @ r_h.T + rb_h + wb_h)
    return np.asarray((1 - zt) * ht + zt * h)


def assert_close(received: Array, expected: Array) -> None:
    # Sums of at most FEATURES + UNITS + 2 terms, each below 8 in size, in two orders.
    np.testing.assert_allclose(received, expected, rtol=0, atol=8 * 2 * EPS * (FEATURES + UNITS + 2))


def assert_same_weights(received: GRUWeights, expected: GRUWeights) -> None:
    assert received.reset_after is expected.reset_after
    for name in ("kernel", "recurrent_kernel", "bias"):
        np.testing.assert_array_equal(getattr(received, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no_bias"])
def test_torch_layout_computes_pytorchs_formulas(use_bias: bool) -> None:
    weights, (x, h) = make_weights(use_bias=use_bias), make_step()
    theirs = weights.to_torch()
    assert theirs.weight_ih.shape == (3 * UNITS, FEATURES)
    assert theirs.weight_hh.shape == (3 * UNITS, UNITS)
    assert (theirs.bias_ih is None) == (theirs.bias_hh is None) == (not use_bias)
    zeros = np.zeros(3 * UNITS)
    biases = (zeros if bias is None else bias for bias in (theirs.bias_ih, theirs.bias_hh))
    assert_close(torch_step(x, h, theirs.weight_ih, theirs.weight_hh, *biases), run_step(weights, x, h))
    assert_same_weights(GRUWeights.from_torch(*theirs), weights)


def test_from_torch_computes_pytorchs_formulas() -> None:
    rng, (x, h) = np.random.default_rng(42), make_step()
    shapes = (3 * UNITS, FEATURES), (3 * UNITS, UNITS), (3 * UNITS,), (3 * UNITS,)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    weights = GRUWeights.from_torch(*arrays)
    assert_close(run_step(weights, x, h), torch_step(x, h, *arrays))
    for received, given in zip(weights.to_torch(), arrays, strict=True):
        np.testing.assert_array_equal(received, given)


def test_from_torch_detaches_what_tracks_gradients() -> None:
    class Parameter:
        """Refuses to become an array until detached, as a torch parameter does."""

        def __init__(self, array: Array) -> None:
            self.array = array

        def __array__(self, *_: object, **__: object) -> Array:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

        def detach(self) -> Array:
            return self.array

    arrays = make_weights().to_torch()
    assert_same_weights(GRUWeights.from_torch(*(Parameter(array) for array in arrays)), make_weights())


def test_from_torch_takes_bfloat16_which_numpy_lacks() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.GRU(FEATURES, UNITS, dtype=torch.bfloat16)
    weights = GRUWeights.from_torch(*module.parameters())
    expected = GRUWeights.from_torch(*(parameter.detach().float().numpy() for parameter in module.parameters()))
    assert_same_weights(weights, expected)


def test_from_torch_names_what_holds_no_numbers_yet() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.GRU(FEATURES, UNITS, device="meta")
    with pytest.raises(
        TypeError, match=r"GRUWeights\.from_torch: weight_hh is not an array\..*meta device type tensor"
    ):
        GRUWeights.from_torch(*module.parameters())


@pytest.mark.parametrize("value", ["0", 7, -1, 0.5, None, np.array([1, 0])], ids=repr)
def test_from_onnx_takes_its_attribute_as_it_is(value: Any) -> None:
    node = make_weights().to_onnx()
    with pytest.raises(ValueError, match=r"from_onnx: linear_before_reset is out of range\. Expected 0 or 1; received"):
        GRUWeights.from_onnx(node.W, node.R, node.B, value)
    assert GRUWeights.from_onnx(node.W, node.R, node.B, np.int64(1)).reset_after is True  # type: ignore[arg-type]


@pytest.mark.parametrize("linear_before_reset", [1, 0])
def test_from_onnx_computes_onnxs_equations(linear_before_reset: int) -> None:
    rng, (x, h) = np.random.default_rng(43), make_step()
    W, R, B = (rng.normal(size=s).astype(np.float32) for s in ((1, 12, FEATURES), (1, 12, UNITS), (1, 24)))
    if not linear_before_reset:
        B = np.round(B * 8) / 8  # sums of the two biases are exact in float32
    weights = GRUWeights.from_onnx(W, R, B, linear_before_reset)
    assert weights.reset_after is bool(linear_before_reset)
    assert_close(run_step(weights, x, h), onnx_step(x, h, W, R, B, linear_before_reset))


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_onnx_layout_computes_onnxs_equations(reset_after: bool, use_bias: bool) -> None:
    weights, (x, h) = make_weights(reset_after=reset_after, use_bias=use_bias), make_step()
    node = weights.to_onnx()
    assert (node.W.shape, node.R.shape) == ((1, 12, FEATURES), (1, 12, UNITS))
    assert (node.B is None) == (not use_bias)
    assert node.linear_before_reset == int(reset_after)
    B = np.zeros((1, 24)) if node.B is None else node.B
    assert B.shape == (1, 24)
    assert_close(onnx_step(x, h, node.W, node.R, B, node.linear_before_reset), run_step(weights, x, h))
    assert_same_weights(GRUWeights.from_onnx(*node), weights)


def test_onnx_without_the_attribute_resets_before_the_product() -> None:
    node = make_weights(reset_after=False).to_onnx()
    assert GRUWeights.from_onnx(node.W, node.R, node.B).reset_after is False


@pytest.mark.parametrize("form", ["to_torch", "to_onnx"])
def test_foreign_layouts_are_writable_arrays_of_their_own(form: str) -> None:
    weights = make_weights()
    before = copy.deepcopy(weights)
    for array in getattr(weights, form)():
        if isinstance(array, np.ndarray):
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            array[...] = 7
    assert_same_weights(weights, before)


THREE_GATES = "Check that it holds all of the 3 gates"


@pytest.mark.parametrize(
    ("shapes", "problem", "expected", "received", "cure"),
    [
        (
            ((12, 5), (4, 12)),
            "weight_hh has the wrong shape",
            "(3 * units, units) with units >= 1",
            "(4, 12)",
            THREE_GATES,
        ),
        (((5, 12), (12, 4)), "weight_ih has the wrong shape", "(3 * units=12, features)", "(5, 12)", "Check axis 0"),
        (
            ((12, 5), (12, 4), (12,)),
            "bias_hh is missing",
            "both biases or neither",
            "bias_ih alone",
            "Pass bias_hh too",
        ),
        (
            ((12, 5), (12, 4), None, (12,)),
            "bias_ih is missing",
            "both biases or neither",
            "bias_hh alone",
            "Pass bias_ih too",
        ),
        (
            ((12, 5), (12, 4), (12,), (4,)),
            "bias_hh has the wrong shape",
            "(3 * units=12,)",
            "(4,)",
            "Check the last axis",
        ),
        (
            ((12, 0), (12, 4)),
            "weight_ih has no features",
            "(3 * units=12, features) with features >= 1",
            "(12, 0)",
            "Check axis 1",
        ),
    ],
)
def test_wrong_torch_parameters_are_named(
    shapes: tuple[Any, ...], problem: str, expected: str, received: str, cure: str
) -> None:
    with pytest.raises(ValueError, match="from_torch") as caught:
        GRUWeights.from_torch(*(None if shape is None else np.zeros(shape) for shape in shapes))
    assert str(caught.value) == f"GRUWeights.from_torch: {problem}. Expected {expected}; received {received}. {cure}."


R_SHAPE = "(directions=1, 3 * units, units)"


@pytest.mark.parametrize(
    ("shapes", "problem", "expected", "received", "cure"),
    [
        (((2, 12, 5), (2, 12, 4)), "R has the wrong shape", R_SHAPE, "(2, 12, 4)", "Check axis 0"),
        (((1, 12, 5), (1, 12, 5)), "R has the wrong shape", f"{R_SHAPE} with units >= 1", "(1, 12, 5)", THREE_GATES),
        (
            ((1, 5, 12), (1, 12, 4)),
            "W has the wrong shape",
            "(directions=1, 3 * units=12, features)",
            "(1, 5, 12)",
            "Check axis 1",
        ),
        (
            ((1, 12, 5), (1, 12, 4), (1, 12)),
            "B has the wrong shape",
            "(directions=1, 6 * units=24)",
            "(1, 12)",
            "Check the last axis",
        ),
        (
            ((1, 12, 0), (1, 12, 4)),
            "W has no features",
            "(directions=1, 3 * units=12, features) with features >= 1",
            "(1, 12, 0)",
            "Check axis 2",
        ),
    ],
)
def test_wrong_onnx_inputs_are_named(
    shapes: tuple[Any, ...], problem: str, expected: str, received: str, cure: str
) -> None:
    with pytest.raises(ValueError, match="from_onnx") as caught:
        GRUWeights.from_onnx(*(np.zeros(shape) for shape in shapes))
    assert str(caught.value) == f"GRUWeights.from_onnx: {problem}. Expected {expected}; received {received}. {cure}."


def test_reset_before_the_product_has_no_pytorch_form() -> None:
    with pytest.raises(ValueError, match=r"to_torch: PyTorch has no such cell\. Expected reset_after=True; received"):
        make_weights(reset_after=False).to_torch()
