# SPDX-License-Identifier: Apache-2.0
"""A comparison keeps to its budget and to the same batches, and goes on after an interrupt.

The clocks stand still but for what steps of training take, and the models cost nothing.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras", reason="the plan names its backend: install the extra of KERAS_BACKEND")

from compare_case import Machine, compared, series  # after the skip
from gatewise.compare import Comparison, records
from gatewise.data.errors import FormatError
from gatewise.whole_file import write_whole
from own_process import LIMIT, start

EVERY = ("units", "parameters", "time")
CELLS, QUICKER = {"quick": 0.5, "slow": 1.5}, {"quick": 1 / 16, "slow": 3 / 16}


def timeless(found: Comparison) -> Comparison:
    """A comparison without how long it took as a whole."""
    return dataclasses.replace(found, seconds=0.0)


def test_every_cell_sees_the_same_batches_in_the_same_order() -> None:
    seen = {}
    for name in ("first", "second"):  # each comparison has the cell in question last
        machine = Machine()
        compared(series(), machine, {"other": 0.1, name: 0.2}, seeds=1, epochs=3, patience=9)
        seen[name] = machine.seen
    assert seen["first"] == seen["second"]
    batches = seen["first"][-18:]  # 12 rows for training, 4 in a batch, 3 epochs, 2 cells
    assert batches[:9] == batches[9:]
    for epoch in range(0, 9, 3):
        assert sorted(chain.from_iterable(batches[epoch : epoch + 3])) == list(range(12))
    assert batches[:3] != batches[3:6]


@pytest.mark.parametrize("minutes", [0.5, 2.0, 9.0])
def test_the_budget_is_kept(minutes: float) -> None:
    machine = Machine()
    found = compared(series(), machine, CELLS, minutes=minutes, seeds=4, ways=EVERY, epochs=50)
    assert machine.seconds <= 1.1 * minutes * 60
    assert found.rows
    assert {len(row.trials) for row in found.rows if row.way == "units"} == {found.settings["seeds"]}
    if minutes < 5:
        assert any("instead of 4 seeds" in line for line in found.left_out)


def test_a_machine_that_becomes_slow_ends_in_time_with_the_seeds_that_all_have() -> None:
    machine = Machine()
    machine.slow, machine.slower = range(101, 10**9), 8.0
    found = compared(series(), machine, CELLS, minutes=4, seeds=4, epochs=20, patience=99)
    assert machine.seconds <= 1.1 * 4 * 60
    [count], planned = {len(row.trials) for row in found.rows}, found.settings["seeds"]
    assert count < planned
    assert f"{planned - count} of {planned} seeds at equal units: the budget ended before." in found.left_out


@pytest.mark.parametrize("begin", [0, 6, 10])
def test_what_passes_while_costs_are_measured_does_not_change_the_plan(begin: int) -> None:
    quiet, disturbed = Machine(), Machine()
    disturbed.slow, disturbed.slower = range(begin, begin + 8), 4.0
    epochs = [
        compared(series(), machine, QUICKER, minutes=5, seeds=3, epochs=500, patience=999).settings["epochs"]
        for machine in (quiet, disturbed)
    ]
    assert 100 < epochs[0] < 500
    assert epochs[0] - 2 <= epochs[1] <= epochs[0]  # the seconds that passed are gone


def test_seeds_that_were_not_planned_come_if_there_is_time(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"minutes": 2.0, "seeds": 6, "epochs": 30, "patience": 99}

    def busy(stop_after: int | None = None) -> Machine:  # while costs are measured
        machine = Machine()
        machine.slow, machine.slower, machine.stop_after = range(29), 4.0, stop_after
        return machine

    machine = busy()
    whole = compared(series(), machine, QUICKER, tmp_path / "whole", **arguments)
    planned = json.loads((tmp_path / "whole" / "plan.json").read_text())["plan"]["seeds"]
    assert planned < whole.settings["seeds"] == 6
    assert {len(row.trials) for row in whole.rows} == {6}
    assert not whole.left_out
    assert machine.seconds <= 120
    with pytest.raises(KeyboardInterrupt):
        compared(series(), busy(machine.steps - 20), QUICKER, tmp_path / "cut", **arguments)
    for _ in range(2):
        again = Machine()
        found = compared(series(), again, QUICKER, tmp_path / "cut", **arguments)
        assert timeless(found) == timeless(whole)
    assert not again.steps


def test_equal_processor_time_is_the_same_for_all() -> None:
    found = compared(series(), Machine(), CELLS, minutes=9, ways=("units", "time"), epochs=9)
    quick, slow = (row for row in found.rows if row.way == "time")
    assert quick.cpu_seconds == pytest.approx(slow.cpu_seconds, rel=0.1)
    assert quick.epochs > 2 * slow.epochs
    for row in (quick, slow):
        assert found.settings["cpu_seconds"] <= row.cpu_seconds <= found.settings["cpu_seconds"] + 0.75


@pytest.mark.parametrize("steps", [0, 5, 30, 70])
def test_an_interrupted_comparison_goes_on_and_gives_the_same(steps: int, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"ways": ("units", "time"), "epochs": 5, "minutes": 20.0}
    whole = compared(series(), Machine(), CELLS, tmp_path / "whole", **arguments)
    machine = Machine()
    machine.stop_after = steps
    with pytest.raises(KeyboardInterrupt):
        compared(series(), machine, CELLS, tmp_path / "cut", **arguments)
    again = Machine()
    found = compared(series(), again, CELLS, tmp_path / "cut", **arguments)
    assert timeless(found) == timeless(whole)
    assert again.steps > 0
    finished = Machine()
    assert compared(series(), finished, CELLS, tmp_path / "cut", **arguments) == found
    assert not finished.steps
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(("name", "steps"), [("SIGKILL", 8), ("SIGKILL", 33), ("SIGINT", 50)])
def test_a_process_that_was_killed_goes_on_and_leaves_the_folder_to_others(
    name: str, steps: int, tmp_path: Path
) -> None:
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from compare_case import Machine, compared, series
signal.signal(signal.SIGINT, signal.default_int_handler)  # which what runs in the background inherits as ignored
class Dies(Machine):
    def step(self, seconds, x):
        if self.steps == {steps}:
            os.kill(os.getpid(), signal.{name})
        super().step(seconds, x)
compared(series(), Dies(), {CELLS}, "cut", epochs=5, minutes=20.0)
"""
    process = start(program, tmp_path)
    _, complaints = process.communicate(timeout=LIMIT)
    assert process.returncode == -getattr(signal, name), complaints
    arguments: dict[str, Any] = {"epochs": 5, "minutes": 20.0}
    found = compared(series(), Machine(), CELLS, tmp_path / "cut", **arguments)
    assert timeless(found) == timeless(compared(series(), Machine(), CELLS, **arguments))
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_comparisons_do_not_share_a_folder(tmp_path: Path) -> None:
    class Second(Machine):
        def step(self, seconds: float, x: Any) -> None:
            with pytest.raises(BlockingIOError, match=r"compare: folder is in use\..*Wait until it ends"):
                compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=1)
            super().step(seconds, x)

    found = compared(series(), Second(), CELLS, tmp_path, seeds=1, epochs=1)
    assert compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=1) == found


