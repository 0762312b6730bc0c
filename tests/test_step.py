# SPDX-License-Identifier: Apache-2.0
"""`gatewise.Step`: step after step the layer, in the same bits, and errors that name what is wrong."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

import gatewise
from cells import CELLS, each, first
from engine_case import ISAS, Case, instruction_set
from gatewise.cells import Cell
from gatewise.native import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BATCH, TIMESTEPS, FEATURES, UNITS = 5, 9, 7, 21


def make(cell: Cell = Cell.GRU) -> tuple[Case, npt.NDArray[np.float32], Any]:
    case = Case(BATCH, TIMESTEPS, FEATURES, UNITS, cell)
    return case, case.arrays["x"].astype(np.float32), case.states("initial_state")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", ISAS)
def test_steps_give_the_bits_of_the_whole_sequence(isa: str, cell: Cell) -> None:
    case, x, state = make(cell)
    step = gatewise.Step(case.weights)  # packed for another instruction set than it runs on
    with instruction_set(isa):
        outputs, last = gatewise.rnn(x, case.weights, state)
        for t in range(TIMESTEPS):
            state = step(np.ascontiguousarray(x[:, t]), state)
            assert first(state).tobytes() == outputs[:, t].tobytes()
        assert each(np.ndarray.tobytes, state) == each(np.ndarray.tobytes, last)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("recurrent_activation", ACTIVATIONS)
def test_activations(activation: str, recurrent_activation: str) -> None:
    case, x, state = make()
    names = {"activation": activation, "recurrent_activation": recurrent_activation}
    expected, _ = gatewise.rnn(x[:, :1], case.weights, state, **names)
    np.testing.assert_array_equal(gatewise.Step(case.weights, **names)(x[:, 0], state), expected[:, 0])


def test_states_may_be_overwritten_in_place() -> None:
    case, x, state = make()
    step = gatewise.Step(case.weights)
    expected, inputs = step(x[:, 0], state), x[:, 0].copy()
    assert step(inputs, state, out=state) is state
    np.testing.assert_array_equal(state, expected)


@pytest.mark.parametrize("shared", ["x", "state"])
def test_out_at_any_offset_gives_the_right_rows_or_is_refused(shared: str) -> None:
    case, x, state = make()
    step = gatewise.Step(case.weights)
    arrays = {"x": x[:, 0].copy(), "state": state}
    expected, size = step(**arrays), arrays[shared].size
    refused = []
    for offset in range(-expected.size - 2, size + 3):  # of `out` from what it shares memory with, in floats
        memory = np.zeros(2 * expected.size + size + 4, np.float32)
        start = expected.size + 2
        given = memory[start : start + size].reshape(arrays[shared].shape)
        given[:] = arrays[shared]
        out = memory[start + offset :][: expected.size].reshape(expected.shape)
        before = memory.copy()
        try:
            found = step(**(arrays | {shared: given}), out=out)
        except ValueError as error:
            assert str(error).startswith(f"Step: out overlaps {shared}. Expected state itself, or memory that")  # noqa: PT017
            np.testing.assert_array_equal(memory, before)
            refused.append(offset)
        else:
            assert found is out
            np.testing.assert_array_equal(found, expected)
    shares = set(range(1 - expected.size, size))
    assert set(refused) == shares - ({0} if shared == "state" else set())


def test_out_may_be_the_state_by_another_name_and_what_is_converted_first() -> None:
    case, x, state = make()
    step = gatewise.Step(case.weights)
    inputs = x[:, 0].copy()
    expected, of_reversed = step(inputs, state), step(inputs, state[::-1].copy())
    memory = state.copy()
    assert step(inputs, memory[:], out=memory) is memory
    np.testing.assert_array_equal(memory, expected)
    memory[:] = state
    np.testing.assert_array_equal(step(inputs, memory[::-1], out=memory), of_reversed)


def test_out_may_not_overlap_the_weights() -> None:
    arrays = {"kernel": np.ones((7, 63)), "recurrent_kernel": np.ones((21, 63)), "bias": np.ones((2, 63))}
    held = {name: array.astype(np.float32) for name, array in arrays.items()}
    step = gatewise.Step(gatewise.GRUWeights(**held))
    for name, array in held.items():
        out = array.reshape(-1)[-UNITS:].reshape(1, UNITS)
        with pytest.raises(ValueError, match=f"Step: out overlaps {name}[.] Expected state itself"):
            step(np.zeros((1, FEATURES), np.float32), np.zeros((1, UNITS), np.float32), out=out)
        np.testing.assert_array_equal(array, arrays[name])


class Own(np.ndarray[Any, Any]):
    pass


def test_out_of_another_class_is_written_to_and_returned(tmp_path: Path) -> None:
    case, x, state = make()
    step = gatewise.Step(case.weights)
    expected = step(x[:, 0], state)
    mapped = np.memmap(tmp_path / "states", np.float32, "w+", shape=state.shape)
    for out in (mapped, np.zeros_like(state).view(Own)):
        out[:] = state
        assert step(x[:, 0], out, out=out) is out
        np.testing.assert_array_equal(np.asarray(out), expected)


@pytest.mark.parametrize(
    "remake",
    [copy.copy, copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))],  # noqa: S301 - our own bytes
    ids=["copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_remade_step_gives_the_same_bits(remake: Callable[[Any], Any], cell: Cell) -> None:
    case, x, state = make(cell)
    step = gatewise.Step(case.weights, activation="relu", recurrent_activation="hard_sigmoid")
    expected = step(x[:, 0], state)
    remade = remake(step)
    assert (remade.features, remade.units) == (FEATURES, UNITS)
    assert each(np.ndarray.tobytes, remade(x[:, 0], state)) == each(np.ndarray.tobytes, expected)


@pytest.mark.skipif(len(ISAS) < 2, reason="this CPU has one instruction set")
def test_a_pickled_step_runs_on_the_instruction_set_that_is_there() -> None:
    case, x, state = make()
    with instruction_set(ISAS[0]):
        stored = pickle.dumps(gatewise.Step(case.weights))
    with instruction_set(ISAS[1]):
        step = pickle.loads(stored)  # noqa: S301 - our own bytes
        expected, _ = gatewise.rnn(x[:, :1], case.weights, state)
        assert step(x[:, 0], state).tobytes() == expected[:, 0].tobytes()


class Named(gatewise.Step):
    def __init__(self, weights: gatewise.GRUWeights, name: str) -> None:
        super().__init__(weights)
        self.name = name


def test_a_remade_step_keeps_what_a_subclass_adds() -> None:
    case, x, state = make()
    step = Named(case.weights, "sensor 7")
    remade = pickle.loads(pickle.dumps(step))  # noqa: S301 - our own bytes
    assert (type(remade), remade.name) == (Named, "sensor 7")
    np.testing.assert_array_equal(remade(x[:, 0], state), step(x[:, 0], state))


def test_other_arrays_are_converted() -> None:
    case, x, state = make()
    step = gatewise.Step(case.weights)
    expected = step(x[:, 0].copy(), state)
    misaligned = np.frombuffer(b"\0" + x[:, 0].tobytes(), np.uint8)[1:].view(np.float32).reshape(x[:, 0].shape)
    for inputs in (
        *(x[:, 0], np.asfortranarray(x[:, 0]), misaligned),
        *(x[:, 0].astype(np.float64), x[:, 0].astype(">f4"), x[:, 0].tolist()),
    ):
        np.testing.assert_array_equal(step(inputs, state.tolist()), expected)
        np.testing.assert_array_equal(step(inputs, state), expected)
    assert step(x[:, 0], state.astype(np.float64)).dtype == np.float32


def test_no_rows_are_no_error() -> None:
    case, x, state = make()
    assert gatewise.Step(case.weights)(x[:0, 0], state[:0]).shape == (0, UNITS)


def test_threads_may_share_it() -> None:
    case, x, state = make()
    step = gatewise.Step(case.weights)
    expected = [step(x[:, t], state) for t in range(TIMESTEPS)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for t, found in enumerate(pool.map(lambda t: step(x[:, t], state), range(TIMESTEPS))):
                np.testing.assert_array_equal(found, expected[t])


READ_ONLY = np.zeros((BATCH, UNITS), np.float32)
READ_ONLY.flags.writeable = False
MISALIGNED = np.zeros(4 * BATCH * UNITS + 1, np.uint8)[1:].view(np.float32).reshape(BATCH, UNITS)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"x": np.zeros((BATCH, 3))},
            ValueError,
            r"x has the wrong shape\. Expected \(rows, features=7\); received \(5",
        ),
        (
            {"x": np.zeros(FEATURES)},
            ValueError,
            r"x has the wrong rank.*received \(7,\)\. Give one row a batch axis of 1",
        ),
        ({"x": None}, TypeError, r"x has the wrong type\. Expected real numbers; received NoneType\. Give it as an"),
        ({"state": None}, TypeError, r"state has the wrong type\. Expected real numbers; received NoneType"),
        ({"x": [["hello"]]}, TypeError, r"x has the wrong type\. Expected real numbers; received dtype <U5"),
        ({"state": np.zeros((2, UNITS))}, ValueError, r"state has the wrong shape\. Expected \(rows=5, units=21\)"),
        (
            {"state": np.zeros((BATCH, UNITS), complex)},
            TypeError,
            r"state has the wrong type.*received dtype complex128",
        ),
        ({"out": np.zeros((BATCH, UNITS))}, TypeError, r"out cannot be written to.*received one of float64"),
        ({"out": [[0.0]]}, TypeError, r"out cannot be written to.*received list"),
        (
            {"out": READ_ONLY},
            TypeError,
            r"out cannot be written to\. Expected a float32, C-contiguous, writeable.*one of float32, read-only\.",
        ),
        (
            {"out": np.asfortranarray(np.zeros((BATCH, UNITS), np.float32))},
            TypeError,
            r"out cannot be written to.*received one of float32, not C-contiguous\.",
        ),
        ({"out": MISALIGNED}, TypeError, r"out cannot be written to.*received one of float32, not aligned\."),
        ({"out": np.zeros((BATCH, UNITS), ">f4")}, TypeError, r"out cannot be written to.*received one of >f4\."),
        (
            {"out": np.ma.masked_array(np.zeros((BATCH, UNITS), np.float32), True)},
            TypeError,
            r"out cannot be written to.*received one of float32, masked\.",
        ),
        (
            {"x": np.ma.masked_array(np.zeros((BATCH, FEATURES), np.float32), True)},
            TypeError,
            r"x is a masked array\. Expected \(rows, features=7\) of which every.*x\.filled\(0\)",
        ),
        (
            {"state": np.ma.masked_array(np.zeros((BATCH, UNITS), np.float32))},
            TypeError,
            r"state is a masked array",
        ),
        (
            {"out": np.zeros((BATCH, 4), np.float32)},
            ValueError,
            r"out has the wrong shape\. Expected \(rows=5, units=21\)",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else getattr(value, "__name__", value),
)
def test_wrong_arguments_are_named(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    case, x, state = make()
    with pytest.raises(error, match=rf"Step: {message}"):
        gatewise.Step(case.weights)(**{"x": x[:, 0], "state": state, **changed})


def test_wrong_layers_are_named() -> None:
    case, _, _ = make()
    with pytest.raises(
        TypeError,
        match=r"Step: weights has the wrong type.*SimpleRNNWeights, LayerNormGRUWeights, .*received ndarray",
    ):
        gatewise.Step(np.zeros((7, 63)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Step: weights has the wrong type\. .*received list\. Make one of"):
        gatewise.Step([np.zeros((7, 63)), np.zeros((21, 63))])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Step: activation is unknown\. Expected one of tanh.*received 'gelu'"):
        gatewise.Step(case.weights, activation="gelu")
