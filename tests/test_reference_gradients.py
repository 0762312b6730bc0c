# SPDX-License-Identifier: Apache-2.0
"""The specification's gradients, held against finite differences of its values."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from gatewise import cells, reference
from gatewise.reference import ACTIVATIONS
from problems import FEATURES, MASKS, TIMESTEPS, UNITS, Array, make_arrays, make_dropout, output_gradients

EPS = float(np.finfo(np.float64).eps)


def assert_gradients_equal_finite_differences(arrays: dict[str, Array], **options: Any) -> None:
    """Compares each array's gradient with the central difference along a random direction, which meets every element.

    A difference D(s) over steps s is wrong by its truncation, c s**2, and by the rounding of the two losses.
    D(2 s) - D(s) is 3 c s**2, and so bounds the first; the second is at most eps times the operations behind a term of
    the loss, times the sum of the terms' sizes, over s. Near s = cbrt(eps) both are smallest.
    """
    d_outputs, d_state = output_gradients()
    gradients = reference.backward(reference.forward(**arrays, **options), d_outputs, d_state)
    rng = np.random.default_rng(23)
    step = EPS ** (1 / 3)
    operations = TIMESTEPS * (FEATURES + 2 * UNITS)
    for name, array in arrays.items():
        direction = rng.normal(size=array.shape)

        def terms(by: Array, name: str = name, array: Array = array) -> Array:
            forward = reference.forward(**{**arrays, name: array + by}, **options)
            return np.concatenate([(forward.outputs * d_outputs).ravel(), (forward.state * d_state).ravel()])

        near, far = ((terms(s * direction) - terms(-s * direction)).sum() / (2 * s) for s in (step, 2 * step))
        size = np.abs(terms(np.zeros_like(array))).sum()
        tolerance = abs(far - near) + operations * EPS * size / step
        assert tolerance < 1e-6 * size, f"{name}: the difference is too rough to judge by, {tolerance}"
        gradient = getattr(gradients, name)
        assert gradient.shape == array.shape
        error = abs((gradient * direction).sum() - near)
        assert error <= tolerance, f"{name}: off by {error}, tolerance {tolerance}, difference {near}"


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_gradients_equal_finite_differences_for_all_masks(reset_after: bool, use_bias: bool, mask: str) -> None:
    for initial_state, go_backwards, zero_output in product([True, False], repeat=3):
        assert_gradients_equal_finite_differences(
            make_arrays(reset_after=reset_after, use_bias=use_bias, initial_state=initial_state),
            cell=cells.gru(reset_after=reset_after),
            mask=MASKS[mask],
            go_backwards=go_backwards,
            zero_output_for_mask=zero_output,
        )


@pytest.mark.parametrize("recurrent_activation", ACTIVATIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_gradients_equal_finite_differences_for_all_activations(
    reset_after: bool, activation: str, recurrent_activation: str
) -> None:
    assert_gradients_equal_finite_differences(
        make_arrays(reset_after=reset_after),
        cell=cells.gru(reset_after=reset_after),
        activation=activation,
        recurrent_activation=recurrent_activation,
        mask=MASKS["holes"],
    )


@pytest.mark.parametrize("recurrent", [False, True], ids=["no_recurrent", "recurrent"])
@pytest.mark.parametrize("input_masks", [0, 1, 3])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_gradients_equal_finite_differences_with_dropout(reset_after: bool, input_masks: int, recurrent: bool) -> None:
    for mask, go_backwards in product(["none", "holes"], [False, True]):
        assert_gradients_equal_finite_differences(
            make_arrays(reset_after=reset_after),
            cell=cells.gru(reset_after=reset_after),
            mask=MASKS[mask],
            go_backwards=go_backwards,
            input_dropout=make_dropout(input_masks, FEATURES) if input_masks else None,
            recurrent_dropout=make_dropout(3, UNITS) if recurrent else None,
        )
