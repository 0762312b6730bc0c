# SPDX-License-Identifier: Apache-2.0
"""The weights of a layer, checked once, and their layouts in other frameworks.

|         | gates: of a GRU                     | of an LSTM | matrices, of G gates   | bias                       |
|---------|-------------------------------------|------------|------------------------|----------------------------|
| Keras   | z r h (update, reset, candidate)    | i f g o    | (F, GU) and (U, GU)    | (GU,), or (2, GU) of a GRU |
| PyTorch | r z n (its z and n are our z and h) | i f g o    | (GU, F) and (GU, U)    | two of (GU,)               |
| ONNX    | z r h                               | i o f c    | (1, GU, F), (1, GU, U) | (1, 2GU)                   |

F = features, U = units. Keras's layout is ours. Where there are two biases, they are the input's and the recurrent one;
Keras has both of a GRU with `reset_after` alone. All three have the same formulas, in a GRU the new state is z * h_prev
+ (1 - z) * h_tilde: a conversion moves numbers, and changes none, but for adding two biases that only stand in a sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from gatewise.arrays import real_array
from gatewise.cells import Cell, gru
from gatewise.operands import facts
from gatewise.options import cut, flag

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


class TorchWeights(NamedTuple):
    """The parameters of one direction of one layer of a recurrent module of PyTorch, under its names."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None


class OnnxWeights(NamedTuple):
    """The inputs of a forward recurrent ONNX node, under ONNX's names."""

    W: Array
    R: Array
    B: Array | None


