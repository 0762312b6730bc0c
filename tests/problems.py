# SPDX-License-Identifier: Apache-2.0
"""A small layer to compute: its arrays, masks, dropout factors and output gradients, the same at every call."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 5, 2, 3

# By kind of padding; None has none.
MASKS: dict[str, list[list[int]] | None] = {
    "none": None,
    "right": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]],
    "left": [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]],
    "holes": [[1, 0, 1, 0, 1], [0, 1, 0, 0, 1], [1, 1, 0, 1, 0], [0, 0, 1, 0, 0]],
    "empty_row": [[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]],
}


def make_arrays(*, reset_after: bool = True, use_bias: bool = True, initial_state: bool = True) -> dict[str, Array]:
    """The arrays under the names of their arguments; those unwanted are left out."""
    rng = np.random.default_rng(20)
    arrays = {
        "x": rng.normal(size=(BATCH, TIMESTEPS, FEATURES)),
        "kernel": rng.normal(size=(FEATURES, 3 * UNITS)),
        "recurrent_kernel": rng.normal(size=(UNITS, 3 * UNITS)) / np.sqrt(UNITS),
        "bias": rng.normal(size=(2, 3 * UNITS) if reset_after else 3 * UNITS),
        "initial_state": rng.normal(size=(BATCH, UNITS)),
    }
    unwanted = {"bias": not use_bias, "initial_state": not initial_state}
    return {name: array for name, array in arrays.items() if not unwanted.get(name)}


def make_dropout(masks: int, width: int) -> Array:
    """Factors as dropout's, zeros among them, but of many sizes, so that one in the wrong place shows."""
    rng = np.random.default_rng(21)
    return rng.uniform(0.5, 2, size=(masks, BATCH, width)) * (rng.random((masks, BATCH, width)) < 0.7)


def output_gradients() -> tuple[Array, Array]:
    """Gradients for the outputs and for the state."""
    rng = np.random.default_rng(22)
    return rng.normal(size=(BATCH, TIMESTEPS, UNITS)), rng.normal(size=(BATCH, UNITS))
