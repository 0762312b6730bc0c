# SPDX-License-Identifier: Apache-2.0
"""Gradients gate by gate of cells that normalise, where gates saturate or products are tiny or huge, on every face.

Against float64: a block errs as in a layer composed of Keras's own LayerNormalization in float32, or little more.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from blocks import block_disagreements
from engine_case import ISAS, Case, instruction_set
from faces import FACES, Results
from gatewise.cells import Cell

keras = pytest.importorskip("keras", reason="Keras's own pieces are compared with: install the extra of KERAS_BACKEND")

import gatewise.keras  # noqa: E402  # after the skip
from backends import dot, gradient, native_calls  # noqa: E402
from layer_norm_oracle import OracleCell  # noqa: E402

# The biases of a GRU's z, r and h, those of an LSTM's i, f, g and o, and what the kernels, the gain and the recurrent
# gain are multiplied with. Large recurrent gains make gradients grow without bound from step to step.
STATES = {
    "plain": ((0, 0, 0), (0, 0, 0, 0), 1, 1, 1),
    "shut": ((0, -8, 0), (0, -8, 0, -8), 1, 1, 1),
    "shut tight": ((0, -12, 0), (0, -12, 0, -12), 1, 1, 1),
    "all saturated": ((8, 4, 6), (8, 4, 6, 4), 1, 0.1, 0.1),
    "nothing kept": ((-8, -20, 6), (8, -20, 6, 4), 1, 0.05, 0.05),
    "all kept": ((12, 0, 0), (-12, 12, 0, 0), 1, 1, 1),
    "open": ((-4, 12, -4), (12, -4, -4, 12), 1, 0.1, 0.1),
    "either way": ((0, 0, 0), (0, 0, 0, 0), 1, 20, 1),
    "next to no gain": ((0, 0, 0), (0, 0, 0, 0), 1, 1e-4, 1e-4),
    "next to no products": ((0, 0, 0), (0, 0, 0, 0), 1e-9, 1, 1),  # epsilon is all of the deviation
    "small products": ((0, 0, 0), (0, 0, 0, 0), 0.03, 1, 1),  # epsilon is a part of it
    "huge products": ((0, 0, 0), (0, 0, 0, 0), 1e15, 1, 1),
}
# Batch and timesteps: a time block and some, and more than 32 MB of gates, from where on memory is taken afresh for
# every call.
SMALL, LARGE = (8, 18), (64, 257)
cells = pytest.mark.parametrize("cell", [pytest.param(cell, id=cell.name) for cell in Cell if cell.row.weights])
cases = pytest.mark.parametrize(
    ("state", "size"),
    [
        *(pytest.param(state, SMALL, id=state) for state in STATES),
        pytest.param("shut", LARGE, id="shut, large", marks=pytest.mark.deep),
    ],
)


@cache
def case_of(state: str, batch: int, timesteps: int, cell: Cell) -> Case:
    case = Case(batch, timesteps, 3, 128, cell=cell)
    of_gru, of_lstm, of_kernels, *of_gains = STATES[state]
    case.arrays["bias"] = np.repeat(np.float32(of_lstm if len(cell.row.states) > 1 else of_gru), case.units)
    factors = dict.fromkeys(("kernel", "recurrent_kernel"), of_kernels)
    factors |= dict(zip(("gain", "recurrent_gain"), of_gains, strict=True))
    for name, factor in factors.items():
        case.arrays[name] = case.arrays[name] * np.float32(factor)
    return case


def differentiable(case: Case) -> tuple[list[str], list[str]]:
    """The names of what a layer is called with, and of its weights."""
    return ["x", *case.state_names("initial_state")], ["kernel", "recurrent_kernel", "bias", *case.cell.row.weights]


@cache
def in_float64(state: str, batch: int, timesteps: int, cell: Cell) -> Results:
    return {name: d for name, d in case_of(state, batch, timesteps, cell).specified().items() if name.startswith("d_")}


def of_layer(case: Case, layer: Any, weights: list[Any]) -> dict[str, Any]:
    """The gradients by a Keras layer, by the names of what it is called with and of its weights."""
    given = differentiable(case)[0]

    def loss(x: Any, **initial: Any) -> tuple[Any, Any]:
        outputs, *states = layer(x, initial_state=list(initial.values()), training=True)
        ends = zip(states, case.state_names("d_state"), strict=True)
        return dot(outputs, case.arrays["d_outputs"]) + sum(dot(each, case.arrays[d]) for each, d in ends), outputs

    return gradient(loss, weights, compiled=True)({name: case.arrays[name] for name in given})[1]


@cache
def of_keras_pieces(state: str, batch: int, timesteps: int, cell: Cell) -> Results:
    case = case_of(state, batch, timesteps, cell)
    given, weights = differentiable(case)
    oracle = OracleCell({name: case.arrays[name] for name in weights}, cell, "tanh", "sigmoid")
    layer = keras.layers.RNN(oracle, return_sequences=True, return_state=True)
    gradients = of_layer(case, layer, list(oracle.own.values()))
    return {f"d_{name}": gradients[name] for name in given} | {
        f"d_{name}": oracle.gradient_of(name, gradients) for name in weights
    }


def of_keras(case: Case) -> Results:
    options: dict[str, Any] = {"return_sequences": True, "return_state": True}
    if case.cell is Cell.LAYER_NORM_LSTM:
        layer = gatewise.keras.LayerNormLSTM(case.units, **options)
    else:
        layer = gatewise.keras.LayerNormGRU(case.units, reset_after=case.cell is Cell.LAYER_NORM_GRU, **options)
    layer.build(case.arrays["x"].shape)
    for weight in layer.trainable_variables:
        weight.assign(case.arrays[weight.name])
    with native_calls(1, 1):
        gradients = of_layer(case, layer, layer.trainable_variables)
    return {f"d_{name}": value for name, value in gradients.items()}


def problems_of(face: str, state: str, batch: int, timesteps: int, cell: Cell) -> list[str]:
    of_face = of_keras if face == "keras" else FACES[face]
    found, expected = of_face(case_of(state, batch, timesteps, cell)), in_float64(state, batch, timesteps, cell)
    gradients = {name: found[name] for name in expected}
    plain = of_keras_pieces(state, batch, timesteps, cell)
    return block_disagreements(gradients, plain, expected, times=8, least=2e-5, cell=cell)


@cells
@cases
@pytest.mark.parametrize("face", [*(name for name in FACES if name != "numpy"), "keras"])
def test_no_block_errs_much_more_than_in_keras_own_pieces(
    face: str, state: str, size: tuple[int, int], cell: Cell
) -> None:
    problems = problems_of(face, state, *size, cell)
    assert not problems, "\n".join(problems)


@cells
@cases
@pytest.mark.parametrize("isa", ISAS)
def test_nor_on_any_instruction_set(isa: str, state: str, size: tuple[int, int], cell: Cell) -> None:
    with instruction_set(isa):
        problems = problems_of("numpy", state, *size, cell)
    assert not problems, "\n".join(problems)
