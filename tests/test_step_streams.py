# SPDX-License-Identifier: Apache-2.0
"""`Step.update`: steps of some of many streams give the bits of whole sequences, and no other state changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gatewise
from cells import CELLS, each, first
from engine_case import ISAS, Case, instruction_set, threads

if TYPE_CHECKING:
    from gatewise.cells import Cell

STREAMS, TIMESTEPS, FEATURES = 97, 6, 7


@pytest.mark.parametrize("units", [5, 48, 130])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("count", [1, 3])
def test_any_subset_in_any_order_gives_the_bits_of_the_whole(count: int, isa: str, cell: Cell, units: int) -> None:
    case = Case(STREAMS, TIMESTEPS, FEATURES, units, cell)
    x, states = case.arrays["x"], case.states("initial_state")
    step, rng = gatewise.Step(case.weights), np.random.default_rng(units)
    with instruction_set(isa), threads(count):
        outputs, last = gatewise.rnn(x, case.weights, states)
        taken = np.zeros(STREAMS, int)  # how many steps each stream has taken
        while (taken < TIMESTEPS).any():
            left = np.flatnonzero(taken < TIMESTEPS)
            rows = rng.permutation(left)[: rng.integers(1, len(left) + 1)]
            before = each(np.copy, states)
            found = step.update(x[rows, taken[rows]], states, rows)
            assert found.tobytes() == outputs[rows, taken[rows]].tobytes()
            assert first(states)[rows].tobytes() == found.tobytes()
            others = np.delete(np.arange(STREAMS), rows)
            unchanged = each(lambda now, then: now[others].tobytes() == then[others].tobytes(), states, before)  # noqa: B023
            assert unchanged in {True, (True, True)}
            taken[rows] += 1
        assert each(np.ndarray.tobytes, states) == each(np.ndarray.tobytes, last)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_row_of_a_layer_that_exceeds_the_cache_gives_the_bits_of_the_whole(
    count: int, isa: str, cell: Cell
) -> None:
    case = Case(3, 5, FEATURES, 1031, cell)  # more than 2**20 weights of every cell: threads share the panels out
    x, states = case.arrays["x"], case.states("initial_state")
    step = gatewise.Step(case.weights)
    with instruction_set(isa), threads(count):
        outputs, last = gatewise.rnn(x, case.weights, states)
        for t in range(5):
            for row in (2, 0, 1):
                assert step.update(x[row : row + 1, t], states, [row]).tobytes() == outputs[row : row + 1, t].tobytes()
        assert each(np.ndarray.tobytes, states) == each(np.ndarray.tobytes, last)


def test_without_rows_every_stream_takes_a_step() -> None:
    case = Case(STREAMS, 1, FEATURES, 21)
    x, states = case.arrays["x"].astype(np.float32), case.arrays["initial_state"].astype(np.float32)
    step = gatewise.Step(case.weights)
    expected = step(x[:, 0], states)
    assert step.update(x[:, 0], states).tobytes() == expected.tobytes()
    assert states.tobytes() == expected.tobytes()
    assert step.update(x[:0, 0], states, []).shape == (0, 21)
    assert states.tobytes() == expected.tobytes()


def test_rows_of_other_dtypes_and_strides_mean_the_same() -> None:
    case = Case(STREAMS, 1, FEATURES, 21)
    x, states = case.arrays["x"].astype(np.float32)[:3, 0], case.arrays["initial_state"].astype(np.float32)
    step = gatewise.Step(case.weights)
    expected = step.update(x, states.copy(), np.array([40, 2, 9]))
    for rows in ([40, 2, 9], np.array([40, 2, 9], np.uint8), np.array([9, 2, 40])[::-1], (40, 2, 9)):
        given = states.copy()
        assert step.update(x.astype(np.float64), given, rows).tobytes() == expected.tobytes()
        assert given[[40, 2, 9]].tobytes() == expected.tobytes()


STATES = np.zeros((9, 21), np.float32)
X = np.zeros((2, FEATURES), np.float32)
MEMORY = np.zeros((9, 21), np.float32)
READ_ONLY = np.zeros((9, 21), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"rows": [0, 9]}, ValueError, r"rows are out of range\. Expected 0 to 8, places in states; received 9\."),
        ({"rows": [-1, 0]}, ValueError, r"rows are out of range.*received -1\."),
        ({"rows": [4, 4]}, ValueError, r"rows name a stream twice.*received 4 more than once\. Take the steps of one"),
        ({"rows": [0.0, 1.0]}, TypeError, r"rows has the wrong type\. Expected whole numbers; received dtype float64"),
        ({"rows": np.ones(9, bool)}, TypeError, r"rows has the wrong type.*received dtype bool.*np\.flatnonzero"),
        ({"rows": [[0, 1]]}, ValueError, r"rows has the wrong shape\. Expected \(n,\); received \(1, 2\)"),
        (
            {"rows": [0, 1, 2]},
            ValueError,
            r"x has the wrong shape\. Expected \(rows=3, features=7\); received \(2, 7\)",
        ),
        ({"rows": None}, ValueError, r"x has the wrong shape\. Expected \(rows=9, features=7\); received \(2, 7\)"),
        ({"x": X[:, :3]}, ValueError, r"x has the wrong shape\. Expected \(rows=2, features=7\); received \(2, 3\)"),
        ({"states": STATES.tolist()}, TypeError, r"states cannot be written to.*received list"),
        ({"states": STATES.astype(np.float64)}, TypeError, r"states cannot be written to.*received one of float64"),
        ({"states": READ_ONLY}, TypeError, r"states cannot be written to.*received one of float32, read-only"),
        ({"states": STATES[:, :20].copy()}, ValueError, r"states has the wrong shape\. Expected \(streams, units=21\)"),
        (
            {"states": MEMORY, "x": MEMORY.reshape(-1, FEATURES)[:2]},
            ValueError,
            r"states overlaps x\. Expected memory that nothing is read from",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else getattr(value, "__name__", value),
)
def test_wrong_arguments_are_named_and_nothing_changes(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    step = gatewise.Step(gatewise.GRUWeights(np.ones((FEATURES, 63)), np.ones((21, 63)), np.ones((2, 63))))
    arguments = {"x": X, "states": STATES, "rows": [0, 1], **changed}
    with pytest.raises(error, match=rf"Step: {message}"):
        step.update(**arguments)
    for array in (STATES, MEMORY, READ_ONLY):
        assert not array.any()
