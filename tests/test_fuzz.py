# SPDX-License-Identifier: Apache-2.0
"""Random layers, saturated ones too, against the specification in float64: values and gradients, gate by gate."""

from __future__ import annotations

import numpy as np
import pytest

import gatewise
from blocks import block_disagreements
from cells import CELLS
from engine_case import ISAS, LANES, MASKS, STARTS, Case, instruction_set, threads
from faces import FACES, composed_in_float32
from gatewise.native import ACTIVATIONS

BOUNDED = ("sigmoid", "hard_sigmoid")


def random_case(seed: int, lanes: int = 16, *, long: bool = False) -> Case:
    """A layer of random sizes and options; biases so large that gates are shut, open, or in between."""
    rng, more = np.random.default_rng([seed, 23]), np.random.default_rng([seed, 29])

    def one_of(*values: str) -> str:
        return values[rng.integers(len(values))]

    gate = "sigmoid" if long or rng.random() < 0.5 else one_of(*ACTIVATIONS)
    bounded = gate in BOUNDED  # errors of other gates grow with every step
    sizes = [int(rng.integers(1, most)) for most in (10, 41 if bounded else 5, 2 * lanes, 3 * lanes + 6)]
    cell = CELLS[int(rng.integers(len(CELLS)))]
    if cell.row.weights:  # two numbers, normalised, are 1 and -1: a gradient of theirs is rounding alone
        sizes[3] = max(sizes[3], 6)
    case = Case(
        *((5, 300, 12, 128) if long else sizes),
        cell=cell,
        activation="tanh" if rng.random() < 0.5 else one_of(*ACTIVATIONS),
        recurrent_activation=gate,
        mask=one_of(*MASKS),
        input_dropout_masks=int(rng.choice([0, 0, 1, 3])),
        recurrent_dropout=bool(rng.random() < 0.3),
        use_bias=bool(rng.random() < 0.8),
        starts=str(more.choice(["none", "none", "none", *STARTS])),
        zoneout=str(more.choice(["none", "none", "part", "kept"])),
        seed=seed,
        **{
            name: bool(rng.random() < 0.5)
            for name in ("go_backwards", "return_sequences", "zero_output_for_mask", "initial_state")
        },
    )
    if case.arrays["bias"] is not None:
        size = rng.choice([0.5, 4, 12]) if bounded else 0.5
        # Of a gate alike, with some spread: a layer whose every gate r is shut has one small block.
        shape = (*case.arrays["bias"].shape[:-1], len(case.cell.row.gates), 1)
        bias = rng.uniform(-size, size, shape) + rng.normal(size=(*shape[:-1], case.units)) / 4
        case.arrays["bias"] = bias.reshape(case.arrays["bias"].shape).astype(np.float32)
    return case


def problems_of(case: Case, face: str) -> list[str]:
    # What a block of a few numbers errs is chance, here and in the plain computation: more is allowed than to large
    # ones. One row at one step, if it were lost, would be a twentieth of its block and more.
    plain, expected = composed_in_float32(case), case.specified()
    found = block_disagreements(FACES[face](case), plain, expected, times=32, least=1e-3, cell=case.cell)
    return [f"{case}: {problem}" for problem in found]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tenth", range(10))
def test_the_engine_agrees_with_the_specification(isa: str, tenth: int) -> None:
    found: list[str] = []
    each = -(-50 // len(ISAS))
    first = (tenth * len(ISAS) + ISAS.index(isa)) * each
    for seed in range(first, first + each):
        with instruction_set(isa), threads(1 + seed % 3):
            found += problems_of(random_case(seed, LANES[isa]), "numpy")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("face", [name for name in FACES if name != "numpy"])
def test_every_framework_agrees_with_the_specification(face: str) -> None:
    found: list[str] = []
    for seed in range(1000, 1030):
        found += problems_of(random_case(seed, LANES[gatewise.isa()]), face)
    assert not found, "\n".join(found)


@pytest.mark.deep
@pytest.mark.parametrize("face", FACES)
def test_long_sequences_agree_with_the_specification(face: str) -> None:
    found: list[str] = []
    for seed in range(2000, 2006):
        found += problems_of(random_case(seed, long=True), face)
    assert not found, "\n".join(found)
