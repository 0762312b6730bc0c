# SPDX-License-Identifier: Apache-2.0
"""Scaling of numbers, learned on the training part, applied to all, and undone on what a model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.checks import check_choice, describe, is_whole, real_array
from gatewise.data.errors import list_some, shorten
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
        scale: (features,), the same, without 0.

    Raises:
        TypeError: shift or scale hold something else than real numbers.
        ValueError: method is unknown, or shift and scale do not fit.

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
        check_choice("Scaler", "method", method, METHODS)
        self.method = method
        self.shift: NDArray[np.float64] | None = None
        self.scale: NDArray[np.float64] | None = None
        if shift is not None or scale is not None:
            self.shift, self.scale = _check_known(shift, scale)

    def adapt(self, values: ArrayLike | Sequence[ArrayLike]) -> Self:
        """Learns shift and scale.

        Args:
            values: (..., features), of the training part: one array, or a list of arrays of several series.

        Returns:
            The object itself.

        Raises:
            TypeError: values are no real numbers: a `TimeSeries`, of which series.values are wanted, or dates or text.
            ValueError: a feature has no value at all, or one is infinite, or too large.
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
        with np.errstate(over="ignore", invalid="ignore"):  # said below
            if self.method == "standard":
                shift, scale = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
            else:
                shift = np.nanmin(rows, axis=0)
                scale = np.nanmax(rows, axis=0) - shift
        large = np.flatnonzero(~np.isfinite(shift + scale))
        if large.size:
            raise ValueError(
                "Scaler.adapt: values are too large. Expected sums of squares that float64 can hold; received up to "
                f"{np.nanmax(np.abs(rows[:, large])):g} in feature {large.tolist()}. Divide them first, or use "
                "Scaler('minmax')."
            )
        tiny = np.finfo(np.float64).eps * np.abs(shift)  # what rounding leaves of a constant's deviation
        self.shift, self.scale = shift, np.where(scale > tiny, scale, 1.0)  # a constant feature becomes 0
        return self

    def __call__(self, values: ArrayLike) -> NDArray[np.floating[Any]]:
        """Scales.

        Args:
            values: (..., features).

        Returns:
            The same shape; float32 stays float32, everything else becomes float64.

        Raises:
            TypeError: values are no real numbers.
            ValueError: the width is another, nothing is learned yet, or a value is too large to be scaled.
        """
        array, shift, scale = self._match("Scaler", values, None)
        with np.errstate(over="ignore", invalid="ignore"):  # said below
            return held("Scaler", array, ((array - shift) / scale).astype(array.dtype, copy=False))

    def inverse(self, values: ArrayLike, features: Sequence[int] | None = None) -> NDArray[np.floating[Any]]:
        """Undoes the scaling.

        Args:
            values: (..., features), scaled.
            features: which of the features the last axis holds, by number (`series.columns` gives that of a name);
                without it, all of them.

        Returns:
            The same shape, in the units of the data.

        Raises:
            TypeError: values or features are no numbers.
            ValueError: the width is another, there is no such feature, or a value is too large.
        """
        array, shift, scale = self._match("Scaler.inverse", values, features)
        with np.errstate(over="ignore", invalid="ignore"):  # said below
            return held("Scaler.inverse", array, (array * scale + shift).astype(array.dtype, copy=False))

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
        array = real_array(caller, "values", values, "(..., features)")
        if array.dtype != np.float32:
            array = array.astype(np.float64)
        shift, scale = self.shift, self.scale
        if features is not None:
            chosen = _check_features(caller, features, shift.size)
            shift, scale = shift[chosen], scale[chosen]
        if array.ndim == 0 or array.shape[-1] != shift.size:
            raise ValueError(
                f"{caller}: values have the wrong width. Expected (..., features={shift.size}), as adapt saw; received "
                f"{array.shape}. Give the same features in the same order."
            )
        return array, shift, scale


def held(caller: str, values: NDArray[Any], found: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Returns what was found of finite values, if all of it is finite.

    Raises:
        ValueError: some is not.
    """
    lost = ~np.isfinite(found)
    if lost.any() and (lost := lost & np.isfinite(values)).any():
        place = np.argwhere(lost)[0].tolist()
        raise ValueError(
            f"{caller}: values are too large. Expected results that {found.dtype} can hold; received "
            f"{values[tuple(place)]:g} at {place}. Check the units: they are those that adapt saw."
        )
    return found


def _check_known(shift: Any, scale: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Checks a scaling that is known."""
    if shift is None or scale is None:
        raise ValueError(
            f"Scaler: {'shift' if shift is None else 'scale'} is missing. Expected shift and scale, or neither; "
            "received one of them. Give both, or call adapt."
        )
    arrays = [
        real_array("Scaler", name, value, "(features,)").astype(np.float64)
        for name, value in (("shift", shift), ("scale", scale))
    ]
    if (
        arrays[0].ndim != 1
        or arrays[0].shape != arrays[1].shape
        or np.asarray(shift).dtype == np.bool_
        or np.asarray(scale).dtype == np.bool_
        or not np.isfinite(arrays).all()
        or not arrays[1].all()
    ):
        raise ValueError(
            f"Scaler: shift and scale do not fit. Expected (features,) finite numbers each, scale without 0; received "
            f"{shorten(arrays[0].tolist())} and {shorten(arrays[1].tolist())}. Give what get_config gave."
        )
    return arrays[0], arrays[1]


def _check_features(caller: str, features: Any, size: int) -> list[int]:
    """Checks numbers of features; -1 is the last."""
    if isinstance(features, str) or not np.iterable(features) or not all(map(is_whole, features)):
        raise TypeError(
            f"{caller}: features are no numbers. Expected whole numbers from 0 to {size - 1}; received "
            f"{describe(features)}. Of names, give series.columns(['...'])."
        )
    outside = [number for number in features if not -size <= number < size]
    if outside:
        raise ValueError(
            f"{caller}: features are out of range. Expected 0 to {size - 1}; received {list_some(outside)}. "
            "Give those that adapt saw."
        )
    return [int(number) for number in features]


def _rows(values: Any) -> NDArray[np.float64]:
    """Puts the steps of one or several arrays below each other."""
    several = isinstance(values, list | tuple) and len(values) > 0 and _rank(values[0]) > 1
    parts = list(values) if several else [values]
    arrays = [real_array("Scaler.adapt", "values", part, "(..., features)").astype(np.float64) for part in parts]
    widths = {array.shape[-1] if array.ndim > 1 else None for array in arrays}
    if len(widths) != 1 or widths & {None, 0}:
        raise ValueError(
            "Scaler.adapt: values have the wrong shape. Expected (..., features) of one width; received "
            f"{list_some(array.shape for array in arrays)}. For one feature, add an axis: values[:, None]."
        )
    return np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])


def _rank(value: Any) -> int:
    try:
        return np.ndim(value)
    except ValueError:  # rows of different length
        return 0