class OnnxGRUWeights(NamedTuple):
    """The inputs and the attribute of a forward ONNX `GRU` node, under ONNX's names."""

    W: Array
    R: Array
    B: Array | None
    linear_before_reset: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Weights:
    """Holds the weights of a recurrent layer in Keras's layout, gates in the cell's order; see its subclasses.

    Whatever `numpy.asarray` takes may be given, but for masked arrays. A C-contiguous float32 array is held in place,
    so that later writes to it show here; other real dtypes and strides are copied, and rounded to float32. What is held
    is read-only.
    """

    kernel: Array
    recurrent_kernel: Array
    bias: Array | None

    @property
    def cell(self) -> Cell:
        """The cell that these are the weights of."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        """The width of the input."""
        return len(self.kernel)

    @property
    def units(self) -> int:
        """The width of the state."""
        return len(self.recurrent_kernel)

    def __repr__(self) -> str:
        settings = "".join(f", {name}={value}" for name, value in self._settings().items())
        sizes = f"features={self.features}, units={self.units}, bias={self.bias is not None}"
        return f"{type(self).__name__}({sizes}{settings})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles pass through the constructor: on the way, NumPy forgets that an array is read-only.
        return type(self), (self.kernel, self.recurrent_kernel, self.bias, *self._settings().values())

    def arrays(self) -> dict[str, Array | None]:
        """The arrays, by the names that the engine has for them."""
        return {"kernel": self.kernel, "recurrent_kernel": self.recurrent_kernel, "bias": self.bias}

    def _settings(self) -> dict[str, Any]:
        """What the constructor takes besides the arrays."""
        return {}

    def _hold(self, kernel: npt.ArrayLike, recurrent_kernel: npt.ArrayLike, bias: npt.ArrayLike | None) -> None:
        """Checks the arrays and takes them; `cell` is settled."""
        where, n = type(self).__name__, len(self.cell.row.gates)
        of_gates = times(n)
        recurrent = real_array(where, "recurrent_kernel", recurrent_kernel, ("units", of_gates), np.float32)
        units = len(recurrent)
        _check_gates(where, "recurrent_kernel", f"(units, {of_gates})", recurrent.shape, recurrent.T.shape, n)
        gates = (of_gates, n * units)
        inputs = real_array(where, "kernel", kernel, ("features", gates), np.float32)
        _check_features(where, "kernel", f"(features, {of_gates}={gates[1]})", inputs.shape, 0)
        biases = None
        if bias is not None:
            axes = (("input and recurrent", 2), gates) if facts(self.cell).recurrent_bias else (gates,)
            settings = ", ".join(f"{name}={value}" for name, value in self._settings().items())
            hint = f"With {settings} a bias has rank {len(axes)}: check that option too." if settings else ""
            biases = real_array(where, "bias", bias, axes, np.float32, rank_hint=hint or _RANK_HINT)
        for name, array in (("kernel", inputs), ("recurrent_kernel", recurrent), ("bias", biases)):
            object.__setattr__(self, name, None if array is None else read_only(array))


@dataclass(frozen=True, init=False, repr=False, eq=False)
class GRUWeights(Weights):
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

    reset_after: bool

    def __init__(
        self,
        kernel: npt.ArrayLike,
        recurrent_kernel: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        reset_after: bool = True,
    ) -> None:
        reset_after = flag("GRUWeights", "reset_after", reset_after, "Pass the trained layer's own.")
        object.__setattr__(self, "reset_after", reset_after)
        self._hold(kernel, recurrent_kernel, bias)

    @property
    def cell(self) -> Cell:
        """The cell that these are the weights of."""
        return gru(reset_after=self.reset_after)

    def _settings(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after}

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
        inputs, recurrent, biases = _from_torch(
            "GRUWeights.from_torch", Cell.GRU, weight_ih, weight_hh, bias_ih, bias_hh
        )
        return cls(inputs, recurrent, biases)

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
        return _to_torch(self)

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
        after = bool(linear_before_reset)
        return cls(*_from_onnx(where, gru(reset_after=after), W, R, B), reset_after=after)

    def to_onnx(self) -> OnnxGRUWeights:
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
        return OnnxGRUWeights(*_to_onnx(self), linear_before_reset=int(self.reset_after))


@dataclass(frozen=True, init=False, repr=False, eq=False)
class LSTMWeights(Weights):
    """Holds the weights of an LSTM layer in Keras's layout, gates in the order i | f | g | o.

    These are the input gate, the forget gate, the candidate and the output gate. What may be given and what is held is
    as in `GRUWeights`.

    Args:
        kernel: (features, 4 * units), factors on the input.
        recurrent_kernel: (units, 4 * units), factors on the previous state h.
        bias: (4 * units,), or None for zeros.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array.
        ValueError: an array has the wrong shape.

    Example:
        >>> import numpy as np
        >>> LSTMWeights(np.zeros((5, 16)), np.zeros((4, 16)), np.zeros(16))
        LSTMWeights(features=5, units=4, bias=True)
    """

    def __init__(
        self, kernel: npt.ArrayLike, recurrent_kernel: npt.ArrayLike, bias: npt.ArrayLike | None = None
    ) -> None:
        self._hold(kernel, recurrent_kernel, bias)

    @property
    def cell(self) -> Cell:
        """The cell that these are the weights of."""
        return Cell.LSTM

    @classmethod
    def from_torch(
        cls,
        weight_ih: npt.ArrayLike,
        weight_hh: npt.ArrayLike,
        bias_ih: npt.ArrayLike | None = None,
        bias_hh: npt.ArrayLike | None = None,
    ) -> LSTMWeights:
        """Makes weights of the parameters of one direction of one layer of `torch.nn.LSTM`, or of an `LSTMCell`.

        PyTorch's formulas: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html.

        Args:
            weight_ih: (4 * units, features), gates i | f | g | o.
            weight_hh: (4 * units, units), likewise. A layer with `proj_size` has another width.
            bias_ih: (4 * units,), likewise; or None, as with `bias=False`.
            bias_hh: (4 * units,), likewise; None exactly if `bias_ih` is. The two only ever stand in one sum, and the
                weights hold that.

        Returns:
            The weights, in arrays of their own.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array.
            ValueError: an array has the wrong shape, or one bias is given without the other.

        Example:
            >>> import numpy as np
            >>> LSTMWeights.from_torch(np.zeros((16, 5)), np.zeros((16, 4)), np.zeros(16), np.zeros(16))
            LSTMWeights(features=5, units=4, bias=True)
        """
        return cls(*_from_torch("LSTMWeights.from_torch", Cell.LSTM, weight_ih, weight_hh, bias_ih, bias_hh))

    def to_torch(self) -> TorchWeights:
        """Lays the weights out as `torch.nn.LSTM` stores them, in writable arrays of their own.

        Returns:
            weight_ih (4 * units, features), weight_hh (4 * units, units), bias_ih and bias_hh (4 * units,) or None,
            float32, gates i | f | g | o. bias_hh is zeros.

        Example:
            >>> import numpy as np
            >>> LSTMWeights(np.zeros((5, 16)), np.zeros((4, 16))).to_torch().weight_ih.shape
            (16, 5)
        """
        return _to_torch(self)

    @classmethod
    def from_onnx(
        cls, W: npt.ArrayLike, R: npt.ArrayLike, B: npt.ArrayLike | None = None, P: npt.ArrayLike | None = None
    ) -> LSTMWeights:
        """Makes weights of the inputs of an ONNX `LSTM` node of one direction.

        ONNX's formulas: https://onnx.ai/onnx/operators/onnx__LSTM.html.

        Args:
            W: (1, 4 * units, features), gates i | o | f | c.
            R: (1, 4 * units, units), likewise.
            B: (1, 8 * units), the gates' input biases, then their recurrent biases, of which the weights hold the sums;
                or None for zeros.
            P: peepholes, (1, 3 * units), or None: the engine has none, so that they must be zeros.

        Returns:
            The weights, in arrays of their own.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array.
            ValueError: an array has the wrong shape, the node has two directions, or a peephole is not zero.

        Example:
            >>> import numpy as np
            >>> LSTMWeights.from_onnx(np.zeros((1, 16, 5)), np.zeros((1, 16, 4)), np.zeros((1, 32)))
            LSTMWeights(features=5, units=4, bias=True)
        """
        where = "LSTMWeights.from_onnx"
        inputs, recurrent, biases = _from_onnx(where, Cell.LSTM, W, R, B)
        if P is not None:
            units = recurrent.shape[0]
            peepholes = real_array(where, "P", P, (("directions", 1), ("3 * units", 3 * units)), np.float32)
            if np.any(peepholes):
                raise ValueError(
                    f"{where}: P holds peepholes, which the engine has not. Expected None or zeros; received "
                    f"{np.count_nonzero(peepholes)} numbers that are not zero. Train the model without peepholes."
                )
        return cls(inputs, recurrent, biases)

    def to_onnx(self) -> OnnxWeights:
        """Lays the weights out as an ONNX `LSTM` node takes them, in writable arrays of their own.

        Returns:
            W (1, 4 * units, features), R (1, 4 * units, units), B (1, 8 * units) or None, float32, gates i | o | f | c.
            The recurrent half of B is zeros.

        Example:
            >>> import numpy as np
            >>> LSTMWeights(np.zeros((5, 16)), np.zeros((4, 16)), np.zeros(16)).to_onnx().B.shape
            (1, 32)
        """
        return _to_onnx(self)


@dataclass(frozen=True, init=False, repr=False, eq=False)
class SimpleRNNWeights(Weights):
    """Holds the weights of a simple recurrent layer, h = activation(x K + b + h_prev R).

    What may be given and what is held is as in `GRUWeights`.

    Args:
        kernel: (features, units), factors on the input.
        recurrent_kernel: (units, units), factors on the previous state.
        bias: (units,), or None for zeros.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array.
        ValueError: an array has the wrong shape.

    Example:
        >>> import numpy as np
        >>> SimpleRNNWeights(np.zeros((5, 4)), np.zeros((4, 4)))
        SimpleRNNWeights(features=5, units=4, bias=False)
    """

    def __init__(
        self, kernel: npt.ArrayLike, recurrent_kernel: npt.ArrayLike, bias: npt.ArrayLike | None = None
    ) -> None:
        self._hold(kernel, recurrent_kernel, bias)

    @property
    def cell(self) -> Cell:
        """The cell that these are the weights of."""
        return Cell.SIMPLE_RNN

    @classmethod
    def from_torch(
        cls,
        weight_ih: npt.ArrayLike,
        weight_hh: npt.ArrayLike,
        bias_ih: npt.ArrayLike | None = None,
        bias_hh: npt.ArrayLike | None = None,
    ) -> SimpleRNNWeights:
        """Makes weights of the parameters of one direction of one layer of `torch.nn.RNN`, or of an `RNNCell`.

        PyTorch's formula: https://docs.pytorch.org/docs/stable/generated/torch.nn.RNN.html.

        Args:
            weight_ih: (units, features).
            weight_hh: (units, units).
            bias_ih: (units,), or None, as with `bias=False`.
            bias_hh: (units,); None exactly if `bias_ih` is. The weights hold the sum of the two.

        Returns:
            The weights, in arrays of their own.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array.
            ValueError: an array has the wrong shape, or one bias is given without the other.

        Example:
            >>> import numpy as np
            >>> SimpleRNNWeights.from_torch(np.zeros((4, 5)), np.zeros((4, 4)))
            SimpleRNNWeights(features=5, units=4, bias=False)
        """
        where = "SimpleRNNWeights.from_torch"
        return cls(*_from_torch(where, Cell.SIMPLE_RNN, weight_ih, weight_hh, bias_ih, bias_hh))

    def to_torch(self) -> TorchWeights:
        """Lays the weights out as `torch.nn.RNN` stores them, in writable arrays of their own.

        Returns:
            weight_ih (units, features), weight_hh (units, units), bias_ih and bias_hh (units,) or None, float32.
            bias_hh is zeros.

        Example:
            >>> import numpy as np
            >>> SimpleRNNWeights(np.zeros((5, 4)), np.zeros((4, 4))).to_torch().weight_ih.shape
            (4, 5)
        """
        return _to_torch(self)

    @classmethod
    def from_onnx(cls, W: npt.ArrayLike, R: npt.ArrayLike, B: npt.ArrayLike | None = None) -> SimpleRNNWeights:
        """Makes weights of the inputs of an ONNX `RNN` node of one direction.

        ONNX's formula: https://onnx.ai/onnx/operators/onnx__RNN.html.

        Args:
            W: (1, units, features).
            R: (1, units, units).
            B: (1, 2 * units), the input bias, then the recurrent one, of which the weights hold the sum; or None.

        Returns:
            The weights, in arrays of their own.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array.
            ValueError: an array has the wrong shape, or the node has two directions.

        Example:
            >>> import numpy as np
            >>> SimpleRNNWeights.from_onnx(np.zeros((1, 4, 5)), np.zeros((1, 4, 4)), np.zeros((1, 8)))
            SimpleRNNWeights(features=5, units=4, bias=True)
        """
        return cls(*_from_onnx("SimpleRNNWeights.from_onnx", Cell.SIMPLE_RNN, W, R, B))

    def to_onnx(self) -> OnnxWeights:
        """Lays the weights out as an ONNX `RNN` node takes them, in writable arrays of their own.

        Returns:
            W (1, units, features), R (1, units, units), B (1, 2 * units) or None, float32. The recurrent half of B is
            zeros.

        Example:
            >>> import numpy as np
            >>> SimpleRNNWeights(np.zeros((5, 4)), np.zeros((4, 4)), np.zeros(4)).to_onnx().B.shape
            (1, 8)
        """
        return _to_onnx(self)


# --- Layouts of others: gates along the first axis, in an order of their own ---


def _from_torch(
    where: str, cell: Cell, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any
) -> tuple[Array, Array, Array | None]:
    """Brings PyTorch's parameters to Keras's layout."""
    n = len(cell.row.gates)
    of_gates, places = times(n), cell.row.torch
    recurrent = real_array(where, "weight_hh", _detached(weight_hh), (of_gates, "units"), np.float32)
    _check_gates(where, "weight_hh", f"({of_gates}, units)", recurrent.shape, recurrent.shape, n)
    gates = (of_gates, len(recurrent))
    inputs = real_array(where, "weight_ih", _detached(weight_ih), (gates, "features"), np.float32)
    _check_features(where, "weight_ih", f"({of_gates}={gates[1]}, features)", inputs.shape, 1)
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
        biases = _one_bias(cell, np.stack([in_order(array, places) for array in arrays]))
    return in_order(inputs, places).T, in_order(recurrent, places).T, biases


def _to_torch(weights: Weights) -> TorchWeights:
    """Brings weights to PyTorch's layout; a cell that adds its two biases gets zeros for the second."""
    places = _inverse(weights.cell.row.torch)
    inputs, recurrent = in_order(weights.kernel.T, places), in_order(weights.recurrent_kernel.T, places)
    both = _two_biases(weights)
    return TorchWeights(inputs, recurrent, *((None, None) if both is None else (in_order(b, places) for b in both)))


