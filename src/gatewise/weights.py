# SPDX-License-Identifier: Apache-2.0
"""The weights of a GRU layer, checked once, and their layouts in other frameworks.

| framework | order of the gates                  | matrices               | bias            |
|-----------|-------------------------------------|------------------------|-----------------|
| Keras     | z r h (update, reset, candidate)    | (F, 3U) and (U, 3U)    | (2, 3U) or (3U,)|
| PyTorch   | r z n (its z and n are our z and h) | (3U, F) and (3U, U)    | two of (3U,)    |
| ONNX      | z r h                               | (1, 3U, F), (1, 3U, U) | (1, 6U)         |

F = features, U = units. Keras's layout is ours. The biases are the input's and the recurrent one; Keras has the
input's alone if `reset_after` is False. In all three the new state is z * h_prev + (1 - z) * h_tilde: a conversion
moves numbers, and changes none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.arrays import real_array
from gatewise.options import cut, flag

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


class TorchWeights(NamedTuple):
    """The parameters of one direction of one layer of `torch.nn.GRU`, under PyTorch's names."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None


class OnnxWeights(NamedTuple):
    """The inputs and the attribute of a forward ONNX `GRU` node, under ONNX's names."""

    W: Array
    R: Array
    B: Array | None
    linear_before_reset: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class GRUWeights:
    """Holds the weights of a GRU layer in Keras's layout, gates in the order z | r | h (update, reset, candidate).

    Whatever `numpy.asarray` takes may be given, but for masked arrays. A C-contiguous float32 array is held in place,
    so that later writes to it show here; other real dtypes and strides are copied, and rounded to float32. What is held
    is read-only.

    Args:
        kernel: (features, 3 * units), factors on the input.
        recurrent_kernel: (units, 3 * units), factors on the previous state.
        bias: (2, 3 * units), input and recurrent, if `reset_after`, else (3 * units,); or None for zeros.
        reset_after: where the reset gate acts: on the product of state and recurrent kernel (True, Keras's default and
            the cell of PyTorch and cuDNN), or on the state before it (False, the cell of arXiv 1406.1078 v3).

    Raises:
        TypeError: an array does not hold real numbers or is a masked array, or `reset_after` is not a bool.
        ValueError: an array has the wrong shape.

    Example:
        >>> import numpy as np
        >>> weights = GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)), np.zeros((2, 12)))
        >>> weights
        GRUWeights(features=5, units=4, bias=True, reset_after=True)
        >>> weights.kernel.dtype, weights.kernel.flags.writeable
        (dtype('float32'), False)
        >>> GRUWeights(np.zeros((5, 13)), np.zeros((4, 12)))
        Traceback (most recent call last):
        ValueError: GRUWeights: kernel has the wrong shape. Expected (features, 3 * units=12); received (5, 13). Check
        the last axis.
    """

    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    reset_after: bool

    def __init__(
        self,
        kernel: npt.ArrayLike,
        recurrent_kernel: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        reset_after: bool = True,
    ) -> None:
        where = "GRUWeights"
        reset_after = flag(where, "reset_after", reset_after, "Pass the trained layer's own.")
        recurrent = real_array(where, "recurrent_kernel", recurrent_kernel, ("units", "3 * units"), np.float32)
        units = len(recurrent)
        _check_three_gates(where, "recurrent_kernel", "(units, 3 * units)", recurrent.shape, recurrent.T.shape)
        gates = ("3 * units", 3 * units)
        inputs = real_array(where, "kernel", kernel, ("features", gates), np.float32)
        _check_features(where, "kernel", f"(features, 3 * units={gates[1]})", inputs.shape, 0)
        biases = None
        if bias is not None:
            axes = (("input and recurrent", 2), gates) if reset_after else (gates,)
            hint = f"With reset_after={bool(reset_after)} a bias has rank {len(axes)}: check that option too."
            biases = real_array(where, "bias", bias, axes, np.float32, rank_hint=hint)
        object.__setattr__(self, "kernel", _read_only(inputs))
        object.__setattr__(self, "recurrent_kernel", _read_only(recurrent))
        object.__setattr__(self, "bias", None if biases is None else _read_only(biases))
        object.__setattr__(self, "reset_after", bool(reset_after))

    @property
    def features(self) -> int:
        """The width of the input."""
        return len(self.kernel)

    @property
    def units(self) -> int:
        """The width of the state."""
        return len(self.recurrent_kernel)

    def __repr__(self) -> str:
        sizes = f"features={self.features}, units={self.units}"
        return f"GRUWeights({sizes}, bias={self.bias is not None}, reset_after={self.reset_after})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles pass through the constructor: on the way, NumPy forgets that an array is read-only.
        return type(self), (self.kernel, self.recurrent_kernel, self.bias, self.reset_after)

    @classmethod
    def from_torch(
        cls,
        weight_ih: npt.ArrayLike,
        weight_hh: npt.ArrayLike,
        bias_ih: npt.ArrayLike | None = None,
        bias_hh: npt.ArrayLike | None = None,
    ) -> GRUWeights:
        """Makes weights of the parameters of one direction of one layer of `torch.nn.GRU`, or of a `torch.nn.GRUCell`.

        PyTorch's formulas (https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html) are `reset_after=True`'s.

        Args:
            weight_ih: (3 * units, features), gates r | z | n.
            weight_hh: (3 * units, units), likewise.
            bias_ih: (3 * units,), likewise; or None, as with `bias=False`.
            bias_hh: (3 * units,), likewise; None exactly if `bias_ih` is.

        Returns:
            The weights, in arrays of their own.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array.
            ValueError: an array has the wrong shape, or one bias is given without the other.

        Example:
            >>> import numpy as np
            >>> GRUWeights.from_torch(np.zeros((12, 5)), np.zeros((12, 4)), np.zeros(12), np.zeros(12))
            GRUWeights(features=5, units=4, bias=True, reset_after=True)
        """
        where = "GRUWeights.from_torch"
        recurrent = real_array(where, "weight_hh", _detached(weight_hh), ("3 * units", "units"), np.float32)
        _check_three_gates(where, "weight_hh", "(3 * units, units)", recurrent.shape, recurrent.shape)
        gates = ("3 * units", len(recurrent))
        inputs = real_array(where, "weight_ih", _detached(weight_ih), (gates, "features"), np.float32)
        _check_features(where, "weight_ih", f"(3 * units={gates[1]}, features)", inputs.shape, 1)
        if (bias_ih is None) != (bias_hh is None):
            missing, given = ("bias_ih", "bias_hh") if bias_ih is None else ("bias_hh", "bias_ih")
            raise ValueError(
                f"{where}: {missing} is missing. Expected both biases or neither; received {given} alone. "
                f"Pass {missing} too."
            )
        biases = None
        if bias_ih is not None and bias_hh is not None:
            pair = (("bias_ih", bias_ih), ("bias_hh", bias_hh))
            arrays = [real_array(where, name, _detached(bias), (gates,), np.float32) for name, bias in pair]
            biases = np.stack([_swap_first_gates(array) for array in arrays])
        return cls(_swap_first_gates(inputs).T, _swap_first_gates(recurrent).T, biases, reset_after=True)

    def to_torch(self) -> TorchWeights:
        """Lays the weights out as `torch.nn.GRU` stores them, in writable arrays of their own.

        Returns:
            weight_ih (3 * units, features), weight_hh (3 * units, units), bias_ih and bias_hh (3 * units,) or None,
            float32, gates r | z | n.

        Raises:
            ValueError: the weights belong to `reset_after=False`, a cell that PyTorch does not have.

        Example:
            >>> import numpy as np
            >>> GRUWeights(np.zeros((5, 12)), np.zeros((4, 12))).to_torch().weight_ih.shape
            (12, 5)
        """
        if not self.reset_after:
            raise ValueError(
                "GRUWeights.to_torch: PyTorch has no such cell. Expected reset_after=True; received reset_after=False. "
                "Train with reset_after=True, or use ONNX, which has both cells."
            )
        bias_ih, bias_hh = (None, None) if self.bias is None else map(_swap_first_gates, self.bias)
        inputs, recurrent = _swap_first_gates(self.kernel.T), _swap_first_gates(self.recurrent_kernel.T)
        return TorchWeights(inputs, recurrent, bias_ih, bias_hh)

    @classmethod
    def from_onnx(
        cls, W: npt.ArrayLike, R: npt.ArrayLike, B: npt.ArrayLike | None = None, linear_before_reset: int = 0
    ) -> GRUWeights:
        """Makes weights of the inputs of an ONNX `GRU` node of one direction.

        ONNX's formulas (https://onnx.ai/onnx/operators/onnx__GRU.html) with `linear_before_reset` are `reset_after`'s.

        Args:
            W: (1, 3 * units, features), gates z | r | h.
            R: (1, 3 * units, units), likewise.
            B: (1, 6 * units), the gates' input biases, then their recurrent biases; or None for zeros.
            linear_before_reset: the node's attribute, 0 or 1; 0 where it has none.

        Returns:
            The weights, in arrays of their own. The cell of `linear_before_reset=0` only ever adds a gate's two biases:
            it gets their sum.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array.
            ValueError: an array has the wrong shape, the node has two directions, or `linear_before_reset` is another
                number.

        Example:
            >>> import numpy as np
            >>> GRUWeights.from_onnx(np.zeros((1, 12, 5)), np.zeros((1, 12, 4)), np.zeros((1, 24)))
            GRUWeights(features=5, units=4, bias=True, reset_after=False)
        """
        where = "GRUWeights.from_onnx"
        given: Any = linear_before_reset
        if not isinstance(given, int | np.integer) or given not in {0, 1}:
            raise ValueError(
                f"{where}: linear_before_reset is out of range. Expected 0 or 1; received {cut(repr(given))}. "
                "Pass the node's attribute, an integer."
            )
        one = ("directions", 1)
        recurrent = real_array(where, "R", R, (one, "3 * units", "units"), np.float32)
        _check_three_gates(where, "R", "(directions=1, 3 * units, units)", recurrent.shape, recurrent.shape[1:])
        gates, units = recurrent.shape[1:]
        inputs = real_array(where, "W", W, (one, ("3 * units", gates), "features"), np.float32)
        _check_features(where, "W", f"(directions=1, 3 * units={gates}, features)", inputs.shape, 2)
        biases = None
        if B is not None:
            biases = real_array(where, "B", B, (one, ("6 * units", 6 * units)), np.float32).reshape(2, gates)
            biases = biases.copy() if linear_before_reset else biases.sum(axis=0)
        return cls(inputs[0].T.copy(), recurrent[0].T.copy(), biases, reset_after=bool(linear_before_reset))

    def to_onnx(self) -> OnnxWeights:
        """Lays the weights out as an ONNX `GRU` node takes them, in writable arrays of their own.

        Returns:
            W (1, 3 * units, features), R (1, 3 * units, units), B (1, 6 * units) or None, float32, gates z | r | h, and
            `linear_before_reset`. With `reset_after=False` the recurrent half of B is zeros.

        Example:
            >>> import numpy as np
            >>> node = GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)), np.zeros((2, 12))).to_onnx()
            >>> node.W.shape, node.R.shape, node.B.shape, node.linear_before_reset
            ((1, 12, 5), (1, 12, 4), (1, 24), 1)
        """
        biases = None
        if self.bias is not None:
            recurrent_bias = self.bias[1] if self.reset_after else np.zeros_like(self.bias)
            input_bias = self.bias[0] if self.reset_after else self.bias
            biases = np.concatenate([input_bias, recurrent_bias])[None]
        inputs, recurrent = self.kernel.T.copy()[None], self.recurrent_kernel.T.copy()[None]
        return OnnxWeights(inputs, recurrent, biases, int(self.reset_after))


