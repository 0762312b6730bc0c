# SPDX-License-Identifier: Apache-2.0
"""The order of the rows: a seed's batches, the same for every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def batches(rows: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yields batches without end, cut from one shuffle of the rows after the other.

    All have the same size, and no row comes up more often than another by more than one.

    Args:
        rows: how many there are.
        size: of a batch, at most `rows`.
        seed: what decides the order, and nothing else does.

    Yields:
        (size,) int64, the rows of a batch.

    Example:
        >>> found = batches(rows=3, size=2, seed=0)
        >>> sorted(np.concatenate([next(found) for _ in range(3)]).tolist())
        [0, 0, 1, 1, 2, 2]
    """
    random = np.random.default_rng(seed)
    waiting = np.empty(0, np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, random.permutation(rows)])
        yield waiting[:size]
        waiting = waiting[size:]


def steps_an_epoch(rows: int, size: int) -> int:
    """Says how many batches make an epoch: as many as see about as many rows as there are.

    Example:
        >>> steps_an_epoch(100, 32)
        3
    """
    return max(1, round(rows / size))
