# SPDX-License-Identifier: Apache-2.0
"""How `gatewise.compare` shares out a budget, cuts batches, and finds equal numbers of weights."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from gatewise.compare.order import batches, steps_an_epoch
from gatewise.compare.plan import Contender, Cost, make_plan
from gatewise.compare.sizes import units_for

STEPS = 10


def contenders(*ways: str) -> list[Contender]:
    sizes = {"units": 8, "parameters": 16, "time": 8}
    return [Contender(way, cell, sizes[way] if cell == "B" else 8, None, 100) for way in ways for cell in "AB"]


def plan(ways: tuple[str, ...], seconds: float, seeds: int = 5, epochs: int = 1000):  # noqa: ANN201
    some = contenders(*ways)
    costs = [Cost(1.0, 0.5, 0.1 if one.cell == "A" else 0.3, 0.2, 1.0) for one in some]
    return make_plan(some, costs, STEPS, seconds, seeds, epochs)


def seconds_of(found, epochs: int) -> float:  # noqa: ANN001  # by hand, for the costs above
    a, b = 0.5 + epochs * (STEPS * 0.1 + 1.0), 0.5 + epochs * (STEPS * 0.3 + 1.0)
    once = {"units": a + b, "parameters": b, "time": a + b}  # A at equal parameters is A at equal units
    return found.seeds * sum(once[way] for way in found.ways)


@pytest.mark.parametrize("seconds", [40.0, 300.0, 600.0, 4000.0])
def test_a_plan_uses_the_budget_and_no_more(seconds: float) -> None:
    found = plan(("units", "parameters", "time"), seconds)
    assert seconds_of(found, found.epochs) <= 0.9 * seconds < seconds_of(found, found.epochs + 1)


def test_seeds_go_first_then_ways_then_epochs() -> None:
    every = ("units", "parameters", "time")
    wealth, less, little, least = (plan(every, seconds) for seconds in (4000.0, 600.0, 210.0, 8.0))
    assert (wealth.seeds, wealth.ways, wealth.left_out) == (5, every, ())
    assert (less.seeds, less.ways) == (3, every)
    assert less.left_out == ("3 instead of 5 seeds: the budget does not suffice for more.",)
    assert (little.seeds, little.ways) == (3, ("units",))
    assert "No comparison at equal processor time: the budget does not suffice." in little.left_out
    assert (least.seeds, least.ways, least.epochs) == (1, ("units",), 1)


def test_a_budget_for_nothing_is_an_error_that_says_how_much_is_needed() -> None:
    with pytest.raises(ValueError, match=r"compare: minutes is too small. Expected 0.1\d* more at the least"):
        plan(("units",), 2.0)


def test_equal_processor_time_is_the_mean_of_what_the_epochs_take() -> None:
    found = plan(("units", "time"), 4000.0)
    assert found.cpu_seconds == pytest.approx(found.epochs * STEPS * 0.2)


def test_batches_follow_from_the_seed_alone_and_leave_no_row_behind() -> None:
    once, again = (list(islice(batches(10, 4, seed=3), 25)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, list(islice(batches(10, 4, seed=4), 25)))
    assert (np.bincount(np.concatenate(once)) == 10).all()
    assert steps_an_epoch(3, 64) == 1


@pytest.mark.parametrize("wanted", [1, 7, 500, 12_345, 900_000])
@pytest.mark.parametrize("start", [1, 64, 1000])
def test_units_are_those_whose_weights_come_nearest(wanted: int, start: int) -> None:
    def count(units: int) -> int:
        return 3 * units * units + 11 * units + 5

    units, found = units_for(wanted, count, start)
    assert abs(found - wanted) == min(abs(count(other) - wanted) for other in range(1, 1000))
    assert found == count(units)
