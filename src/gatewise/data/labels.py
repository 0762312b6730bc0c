# SPDX-License-Identifier: Apache-2.0
"""Names of classes as numbers, and back."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.checks import check_iterable, describe, is_missing, is_real, real_array
from gatewise.data.errors import list_some, shorten
from gatewise.data.saved import Saved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray


class Labels(Saved):
    """Numbers the classes of a classification 0, 1, ... in sorted order.

    Args:
        names: the classes, in the order of their numbers; without it, `adapt` learns them.

    Example:
        >>> labels = Labels().adapt(["pos", "neg", "pos"])
        >>> labels.names
        ['neg', 'pos']
        >>> labels(["pos", "neg"])
        array([1, 0], dtype=int32)
        >>> labels.decode([[0.9, 0.1], [0.2, 0.8]])  # a softmax layer's output
        ['neg', 'pos']
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.names = [] if names is None else _as_names("Labels", names)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        if len(self._numbers) < len(self.names):
            twice = sorted(name for name, count in Counter(self.names).items() if count > 1)
            raise ValueError(
                f"Labels: names repeat. Expected each class once; received {list_some(twice)} more than once. "
                "Remove the repetitions."
            )

    def adapt(self, labels: Iterable[str]) -> Self:
        """Learns which classes there are.

        Args:
            labels: the labels of the training part, one for each example.

        Returns:
            The object itself.

        Raises:
            TypeError: labels is one string, or a label is something else.
            ValueError: there are fewer than two classes, or a label is missing.
        """
        names = sorted(set(_as_names("Labels.adapt", labels)))
        if len(names) < 2:
            received = f"one, {shorten(names[0])}" if names else "none"
            raise ValueError(
                f"Labels.adapt: labels hold too few classes. Expected at least two; received {received}. "
                "A classifier has nothing to learn from one class: check which examples were read, and the column."
            )
        self.__init__(names)  # type: ignore[misc]  # from the start: nothing of an earlier adapt stays
        return self

    def __call__(self, labels: Iterable[str]) -> NDArray[np.int32]:
        """Gives the numbers of labels.

        Args:
            labels: one for each example, all of them classes that `adapt` saw.

        Returns:
            (batch,) int32.

        Raises:
            TypeError: labels is one string, or a label is something else.
            ValueError: a label is no class or missing, or nothing is learned yet.
        """
        self._check_learned("Labels")
        given = _as_names("Labels", labels)
        unseen = sorted(set(given) - self._numbers.keys())
        if unseen:
            raise ValueError(
                f"Labels: labels hold classes that training did not have. Expected one of {list_some(self.names)}; "
                f"received {list_some(unseen)}. Adapt on a training part that holds every class, or leave these "
                "examples out."
            )
        return np.array([self._numbers[label] for label in given], dtype=np.int32)

    def decode(self, numbers: ArrayLike) -> list[str]:
        """Gives the classes that a model predicts.

        Args:
            numbers: (batch,) whole numbers, or (batch, classes) scores, of which the highest counts.

        Returns:
            The names, one for each example.

        Raises:
            TypeError: it holds something else than real numbers.
            ValueError: the array has another shape, a number is NaN or no class, or nothing is learned yet.
        """
        self._check_learned("Labels.decode")
        expected = f"(batch,) whole numbers or (batch, classes={len(self.names)}) scores"
        array = real_array("Labels.decode", "numbers", numbers, expected)
        if array.ndim and np.isnan(array).any():
            raise ValueError(
                f"Labels.decode: numbers are NaN. Expected {expected}; received NaN in row "
                f"{int(np.argwhere(np.isnan(array))[0][0])}. Check whether training diverged, and the input."
            )
        if array.ndim == 2 and array.shape[1] == len(self.names):
            array = array.argmax(axis=1)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(
                f"Labels.decode: numbers has the wrong shape or type. Expected {expected}; received {array.shape} "
                f"{array.dtype}. For one sigmoid output, give (scores > 0.5).astype(int).ravel()."
            )
        if array.size and not (array.min() >= 0 and array.max() < len(self.names)):
            raise ValueError(
                f"Labels.decode: numbers hold no class. Expected 0 to {len(self.names) - 1}; received "
                f"{array.min()} to {array.max()}. Check that the model has one output for each class."
            )
        return [self.names[number] for number in array]

    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            The classes.
        """
        return {"names": list(self.names)}

    def _check_learned(self, caller: str) -> None:
        if not self.names:
            raise ValueError(
                f"{caller}: nothing is learned yet. Expected a call of adapt first; received none. Call "
                "labels.adapt(training_labels)."
            )


def _as_names(caller: str, labels: Any) -> list[str]:
    """Gives labels as text; what is missing is no label."""
    given = list(check_iterable(caller, "labels", labels, "a list of strings", "Wrap it in a list: [label]."))
    for place, label in enumerate(given):
        known = isinstance(label, str | np.generic | dt.date) or is_real(label) or is_missing(label)
        if isinstance(label, bytes) or not known:
            cure = (
                "Decode it: label.decode('utf-8')." if isinstance(label, bytes) else "Give one string for each example."
            )
            raise TypeError(f"{caller}: labels[{place}] is no label. Expected str; received {describe(label)}. {cure}")
        if is_missing(label):
            raise ValueError(
                f"{caller}: labels[{place}] is missing. Expected a label for each example; received {shorten(label)}. "
                "Leave such examples out."
            )
    return [str(label) for label in given]
