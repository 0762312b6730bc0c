# SPDX-License-Identifier: Apache-2.0
"""What `gatewise.compare` says of planted tables: a difference only where intervals do not overlap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_case import FAIR, GOOD, POOR, comparison, row, trial
from gatewise.compare import Comparison, intervals
from gatewise.compare.intervals import Interval, interval
from gatewise.compare.sentence import says, says_not


def test_cells_whose_intervals_do_not_overlap_are_said_to_differ() -> None:
    found = says([row("GRU", GOOD), row("LSTM", FAIR), row("SimpleRNN", POOR)], higher_is_better=True)
    better = "At equal units GRU (0.91) and LSTM (0.9) do better than SimpleRNN (0.7): their intervals do not overlap."
    assert found == [f"{better} Between GRU and LSTM the figures show no difference."]


def test_another_table_is_another_sentence() -> None:
    table = [row("GRU", GOOD), row("LSTM", POOR)]
    assert "GRU (0.91) does better than LSTM (0.7)" in says(table, higher_is_better=True)[0]
    assert "LSTM (0.7) does better than GRU (0.91)" in says(table, higher_is_better=False)[0]
    swapped = [row("GRU", POOR), row("LSTM", GOOD)]
    assert "LSTM (0.91) does better than GRU (0.7)" in says(swapped, higher_is_better=True)[0]


def test_overlapping_intervals_are_called_no_difference() -> None:
    [found] = says([row("GRU", GOOD), row("LSTM", FAIR)], higher_is_better=True)
    assert found == "At equal units the figures show no difference between GRU and LSTM: their intervals overlap."


def test_one_wild_seed_takes_a_difference_back() -> None:
    calm = says([row("GRU", GOOD), row("LSTM", POOR)], higher_is_better=True)[0]
    wild = says([row("GRU", (*GOOD[:2], 0.2)), row("LSTM", POOR)], higher_is_better=True)[0]
    assert "does better" in calm
    assert "no difference" in wild


def test_each_way_has_a_sentence_of_its_own_rows() -> None:
    rows = [row("GRU", GOOD), row("LSTM", POOR), row("GRU", POOR, "time"), row("LSTM", GOOD, "time")]
    tuned = [row("GRU", GOOD, "tuned"), row("LSTM", POOR, "tuned")]
    units, time, last = says([*rows, *tuned], higher_is_better=True)
    assert last.startswith("With each cell tuned GRU (0.91) does better than LSTM (0.7)")
    assert units.startswith("At equal units GRU (0.91) does better")
    assert time.startswith("At equal processor time LSTM (0.91) does better")


@pytest.mark.parametrize(
    ("scores", "why"),
    [((0.1, 0.1), "fewer than three seeds give no interval"), ((0.1, None, 0.1), "1 of 3 runs diverged at once")],
)
def test_nothing_is_said_of_a_cell_without_an_interval(scores: tuple[float | None, ...], why: str) -> None:
    [found] = says([row("GRU", GOOD), row("LSTM", scores), row("SimpleRNN", POOR)], higher_is_better=True)
    assert "GRU (0.91) does better than SimpleRNN (0.7)" in found
    assert f"Of LSTM nothing can be said: {why}." in found


def test_one_reason_for_all_is_said_once() -> None:
    [found] = says([row("GRU", (0.1,)), row("LSTM", (0.9,))], higher_is_better=True)
    assert found == "At equal units no difference can be called: fewer than three seeds give no interval."


def test_what_does_not_follow_is_said() -> None:
    equal = says_not([row("GRU", GOOD), row("LSTM", FAIR)])
    apart = says_not([row("GRU", GOOD), row("LSTM", POOR)])
    assert any("equally good" in line for line in equal)
    assert not any("equally good" in line for line in apart)
    assert any("other data" in line for line in apart)


def test_runs_that_had_to_stop_while_they_got_better_are_named() -> None:
    stopped = trial(0.9, end="limit")
    late = row("LSTM", (), trials=(stopped, trial(0.9)))
    assert not late.still_improving  # its best was half-way
    last = trial(0.9, end="limit")
    last = type(last)(**{**vars(last), "curve": last.curve[:1]})
    found = says_not([row("GRU", GOOD), row("LSTM", (), trials=(last, trial(0.9)))])
    assert any("still getting better when they had to stop: LSTM (1 of 2)" in line for line in found)


def test_an_interval_is_students_t() -> None:
    stats = pytest.importorskip("scipy.stats", reason="it has the quantiles: pip install scipy")
    for seeds in range(3, intervals.MOST_SEEDS + 1):
        scores = np.random.default_rng(seeds).normal(size=seeds)
        found = interval(scores.tolist())
        half = stats.t.ppf(0.975, seeds - 1) * scores.std(ddof=1) / math.sqrt(seeds)
        assert found is not None
        np.testing.assert_allclose(found, [scores.mean() - half, scores.mean(), scores.mean() + half], atol=1e-4 * half)
    assert interval([0.5, 0.5]) is None


def test_intervals_that_touch_overlap() -> None:
    assert Interval(0.0, 1.0, 2.0).overlaps(Interval(2.0, 3.0, 4.0))
    assert not Interval(0.0, 1.0, 2.0).overlaps(Interval(2.1, 3.0, 4.0))


def test_a_result_comes_back_from_its_json() -> None:
    found = comparison()
    assert Comparison.from_json(found.to_json()) == found
    with pytest.raises(ValueError, match=r"Comparison.from_json: this is no comparison. Expected what to_json wrote"):
        Comparison.from_json('{"rows": 3}')


def test_a_printed_result_has_tables_sentences_and_what_is_missing() -> None:
    text = str(comparison())
    for part in ("3 seeds, at most 7 epochs; 1:15 min on an abacus", "equal processor time", "- No dessert."):
        assert part in text
    assert "GRU       8      100        105      2     2.0      0.91  0.8852" in text
    assert "0.8852 to 0.9348" in text  # 0.91 +- 4.3027 * 0.01 / sqrt(3)
    assert "Of GRU nothing can be said: 1 of 3 runs diverged at once." in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 120
