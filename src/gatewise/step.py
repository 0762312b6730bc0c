# SPDX-License-Identifier: Apache-2.0
"""One step of a GRU layer, again and again: what a stream needs, in microseconds a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise import _native
from gatewise.arrays import real_array
from gatewise.engine import activation_code
from gatewise.weights import GRUWeights

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


class GRUStep:
    """A layer that takes one step a call, for any number of independent rows. Its weights are packed once.

    The states are the caller's, so that rows may join, leave and be stored at will. A row gives the same bits in any
    batch, and the same as `gatewise.gru` gives for the whole sequence.

    Args:
        weights: the layer's. Their arrays must not change afterwards.
        activation: the candidate's: "tanh", "sigmoid", "relu", "linear" or "hard_sigmoid".
        recurrent_activation: the gates', likewise.

    Raises:
        TypeError: weights are no GRUWeights.
        ValueError: an activation is unknown.

    Example:
        >>> import gatewise, numpy as np
        >>> weights = gatewise.GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)), np.zeros((2, 12)))
        >>> step = gatewise.GRUStep(weights)
        >>> state = np.ones((1, 4), np.float32)
        >>> for x in np.zeros((3, 1, 5), np.float32):
        ...     state = step(x, state)
        >>> state  # halved three times
        array([[0.125, 0.125, 0.125, 0.125]], dtype=float32)
    """

    def __init__(self, weights: GRUWeights, *, activation: str = "tanh", recurrent_activation: str = "sigmoid") -> None:
        if not isinstance(weights, GRUWeights):
            raise TypeError(
                f"GRUStep: weights has the wrong type. Expected gatewise.GRUWeights; received "
                f"{type(weights).__name__}. Make one of the layer's arrays: GRUWeights(kernel, recurrent_kernel, bias)."
            )
        self.features, self.units = weights.features, weights.units
        self._run: Callable[..., Any] = _native.Step(
            kernel=weights.kernel,
            recurrent_kernel=weights.recurrent_kernel,
            bias=weights.bias,
            reset_after=weights.reset_after,
            activation=activation_code("GRUStep", "activation", activation),
            recurrent_activation=activation_code("GRUStep", "recurrent_activation", recurrent_activation),
        ).run

    def __call__(self, x: npt.ArrayLike, state: npt.ArrayLike, out: Array | None = None) -> Array:
        """Takes one step.

        Float32 C-contiguous arrays are read in place; other strides and real dtypes are copied first.

        Args:
            x: (rows, features), the rows' next inputs.
            state: (rows, units), their states.
            out: (rows, units), float32, C-contiguous: where the next states go; it may be `state` itself. Or None.

        Returns:
            The next states, (rows, units), float32: `out` if that is given, else a new array.

        Raises:
            TypeError: an array does not hold real numbers, or `out` is not a float32 array.
            ValueError: an array has the wrong shape.
        """
        result: Array | None = self._run(x, state, out)
        return self._convert_and_run(x, state, out) if result is None else result

    def _convert_and_run(self, x: npt.ArrayLike, state: npt.ArrayLike, out: Any) -> Array:
        hint = "Give one row a batch axis of 1: x[None]."
        inputs = real_array("GRUStep", "x", x, ("rows", ("features", self.features)), np.float32, rank_hint=hint)
        shape = (("rows", len(inputs)), ("units", self.units))
        states = real_array("GRUStep", "state", state, shape, np.float32, rank_hint=hint)
        if out is not None:
            out = self._check_out(out, shape)
        result: Array = self._run(inputs, states, out)
        return result

    def _check_out(self, out: Any, shape: tuple[tuple[str, int], ...]) -> Array:
        if not isinstance(out, np.ndarray) or out.dtype != np.float32 or not out.flags.carray:
            raise TypeError(
                f"GRUStep: out cannot be written to. Expected a float32, C-contiguous, writeable numpy array; received "
                f"{f'one of {out.dtype}' if isinstance(out, np.ndarray) else type(out).__name__}. "
                "Make it by np.empty((rows, units), np.float32)."
            )
        return real_array("GRUStep", "out", out, shape, np.float32)  # `out` itself