def require_weights(where: str, weights: Any) -> GRUWeights:
    """Takes weights; TypeError, opened by `where`, if they are none, or those of another copy of gatewise."""
    if isinstance(weights, GRUWeights):
        return weights
    kind = type(weights)
    if kind.__name__ == GRUWeights.__name__:
        code = getattr(kind.__init__, "__code__", None)
        raise TypeError(
            f"{where}: weights belong to another copy of gatewise. Expected {GRUWeights.__module__}.GRUWeights as it "
            f"was imported here, from {__file__}; received {kind.__module__}.GRUWeights of another import, from "
            f"{getattr(code, 'co_filename', 'elsewhere')}. Import gatewise once: start Python again after a reload, "
            "and keep one copy on sys.path."
        )
    raise TypeError(
        f"{where}: weights has the wrong type. Expected gatewise.GRUWeights; received {kind.__name__}. "
        "Make one of the layer's arrays: GRUWeights(kernel, recurrent_kernel, bias)."
    )


def _check_three_gates(where: str, name: str, expected: str, received: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    """Raises unless `sizes`, of the gates and of the units, are three to one."""
    gates, units = sizes
    if units < 1 or gates != 3 * units:
        raise ValueError(
            f"{where}: {name} has the wrong shape. Expected {expected} with units >= 1; received {received}. "
            "Check that it holds all three gates."
        )


def _check_features(where: str, name: str, expected: str, received: tuple[int, ...], axis: int) -> None:
    """Raises unless there is at least one feature."""
    if not received[axis]:
        raise ValueError(
            f"{where}: {name} has no features. Expected {expected} with features >= 1; received {received}. "
            f"Check axis {axis}."
        )


def _read_only(array: Array) -> Array:
    """Returns a view, so that the caller's own array stays writable."""
    view = array.view()
    view.flags.writeable = False
    return view


def _swap_first_gates(array: Array) -> Array:
    """Turns r | z | n into z | r | h along the first axis, and back, in a new C-contiguous array."""
    first, second, candidate = np.split(array, 3)
    return np.ascontiguousarray(np.concatenate([second, first, candidate]))


def _detached(value: Any) -> Any:
    """Returns what becomes an array: a torch parameter refuses to while it tracks gradients, or is of bfloat16."""
    value = value.detach() if hasattr(value, "detach") else value
    return value.float() if str(getattr(value, "dtype", "")) == "torch.bfloat16" else value
