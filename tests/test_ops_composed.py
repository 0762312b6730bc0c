# SPDX-License-Identifier: Apache-2.0
"""The GRU composed of a framework's operations, in torch's float64: the specification, and derivatives of any order."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from problems import MASKS, TIMESTEPS, UNITS, make_arrays, make_dropout, output_gradients
from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="it is composed of torch's operations here: install the extra `torch`")

from gatewise import reference  # noqa: E402  # after the skip
from gatewise.cells import Cell  # noqa: E402
from gatewise.operands import Direction  # noqa: E402
from gatewise.ops import composed  # noqa: E402
from gatewise.ops.torch.composition import _Torch  # noqa: E402
from gatewise.reference import ACTIVATIONS  # noqa: E402

FLOAT64 = float(np.finfo(np.float64).eps)
INPUTS = ("x", "initial_state", "kernel", "recurrent_kernel", "bias")
D_OUTPUTS, D_STATE = output_gradients()
PLAIN = {
    "cell": Cell.GRU,
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "go_backwards": False,
    "zero_output_for_mask": False,
}


def tensors(arrays: dict[str, Any]) -> list[Any]:
    return [torch.from_numpy(arrays[name]).requires_grad_() if name in arrays else None for name in INPUTS]


def compose(inputs: list[Any], mask: Any, dropout: tuple[Any, Any] = (None, None), **options: Any) -> tuple[Any, Any]:
    valid, *factors = (None if value is None else torch.from_numpy(np.array(value)) for value in (mask, *dropout))
    x, *own = inputs
    named = dict(zip(("initial_h", "kernel", "recurrent_kernel", "bias"), own, strict=True))
    direction = Direction(**named, **dict(zip(("input_dropout", "recurrent_dropout"), factors, strict=True)))
    outputs, (state,) = composed.direction(
        _Torch(), x, None if valid is None else valid.bool(), None, direction,
        **({"return_sequences": True} | PLAIN | options),
    )  # fmt: skip
    return outputs, state


def assert_as_specified(
    mask: Any, dropout: tuple[Any, Any] = (None, None), *, present: dict[str, bool], **options: Any
) -> None:
    options = PLAIN | options
    arrays = make_arrays(reset_after=options["cell"] is Cell.GRU, **present)
    inputs = tensors(arrays)
    outputs, state = compose(inputs, mask, dropout, **options)
    last, _ = compose(inputs, mask, dropout, return_sequences=False, **options)
    variables = [value for value in inputs if value is not None]
    found = torch.autograd.grad(
        [outputs, state], variables, [torch.from_numpy(D_OUTPUTS), torch.from_numpy(D_STATE)], materialize_grads=True
    )
    factors = dict(zip(("input_dropout", "recurrent_dropout"), dropout, strict=True))
    forward = reference.forward(**arrays, mask=mask, **factors, **options)
    expected = reference.backward(forward, D_OUTPUTS, D_STATE)
    allowed = tolerance(arrays["x"].shape[2] + UNITS, TIMESTEPS, len(D_STATE), FLOAT64)
    assert_close("outputs", outputs.detach(), forward.outputs, allowed)
    assert_close("last output", last.detach(), forward.last_output[:, None], allowed)
    assert_close("state", state.detach(), forward.state, allowed)
    for name, gradient in zip([name for name in INPUTS if name in arrays], found, strict=True):
        assert_close(f"d_{name}", gradient, getattr(expected, name), allowed)


@pytest.mark.parametrize("cell", [Cell.GRU, Cell.GRU_RESET_BEFORE])
@pytest.mark.parametrize("kind", MASKS)
def test_values_and_first_derivatives_are_the_specification_s(kind: str, cell: Cell) -> None:
    for go_backwards, zero, there in itertools.product((False, True), repeat=3):
        assert_as_specified(
            MASKS[kind],
            present={"use_bias": there, "initial_state": there},
            cell=cell,
            go_backwards=go_backwards,
            zero_output_for_mask=zero,
        )


@pytest.mark.parametrize("cell", [Cell.GRU, Cell.GRU_RESET_BEFORE])
@pytest.mark.parametrize("input_masks", [0, 1, 3])
def test_dropout_factors_act_as_specified(input_masks: int, cell: Cell) -> None:
    dropout = make_dropout(input_masks, 2) if input_masks else None, make_dropout(3, UNITS)
    assert_as_specified(MASKS["holes"], dropout, present={}, cell=cell)


@pytest.mark.parametrize("recurrent_activation", ACTIVATIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_the_specification_s(activation: str, recurrent_activation: str) -> None:
    assert_as_specified(None, present={}, activation=activation, recurrent_activation=recurrent_activation)


@pytest.mark.parametrize("cell", [Cell.GRU, Cell.GRU_RESET_BEFORE])
def test_second_derivatives_are_those_of_finite_differences(cell: Cell) -> None:
    inputs = tensors(make_arrays(reset_after=cell is Cell.GRU))
    mask = MASKS["holes"]
    d = tuple(torch.from_numpy(value).requires_grad_() for value in output_gradients())
    assert torch.autograd.gradgradcheck(
        lambda *values: compose(list(values), mask, cell=cell), inputs, d, raise_exception=True
    )


def test_nan_in_masked_steps_reaches_no_derivative() -> None:
    arrays = make_arrays()
    mask = np.array(MASKS["holes"], bool)
    arrays["x"][~mask] = np.nan
    inputs = tensors(arrays)
    outputs, _ = compose(inputs, mask)
    first = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    assert all(torch.isfinite(g).all() for g in (outputs, *first, *second))