@pytest.mark.parametrize("writes", [0, 1, 4])
def test_a_folder_that_cannot_be_written_is_named_and_what_is_in_it_stays(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Path] = []

    def full(path: Path, parts: Any) -> None:
        if len(done) == writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(path)
        write_whole(path, parts)

    with monkeypatch.context() as disk:
        disk.setattr(records, "write_whole", full)
        with pytest.raises(OSError, match=r"compare: folder cannot be written\..*No space left.*call again") as raised:
            compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=2)
    assert raised.value.errno == errno.ENOSPC
    assert sorted(tmp_path.iterdir()) == sorted({*done})
    found = compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=2)
    assert timeless(found) == timeless(compared(series(), Machine(), CELLS, seeds=1, epochs=2))
    with pytest.raises(OSError, match="compare: folder cannot be written"):
        compared(series(), Machine(), CELLS, next(tmp_path.iterdir()) / "within a file")


@pytest.mark.parametrize("name", ["plan", "run-slow-64-units-None-rate-2-epochs-seed-1", "finished", "spent"])
@pytest.mark.parametrize("text", ["", "[1, 2]", '{"plan": {}, "curve": [[]]}'])
def test_what_is_damaged_in_a_finished_comparison_is_named_and_found_again(
    name: str, text: str, tmp_path: Path
) -> None:
    whole = compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=2)
    damaged = tmp_path / f"{name}.json"
    damaged.write_text(text)
    with pytest.raises(FormatError, match=rf"{damaged} is damaged\. Expected what .* Delete this file"):
        compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=2)
    damaged.unlink()
    assert timeless(compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=2)) == timeless(whole)


