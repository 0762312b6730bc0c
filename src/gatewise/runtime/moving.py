# SPDX-License-Identifier: Apache-2.0
"""The operations that move numbers and change none, in NumPy; what computes runs natively."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[Any]


def _slice(given: list[Array], o: dict[str, Any]) -> Array:
    before = (slice(None),) * (o["axis"] % given[0].ndim)
    return given[0][(*before, slice(o["start"], o["stop"], o["step"]))]


def _pad(given: list[Array], o: dict[str, Any]) -> Array:
    widths = [(0, 0)] * given[0].ndim
    widths[o["axis"]] = (o["before"], o["after"])
    return np.pad(given[0], widths)


MOVES: dict[str, Callable[[list[Array], dict[str, Any]], Array]] = {
    "concatenate": lambda g, o: np.concatenate(g, o["axis"]),
    "reshape": lambda g, o: g[0].reshape(len(g[0]), *o["shape"]),
    "permute": lambda g, o: g[0].transpose(0, *o["axes"]),
    "repeat": lambda g, o: np.repeat(g[0][:, None], o["times"], axis=1),
    "slice": _slice,
    "take": lambda g, o: np.take(g[0], o["index"], axis=o["axis"]),
    "expand": lambda g, o: np.expand_dims(g[0], o["axis"]),
    "reverse": lambda g, o: np.flip(g[0], o["axis"]),
    "fold": lambda g, _: g[0].reshape(-1, *g[0].shape[2:]),
    "unfold": lambda g, _: g[0].reshape(*g[1].shape[:2], *g[0].shape[1:]),
    "pad": _pad,
    "upsample": lambda g, o: np.repeat(g[0], o["times"], axis=1),
    "not": lambda g, _: np.logical_not(g[0]),
    "broadcast": lambda g, o: np.broadcast_to(g[0], (*g[1].shape[: o["axes"]], *g[0].shape[o["axes"] :])),
    "lengths": lambda g, _: np.broadcast_to(np.arange(g[1].shape[1]) < g[0][:, None], g[1].shape[:2]),
}
