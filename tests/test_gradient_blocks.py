# SPDX-License-Identifier: Apache-2.0
"""Gradients gate by gate where gates saturate, against float64, on every face: a block errs as in stock Keras, or less.

The states are ones in which a trained layer may be: gates next to 0 or 1, candidates next to -1 or 1, small weights.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from blocks import block_disagreements
from engine_case import Case
from faces import FACES, Results
from gatewise.cells import Cell, gru

keras = pytest.importorskip("keras", reason="stock Keras is what is compared with: install the extra of KERAS_BACKEND")

import gatewise.keras  # noqa: E402  # after the skip
from backends import dot, gradient  # noqa: E402

# The biases of z, r and h, and what the weights are multiplied with.
STATES = {
    "plain": ((0, 0, 0), 1),
    "reset shut": ((0, -8, 0), 1),
    "reset shut tight": ((0, -12, 0), 1),
    "all saturated": ((8, 4, 6), 0.1),
    "nothing kept": ((-8, -20, 6), 0.05),
    "all kept": ((12, 0, 0), 1),
    "reset open": ((-4, 12, -4), 0.1),
}
# Batch and timesteps, with 32 MB of gates in between, from where on memory is taken afresh for every call.
SMALL, LARGE = (8, 60), (64, 257)
SIZES = [(*SMALL, True), (*SMALL, False), (*LARGE, True)]


@cache
def case_of(state: str, batch: int, timesteps: int, reset_after: bool) -> Case:
    case = Case(batch, timesteps, 3, 128, cell=gru(reset_after=reset_after))
    biases, factor = STATES[state]
    row = np.repeat(np.float32(biases), case.units)
    case.arrays["bias"] = np.stack([row, np.zeros_like(row)]) if reset_after else row
    for name in ("kernel", "recurrent_kernel"):
        case.arrays[name] = case.arrays[name] * np.float32(factor)
    return case


DIFFERENTIABLE = ("x", "initial_state", "kernel", "recurrent_kernel", "bias")


@cache
def in_float64(state: str, batch: int, timesteps: int, reset_after: bool) -> Results:
    found = case_of(state, batch, timesteps, reset_after).specified()
    return {f"d_{name}": found[f"d_{name}"] for name in DIFFERENTIABLE}


def of_layer(case: Case, kind: type) -> Results:
    layer = kind(case.units, return_sequences=True, return_state=True, reset_after=case.cell is Cell.GRU)
    layer.build(case.arrays["x"].shape)
    layer.set_weights([case.arrays[name] for name in DIFFERENTIABLE[2:]])

    def loss(x: Any, initial_state: Any) -> tuple[Any, Any]:
        outputs, state = layer(x, initial_state=initial_state, training=True)
        return dot(outputs, case.arrays["d_outputs"]) + dot(state, case.arrays["d_state"]), outputs

    run = gradient(loss, layer.trainable_variables, compiled=True)
    gradients = run({name: case.arrays[name] for name in DIFFERENTIABLE[:2]})[1]
    return {f"d_{name}": value for name, value in gradients.items()}


@cache
def of_stock(state: str, batch: int, timesteps: int, reset_after: bool) -> Results:
    return of_layer(case_of(state, batch, timesteps, reset_after), keras.layers.GRU)


def of_keras(case: Case) -> Results:
    return of_layer(case, gatewise.keras.GRU)


@pytest.mark.parametrize("size", SIZES, ids=["small", "small, reset before", "large"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("face", [*FACES, "keras"])
def test_no_gate_errs_more_than_in_stock_keras(face: str, state: str, size: tuple[int, int, bool]) -> None:
    of_face = of_keras if face == "keras" else FACES[face]
    found, stock, expected = of_face(case_of(state, *size)), of_stock(state, *size), in_float64(state, *size)
    gradients = {name: found[name] for name in expected}
    problems = block_disagreements(gradients, stock, expected, times=4, least=2e-5)
    assert not problems, "\n".join(problems)