def test_the_time_before_an_interrupt_counts(tmp_path: Path) -> None:
    machine = Machine()
    machine.stop_after = 40
    arguments: dict[str, Any] = {"minutes": 2.0, "epochs": 50, "patience": 99}
    with pytest.raises(KeyboardInterrupt):
        compared(series(), machine, CELLS, tmp_path, **arguments)
    again = Machine()
    found = compared(series(), again, CELLS, tmp_path, **arguments)
    assert again.seconds < found.seconds <= 1.1 * 120


def test_a_folder_of_another_question_is_refused_and_a_damaged_one_named(tmp_path: Path) -> None:
    compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=1)
    with pytest.raises(ValueError, match=r"holds another comparison.*received another epochs \(epochs was 1, is 2\)"):
        compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=2)
    x, y = series()
    with pytest.raises(ValueError, match=r"holds another comparison.*received another data"):
        compared((x + 1, y), Machine(), CELLS, tmp_path, seeds=1, epochs=1)
    next(tmp_path.glob("run-*")).write_text('{"cell": ')
    with pytest.raises(FormatError, match=r"run-.*json is damaged.*Delete this file"):
        compared(series(), Machine(), CELLS, tmp_path, seeds=1, epochs=1)
    with pytest.raises(ValueError, match="folder is a file"):
        compared(series(), Machine(), CELLS, next(tmp_path.glob("plan*")))


def test_a_run_that_diverges_is_no_score() -> None:
    found = compared(series(), Machine(), CELLS, learning_rate=1e200, epochs=2)
    assert {trial.end for row in found.rows for trial in row.trials} == {"diverged"}
    assert "diverged at once" in found.sentence
    assert Comparison.from_json(found.to_json()) == found
    str(found)


def test_tuning_finds_sizes_and_goes_on_after_an_interrupt(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="it searches: pip install '.[tune]'")
    arguments: dict[str, Any] = {"tune": 3, "units": 4, "minutes": 20.0, "epochs": 2, "seeds": 2}
    whole = compared(series(), Machine(), CELLS, tmp_path / "whole", **arguments)
    rows = [row for row in whole.rows if row.way == "tuned"]
    assert [row.cell for row in rows] == ["quick", "slow"]
    assert len(list((tmp_path / "whole").glob("run-*-seconds-seed-1.json"))) == 6
    for row in rows:
        assert 1 <= row.units <= 8
        assert row.rate is not None
        assert 1e-4 <= row.rate <= 1e-2
    machine = Machine()
    machine.stop_after = 60
    with pytest.raises(KeyboardInterrupt):
        compared(series(), machine, CELLS, tmp_path / "cut", **arguments)
    assert not (tmp_path / "cut" / "plan.json").exists()
    found = compared(series(), Machine(), CELLS, tmp_path / "cut", **arguments)
    assert timeless(found) == timeless(whole)
    assert "each cell tuned" in str(whole)
