# SPDX-License-Identifier: Apache-2.0
"""The study of cells: its tasks are what they are said to be, and its tables say what was found."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from compare_case import comparison, row
from study_case import EXAMPLES, needs_tensorflow, run_script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def long_memory() -> Iterator[Any]:
    sys.path.insert(0, str(EXAMPLES))
    try:
        import long_memory

        yield long_memory
    finally:
        sys.path.remove(str(EXAMPLES))


def test_the_adding_problem_marks_a_number_in_each_half(long_memory: Any) -> None:
    x, y = long_memory.adding(2000, 20, np.random.default_rng(0))
    numbers, marks = x[..., 0], x[..., 1]
    assert (marks[:, :10].sum(axis=1) == 1).all()
    assert (marks[:, 10:].sum(axis=1) == 1).all()
    first, second = (
        numbers[np.arange(2000), half] for half in (marks.argmax(axis=1), 19 - marks[:, ::-1].argmax(axis=1))
    )
    np.testing.assert_allclose(y[:, 0], first + second, rtol=1e-6)
    assert np.mean((y - 1) ** 2) == pytest.approx(1 / 6, rel=0.1)
    assert (marks.sum(axis=0) > 0).all()


def test_copying_asks_for_ten_symbols_after_the_lag(long_memory: Any) -> None:
    x, y = long_memory.copying(50, 7, np.random.default_rng(0))
    assert x.shape == y.shape == (50, 27)
    np.testing.assert_array_equal(y[:, -10:], x[:, :10])
    assert (y[:, :-10] == 1).all()
    assert set(np.unique(x[:, :10])) == set(range(3, 11))
    assert (np.flatnonzero(x[0, 10:] == 2) == [6]).all()  # the last step before the ten answers asks for them
    assert (np.delete(x[:, 10:], 6, axis=1) == 1).all()


@needs_tensorflow
def test_the_adding_script_says_which_runs_solved_it(tmp_path: Path) -> None:
    options = ["--length", 4, "--units", 8, "--steps", 400, "--rate", 0.02, "--cells", "GRU", "SimpleRNN", "--seeds", 1]
    printed = run_script(EXAMPLES / "adding.py", tmp_path, *options, "--out", tmp_path / "runs.jsonl")
    lines = [line for line in printed.replace("\r", "\n").splitlines() if "mean square error" in line]
    assert len(lines) == 2
    assert lines[0].split()[:3] == ["GRU", "seed", "1"]
    assert "solved after" in lines[0]
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 2


def test_the_tables_of_the_study_say_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="its data are read by the other studies: pip install '.[studies]'")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import compare_cells
    import study

    rows = (*(row(cell, (0.5, 0.6, 0.7)) for cell in ("GRU", "LSTM", "SimpleRNN")), row("GRU", (0.1,), "time"))
    found = {"a task, accuracy": comparison(rows=rows)}
    [scores] = compare_cells.scores(found, "units").rows
    assert scores[:2] == ["a task, accuracy", "0.6 (0.3516 to 0.8484)"]
    assert compare_cells.scores(found, "time").rows[0][1:4] == ["0.1", "-", "-"]
    assert "no difference between GRU, LSTM and SimpleRNN" in compare_cells.says(found).rows[0][1]
    assert compare_cells.costs(found).rows[0] == ["a task: GRU", "8", "100", "2", "105", "5"]
    monkeypatch.setattr(study, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    page = EXAMPLES.parent / "docs" / f"{compare_cells.PAGE}.md"
    (tmp_path / "docs" / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    begun = study.Study("compare_cells", tmp_path, False, True, tmp_path / "out", compare_cells.PAGE, 1.0)
    begun.report([compare_cells.says(found)], compare_cells.draw(found), {})
    page = (tmp_path / "docs" / "gru_or_lstm.md").read_text()
    assert page.startswith("# GRU or LSTM?")
    assert "| a task, accuracy | At equal units the figures show no difference" in page
    assert (tmp_path / "docs" / "gru_or_lstm.svg").stat().st_size > 5000


def test_the_next_character_stands_one_step_after_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras", reason="the study is one of Keras: install the extra of KERAS_BACKEND")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import next_character

    x, y = next_character.windows(list(range(1000)))
    assert x.shape == y.shape == (4, 200)
    np.testing.assert_array_equal(x.reshape(-1), np.arange(800))
    np.testing.assert_array_equal(y, x + 1)


def test_the_table_of_the_next_character_is_in_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="the study is one of Keras: install the extra of KERAS_BACKEND")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import next_character

    nats = [bits * float(np.log(2)) for bits in (1.5, 1.6, 1.7)]
    found = comparison(rows=(row("GRU", nats), row("LayerNormLSTM", nats[:2])), higher_is_better=False)
    first, second = next_character.results(found).rows
    assert first[2] == "1.600 (1.352 to 1.848)"  # t of two degrees of freedom, 4.303, times 0.1 / sqrt(3)
    assert second[2] == "1.550", "fewer than three seeds give no interval"
    next_character.draw(found).savefig(tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").stat().st_size > 5000
