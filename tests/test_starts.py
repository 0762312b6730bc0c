# SPDX-License-Identifier: Apache-2.0
"""Starts: boundaries between steps that no state, no output and no gradient crosses, in either direction."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import gatewise
from cells import CELLS, each, first, nested
from engine_case import ISAS, LANES, MASKS, STARTS, Case, assert_same_bits, instruction_set, threads
from gatewise import reference

STEPS = 16  # of a time block, where slabs have eight rows


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", ISAS)
def test_the_engine_agrees_with_the_specification(isa: str, cell: Any) -> None:
    found = []
    options = itertools.product(STARTS[1:], MASKS, (False, True))
    with instruction_set(isa):
        for seed, (starts, mask, go_backwards) in enumerate(options):
            # Batches of 3 to 13 rows give slabs of every number of rows, and several slabs.
            case = Case(3 + seed % 11, 19, 4, LANES[isa] + 3, cell, mask=mask, go_backwards=go_backwards,
                        starts=starts, initial_state=seed % 3 > 0, return_sequences=seed % 5 > 0,
                        zero_output_for_mask=seed % 7 > 3, seed=seed)  # fmt: skip
            found += case.disagreements()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("place", [1, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS, 2 * STEPS + 2])
def test_a_start_may_stand_at_any_step_of_a_time_block(place: int, go_backwards: bool) -> None:
    case = Case(8, 2 * STEPS + 3, 3, 9, go_backwards=go_backwards)
    case.arrays["starts"] = np.arange(case.timesteps) == np.full((8, 1), place)
    assert not case.disagreements()
    with gatewise.recompute():
        assert not case.disagreements()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_segments_have_the_bits_of_sequences_of_their_own(cell: Any, go_backwards: bool) -> None:
    lengths = (1, 7, 16, 2, 11)
    case = Case(1, sum(lengths), 5, 13, cell, go_backwards=go_backwards)
    edges = np.cumsum((0, *lengths))
    starts = np.isin(np.arange(case.timesteps), edges[:-1])[None]
    x, start = case.arrays["x"], case.states("initial_state")
    outputs, state = gatewise.rnn(x, case.weights, start, go_backwards=go_backwards, starts=starts)
    pieces = [
        gatewise.rnn(x[:, begin:end], case.weights, start, go_backwards=go_backwards)
        for begin, end in itertools.pairwise(edges)
    ]
    pieces = pieces[::-1] if go_backwards else pieces
    assert np.concatenate([y for y, _ in pieces], axis=1).tobytes() == outputs.tobytes()
    assert each(np.ndarray.tobytes, state) == each(np.ndarray.tobytes, pieces[-1][1])


def test_no_gradient_crosses_a_start() -> None:
    case = Case(1, 12, 3, 5, starts="few")
    case.arrays["starts"] = np.arange(12)[None] == 7
    later = np.arange(12) >= 7
    for go_backwards, read in ((False, later), (True, ~later)):
        _, _, vjp = gatewise.rnn_vjp(
            case.arrays["x"], case.weights, starts=case.arrays["starts"], go_backwards=go_backwards
        )
        dx = vjp(d_state=np.ones((1, 5))).x[0]
        assert (dx[read] != 0).all()
        assert not dx[~read].any()


def test_masked_steps_behind_a_start_are_as_those_before_a_sequence() -> None:
    weights = gatewise.SimpleRNNWeights([[1.0]], [[0.0]])
    mask = [[1, 0, 0, 0, 1, 0, 0]]
    starts = [[0, 0, 1, 0, 0, 0, 1]]
    x = np.arange(1.0, 8.0).reshape(1, 7, 1)
    options: Any = {"mask": mask, "starts": starts, "activation": "linear"}
    assert gatewise.rnn(x, weights, **options)[0].ravel().tolist() == [1, 1, 0, 0, 5, 5, 0]
    # Read backwards, the step with the start is the last of its segment.
    outputs, state = gatewise.rnn(x, weights, go_backwards=True, **options)
    assert outputs.ravel().tolist() == [0, 0, 5, 5, 5, 0, 1]
    assert state.tolist() == [[1]]
    last, state = gatewise.rnn(x, weights, return_sequences=False, **options)
    assert last.tolist() == [[[0]]]
    assert state.tolist() == [[5]]  # of the last valid step, whatever stands behind it


@pytest.mark.parametrize("shape", [(1, 300, 8, 128), (37, 40, 5, 21), (40, 17, 20, 421)], ids=str)
def test_threads_teams_and_recompute_do_not_change_a_bit(shape: tuple[int, int, int, int]) -> None:
    case = Case(*shape, mask="right", starts="few", zoneout="kept")
    with threads(1):
        alone = case.run()
    for n in (2, 4):
        with threads(n):
            assert_same_bits(case.run(), alone)
            with gatewise.recompute():
                assert_same_bits(case.run(), alone)


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(cell: Any) -> None:
    case = Case(21, 19, 7, 37, cell, mask="holes", starts="many")
    a = case.arrays
    outputs, state = case.outputs()
    for rows in ([0], [20], [3, 9], list(range(5, 16))):
        start = nested(cell, [a[name][rows] for name in case.state_names("initial_state")])
        few, last = gatewise.rnn(a["x"][rows], case.weights, start, a["mask"][rows], starts=a["starts"][rows])
        assert few.tobytes() == outputs[rows].tobytes()
        assert first(last).tobytes() == first(state)[rows].tobytes()


def test_the_specification_takes_segments_for_sequences_of_their_own() -> None:
    case = Case(1, 9, 3, 4)
    a = case.arrays
    weights = (a["kernel"], a["recurrent_kernel"], a["bias"])
    initial, starts = a["initial_state"], np.isin(np.arange(9), (4, 6))[None]
    whole = reference.forward(a["x"], *weights, initial_state=initial, starts=starts)
    d = reference.backward(whole, a["d_outputs"], a["d_state"])
    of_pieces = []
    for begin, end in ((0, 4), (4, 6), (6, 9)):
        piece = reference.forward(a["x"][:, begin:end], *weights, initial_state=initial)
        np.testing.assert_array_equal(piece.outputs, whole.outputs[:, begin:end])
        of_pieces.append(reference.backward(piece, a["d_outputs"][:, begin:end], a["d_state"] if end == 9 else None))
    np.testing.assert_allclose(np.concatenate([each.x for each in of_pieces], axis=1), d.x, atol=1e-14)
    for name in ("initial_state", "kernel", "recurrent_kernel", "bias"):
        total = sum(getattr(each, name) for each in of_pieces)
        np.testing.assert_allclose(total, getattr(d, name), atol=1e-13, err_msg=name)


def test_wrong_starts_are_refused() -> None:
    case = Case(2, 5, 3, 4)
    with pytest.raises(ValueError, match=r"rnn: starts has the wrong shape\. Expected \(batch=2, timesteps=5\)"):
        gatewise.rnn(case.arrays["x"], case.weights, starts=np.zeros((2, 4)))
    with pytest.raises(ValueError, match="rnn: starts holds NaN"):
        gatewise.rnn(case.arrays["x"], case.weights, starts=np.full((2, 5), np.nan))
