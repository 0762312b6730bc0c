# SPDX-License-Identifier: Apache-2.0
"""The score that cells are compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewise.compare.targets import Targets


class Score(NamedTuple):
    """A number for each state of training, of the validation rows.

    Attributes:
        name: what it is called.
        key: what it is made of, of all that Keras measures.
        higher_is_better: which way it goes.
        scale: of numbers, what 1 stands for in y's own unit.
    """

    name: str
    key: str
    higher_is_better: bool
    scale: float = 1.0

    def of(self, measured: Mapping[str, float]) -> float:
        """Gives the score."""
        value = float(measured[self.key])
        return float(np.sqrt(value)) * self.scale if self.name == "RMSE" else value


def default_score(targets: Targets, width: int) -> Score:
    """Gives the score where `compare` compiles the model: accuracy, or the root mean square error in y's own unit."""
    metric = targets.loss(width)[1]
    if metric is None:
        return Score("RMSE", "loss", higher_is_better=False, scale=targets.spread)
    return Score("accuracy", metric, higher_is_better=True)


def own_score(measured: Mapping[str, float]) -> Score:
    """Gives the score where the caller has compiled the model: its accuracy if it has one, else its loss.

    Example:
        >>> own_score({"loss": 0.5, "top_5_accuracy": 0.9}).name
        'top_5_accuracy'
    """
    key = next((name for name in measured if name.endswith(("accuracy", "acc"))), None)
    return Score(key, key, higher_is_better=True) if key else Score("loss", "loss", higher_is_better=False)
