# SPDX-License-Identifier: Apache-2.0
"""The activations of every instruction set, through a layer that shows them bare, against float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

import gatewise
from engine_case import ISAS, instruction_set

Array = npt.NDArray[np.float64]

# The errors that csrc/simd/math.h states.
SIGMOID_ERROR, TANH_ERROR, TANH_RELATIVE_ERROR = 1.2e-7, 1.8e-7, 9e-7
DENSE = np.concatenate([np.linspace(-30, 30, 200_001), np.geomspace(1e-30, 1, 5001), -np.geomspace(1e-30, 1, 5001)])


def candidate(x: npt.ArrayLike, activation: str, isa: str) -> npt.NDArray[np.float32]:
    """activation(x) for each x: with the gate `relu` at zero, the state after one step is its candidate."""
    values = np.asarray(x, np.float32).reshape(-1, 1, 1)
    weights = gatewise.GRUWeights([[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
    with instruction_set(isa):
        return gatewise.rnn(values, weights, activation=activation, recurrent_activation="relu")[1].reshape(-1)


@pytest.mark.parametrize("isa", ISAS)
def test_sigmoid_errs_by_less_than_stated(isa: str) -> None:
    x = DENSE.astype(np.float32).astype(np.float64)
    assert np.abs(candidate(x, "sigmoid", isa) - 1 / (1 + np.exp(-x))).max() <= SIGMOID_ERROR


@pytest.mark.parametrize("isa", ISAS)
def test_tanh_errs_by_less_than_stated_and_keeps_small_numbers(isa: str) -> None:
    x = DENSE.astype(np.float32).astype(np.float64)
    error = np.abs(candidate(x, "tanh", isa) - np.tanh(x))
    assert error.max() <= TANH_ERROR
    nonzero = x != 0
    assert (error[nonzero] / np.abs(np.tanh(x[nonzero]))).max() <= TANH_RELATIVE_ERROR


def candidate_of_bias(value: float, activation: str, isa: str) -> float:
    """activation(value), given as the candidate's bias: as an input, times a kernel of zeros, infinity is NaN."""
    weights = gatewise.GRUWeights([[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]], [[0.0, 0.0, value], [0.0, 0.0, 0.0]])
    with instruction_set(isa):
        return float(gatewise.rnn([[[0.0]]], weights, activation=activation, recurrent_activation="relu")[1].item())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [("tanh", -1, 1), ("sigmoid", 0, 1), ("hard_sigmoid", 0, 1), ("relu", 0, np.inf), ("linear", -np.inf, np.inf)],
)
def test_activations_reach_their_limits_and_keep_nan(activation: str, low: float, high: float, isa: str) -> None:
    assert candidate_of_bias(-np.inf, activation, isa) == pytest.approx(low, abs=1e-20)
    assert candidate_of_bias(np.inf, activation, isa) == high
    assert np.isnan(candidate_of_bias(np.nan, activation, isa))
