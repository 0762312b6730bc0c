# SPDX-License-Identifier: Apache-2.0
"""What is timed: the sizes of a layer, its input, its mask and its weights, and how many operations it takes."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One run of one layer.

    Attributes:
        name: the workload, or the point of a curve: the row of the table.
        task: "inference" (all outputs), "step" (one step from a given state), "training" (forward, the loss
            sum(y * y), and the gradients of the input and of every weight), or "doubling" (of input and weights).
        mask: "none"; "padded": lengths spread evenly over [T / 3, T]; "holes": a third of the steps at random.
        variant: "plain" or one of `sections.VARIANTS`.
        cell: "GRU", "LSTM" or "SimpleRNN".
        layers: how many such layers stand on each other.
    """

    name: str
    task: str
    batch: int
    timesteps: int
    features: int
    units: int
    mask: str = "none"
    variant: str = "plain"
    cell: str = "GRU"
    layers: int = 1

    @property
    def key(self) -> str:
        """Names the case in files and tables."""
        return f"{self.task}/{self.name}/{self.mask}/{self.variant}/{self.cell}"

    @property
    def gates(self) -> int:
        """How many gates the cell has."""
        return {"GRU": 3, "LSTM": 4, "SimpleRNN": 1}[self.cell]

    @property
    def states(self) -> int:
        """How many states the cell has."""
        return 2 if self.cell == "LSTM" else 1

    @property
    def directions(self) -> int:
        """How many directions a layer reads its input in."""
        return 2 if self.variant == "bidirectional" else 1

    @property
    def reset_after(self) -> bool:
        """Where the reset gate acts, in Keras's words."""
        return self.variant != "reset before"

    def flops(self) -> int:
        """Counts multiplications and additions of the real steps; a training step is three times its forward pass."""
        mask = make_mask(self)
        steps = self.batch * self.timesteps if mask is None else int(mask.sum())
        depth = self.features + self.units + (self.layers - 1) * 2 * self.units
        forward = 2 * steps * self.gates * self.units * depth * self.directions
        return forward * (3 if self.task == "training" else 1)

    def as_json(self) -> dict[str, Any]:
        """The fields, for a process that times it."""
        return asdict(self)


# From the tutorials' toy to a batch of speech: batch, timesteps, features, units
SIZES: dict[str, tuple[int, int, int, int]] = {
    "quickstart": (32, 10, 5, 50),
    "sensor": (32, 100, 16, 64),
    "text": (64, 200, 128, 128),
    "speech": (32, 400, 80, 256),
    "large": (64, 100, 512, 512),
    "utterance": (1, 1000, 80, 256),
    "bigbatch": (512, 50, 64, 128),
}


def workloads(task: str, *others: dict[str, Any], cell: str = "GRU") -> list[Case]:
    """The seven workloads, each followed by its variants: the fields that differ."""
    plain = [Case(name, task, *sizes, cell=cell) for name, sizes in SIZES.items()]
    return [case for base in plain for case in (base, *(replace(base, **fields) for fields in others))]


def make_input(case: Case) -> Array:
    """Returns x (batch, timesteps, features), standard normal."""
    shape = (case.batch, case.timesteps, case.features)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def make_mask(case: Case) -> npt.NDArray[np.bool_] | None:
    """Returns a mask (batch, timesteps), True = valid, or None."""
    if case.mask == "none":
        return None
    if case.mask == "holes":
        return np.random.default_rng(1).random((case.batch, case.timesteps)) >= 1 / 3
    fractions = (np.arange(case.batch) + 0.5) / case.batch
    lengths = np.rint(case.timesteps * (1 + 2 * fractions) / 3)
    return np.arange(case.timesteps) < np.random.default_rng(1).permutation(lengths)[:, None]


def make_starts(case: Case) -> npt.NDArray[np.bool_] | None:
    """Returns boundaries (batch, timesteps) before every fiftieth step, or None."""
    return np.tile(np.arange(case.timesteps) % 50 == 0, (case.batch, 1)) if case.variant == "starts" else None


def make_weights(case: Case, layer: int = 0) -> tuple[Array, Array, Array]:
    """Returns kernel (F, GU), recurrent kernel (U, GU) and bias of a layer, as PyTorch would start them.

    The bias of a GRU has two rows, (2, GU), with `reset_after`; others are (GU,). Both directions have the same.
    """
    rng = np.random.default_rng(zlib.crc32(case.name.encode()) + layer)
    wide, bound = case.gates * case.units, case.units**-0.5
    biases = 2 if case.cell == "GRU" and case.reset_after else 1
    shapes = [(case.units if layer else case.features, wide), (case.units, wide), (2, wide) if biases == 2 else (wide,)]
    kernel, recurrent_kernel, bias = (rng.uniform(-bound, bound, shape).astype(np.float32) for shape in shapes)
    return kernel, recurrent_kernel, bias


def make_states(case: Case) -> Array:
    """Returns initial states (states, layers, batch, units) in (-1, 1)."""
    shape = (case.states, case.layers, case.batch, case.units)
    return np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)