def _from_onnx(where: str, cell: Cell, W: Any, R: Any, B: Any) -> tuple[Array, Array, Array | None]:
    """Brings the inputs of an ONNX node of one direction to Keras's layout."""
    n, places, one = len(cell.row.gates), _onnx_order(cell), ("directions", 1)
    of_gates, of_both = times(n), times(2 * n)
    recurrent = real_array(where, "R", R, (one, of_gates, "units"), np.float32)
    _check_gates(where, "R", f"(directions=1, {of_gates}, units)", recurrent.shape, recurrent.shape[1:], n)
    gates, units = recurrent.shape[1:]
    inputs = real_array(where, "W", W, (one, (of_gates, gates), "features"), np.float32)
    _check_features(where, "W", f"(directions=1, {of_gates}={gates}, features)", inputs.shape, 2)
    biases = None
    if B is not None:
        both = real_array(where, "B", B, (one, (of_both, 2 * n * units)), np.float32).reshape(2, gates)
        biases = _one_bias(cell, np.stack([in_order(bias, places) for bias in both]))
    return in_order(inputs[0], places).T, in_order(recurrent[0], places).T, biases


def _to_onnx(weights: Weights) -> OnnxWeights:
    """Brings weights to ONNX's layout; a cell that adds its two biases gets zeros for the second."""
    places = _inverse(_onnx_order(weights.cell))
    inputs, recurrent = in_order(weights.kernel.T, places), in_order(weights.recurrent_kernel.T, places)
    both = _two_biases(weights)
    biases = None if both is None else np.concatenate([in_order(bias, places) for bias in both])[None]
    return OnnxWeights(inputs[None], recurrent[None], biases)


