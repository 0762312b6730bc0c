# SPDX-License-Identifier: Apache-2.0
"""Planted rows and runs of a comparison, and a machine whose clocks stand still but for what a test says it does."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np

from gatewise.compare import Comparison
from gatewise.compare.clock import Clock
from gatewise.compare.data import prepare
from gatewise.compare.model import Made
from gatewise.compare.progress import Progress
from gatewise.compare.records import Records
from gatewise.compare.running import run_comparison
from gatewise.compare.score import default_score
from gatewise.compare.settings import Settings
from gatewise.compare.speed import OneStep
from gatewise.compare.table import Row
from gatewise.compare.trial import Point, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence


GOOD, FAIR, POOR = (0.90, 0.91, 0.92), (0.89, 0.91, 0.90), (0.70, 0.71, 0.69)


def trial(score: float | None, seed: int = 1, end: str = "no better") -> Trial:
    """A run whose best epoch has a score, the first of two; None: it diverged before it was judged."""
    if score is None:
        return Trial("", 8, None, seed, (), "diverged", 1.0)
    curve = (Point(10, 1.0, 0.5, 0.4, score), Point(20, 2.0, 0.4, 0.5, score / 2))
    return Trial("", 8, None, seed, curve, end, 1.0)


def row(cell: str, scores: Sequence[float | None], way: str = "units", **more: Any) -> Row:
    """A row of a table with a run for each score."""
    trials = tuple(trial(score, seed) for seed, score in enumerate(scores, 1))
    return Row(**{"units": 8, "rate": None, "parameters": 100, "one_step": OneStep(5e-6, 400), "trials": trials}
               | {"way": way, "cell": cell} | more)  # fmt: skip


def comparison(**more: object) -> Comparison:
    """A comparison of planted rows."""
    rows = (row("GRU", GOOD), row("LSTM", POOR), row("GRU", (None, 0.5, 0.5), "time"), row("LSTM", GOOD, "time"))
    settings = {"seeds": 3, "epochs": 7}
    return Comparison(**{  # type: ignore[arg-type]
        "score": "accuracy", "higher_is_better": True, "rows": rows, "left_out": ("No dessert.",), "about": "A test",
        "settings": settings, "seconds": 75.0, "machine": "an abacus",
    } | more)  # fmt: skip


class Machine:
    """A machine on which nothing takes time but steps of training, as many seconds as a cell says."""

    def __init__(self) -> None:
        self.seconds, self.steps = 0.0, 0
        self.seen: list[Any] = []  # the rows of each step
        self.stop_after: int | None = None
        self.slow, self.slower = range(0), 1.0  # which steps, and how much
        self.clock = Clock(wall=lambda: self.seconds, cpu=lambda: self.seconds / 2)

    def step(self, seconds: float, x: Any) -> None:
        """A step of training."""
        if self.stop_after is not None and self.steps >= self.stop_after:
            raise KeyboardInterrupt
        self.steps += 1
        self.seconds += seconds * (self.slower if self.steps in self.slow else 1)
        self.seen.append(x[:, 0, 0].tolist())


class State(np.ndarray):
    """An array that can be assigned to, as variables of Keras can."""

    def assign(self, value: Any) -> None:
        self[...] = value


class Line:
    """A model as `compare` sees one: a straight line through the steps, with gradients that NumPy finds.

    It costs nothing, and what it learns depends on its first weights and on the order of the batches.
    """

    def __init__(
        self, machine: Machine, seconds: float, shape: tuple[int, int], units: int, rate: float, seed: int
    ) -> None:
        self.kernel = np.random.default_rng([seed, units]).normal(size=shape).view(State)
        self.machine, self.seconds, self.units, self.rate = machine, seconds, units, rate
        self.layers = [SimpleNamespace(variables=[self.kernel])]
        self.optimizer = SimpleNamespace(build=lambda _: None, variables=[])
        self.trainable_variables = self.layers[0].variables

    def count_params(self) -> int:
        return 1000 * self.units

    def reset_metrics(self) -> None:
        pass

    def train_on_batch(self, x: Any, y: Any, return_dict: bool) -> dict[str, float]:
        assert return_dict
        self.machine.step(self.seconds, x)
        error = np.einsum("btf,tf->b", x, self.kernel) - y[:, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            self.kernel -= self.rate * np.einsum("b,btf->tf", error, x) / len(x)
            return {"loss": float(np.mean(error**2))}

    def test_on_batch(self, x: Any, y: Any, return_dict: bool) -> dict[str, float]:
        assert return_dict
        with np.errstate(over="ignore", invalid="ignore"):
            return {"loss": float(np.mean((np.einsum("btf,tf->b", x, self.kernel) - y[:, 0]) ** 2))}


class Lines:
    """Builds such models, in the place of `gatewise.compare.model.Builder`."""

    def __init__(self, machine: Machine, data: Any, seconds: dict[str, float]) -> None:
        self.machine, self.data, self.cells = machine, data, seconds

    def __call__(self, cell: str, units: int, rate: float | None, seed: int = 0) -> Made:
        shape = self.data.x.shape[1:]
        line = Line(self.machine, self.cells[cell], shape, units, 0.002 if rate is None else rate, seed)
        return Made(line, default_score(self.data.targets, 1))


def compared(data: Any, machine: Machine, seconds: dict[str, float], folder: Any = None, **more: Any) -> Comparison:
    """Compares cells that take so many seconds a step, as `gatewise.compare` does on a real machine."""
    chosen = {"units": 64, "ways": ("units",), "minutes": 10.0, "seeds": 2, "epochs": 3, "patience": 5}
    chosen |= {"batch_size": 4, "learning_rate": None, "tune": 0, "seed": 0}
    settings = Settings(**{**chosen, **more})
    prepared = prepare(data, task=None, split=None, validation=0.25, mask_value=None, mask_zero=None,
                       as_given=True, seed=0)  # fmt: skip
    with (
        Records(folder, {**dataclasses.asdict(settings), "data": prepared.digest()}) as records,
        mock.patch("gatewise.compare.bench.one_step", return_value=OneStep(5e-6, 400)),
    ):
        return run_comparison(
            cast("Any", Lines(machine, prepared, seconds)), settings, records, Progress(None), machine.clock
        )


def series(rows: int = 16) -> tuple[Any, Any]:
    """Sequences of one number a step, and their sums; each row begins with its own number, so that a test knows it."""
    x = np.random.default_rng(1).normal(size=(rows, 4, 1)).astype(np.float32)
    x[:, 0, 0] = np.arange(rows)
    return x, x[:, 1:].sum(axis=1)
