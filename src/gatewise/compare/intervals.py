# SPDX-License-Identifier: Apache-2.0
"""The interval of a mean over a few seeds: Student's t, 95 %.

Of n scores with mean m and standard deviation s it is m +- t s / sqrt(n), t being the quantile 0.975 of Student's
distribution with n - 1 degrees of freedom (Student, "The probable error of a mean", Biometrika 6, 1908). It takes the
scores of seeds to be independent and near to normal. With three to five seeds it is wide, as it should be: the range
from the least to the greatest of three scores holds the true mean in three cases of four only. It knows no bounds: that
of an accuracy near 1 may reach beyond.

Where two such intervals do not overlap, a difference is called. That asks for more than a test at 5 % would: of two
equally good cells whose scores vary alike, intervals miss each other in less than 1 % of all cases (Schenker and
Gentleman, "On judging the significance of differences by examining the overlap between confidence intervals", The
American Statistician 55, 2001). With three cells in three tables that leaves room for the nine pairs that are looked
at. What varies from seed to seed is the first weights and the order of the batches; data and split stay (Bouthillier et
al., "Accounting for variance in machine learning benchmarks", 2021, arXiv 2103.03098, say what that leaves out).
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# The quantile 0.975 of Student's t for 1, 2, ... degrees of freedom: any table of it, as Fisher's (1925), Table IV
_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
FEWEST_SEEDS = 3
MOST_SEEDS = len(_T) + 1


class Interval(NamedTuple):
    """Where the mean over all seeds that there could be should lie."""

    low: float
    mean: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Says whether two intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


def interval(scores: Sequence[float]) -> Interval | None:
    """Finds the interval of the mean.

    Args:
        scores: one of each seed.

    Returns:
        The interval; None with fewer than three scores: two that happen to be equal, as accuracies may, would give
        one without width.

    Example:
        >>> [round(value, 4) for value in interval([0.80, 0.82, 0.84])]
        [0.7703, 0.82, 0.8697]
    """
    if len(scores) < FEWEST_SEEDS:
        return None
    mean = statistics.fmean(scores)
    half = _T[len(scores) - 2] * statistics.stdev(scores) / math.sqrt(len(scores))
    return Interval(mean - half, mean, mean + half)
