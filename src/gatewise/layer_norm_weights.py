# SPDX-License-Identifier: Apache-2.0
"""The weights of layers with layer normalisation, in Keras's layout; `reference/layer_norm.py` says what they mean.

Neither Keras nor PyTorch nor ONNX has such a layer of its own: there is no other layout to bring them to. What is
given and what is held is as in `GRUWeights`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.arrays import real_array
from gatewise.cells import Cell, gru
from gatewise.options import cut, flag
from gatewise.weights import Weights, read_only, times

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


class _LayerNorm:
    """What the weights of all layers with layer normalisation have in common."""

    gain: Array | None
    recurrent_gain: Array | None
    epsilon: float

    def __reduce__(self) -> tuple[Any, ...]:
        settings = self._settings()  # type: ignore[attr-defined]
        return type(self), (*(array for name, array in self.arrays().items() if name != "epsilon"), *settings.values())

    def arrays(self) -> dict[str, Array | None]:
        """The arrays, by the names that the engine has for them."""
        arrays: dict[str, Array | None] = super().arrays()  # type: ignore[misc]  # those of Weights
        of_norm = {name: getattr(self, name) for name in self.cell.row.weights}  # type: ignore[attr-defined]
        return arrays | of_norm | {"epsilon": np.array([self.epsilon], np.float32)}

    def _hold_all(
        self,
        kernel: npt.ArrayLike,
        recurrent_kernel: npt.ArrayLike,
        bias: npt.ArrayLike | None,
        epsilon: float,
        **of_norm: npt.ArrayLike | None,
    ) -> None:
        """Checks the arrays and takes them; `cell` is settled."""
        where = type(self).__name__
        object.__setattr__(self, "epsilon", above_zero(where, epsilon))
        self._hold(kernel, recurrent_kernel, bias)  # type: ignore[attr-defined]
        n, units = len(self.cell.row.gates), self.units  # type: ignore[attr-defined]
        for name, value in of_norm.items():
            axis = ("units", units) if name.startswith("state") else (times(n), n * units)
            array = None if value is None else real_array(where, name, value, (axis,), np.float32)
            object.__setattr__(self, name, None if array is None else read_only(array))


def above_zero(where: str, epsilon: Any) -> float:
    """Takes what is added to variances; ValueError, opened by `where`, if it is no finite number above 0.

    Example:
        >>> above_zero("LayerNormGRU", 0)
        Traceback (most recent call last):
        ValueError: LayerNormGRU: epsilon is out of range. Expected a finite number above 0; received 0. Leave it at
        0.001, Keras's.
    """
    is_number = isinstance(epsilon, float | int | np.floating | np.integer) and not isinstance(epsilon, bool)
    if not is_number or not math.isfinite(epsilon) or not np.float32(epsilon) > 0:
        raise ValueError(
            f"{where}: epsilon is out of range. Expected a finite number above 0; received {cut(repr(epsilon))}. "
            "Leave it at 0.001, Keras's."
        )
    return float(epsilon)


@dataclass(frozen=True, init=False, repr=False, eq=False)
class LayerNormGRUWeights(_LayerNorm, Weights):
    """Holds the weights of a GRU layer with layer normalisation, gates in the order z | r | h.

    Each gate's product with the inputs and each with the states is normalised over the units by itself; see
    `gatewise.keras.LayerNormGRU`.

    Args:
        kernel: (features, 3 * units), factors on the input.
        recurrent_kernel: (units, 3 * units), factors on the previous state.
        bias: (3 * units,), one a gate; or None for zeros.
        gain: (3 * units,), factors on the normalised products with the input; or None for ones.
        recurrent_gain: (3 * units,), factors on those with the previous state; or None for ones.
        reset_after: where the reset gate acts: on the normalised product of state and recurrent kernel (True), or on
            the state before the product (False).
        epsilon: what is added to variances, above 0.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array, or `reset_after` is not a bool.
        ValueError: an array has the wrong shape, or epsilon is not above 0.

    Example:
        >>> import numpy as np
        >>> LayerNormGRUWeights(np.zeros((5, 12)), np.zeros((4, 12)), gain=np.ones(12))
        LayerNormGRUWeights(features=5, units=4, bias=False, reset_after=True, epsilon=0.001)
    """

    gain: Array | None
    recurrent_gain: Array | None
    reset_after: bool
    epsilon: float

    def __init__(
        self,
        kernel: npt.ArrayLike,
        recurrent_kernel: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        gain: npt.ArrayLike | None = None,
        recurrent_gain: npt.ArrayLike | None = None,
        reset_after: bool = True,
        epsilon: float = 1e-3,
    ) -> None:
        reset_after = flag("LayerNormGRUWeights", "reset_after", reset_after, "Pass the trained layer's own.")
        object.__setattr__(self, "reset_after", reset_after)
        self._hold_all(kernel, recurrent_kernel, bias, epsilon, gain=gain, recurrent_gain=recurrent_gain)

    @property
    def cell(self) -> Cell:
        """The cell that these are the weights of."""
        return gru(reset_after=self.reset_after, layer_norm=True)

    def _settings(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after, "epsilon": self.epsilon}


@dataclass(frozen=True, init=False, repr=False, eq=False)
class LayerNormLSTMWeights(_LayerNorm, Weights):
    """Holds the weights of an LSTM layer with layer normalisation, gates in the order i | f | g | o.

    Each gate's product with the inputs and each with the states is normalised over the units by itself, and so is the
    new c on its way to h; see `gatewise.keras.LayerNormLSTM`.

    Args:
        kernel: (features, 4 * units), factors on the input.
        recurrent_kernel: (units, 4 * units), factors on the previous state h.
        bias: (4 * units,), one a gate; or None for zeros.
        gain: (4 * units,), factors on the normalised products with the input; or None for ones.
        recurrent_gain: (4 * units,), factors on those with the previous state; or None for ones.
        state_gain: (units,), factors on the normalised c; or None for ones.
        state_bias: (units,), what is added to those; or None for zeros.
        epsilon: what is added to variances, above 0.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array.
        ValueError: an array has the wrong shape, or epsilon is not above 0.

    Example:
        >>> import numpy as np
        >>> LayerNormLSTMWeights(np.zeros((5, 16)), np.zeros((4, 16)), np.zeros(16))
        LayerNormLSTMWeights(features=5, units=4, bias=True, epsilon=0.001)
    """

    gain: Array | None
    recurrent_gain: Array | None
    state_gain: Array | None
    state_bias: Array | None
    epsilon: float

    def __init__(
        self,
        kernel: npt.ArrayLike,
        recurrent_kernel: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        gain: npt.ArrayLike | None = None,
        recurrent_gain: npt.ArrayLike | None = None,
        state_gain: npt.ArrayLike | None = None,
        state_bias: npt.ArrayLike | None = None,
        epsilon: float = 1e-3,
    ) -> None:
        of_norm = {"gain": gain, "recurrent_gain": recurrent_gain, "state_gain": state_gain, "state_bias": state_bias}
        self._hold_all(kernel, recurrent_kernel, bias, epsilon, **of_norm)

    @property
    def cell(self) -> Cell:
        """The cell that these are the weights of."""
        return Cell.LAYER_NORM_LSTM

    def _settings(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}
