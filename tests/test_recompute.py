# SPDX-License-Identifier: Apache-2.0
"""`gatewise.recompute()`: the same gradients, bit for bit, from far less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from cells import CELLS
from engine_case import ISAS, Case, assert_same_bits, instruction_set, threads
from own_process import PEAK, run

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "holes": {"mask": "holes"},
    **{cell.name.lower(): {"cell": cell, "mask": "right"} for cell in CELLS[1:]},
    "dropout": {"input_dropout_masks": 3, "recurrent_dropout": True},
    "one_dropout_backwards": {"input_dropout_masks": 1, "go_backwards": True},
    "last_output": {"return_sequences": False, "mask": "left"},
    "empty_rows": {"mask": "empty_rows"},
}
# One row, carried by a team; a slab of few rows; several slabs, with several chunks in a segment; one step; weights
# beyond the cache.
SHAPES = [(1, 600, 8, 128), (3, 50, 5, 21), (40, 150, 4, 18), (2, 1, 3, 5), (40, 17, 20, 421)]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_the_same_bits(shape: tuple[int, int, int, int], isa: str, options: str) -> None:
    case = Case(*shape, **OPTIONS[options])
    with instruction_set(isa), threads(2):
        expected = case.run()
        with gatewise.recompute():
            found = case.run()
    assert_same_bits(found, expected)


def test_the_scope_ends_with_its_block() -> None:
    case = Case(4, 200, 3, 16)
    x, weights = case.arrays["x"], case.weights
    sizes = []
    for _ in range(2):
        sizes.append(gatewise.rnn_vjp(x, weights)[2].workspace_bytes)
        with gatewise.recompute():
            sizes.append(gatewise.rnn_vjp(x, weights)[2].workspace_bytes)
    assert sizes[0] == sizes[2]
    assert sizes[1] == sizes[3] < sizes[0] / 8


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_what_is_kept_grows_with_the_square_root_of_the_length(batch: int) -> None:
    units = 16
    weights = gatewise.GRUWeights(np.zeros((1, 3 * units)), np.zeros((units, 3 * units)))
    for timesteps in (1_000, 4_000, 16_000, 64_000):
        with gatewise.recompute():
            vjp = gatewise.rnn_vjp(np.zeros((batch, timesteps, 1), np.float32), weights)[2]
        assert vjp.workspace_bytes <= 4 * batch * units * (np.sqrt(timesteps) + 1)


PROGRAM = """
import json
from contextlib import nullcontext
import numpy as np
import gatewise
timesteps, units = 100_000, 64
rng = np.random.default_rng(0)
weights = gatewise.GRUWeights(*(0.1 * rng.normal(size=s) for s in ((1, 3 * units), (units, 3 * units), (2, 3 * units))))
x, d_outputs = (rng.normal(size=(1, timesteps, n)).astype(np.float32) for n in (1, units))
def step():
    global outputs, state, gradients
    with gatewise.recompute() if {recompute} else nullcontext():
        outputs, state, vjp = gatewise.rnn_vjp(x, weights)
    gradients = vjp(d_outputs)
added = peak(step)
results = sum(value.nbytes for value in (outputs, state, *gradients))
print(json.dumps([added - results, float(gradients.recurrent_kernel.sum())]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the memory of a process from /proc")
def test_a_hundred_thousand_steps(tmp_path: Path) -> None:
    # 100,000 steps of 64 units: 4 floats each are 102 MB; 261 states and the gates of 384 steps are less than 1 MB.
    kept, expected = run(PEAK + PROGRAM.format(recompute=False), tmp_path)
    recomputed, found = run(PEAK + PROGRAM.format(recompute=True), tmp_path)
    assert found == expected
    assert kept > 100e6
    assert recomputed < 10e6
