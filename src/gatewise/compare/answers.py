# SPDX-License-Identifier: Apache-2.0
"""What is to be found, y, as an array of numbers or of names: whatever kind of names it came with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.checks import is_missing, is_real
from gatewise.options import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray


def answers(y: NDArray[Any], name: str) -> NDArray[Any]:
    """Brings objects, NumPy's own strings and points in time to numbers or names, where they are such.

    Args:
        y: of any dtype.
        name: opens the error.

    Returns:
        y itself if it holds numbers, str or bytes; else an array of those, or of objects that can be sorted.

    Raises:
        TypeError: it holds values that cannot be sorted, or of several kinds.
        ValueError: some are missing.

    Example:
        >>> answers(np.array(["yes", "no"], dtype=object), "y")
        array(['yes', 'no'], dtype='<U3')
    """
    if y.dtype.kind in "mM":
        _refuse_missing(np.isnat(y).ravel(), name)
        return y.astype(str)
    if y.dtype.kind not in "OT":
        return y
    values = y.ravel().tolist()
    _refuse_missing([is_missing(value) for value in values], name)
    if values and any(all(isinstance(value, kind) for value in values) for kind in (str, bytes)):
        return np.array(values).reshape(y.shape)
    if all(map(is_real, values)):
        numbers = np.array(values)
        return (numbers.astype(np.float64) if numbers.dtype.kind == "O" else numbers).reshape(y.shape)
    try:
        np.unique(y)
    except TypeError as error:
        received = ", ".join(sorted({type(value).__name__ for value in values}))
        raise TypeError(
            f"compare: {name} holds values that cannot be sorted into classes. Expected numbers, or names of one kind, "
            f"as numpy.unique takes them; received {cut(received)}. Name each class by a str."
        ) from error
    return y


def _refuse_missing(missing: Any, name: str) -> None:
    count = int(np.count_nonzero(missing))
    if count:
        raise ValueError(
            f"compare: {name} has classes that are missing. Expected one for each row; received {count:,} that are "
            "None, NaN or the like. Leave these rows out, or name the class that they are."
        )
