# SPDX-License-Identifier: Apache-2.0
"""The engine against the specification: every instruction set, around every edge of its tiles, all gradients."""

from __future__ import annotations

import itertools

import pytest

from cells import CELLS
from engine_case import ISAS, LANES, MASKS, Case, instruction_set
from gatewise.cells import Cell
from gatewise.native import ACTIVATIONS


def edges(isa: str) -> list[int]:
    """Sizes around the edges of vectors and tiles: the last leaves a panel and some lanes over."""
    lanes = LANES[isa]
    return [1, lanes - 1, lanes, lanes + 1, 3 * lanes + 5]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("edge", range(5), ids=["1", "W-1", "W", "W+1", "3W+5"])
@pytest.mark.parametrize("isa", ISAS)
def test_every_size_mask_and_direction_agrees_with_the_specification(isa: str, edge: int, cell: Cell) -> None:
    found = []
    options = itertools.product(edges(isa), (1, 2, 17), MASKS, (False, True), (False, True))
    with instruction_set(isa):
        for seed, (features, timesteps, mask, use_bias, go_backwards) in enumerate(options):
            # Batches of 3 to 13 rows give slabs of every number of rows, and several slabs.
            case = Case(3 + seed % 11, timesteps, features, edges(isa)[edge], cell, use_bias, mask,
                        initial_state=seed % 3 > 0, return_sequences=seed % 5 > 0, go_backwards=go_backwards,
                        zero_output_for_mask=seed % 7 > 3, seed=seed)  # fmt: skip
            found += case.disagreements()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", ISAS)
def test_every_pair_of_activations_agrees_with_the_specification(isa: str, cell: Cell) -> None:
    found = []
    with instruction_set(isa):
        for activation, recurrent_activation in itertools.product(ACTIVATIONS, ACTIVATIONS):
            case = Case(5, 3, 7, LANES[isa] + 3, cell, mask="holes", activation=activation,
                        recurrent_activation=recurrent_activation)  # fmt: skip
            found += case.disagreements()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("recurrent_dropout", [False, True], ids=["", "recurrent"])
@pytest.mark.parametrize("masks", [0, 1, 3], ids=["no input dropout", "one mask", "three masks"])
@pytest.mark.parametrize("isa", ISAS)
def test_dropout_agrees_with_the_specification(isa: str, masks: int, recurrent_dropout: bool, cell: Cell) -> None:
    found = []
    with instruction_set(isa):
        for batch, units, mask in itertools.product((1, 6, 19), edges(isa), ("none", "holes")):
            case = Case(batch, 7, LANES[isa] + 2, units, cell, mask=mask, input_dropout_masks=masks,
                        recurrent_dropout=recurrent_dropout)  # fmt: skip
            found += case.disagreements()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("isa", ISAS)
def test_long_sequences_of_many_chunks_agree_with_the_specification(isa: str) -> None:
    with instruction_set(isa):
        found = Case(2, 600, 3, 5, mask="right").disagreements()
        found += Case(9, 150, 3, 5, cell=Cell.GRU_RESET_BEFORE, mask="holes").disagreements()
        found += Case(70, 3, 2, 9, mask="empty_rows").disagreements()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", ISAS)
def test_weights_beyond_the_cache_agree_with_the_specification(isa: str, cell: Cell) -> None:
    features, units = 20, 421  # 2.2 MB: slabs of up to 32 rows, whose input products are found for some steps at once
    with instruction_set(isa):
        found = Case(5, 35, features, units, cell, mask="right").disagreements()
        found += Case(67, 25, features, units, cell, mask="holes").disagreements()
        found += Case(33, 35, features, units, cell, recurrent_dropout=True).disagreements()
        found += Case(9, 35, features, units, cell, input_dropout_masks=3).disagreements()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("batch", "timesteps"), [(0, 4), (3, 0), (0, 0)])
def test_empty_batches_and_sequences_give_zero_gradients(isa: str, batch: int, timesteps: int) -> None:
    with instruction_set(isa):
        results = Case(batch, timesteps, 3, 5, mask="none", use_bias=True).run()
    assert results["outputs"].shape == (batch, timesteps, 5)
    for name in ("d_kernel", "d_recurrent_kernel", "d_bias"):
        assert not results[name].any()
