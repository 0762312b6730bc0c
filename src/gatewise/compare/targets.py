# SPDX-License-Identifier: Apache-2.0
"""What is to be found: classes, labels or numbers, at the end or at every step; with its head and its loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.options import cut, one_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

TASKS = ("classes", "labels", "numbers")


@dataclass(frozen=True)
class Targets:
    """The kind of y.

    Attributes:
        task: "classes", of which one is right; "labels", each of which is or is not; "numbers".
        outputs: how many classes, labels or numbers there are.
        each_step: whether there is an answer at every step.
        values: the classes in y's own words, in the order of their numbers; none for one-hot rows.
        one_hot: whether a class is a row with a 1 in its place.
        mean, spread: of the numbers in training, which the model's are relative to.
        as_given: whether y goes to the loss as it is.
    """

    task: str
    outputs: int
    each_step: bool = False
    values: tuple[Any, ...] = ()
    one_hot: bool = False
    mean: float = 0.0
    spread: float = 1.0
    as_given: bool = False

    @property
    def head(self) -> tuple[int, str]:
        """Units and activation of the last layer."""
        if self.task == "classes":
            return (1, "sigmoid") if self.outputs == 2 else (self.outputs, "softmax")
        return self.outputs, "sigmoid" if self.task == "labels" else "linear"

    def loss(self, width: int) -> tuple[str, str | None]:
        """The loss, and the metric of the score, of a model with so many outputs."""
        if self.task == "numbers":
            return "mse", None
        if self.task == "labels" or width == 1:
            return "binary_crossentropy", "binary_accuracy"
        form = "categorical" if self.one_hot and self.as_given else "sparse_categorical"
        return f"{form}_crossentropy", f"{form}_accuracy"

    def fitted(self, y: NDArray[Any]) -> Targets:
        """Learns mean and spread of the training numbers."""
        if self.task != "numbers" or self.as_given:
            return self
        with np.errstate(over="ignore", invalid="ignore"):
            mean, spread = float(y.mean()), float(y.std()) or 1.0
        if not math.isfinite(mean) or not math.isfinite(spread):
            raise ValueError(
                f"compare: y is too large to be scaled. Expected numbers whose squares {y.dtype} can hold; received up "
                f"to {np.abs(y).max():.0e}. Give it in another unit."
            )
        return replace(self, mean=mean, spread=spread)

    def __call__(self, y: NDArray[Any]) -> NDArray[Any]:
        """Brings y into the form that the loss takes."""
        if self.as_given:
            return y
        if self.task == "classes":
            numbers = y.argmax(axis=-1) if self.one_hot else self._numbered(y)
            return numbers.reshape(*numbers.shape[: 1 + self.each_step], 1).astype(np.int32)
        y = y.reshape(len(y), -1) if y.ndim < 3 else y
        return ((y - self.mean) / self.spread).astype(np.float32) if self.task == "numbers" else y.astype(np.float32)

    def _numbered(self, y: NDArray[Any]) -> NDArray[Any]:
        """Gives each class the number that it has among all."""
        if y.dtype.kind != "O":
            return np.searchsorted(np.array(self.values), y)
        places = {value: place for place, value in enumerate(self.values)}
        return np.array([places[value] for value in y.ravel()]).reshape(y.shape)


def targets_of(
    y: NDArray[Any], y_val: NDArray[Any] | None, timesteps: int, task: str | None, as_given: bool
) -> Targets:
    """Finds out what kind y is of.

    Args:
        y: (rows,), (rows, outputs), or at every step (rows, timesteps) of classes or (rows, timesteps, outputs), as
            `answers` brings it.
        y_val: likewise, for validation; None where those are picked of y.
        timesteps: those of x.
        task: one of `TASKS`; None: whole numbers, words, one-hot rows and what is 0 or 1 throughout are classes;
            several whole numbers of 0 or 1 a row are labels; everything else is numbers.
        as_given: whether y goes to the loss as it is.

    Raises:
        TypeError: y holds something else.
        ValueError: it does not fit the task.

    Example:
        >>> targets_of(np.array([3, 1, 1]), None, timesteps=5, task=None, as_given=False).values
        (1, 3)
    """
    if task is not None:
        one_of("compare", "task", task, TASKS)
    if y.dtype.kind not in "biufUSO":
        raise TypeError(
            f"compare: y has the wrong type. Expected numbers or class names; received {y.dtype}. Convert it."
        )
    if as_given and y.dtype.kind in "USO":
        raise TypeError(
            "compare: y names classes, and the model that build makes is given y as it is. Expected numbers; received "
            f"{cut(repr(y.flat[0]))}. Number the classes: numpy.unique(y, return_inverse=True)."
        )
    each_step = y.ndim == 3 or (y.ndim == 2 and y.shape[1] == timesteps > 1 and y.dtype.kind in "biuUSO")
    each_step = each_step and task != "labels" if y.ndim == 2 else each_step
    if y.ndim == 3 and y.shape[1] != timesteps:
        raise ValueError(
            f"compare: y has other steps than x. Expected (rows, {timesteps}, outputs); received {y.shape}. For an "
            "answer at the end of each row give (rows, outputs)."
        )
    width = 1 if y.ndim == 1 or (y.ndim == 2 and each_step) else y.shape[-1]
    whole = np.concatenate([one.reshape(-1, width) for one in ((y,) if y_val is None else (y, y_val))])
    truths = y.dtype.kind not in "USO" and bool(np.isin(whole, (0, 1)).all())
    one_hot = truths and width > 1 and bool((whole.sum(axis=1) == 1).all())
    task = task or _looks_like(y, width, truths, one_hot)
    _check(y, task, width, truths, one_hot)
    if task == "classes":
        values = () if one_hot else tuple(np.unique(whole).tolist())
        outputs = width if one_hot else len(values)
        if outputs < 2:
            raise ValueError(f"compare: y has one class, {cut(repr(values[0]))}. Expected two or more. Check y.")
        return Targets(task, outputs, each_step, values, one_hot, as_given=as_given)
    return Targets(task, width, each_step, as_given=as_given)


def _looks_like(y: NDArray[Any], width: int, truths: bool, one_hot: bool) -> str:
    if one_hot or (width == 1 and (truths or y.dtype.kind != "f")):
        return "classes"
    return "labels" if truths and y.dtype.kind != "f" else "numbers"


def _check(y: NDArray[Any], task: str, width: int, truths: bool, one_hot: bool) -> None:
    fits = {"classes": width == 1 or one_hot, "labels": truths, "numbers": y.dtype.kind not in "USO"}
    if not fits[task]:
        expected = {"classes": "one class a row or one-hot rows", "labels": "0 or 1", "numbers": "numbers"}[task]
        raise ValueError(
            f"compare: y does not fit task={task!r}. Expected {expected}; received {y.shape} of {y.dtype}. Choose "
            "another task, or convert y."
        )
