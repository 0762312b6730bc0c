# SPDX-License-Identifier: Apache-2.0
"""The engine finds candidates again, from the outputs, and resets, by products: gradients that err no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine_case import ISAS, LANES, Case, assert_same_bits, instruction_set, threads
from tolerance import FLOAT32

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zero_state": {"initial_state": False, "use_bias": False},
    "holes": {"mask": "holes"},
    "zeros_for_masked": {"mask": "holes", "zero_output_for_mask": True},
    "empty_rows": {"mask": "empty_rows", "go_backwards": True},
    "reset_before": {"reset_after": False, "mask": "left"},
    "dropout": {"input_dropout_masks": 3, "recurrent_dropout": True},
    "dropout_reset_before": {"input_dropout_masks": 1, "recurrent_dropout": True, "reset_after": False},
}
# One row, carried by a team; several slabs and chunks; one step; weights beyond the cache, in parts of their depth.
SHAPES = [(1, 300, 8, 128), (40, 150, 4, 18), (2, 1, 3, 5), (40, 17, 20, 421)]


def size(values: npt.ArrayLike) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(values, np.float64)))))


def assert_errs_no_more(case: Case) -> None:
    """Asserts every gradient to err, in the mean, as it does with all gates saved: by a quarter and a rounding more."""
    expected, all_saved, (found, _) = case.specified(), case.run(), case.run_again()
    for name in ("outputs", "state"):
        assert found[name].tobytes() == all_saved[name].tobytes()
    for name, value in expected.items():
        allowed = 1.25 * size(all_saved[name] - value) + FLOAT32 * size(value)
        assert size(found[name] - value) <= allowed, name


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_err_as_with_all_gates_saved(shape: tuple[int, int, int, int], isa: str, options: str) -> None:
    with instruction_set(isa), threads(2):
        assert_errs_no_more(Case(*shape, **OPTIONS[options]))


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("isa", ISAS)
def test_gradients_err_as_much_where_gates_saturate(isa: str, reset_after: bool) -> None:
    case = Case(40, 60, 4, 18, reset_after=reset_after)
    for name, factor in (("x", 10), ("recurrent_kernel", 4), ("bias", 8)):
        case.arrays[name] = case.arrays[name] * np.float32(factor)
    with instruction_set(isa):
        assert_errs_no_more(case)


@pytest.mark.parametrize("update", [-20, -4, 0, 4, 9, 14, 20, 100])
@pytest.mark.parametrize("isa", ISAS)
def test_no_pre_activation_is_out_of_reach(isa: str, update: float) -> None:
    """One step of many units, each with biases of its own, from states of any size up to 1."""
    candidate, recurrent, reset = (
        a.ravel() for a in np.meshgrid(np.linspace(-40, 40, 41), [-30, -1, 0.01, 3], [-100, -20, -3, 0, 3, 20])
    )
    units = candidate.size
    case = Case(3, 1, 1, units)
    case.arrays["kernel"] = np.zeros((1, 3 * units), np.float32)
    case.arrays["recurrent_kernel"] = np.zeros((units, 3 * units), np.float32)
    bias = [[np.full(units, update), reset, candidate], [np.zeros(units), np.zeros(units), recurrent]]
    case.arrays["bias"] = np.asarray(bias, np.float32).reshape(2, -1)
    case.arrays["initial_state"] = np.random.default_rng(0).uniform(-1, 1, (3, units)).astype(np.float32)
    with instruction_set(isa):
        found, _ = case.run_again()
    expected = case.specified()["d_bias"]
    # A rounding of h, times the pre-activation where the reset gate's gradient has it as a factor.
    d_h = np.abs(case.arrays["d_outputs"][:, 0] + case.arrays["d_state"]).sum(0)
    allowed = 8 * FLOAT32 * d_h * (1 + np.abs(candidate) + np.abs(recurrent))
    assert np.all(np.abs(found["d_bias"] - expected).reshape(6, units) <= allowed)


@pytest.mark.parametrize("isa", ISAS)
def test_half_is_saved(isa: str) -> None:
    case = Case(4, 30, 3, 21)
    with instruction_set(isa):
        assert case.run_again()[1] == 2 * 4 * 30 * -(-21 // LANES[isa]) * LANES[isa]


@pytest.mark.parametrize(
    "options", [{"activation": "relu"}, {"recurrent_activation": "hard_sigmoid"}, {"return_sequences": False}], ids=str
)
def test_where_the_outputs_do_not_tell_the_candidates_it_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Case(2, 3, 4, 5, **options).run_again()


def test_bits_do_not_depend_on_threads() -> None:
    case = Case(5, 200, 16, 144)
    with threads(1):
        expected, _ = case.run_again()
    for n in (2, 3):
        with threads(n):
            assert_same_bits(case.run_again()[0], expected)


@pytest.mark.parametrize("options", ["plain", "zero_state", "holes", "empty_rows", "dropout"])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_resets_that_are_found_again_have_the_same_bits(
    shape: tuple[int, int, int, int], isa: str, options: str
) -> None:
    case = Case(*shape, **OPTIONS[options])
    with instruction_set(isa), threads(2):
        expected, half = case.run_again()
        found, saved = case.run_again(resets=True)
    assert_same_bits(found, expected)
    panels = -(-shape[3] // LANES[isa])
    assert half - saved == panels // 2 * LANES[isa] * shape[0] * shape[1]
