# SPDX-License-Identifier: Apache-2.0
"""Forecasts of many steps by a model that gives few: it reads its own forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray


def roll_forward(
    predict: Callable[..., ArrayLike],
    x: NDArray[np.float32],
    horizon: int,
    known: ArrayLike | None = None,
    mask: NDArray[np.bool_] | None = None,
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
        ValueError: a shape does not fit.

    Example:
        >>> x = np.array([[[1.0], [2.0], [4.0]]], dtype=np.float32)
        >>> roll_forward(lambda x: 2 * x[:, -1:], x, horizon=3).ravel()
        array([ 8., 16., 32.], dtype=float32)
    """
    if x.ndim != 3 or horizon < 1:
        raise ValueError(
            "roll_forward: x or horizon does not fit. Expected (batch, history, features) and at least 1; received "
            f"{x.shape} and {horizon}. For one series, add an axis: x[None]."
        )
    ahead = np.zeros((len(x), horizon, 0), np.float32) if known is None else np.asarray(known, dtype=np.float32)
    targets = x.shape[2] - (ahead.shape[2] if ahead.ndim == 3 else 0)
    if ahead.ndim != 3 or ahead.shape[:2] != (len(x), horizon) or targets < 1:
        raise ValueError(
            f"roll_forward: known has the wrong shape. Expected (batch={len(x)}, horizon={horizon}, fewer than "
            f"features={x.shape[2]}); received {ahead.shape}. Give one row for each step to forecast."
        )
    history, done = x.shape[1], 0
    forecast = np.empty((len(x), horizon, targets), np.float32)
    while done < horizon:
        given = np.asarray(predict(x) if mask is None else predict(x, mask), dtype=np.float32)
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
