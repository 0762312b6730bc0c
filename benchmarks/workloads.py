# SPDX-License-Identifier: Apache-2.0
"""The seven layers that every benchmark runs: from the tutorials' toy to a batch of speech."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Workload(NamedTuple):
    """The sizes of a layer and its input."""

    name: str
    batch: int
    timesteps: int
    features: int
    units: int


WORKLOADS = (
    Workload("quickstart", 32, 10, 5, 50),
    Workload("sensor", 32, 100, 16, 64),
    Workload("text", 64, 200, 128, 128),
    Workload("speech", 32, 400, 80, 256),
    Workload("large", 64, 100, 512, 512),
    Workload("utterance", 1, 1000, 80, 256),
    Workload("bigbatch", 512, 50, 64, 128),
)


def make_input(workload: Workload) -> npt.NDArray[np.float32]:
    """Returns x (batch, timesteps, features), standard normal."""
    shape = (workload.batch, workload.timesteps, workload.features)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def make_mask(workload: Workload) -> npt.NDArray[np.bool_]:
    """Returns a mask (batch, timesteps): padding on the right, lengths spread evenly over [T / 3, T]."""
    fractions = (np.arange(workload.batch) + 0.5) / workload.batch
    lengths = np.rint(workload.timesteps * (1 + 2 * fractions) / 3)
    return np.arange(workload.timesteps) < np.random.default_rng(1).permutation(lengths)[:, None]
