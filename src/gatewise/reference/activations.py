# SPDX-License-Identifier: Apache-2.0
"""The activations in float64, each with its derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


class Activation(NamedTuple):
    """A function, and its derivative as a function of its value."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    e: Array = np.exp(-np.abs(x))  # cannot overflow
    return np.where(x < 0, e, 1.0) / (1 + e)


ACTIVATIONS = {
    "tanh": Activation(np.tanh, lambda y: 1 - y * y),
    "sigmoid": Activation(_sigmoid, lambda y: y * (1 - y)),
    "relu": Activation(lambda x: np.maximum(x, 0), lambda y: np.where(y > 0, 1.0, 0.0)),
    "linear": Activation(lambda x: x, np.ones_like),
    "hard_sigmoid": Activation(lambda x: np.clip(x + 3, 0, 6) / 6, lambda y: np.where((y > 0) & (y < 1), 1 / 6, 0.0)),
}
