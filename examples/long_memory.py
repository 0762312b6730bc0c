# SPDX-License-Identifier: Apache-2.0
"""Two made tasks that only a long memory solves: sequences whose answer depends on steps that lie far back."""

from __future__ import annotations

from typing import Any

import numpy as np

BLANK, RECALL, FIRST = 1, 2, 3  # ids of the copying task; 0 would be a mask. Symbols to remember begin at FIRST.
SYMBOLS, REMEMBERED = 8, 10


def adding(count: int, length: int, random: np.random.Generator) -> tuple[Any, Any]:
    """Makes the adding problem: what is the sum of the two numbers that are marked, one in each half?

    Always answering 1, the mean, leaves a mean square error of 1/6. After Hochreiter and Schmidhuber (1997), section
    5.4, in the form of Arjovsky, Shah and Bengio (2016, arXiv 1511.06464).

    Returns:
        x: (count, length, 2) float32, a number in [0, 1) and a mark, 0 or 1; y: (count, 1) float32.
    """
    numbers = random.random((count, length), dtype=np.float32)
    marks, rows, half = np.zeros_like(numbers), np.arange(count), length // 2
    places = np.stack([random.integers(0, half, count), random.integers(half, length, count)], axis=1)
    marks[rows[:, None], places] = 1
    return np.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=1, keepdims=True)


def copying(count: int, lag: int, random: np.random.Generator) -> tuple[Any, Any]:
    """Makes the copying task: ten symbols, then blanks for `lag` steps, then the same ten are asked for in order.

    Always answering a blank while it waits, and guessing afterwards, leaves a cross-entropy of 10 ln(8) / (lag + 20) a
    step. After the same two papers; ids are one higher than theirs, since 0 stands for a mask.

    Returns:
        x: (count, lag + 20) int32, ids from 1 to 10; y: likewise, the answer at each step.
    """
    symbols = random.integers(FIRST, FIRST + SYMBOLS, (count, REMEMBERED))
    x = np.full((count, lag + 2 * REMEMBERED), BLANK, np.int32)
    y = x.copy()
    x[:, :REMEMBERED] = symbols
    x[:, REMEMBERED + lag - 1] = RECALL
    y[:, -REMEMBERED:] = symbols
    return x, y
