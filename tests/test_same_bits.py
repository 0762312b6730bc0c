# SPDX-License-Identifier: Apache-2.0
"""The same bits: for any number of threads, in any batch, saved or not, in one piece or in chunks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

import gatewise
from cells import CELLS, each, first, nested
from engine_case import ISAS, Case, instruction_set, threads

if TYPE_CHECKING:
    from gatewise.cells import Cell

# The first two are carried by a team of threads, the second for several chunks of steps with several sections each.
# The weights of the last exceed the cache.
SHAPES = [(1, 50, 16, 128), (2, 300, 9, 150), (3, 17, 5, 33), (37, 20, 16, 64), (512, 10, 64, 128), (40, 17, 20, 421)]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "masked": {"mask": "holes"},
    **{cell.name.lower(): {"cell": cell, "mask": "right"} for cell in CELLS[1:]},
    "dropout": {"input_dropout_masks": 3, "recurrent_dropout": True},
}


def same_bits(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_threads_do_not_change_a_bit(shape: tuple[int, int, int, int], options: str) -> None:
    case = Case(*shape, **OPTIONS[options])
    with threads(1):
        alone = case.run()
    for n in (2, 3, 4):
        with threads(n):
            for name, value in case.run().items():
                assert same_bits(value, alone[name]), f"{name} differs with {n} threads"


def test_the_floating_point_mode_of_the_caller_does_not_change_a_bit() -> None:
    torch = pytest.importorskip("torch", reason="sets the mode of a thread: install the extra torch")
    case = Case(40, 30, 5, 21)
    tiny = 1e-36 * case.arrays["d_outputs"]  # gradients that fade into subnormal numbers

    def run() -> list[bytes]:
        _, _, vjp = gatewise.rnn_vjp(case.arrays["x"], case.weights)
        return [value.tobytes() for value in vjp(tiny) if value is not None]

    results, subnormal = [], torch.tensor(1e-40)
    for flush in (False, True):
        torch.set_flush_denormal(flush)
        for n in (1, 2, 4):
            with threads(n):
                results.append(run())
    assert (subnormal * 1).item() == 0  # the mode that the caller set is still there
    torch.set_flush_denormal(False)
    assert (subnormal * 1).item() > 0
    assert all(result == results[0] for result in results)


def test_teams_that_lack_cpus_have_the_same_bits() -> None:
    case = Case(1, 400, 8, 128, mask="holes")
    with threads(1):
        alone = case.run()
    with threads(8), ThreadPoolExecutor(3) as callers:  # more threads than most machines have CPUs: members come late
        for results in callers.map(lambda _: case.run(), range(9)):
            for name, value in results.items():
                assert same_bits(value, alone[name]), f"{name} differs"


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("isa", ISAS)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(isa: str, options: str) -> None:
    timesteps, features, units = 19, 7, 37
    case = Case(41, timesteps, features, units, **OPTIONS[options])
    a = case.arrays
    names = ("mask", "input_dropout", "recurrent_dropout")
    start = [a[name] for name in case.state_names("initial_state")]
    with instruction_set(isa):
        outputs, state = case.outputs()
        for rows in ([0], [17], [40], [3, 9], range(5), range(20, 31), range(0, 41, 2)):
            chosen = list(rows)
            taken = {name: None if a[name] is None else a[name][chosen] for name in names[:1]}
            taken |= {name: None if a[name] is None else a[name][:, chosen] for name in names[1:]}
            taken["initial_state"] = nested(case.cell, [value[chosen] for value in start])
            few, last = gatewise.rnn(a["x"][chosen], case.weights, **taken)
            assert same_bits(few, outputs[chosen]), f"outputs of rows {chosen}"
            of_rows = each(lambda whole: whole[chosen].tobytes(), state)  # noqa: B023
            assert each(np.ndarray.tobytes, last) == of_rows, f"states of rows {chosen}"


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("isa", ISAS)
def test_saving_for_the_way_back_does_not_change_a_bit(isa: str, options: str) -> None:
    case = Case(11, 13, 5, 21, **OPTIONS[options])
    with instruction_set(isa):
        outputs, state = case.outputs()
        results = case.run()
    assert same_bits(outputs, results["outputs"])
    assert same_bits(first(state), results["state"])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", ISAS)
def test_a_sequence_in_pieces_has_the_same_bits_as_whole(isa: str, cell: Cell) -> None:
    case = Case(6, 23, 9, 18, cell)
    x = case.arrays["x"]
    with instruction_set(isa):
        outputs, state = case.outputs()
        h, pieces = case.states("initial_state"), []
        for piece in (x[:, :1], x[:, 1:9], x[:, 9:22], x[:, 22:]):
            y, h = gatewise.rnn(piece, case.weights, h)
            pieces.append(y)
    assert same_bits(np.concatenate(pieces, axis=1), outputs)
    assert each(np.ndarray.tobytes, h) == each(np.ndarray.tobytes, state)
