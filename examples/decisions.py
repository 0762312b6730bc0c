# SPDX-License-Identifier: Apache-2.0
"""When to answer: the first step whose top probability reaches a threshold, and how long after the word that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from study import GREY, INK, OTHER, OURS, PALE, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
LOUD = 30  # dB below the loudest piece, and the word goes on


@dataclass(frozen=True)
class Heard:
    """What a stream heard in one recording.

    Attributes:
        scores: (steps, classes), probabilities.
        known: (steps,), seconds from the begin of the recording to when each step's were known.
        end: seconds to the end of the word.
        length: seconds to the end of the recording.
        truth: the class that was said.
    """

    scores: NDArray[np.float32]
    known: NDArray[np.float64]
    end: float
    length: float
    truth: int


class Judged(NamedTuple):
    """Decisions by one threshold: shares from 0 to 1, delays in seconds after the end of the word."""

    threshold: float
    right: float
    delay: float  # the median
    early: float  # one in ten is earlier
    late: float  # one in ten is later
    reached: float  # of the recordings, those in which the threshold was reached


def end_of_word(sound: NDArray[Any], rate: int) -> float:
    """Finds where the last 20 ms end whose energy is at most 30 dB below that of the loudest 20 ms, in seconds."""
    begins = np.arange(0, len(sound), rate // 50)
    energy = np.add.reduceat(np.square(sound, dtype=np.float64), begins)
    last = np.flatnonzero(energy >= energy.max() * 10 ** (-LOUD / 10))[-1]
    return float(min(begins[last] + rate // 50, len(sound)) / rate)


def decide(heard: Heard, threshold: float) -> tuple[int, float, bool]:
    """Decides at the first step that is sure enough, else when the recording ends.

    Returns:
        The class, seconds after the end of the word, and whether the threshold was reached.
    """
    sure = np.flatnonzero(heard.scores.max(axis=1) >= threshold)
    step = int(sure[0]) if sure.size else -1
    when = float(heard.known[step]) if sure.size else heard.length
    return int(heard.scores[step].argmax()), when - heard.end, bool(sure.size)


def judge(heard: Sequence[Heard], threshold: float) -> Judged:
    """Judges all decisions by a threshold."""
    answers, delays, reached = zip(*(decide(one, threshold) for one in heard), strict=True)
    early, delay, late = np.percentile(delays, (10, 50, 90)).tolist()
    right = float(np.mean(np.equal(answers, [one.truth for one in heard])))
    return Judged(threshold, right, delay, early, late, float(np.mean(reached)))


def tabulate(curves: Mapping[str, Sequence[Judged]]) -> list[Table]:
    """Tabulates the decisions of each test part."""
    columns = ("threshold", "right", "median delay, ms", "one in ten before", "one in ten after", "reached")
    tables = []
    for part, curve in curves.items():
        rows = [
            [f"{row.threshold:g}", f"{row.right:.1%}", *(f"{1000 * d:.0f}" for d in row[2:5]), f"{row.reached:.1%}"]
            for row in curve
        ]
        tables.append(Table(f"Decided on the way, {part}; delays after the end of the word", columns, rows))
    return tables


def draw(left: Axes, right: Axes, curves: Mapping[str, Sequence[Judged]]) -> None:
    """Draws accuracy against delay, and the delay that each threshold costs."""
    places = np.arange(len(THRESHOLDS))
    for (part, curve), colour in zip(curves.items(), (OURS, OTHER), strict=False):
        delays = 1000 * np.array([row[2:5] for row in curve])
        correct = 100 * np.array([row.right for row in curve])
        left.plot(delays[:, 0], correct, "o-", color=colour, lw=1.5, ms=4, label=part)
        for row in (0, 4, len(curve) - 1):
            left.annotate(
                f"{curve[row].threshold:g}",
                (delays[row, 0], correct[row]),
                (4, -11),
                textcoords="offset points",
                color=INK,
                fontsize=8,
            )
        right.fill_between(places, delays[:, 1], delays[:, 2], color=colour, alpha=0.15, lw=0)
        right.plot(places, delays[:, 0], "o-", color=colour, lw=1.5, ms=4, label=part)
    left.axvline(0, color=GREY, lw=0.8, ls=":")
    left.set(xlabel="median delay after the end of the word, ms", ylabel="decided correctly, %")
    left.set_title("Sooner or surer, by the threshold", fontsize=10, loc="left")
    left.legend(loc="center right", frameon=False, labelcolor=GREY)
    left.grid(color=PALE, lw=0.5)
    right.axhline(0, color=GREY, lw=0.8, ls=":")
    right.set_xticks(places, [f"{threshold:g}" for threshold in THRESHOLDS], fontsize=8, rotation=45)
    right.set(xlabel="threshold", ylabel="delay, ms")
    right.set_title("Delay: the median, and eight in ten", fontsize=10, loc="left")
    right.grid(axis="y", color=PALE, lw=0.5)
