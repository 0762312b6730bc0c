# SPDX-License-Identifier: Apache-2.0
"""Zoneout: units that keep their state in a step, and the expectation of that."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import gatewise
from cells import CELLS, each, first
from engine_case import ISAS, LANES, Case, assert_same_bits, instruction_set, threads


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", ISAS)
def test_the_engine_agrees_with_the_specification(isa: str, cell: Any) -> None:
    found = []
    options = itertools.product(("part", "kept"), ("none", "holes"), (False, True))
    with instruction_set(isa):
        for seed, (zoneout, mask, go_backwards) in enumerate(options):
            for batch, timesteps, units in ((3, 2, LANES[isa] - 1), (11, 37, 2 * LANES[isa] + 3)):
                case = Case(batch, timesteps, 4, units, cell, mask=mask, go_backwards=go_backwards, zoneout=zoneout,
                            recurrent_dropout=seed % 3 == 0, return_sequences=seed % 5 > 0, seed=seed)  # fmt: skip
                found += case.disagreements()
    assert not found, "\n".join(found)


def lstm_by_hand(case: Case, kept_h: Any, kept_c: Any) -> Any:
    """Equations 5 and 6 of the paper (arXiv 1606.01305), step by step. Returns h and c after the last."""
    a = {name: None if value is None else value.astype(np.float64) for name, value in case.arrays.items()}

    def sigmoid(v: Any) -> Any:
        return 1 / (1 + np.exp(-v))

    h, c = a["initial_state"], a["initial_state_c"]
    for t in range(case.timesteps):
        sums = a["x"][:, t] @ a["kernel"] + h @ a["recurrent_kernel"] + a["bias"]
        i, f, g, o = np.split(sums, 4, axis=1)
        new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        new_h = sigmoid(o) * np.tanh(new_c)  # of c before zoneout
        h = kept_h[:, t] * h + (1 - kept_h[:, t]) * new_h
        c = kept_c[:, t] * c + (1 - kept_c[:, t]) * new_c
    return h, c


@pytest.mark.parametrize("zoneout", ["part", "kept"])
def test_the_specification_is_the_papers_lstm(zoneout: str) -> None:
    case = Case(3, 6, 2, 5, gatewise.cells.Cell.LSTM, zoneout=zoneout)
    specified = case.specified()
    shape = (3, 6, 5)
    if zoneout == "kept":
        h, c = lstm_by_hand(case, case.arrays["kept_h"] * 1.0, case.arrays["kept_c"] * 1.0)
    else:
        h, c = lstm_by_hand(case, np.full(shape, case.parts["zoneout_h"]), np.full(shape, case.parts["zoneout_c"]))
    np.testing.assert_allclose(specified["state"], h, atol=1e-14)
    np.testing.assert_allclose(specified["state_c"], c, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_the_specifications_gradients_are_those_of_finite_differences(cell: Any) -> None:
    case = Case(2, 5, 3, 4, cell, mask="holes", starts="many", zoneout="part", seed=3)
    for zoneout in ("part", "kept"):
        case = Case(2, 5, 3, 4, cell, mask="holes", starts="many", zoneout=zoneout, seed=3)
        case.arrays["x"] = np.nan_to_num(case.arrays["x"])
        for name, value in case.arrays.items():
            if value is not None and value.dtype == np.float32:
                case.arrays[name] = value.astype(np.float64)
        found, step = case.specified(), 1e-6
        rng = np.random.default_rng(5)
        for name in ("x", "kernel", "recurrent_kernel", "bias", *case.state_names("initial_state")):
            along, sides = rng.normal(size=case.arrays[name].shape), []
            given = case.arrays[name]
            for side in (step, -step):
                case.arrays[name] = given + side * along
                results = case.specified()
                states = zip(case.state_names("state"), case.state_names("d_state"), strict=True)
                named = [("outputs", "d_outputs"), *states]
                sides.append(sum((results[of] * case.arrays[d]).sum() for of, d in named))
            case.arrays[name] = given
            difference = (sides[0] - sides[1]) / (2 * step)
            assert abs((found[f"d_{name}"] * along).sum() - difference) < 1e-7 * max(1, abs(difference)), name


def test_all_and_nothing_are_exact() -> None:
    case = Case(4, 7, 3, 9, gatewise.cells.Cell.LSTM)
    plain = case.run()
    shape = (4, 7, 9)
    case.arrays |= {"kept_h": np.zeros(shape, bool), "kept_c": np.zeros(shape, bool)}
    assert_same_bits(case.run(), plain)
    case.arrays |= {"kept_h": np.ones(shape, bool), "kept_c": np.ones(shape, bool)}
    state = gatewise.rnn(case.arrays["x"], case.weights, case.states("initial_state"),
                         kept_h=np.ones(shape), kept_c=np.ones(shape))[1]  # fmt: skip
    for found, initial in zip(state, case.states("initial_state"), strict=True):
        assert found.tobytes() == initial.tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_threads_and_recompute_do_not_change_a_bit(cell: Any) -> None:
    for shape, zoneout in itertools.product(((1, 200, 8, 128), (37, 40, 5, 21)), ("kept", "part")):
        case = Case(*shape, cell, zoneout=zoneout, mask="right")
        with threads(1):
            alone = case.run()
        with threads(2):
            assert_same_bits(case.run(), alone)
            with gatewise.recompute():
                assert_same_bits(case.run(), alone)


@pytest.mark.parametrize("cell", CELLS)
def test_steps_have_the_bits_of_the_sequence(cell: Any) -> None:
    case = Case(5, 6, 4, 19, cell, zoneout="part")
    outputs, state = case.outputs()
    step, h = gatewise.Step(case.weights, **case.parts), case.states("initial_state")
    for t in range(case.timesteps):
        h = step(case.arrays["x"][:, t], h)
        assert first(h).tobytes() == outputs[:, t].tobytes()
    assert each(np.ndarray.tobytes, h) == each(np.ndarray.tobytes, state)


def test_what_is_no_part_or_no_state_of_the_cell_is_refused() -> None:
    case = Case(2, 5, 3, 4)
    x, weights = case.arrays["x"], case.weights
    with pytest.raises(ValueError, match=r"rnn: zoneout_h is out of range\. Expected 0 to 1; received 1\.5"):
        gatewise.rnn(x, weights, zoneout_h=1.5)
    with pytest.raises(TypeError, match="rnn: zoneout_c has no place in this layer"):
        gatewise.rnn(x, weights, zoneout_c=0.5)
    with pytest.raises(TypeError, match="Step: zoneout_c is no argument"):
        gatewise.Step(weights, zoneout_c=0.5)
    with pytest.raises(TypeError, match="rnn: kept_c has no place in this layer"):
        gatewise.rnn(x, weights, kept_c=np.zeros((2, 5, 4)))
    with pytest.raises(ValueError, match="rnn: kept_h has the wrong shape"):
        gatewise.rnn(x, weights, kept_h=np.zeros((2, 5, 3)))
