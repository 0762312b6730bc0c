# SPDX-License-Identifier: Apache-2.0
"""What holds for every layer, over random shapes and options: Hypothesis looks for a case in which it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatewise
from cells import CELLS, nested
from engine_case import ISAS, MASKS, Case, instruction_set

# Gates that leave [0, 1] let rounding errors grow without bound over many steps; test_engine.py has them, over few.
BOUNDED_GATES = ("sigmoid", "hard_sigmoid")

cases = st.builds(
    Case,
    batch=st.integers(1, 24),
    timesteps=st.integers(1, 24),
    features=st.integers(1, 40),
    units=st.integers(1, 70),
    cell=st.sampled_from(CELLS),
    use_bias=st.booleans(),
    mask=st.sampled_from(MASKS),
    initial_state=st.booleans(),
    return_sequences=st.booleans(),
    go_backwards=st.booleans(),
    zero_output_for_mask=st.booleans(),
    activation=st.sampled_from(("tanh", "sigmoid", "hard_sigmoid")),
    recurrent_activation=st.sampled_from(BOUNDED_GATES),
    input_dropout_masks=st.sampled_from((0, 1, 3)),
    recurrent_dropout=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=150)
@given(case=cases)
def test_values_and_all_gradients_agree_with_the_specification(isa: str, case: Case) -> None:
    with instruction_set(isa):
        found = case.disagreements()
    assert not found, "\n".join(found)


def results(case: Case, **changed: Any) -> tuple[Any, Any]:
    names = ("mask", "input_dropout", "recurrent_dropout")
    arguments = {name: case.arrays[name] for name in names} | {
        "initial_state": case.states("initial_state"),
        "zero_output_for_mask": case.zero_output_for_mask,
        "activation": case.activation,
        "recurrent_activation": case.recurrent_activation,
    }
    x = changed.pop("x", case.arrays["x"])
    return gatewise.rnn(x, case.weights, **arguments | changed)


def assert_equal_states(found: Any, expected: Any) -> None:
    assert isinstance(found, tuple) == isinstance(expected, tuple)
    several = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for one, other in several:
        np.testing.assert_array_equal(one, other)


@settings(max_examples=60)
@given(case=cases)
def test_reversed_input_equals_go_backwards(case: Case) -> None:
    mask = case.arrays["mask"]
    flipped = None if mask is None else mask[:, ::-1]
    backwards = results(case, go_backwards=True)
    reversed_input = results(case, x=case.arrays["x"][:, ::-1], mask=flipped)
    np.testing.assert_array_equal(backwards[0], reversed_input[0])
    assert_equal_states(backwards[1], reversed_input[1])


@settings(max_examples=60)
@given(case=cases)
def test_a_masked_step_keeps_the_state_and_a_trailing_one_changes_nothing(case: Case) -> None:
    x, mask = case.arrays["x"], case.arrays["mask"]
    valid = np.ones(x.shape[:2], bool) if mask is None else mask
    longer = np.concatenate([x, np.full_like(x[:, :1], np.nan)], axis=1)
    outputs, state = results(case)
    more_outputs, same_state = results(case, x=longer, mask=np.pad(valid, ((0, 0), (0, 1))))
    assert_equal_states(same_state, state)
    np.testing.assert_array_equal(more_outputs[:, :-1], outputs)
    repeated = np.zeros_like(outputs[:, -1]) if case.zero_output_for_mask else outputs[:, -1]
    np.testing.assert_array_equal(more_outputs[:, -1], repeated)


@settings(max_examples=60)
@given(case=cases, seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_batch_does_not_matter(case: Case, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(case.batch)
    a = case.arrays
    states = [a[name] for name in case.state_names("initial_state")]
    taken = {"mask": None if a["mask"] is None else a["mask"][order]}
    taken["initial_state"] = nested(case.cell, [None if state is None else state[order] for state in states])
    taken |= {name: None if a[name] is None else a[name][:, order] for name in ("input_dropout", "recurrent_dropout")}
    outputs, state = results(case)
    shuffled = results(case, x=a["x"][order], **taken)
    np.testing.assert_array_equal(shuffled[0], outputs[order])
    of_order = tuple(each[order] for each in state) if isinstance(state, tuple) else state[order]
    assert_equal_states(shuffled[1], of_order)
