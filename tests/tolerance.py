# SPDX-License-Identifier: Apache-2.0
"""How far two correct computations of a GRU may lie apart, and the assertion that uses it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FLOAT32 = float(np.finfo(np.float32).eps)
# Operations of a step outside its sums: gate mathematics, whose activations err by a few eps each, and the blend into
# the state.
GATES = 16
# What layer normalisation makes of an error: it divides by the deviation of the numbers, and by the root of epsilon,
# 0.001, where that is nothing.
NORMALISED = 1e-3**-0.5


def tolerance(fan_in: int, timesteps: int, rows: int = 1, eps: float = FLOAT32) -> float:
    """Derives the error allowed to numbers of size 1.

    A gate sums `fan_in` products, each rounded to eps, and adds the rounding of its own mathematics. Every step hands
    the error of its state on to the next (or, on the way back, to the one before): times `timesteps`. The gradient of a
    weight adds that of every row of the batch: times `rows`.

    Args:
        fan_in: features + units.
        timesteps: the length of the sequences.
        rows: the batch size for the gradient of a weight, else 1.
        eps: the distance from 1 to the next number of the dtype computed in.
    """
    return (fan_in + GATES) * timesteps * rows * eps


def mean_tolerance(fan_in: int, timesteps: int, rows: int) -> float:
    """Derives the error allowed to the root mean square of the gradient of a weight, gate by gate.

    Roundings are of either sign: what n of them add up to grows by the square root of n. A term of the sum over steps
    and rows errs by the roundings of a gate's `fan_in` products and of the steps that the gradient came through, and
    there are `timesteps` * `rows` terms, of size 1. One term that is missing is an error of 1: it is seen as long as
    this is far smaller, which the largest error of the whole tensor, `tolerance`, is not on large shapes.
    """
    return FLOAT32 * math.sqrt((fan_in + GATES) * timesteps * timesteps * rows)


def assert_close(name: str, actual: npt.ArrayLike, expected: npt.ArrayLike, allowed: float) -> None:
    """Asserts `actual` to lie within `allowed` times the size of `expected`, at least 1; prints the worst element."""
    problem = disagreement(name, actual, expected, allowed)
    assert not problem, problem


def disagreement(name: str, actual: npt.ArrayLike, expected: npt.ArrayLike, allowed: float) -> str | None:
    """Says where, at worst, `actual` lies further from `expected` than `assert_close` allows; None if nowhere."""
    got, want = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if got.shape != want.shape:
        return f"{name}: shape {got.shape}, expected {want.shape}"
    if not got.size:
        return None
    limit = allowed * max(1.0, float(np.abs(want).max()))
    error = np.abs(got - want)
    worst = np.unravel_index(int(np.where(np.isnan(error), np.inf, error).argmax()), error.shape)
    if error[worst] <= limit:  # false for NaN
        return None
    place = ", ".join(str(int(index)) for index in worst)
    return f"{name}[{place}]: {got[worst]!r}, expected {want[worst]!r}; off by {error[worst]:.3g}, allowed {limit:.3g}"
