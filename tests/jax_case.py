# SPDX-License-Identifier: Apache-2.0
"""A case of the engine as a JAX function, and what its derivatives are to be."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ops_case
from engine_case import Case
from gatewise import native
from gatewise.ops import jax as engine
from tolerance import assert_close, tolerance

WEIGHTS = ("kernel", "recurrent_kernel", "bias")


def function_of(case: Case) -> Any:
    """The layer of a case as a function of its differentiable arrays, by name."""

    return lambda arrays: ops_case.layer(engine, case, {name: case.arrays[name] for name in ops_case.OTHERS} | arrays)


def arrays_of(case: Case) -> dict[str, Any]:
    """The differentiable arrays of a case, those that are there."""
    return {name: jnp.asarray(value) for name, value in ops_case.differentiable(case).items()}


def loss_of(case: Case) -> Any:
    """A function of the arrays whose gradient is what `Case.specified` specifies."""

    def loss(arrays: dict[str, Any]) -> Any:
        results = function_of(case)(arrays)
        return sum(jnp.sum(value * d) for value, d in zip(results, ops_case.d_results(case), strict=True))

    return loss


def assert_gradients(case: Case, gradients: dict[str, Any], expected: dict[str, Any] | None = None) -> None:
    """Asserts gradients, by the names of what they are of, to be those specified."""
    expected = expected or case.specified()
    allowed = tolerance(case.features + case.units, case.timesteps, case.batch)
    for name, gradient in gradients.items():
        assert_close(f"d_{name}", gradient, expected[f"d_{name}"], allowed)


def assert_blocks(found: dict[str, Any], expected: dict[str, Any], allowed: float) -> None:
    """Asserts each gate's block of each weight's gradient to err by less than `allowed` times its norm."""
    for name in WEIGHTS:
        if name not in found:
            continue
        for gate, got, want in zip("zrh", *(np.split(np.asarray(of[name]), 3, -1) for of in (found, expected))):  # noqa: B905
            norm = np.linalg.norm(want)
            assert norm > 0
            assert np.linalg.norm(got - want) < allowed * norm, f"{name}, gate {gate}"


def ran(before: native.Calls, results: Any) -> tuple[int, int]:
    """The forward and backward calls since `before`, once the results are there: JAX returns before it has run."""
    jax.block_until_ready(results)
    now = native.calls()
    return now.forward - before.forward, now.backward - before.backward


def direction_of(case: Case, seed: int = 9) -> dict[str, Any]:
    """A direction for the differentiable arrays of a case to move in."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=value.shape).astype(np.float32) for name, value in arrays_of(case).items()}


def moved(case: Case, direction: dict[str, Any], step: float) -> dict[str, Any]:
    """What is specified where the arrays have moved, in float64."""
    other = Case(case.batch, case.timesteps, case.features, case.units)
    other.__dict__.update({name: value for name, value in case.__dict__.items() if name != "arrays"})
    other.arrays = case.arrays | {
        name: case.arrays[name].astype(np.float64) + step * value for name, value in direction.items()
    }
    return other.specified()


def specified_slopes(case: Case, direction: dict[str, Any]) -> dict[str, Any]:
    """How the specified results and gradients change along a direction: central differences, exact to some 1e-9."""
    step = 1e-5
    ahead, behind = (moved(case, direction, sign * step) for sign in (1, -1))
    return {name: (ahead[name] - behind[name]) / (2 * step) for name in ahead}
