# SPDX-License-Identifier: Apache-2.0
"""Forecasts of many steps by a model that gives few: it reads its own forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.data.checks import any_array, check_whole, describe, real_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

_KNOWN = "(batch, horizon, features - targets)"


def roll_forward(
    predict: Callable[..., ArrayLike],
    x: ArrayLike,
    horizon: int,
    known: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Forecasts step after step.

    Args:
        predict: from x, (batch, history, features), and mask, (batch, history), if one is given, to the next steps,
            (batch, steps, targets); the targets are the first features.
        x: (batch, history, features) float32, as `last_window` gives it.
        horizon: how many steps to forecast.
        known: (batch, horizon, features - targets) of features that are known of the future, such as the calendar's.
        mask: (batch, history) bool, True where a step was measured; what is forecast counts as measured.

    Returns:
        (batch, horizon, targets) float32.

    Raises:
        TypeError: x or known hold something else than real numbers, or horizon is no whole number.
        ValueError: a shape does not fit.

    Example:
        >>> x = np.array([[[1.0], [2.0], [4.0]]], dtype=np.float32)
        >>> roll_forward(lambda x: 2 * x[:, -1:], x, horizon=3).ravel()
        array([ 8., 16., 32.], dtype=float32)
    """
    x = real_array("roll_forward", "x", x, "(batch, history, features)")
    horizon = check_whole("roll_forward", "horizon", horizon)
    if x.ndim != 3:
        raise ValueError(
            "roll_forward: x has the wrong rank. Expected (batch, history, features); received "
            f"{x.shape}. For one series, add an axis: x[None]."
        )
    ahead = real_array("roll_forward", "known", np.zeros((len(x), horizon, 0)) if known is None else known, _KNOWN)
    targets = x.shape[2] - (ahead.shape[2] if ahead.ndim == 3 else 0)
    if ahead.ndim != 3 or ahead.shape[:2] != (len(x), horizon) or targets < 1:
        raise ValueError(
            f"roll_forward: known has the wrong shape. Expected (batch={len(x)}, horizon={horizon}, fewer than "
            f"features={x.shape[2]}); received {ahead.shape}. Give one row for each step to forecast."
        )
    if mask is not None:
        mask = any_array("roll_forward", "mask", mask, "(batch, history) bool")
        if mask.shape != x.shape[:2] or mask.dtype != np.bool_:
            raise ValueError(
                f"roll_forward: mask does not fit. Expected (batch={len(x)}, history={x.shape[1]}) bool; received "
                f"{describe(mask)}. Give that of last_window."
            )
    x, ahead = x.astype(np.float32), ahead.astype(np.float32)
    history, done = x.shape[1], 0
    forecast = np.empty((len(x), horizon, targets), np.float32)
    while done < horizon:
        given = predict(x) if mask is None else predict(x, mask)
        given = real_array("roll_forward", "what predict gives", given, "(batch, steps, targets)").astype(np.float32)
        if given.ndim != 3 or given.shape[1] < 1 or (len(given), given.shape[2]) != (len(x), targets):
            cure = "Give known= for the features that are not forecast, or forecast them too."
            raise ValueError(
                f"roll_forward: predict gives the wrong shape. Expected (batch={len(x)}, steps, targets={targets}); "
                f"received {given.shape}. {cure}"
            )
        new = given[:, : horizon - done]
        steps = new.shape[1]
        forecast[:, done : done + steps] = new
        read = np.concatenate([new, ahead[:, done : done + steps]], axis=2)
        x = np.concatenate([x, read], axis=1)[:, -history:]
        if mask is not None:
            mask = np.concatenate([mask, np.ones((len(x), steps), np.bool_)], axis=1)[:, -history:]
        done += steps
    return forecast
