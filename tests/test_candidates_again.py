# SPDX-License-Identifier: Apache-2.0
"""The engine finds the candidates again, from the outputs, and saves half as much: the same gradients, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine_case import ISAS, LANES, Case, assert_same_bits, instruction_set, threads
from gatewise import _native
from gatewise.native import ACTIVATIONS

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zero_state": {"initial_state": False, "use_bias": False},
    "holes": {"mask": "holes"},
    "zeros_for_masked": {"mask": "holes", "zero_output_for_mask": True},
    "empty_rows": {"mask": "empty_rows", "go_backwards": True},
    "reset_before": {"reset_after": False, "mask": "left"},
    "dropout": {"input_dropout_masks": 3, "recurrent_dropout": True},
    "dropout_reset_before": {"input_dropout_masks": 1, "recurrent_dropout": True, "reset_after": False},
    "relu": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
    "linear": {"activation": "linear", "mask": "right"},
}
# One row, carried by a team; several slabs and chunks; one step; weights beyond the cache, in parts of their depth.
SHAPES = [(1, 300, 8, 128), (40, 150, 4, 18), (2, 1, 3, 5), (40, 17, 20, 421)]


def run(case: Case) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
    """What `Case.run` returns, found with the candidates again; and how many floats were saved."""
    a = case.arrays
    call = _native.make_call(
        a["x"], case.weights.kernel, case.weights.recurrent_kernel, case.weights.bias,
        *(a[name] for name in ("initial_state", "mask", "input_dropout", "recurrent_dropout")),
        reset_after=case.reset_after, activation=ACTIVATIONS.index(case.activation),
        recurrent_activation=ACTIVATIONS.index(case.recurrent_activation), go_backwards=case.go_backwards,
        return_sequences=True, zero_output_for_mask=case.zero_output_for_mask, recompute=False, candidates_again=True,
    )  # fmt: skip
    outputs, state = np.empty(call.output_shape, np.float32), np.empty(call.state_shape, np.float32)
    saved = np.full(call.saved_floats, np.nan, np.float32)
    _native.forward(call, outputs, state, saved)
    bias = case.weights.bias
    found = {
        "outputs": outputs,
        "state": state,
        "d_x": np.empty_like(a["x"]),
        "d_initial_state": np.empty_like(state),
        "d_kernel": np.empty_like(case.weights.kernel),
        "d_recurrent_kernel": np.empty_like(case.weights.recurrent_kernel),
    } | ({} if bias is None else {"d_bias": np.empty_like(bias)})
    gradients = [found.get(f"d_{name}") for name in ("x", "initial_state", "kernel", "recurrent_kernel", "bias")]
    _native.backward(call, saved, outputs, a["d_outputs"], a["d_state"], *gradients)
    return found, saved.size


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_the_same_bits(shape: tuple[int, int, int, int], isa: str, options: str) -> None:
    case = Case(*shape, **OPTIONS[options])
    with instruction_set(isa), threads(2):
        expected = case.run()
        found, saved = run(case)
    assert saved == 2 * shape[0] * shape[1] * -(-shape[3] // LANES[isa]) * LANES[isa]
    assert_same_bits(found, expected)


def test_bits_do_not_depend_on_threads() -> None:
    case = Case(5, 200, 16, 144)
    with threads(1):
        expected, _ = run(case)
    for n in (2, 3):
        with threads(n):
            assert_same_bits(run(case)[0], expected)