def _onnx_order(cell: Cell) -> tuple[int, ...]:
    return cast("tuple[int, ...]", cell.row.onnx)  # those that call this have a node


def _one_bias(cell: Cell, both: Array) -> Array:
    """Brings (2, gates * units) to the cell's: it is their sum where the cell only ever adds the two."""
    return both if facts(cell).recurrent_bias else both.sum(axis=0)


def _two_biases(weights: Weights) -> Array | None:
    """Brings a bias to (2, gates * units)."""
    if weights.bias is None or facts(weights.cell).recurrent_bias:
        return weights.bias
    return np.stack([weights.bias, np.zeros_like(weights.bias)])


def in_order(array: Array, places: tuple[int, ...]) -> Array:
    """Takes the blocks of the first axis, one a gate, in the order of these places, to a new C-contiguous array."""
    blocks = np.split(array, len(places))
    return np.ascontiguousarray(np.concatenate([blocks[place] for place in places]))


def _inverse(places: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(places.index(i) for i in range(len(places)))


# --- Checks ---

_RANK_HINT = "Give one bias for each gate and unit."


def require_weights(where: str, weights: Any) -> Weights:
    """Takes weights; TypeError, opened by `where`, if they are none, or those of another copy of gatewise."""
    if isinstance(weights, Weights):
        return weights
    kind, known = type(weights), [each.__name__ for each in Weights.__subclasses__()]
    if kind.__name__ in known:
        code = getattr(kind.__init__, "__code__", None)
        raise TypeError(
            f"{where}: weights belong to another copy of gatewise. Expected {Weights.__module__}.{kind.__name__} as it "
            f"was imported here, from {__file__}; received {kind.__module__}.{kind.__name__} of another import, from "
            f"{getattr(code, 'co_filename', 'elsewhere')}. Import gatewise once: start Python again after a reload, "
            "and keep one copy on sys.path."
        )
    raise TypeError(
        f"{where}: weights has the wrong type. Expected one of {', '.join(known)}; received "
        f"{kind.__name__}. Make one of the layer's arrays: GRUWeights(kernel, recurrent_kernel, bias)."
    )


def times(gates: int) -> str:
    """Names an axis of so many units."""
    return "units" if gates == 1 else f"{gates} * units"


def _check_gates(
    where: str, name: str, expected: str, received: tuple[int, ...], sizes: tuple[int, ...], n: int
) -> None:
    """Raises unless `sizes`, of the gates and of the units, are n to one."""
    gates, units = sizes
    if units < 1 or gates != n * units:
        raise ValueError(
            f"{where}: {name} has the wrong shape. Expected {expected} with units >= 1; received {received}. "
            f"Check that it holds all of the {n} gates."
        )


def _check_features(where: str, name: str, expected: str, received: tuple[int, ...], axis: int) -> None:
    """Raises unless there is at least one feature."""
    if not received[axis]:
        raise ValueError(
            f"{where}: {name} has no features. Expected {expected} with features >= 1; received {received}. "
            f"Check axis {axis}."
        )


def read_only(array: Array) -> Array:
    """Returns a view, so that the caller's own array stays writable."""
    view = array.view()
    view.flags.writeable = False
    return view


def _detached(value: Any) -> Any:
    """Returns what becomes an array: a torch parameter refuses to while it tracks gradients, or is of bfloat16."""
    value = value.detach() if hasattr(value, "detach") else value
    return value.float() if str(getattr(value, "dtype", "")) == "torch.bfloat16" else value
