# SPDX-License-Identifier: Apache-2.0
"""Scaling of numbers, learned on the training part, applied to all, and undone on what a model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.errors import list_some
from gatewise.data.saved import Saved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

METHODS = ("standard", "minmax")


class Scaler(Saved):
    """Brings each feature to a common scale: `(x - shift) / scale`.

    What it learns from is all that it ever sees: give `adapt` the training part alone. Missing values (NaN) are left
    out when learning and stay NaN when scaling.

    Args:
        method: "standard": mean 0 and standard deviation 1; "minmax": 0 to 1.
        shift: (features,) of a scaling that is known; without it, `adapt` learns.
        scale: (features,), the same.

    Example:
        >>> scaler = Scaler().adapt([[1.0, 10.0], [3.0, 30.0]])
        >>> scaler([[2.0, 40.0]])
        array([[0., 2.]])
        >>> scaler.inverse([[0.0, 2.0]])
        array([[ 2., 40.]])
        >>> scaler.inverse([[2.0]], features=[1])  # a model that predicts the second feature alone
        array([[40.]])
    """

    def __init__(
        self, method: str = "standard", shift: ArrayLike | None = None, scale: ArrayLike | None = None
    ) -> None:
        if method not in METHODS:
            raise ValueError(
                f"Scaler: method is unknown. Expected one of {list_some(METHODS)}; received {method!r}. Choose one."
            )
        self.method = method
        self.shift = None if shift is None else np.asarray(shift, dtype=np.float64)
        self.scale = None if scale is None else np.asarray(scale, dtype=np.float64)

    def adapt(self, values: ArrayLike | Sequence[ArrayLike]) -> Self:
        """Learns shift and scale.

        Args:
            values: (..., features), of the training part: one array, or a list of arrays of several series.

        Returns:
            The object itself.

        Raises:
            ValueError: a feature has no value at all, or one is infinite.
        """
        rows = _rows(values)
        present = ~np.isnan(rows)
        empty = np.flatnonzero(~present.any(axis=0))
        if rows.shape[0] == 0 or empty.size:
            which = f"nothing in feature {empty.tolist()}" if rows.shape[0] else "an empty array"
            raise ValueError(
                f"Scaler.adapt: values are missing altogether. Expected at least one value in each feature; received "
                f"{which}. Leave such a feature out, or give a longer training part."
            )
        if np.isinf(rows).any():
            raise ValueError(
                "Scaler.adapt: values are infinite. Expected finite values, NaN where one is missing; received "
                f"infinity in feature {np.flatnonzero(np.isinf(rows).any(axis=0)).tolist()}. Clean the table first."
            )
        if self.method == "standard":
            self.shift, scale = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        else:
            self.shift = np.nanmin(rows, axis=0)
            scale = np.nanmax(rows, axis=0) - self.shift
        tiny = np.finfo(np.float64).eps * np.abs(self.shift)  # what rounding leaves of a constant's deviation
        self.scale = np.where(scale > tiny, scale, 1.0)  # a constant feature becomes 0
        return self

    def __call__(self, values: ArrayLike) -> NDArray[np.floating[Any]]:
        """Scales.

        Args:
            values: (..., features).

        Returns:
            The same shape; float32 stays float32, everything else becomes float64.
        """
        array, shift, scale = self._match("Scaler", values, None)
        return ((array - shift) / scale).astype(array.dtype, copy=False)

    def inverse(self, values: ArrayLike, features: Sequence[int] | None = None) -> NDArray[np.floating[Any]]:
        """Undoes the scaling.

        Args:
            values: (..., features), scaled.
            features: which of the features the last axis holds, by number; without it, all of them.

        Returns:
            The same shape, in the units of the data.
        """
        array, shift, scale = self._match("Scaler.inverse", values, features)
        return (array * scale + shift).astype(array.dtype, copy=False)

    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            Method, shift and scale.
        """
        return {
            "method": self.method,
            "shift": None if self.shift is None else self.shift.tolist(),
            "scale": None if self.scale is None else self.scale.tolist(),
        }

    def _match(
        self, caller: str, values: ArrayLike, features: Sequence[int] | None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.float64], NDArray[np.float64]]:
        if self.shift is None or self.scale is None:
            raise ValueError(
                f"{caller}: nothing is learned yet. Expected a call of adapt first; received values to scale. "
                "Call scaler.adapt(training_values)."
            )
        array = np.asarray(values)
        if array.dtype != np.float32:
            array = array.astype(np.float64)
        shift, scale = self.shift, self.scale
        if features is not None:
            shift, scale = shift[list(features)], scale[list(features)]
        if array.ndim == 0 or array.shape[-1] != shift.size:
            raise ValueError(
                f"{caller}: values have the wrong width. Expected (..., features={shift.size}), as adapt saw; received "
                f"{array.shape}. Give the same features in the same order."
            )
        return array, shift, scale


def _rows(values: Any) -> NDArray[np.float64]:
    """Puts the steps of one or several arrays below each other."""
    parts = list(values) if isinstance(values, list | tuple) and np.ndim(values[0] if values else 0) > 1 else [values]
    arrays = [np.asarray(part, dtype=np.float64) for part in parts]
    widths = {array.shape[-1] if array.ndim > 1 else None for array in arrays}
    if len(widths) != 1 or None in widths:
        raise ValueError(
            "Scaler.adapt: values have the wrong shape. Expected (..., features) of one width; received "
            f"{list_some(array.shape for array in arrays)}. For one feature, add an axis: values[:, None]."
        )
    return np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])
