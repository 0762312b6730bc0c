# SPDX-License-Identifier: Apache-2.0
"""The engine for NumPy: the arguments are checked here, once, and run in C++.

Letters: B = batch, T = timesteps, F = features, U = units. What each argument means is specified in `reference.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

import numpy as np

from gatewise import _native, cells
from gatewise.arrays import Axes, mask_array, real_array
from gatewise.engine import ACTIVATIONS, Calls, activation_code, calls, isa, num_threads, set_num_threads
from gatewise.options import flag
from gatewise.recompute import recomputing
from gatewise.weights import GRUWeights, require_weights

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

_MASKED_X = "Fill in what is masked and say which steps count: x.filled(0), mask=~numpy.ma.getmaskarray(x).any(axis=2)."

# The engine's settings and counts belong to `gatewise.native` for those who call it, too.
__all__ = [
    "ACTIVATIONS",
    "VJP",
    "Calls",
    "Gradients",
    "Options",
    "calls",
    "gru",
    "gru_vjp",
    "isa",
    "num_threads",
    "set_num_threads",
]


class Gradients(NamedTuple):
    """Gradients of `gru`'s inputs, each in the shape of its input, float32."""

    x: Array  # (B, T, F), zeros in masked steps
    initial_state: Array  # (B, U)
    kernel: Array  # (F, 3U)
    recurrent_kernel: Array  # (U, 3U)
    bias: Array | None  # as the weights' bias


class Options(TypedDict, total=False):
    """The options of `gru` and `gru_vjp` beyond the first five arguments; their defaults are Keras's.

    zero_output_for_mask: a masked step's output is zeros; False repeats the output before it.
    return_sequences: False for the last output alone; True.
    activation: the candidate's: "tanh", "sigmoid", "relu", "linear" or "hard_sigmoid"; "tanh".
    recurrent_activation: the gates', likewise; "sigmoid".
    input_dropout: factors on x, the same at every step: (1, B, F), or (3, B, F), one for each gate; None.
    recurrent_dropout: factors on the previous state, the same at every step: (3, B, U), one for each gate; None.
    """

    zero_output_for_mask: bool
    return_sequences: bool
    activation: str
    recurrent_activation: str
    input_dropout: npt.ArrayLike | None
    recurrent_dropout: npt.ArrayLike | None


def gru(
    x: npt.ArrayLike,
    weights: GRUWeights,
    initial_state: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    go_backwards: bool = False,
    **options: Unpack[Options],
) -> tuple[Array, Array]:
    """Runs a GRU layer over sequences.

    Float32 C-contiguous arrays are read in place; other strides and real dtypes are copied first, and rounded to
    float32: integers beyond 2**24 too, so take from times and identifiers what is large and the same in all.

    Args:
        x: (B, T, F). Masked steps are never read: what stands there, NaN included, reaches nothing.
        weights: the layer's.
        initial_state: (B, U), or None for zeros.
        mask: (B, T), nonzero = valid, without NaN; or None. A masked step keeps the state, and repeats the output of
            the step before (zeros before the first valid step).
        go_backwards: x and mask are read from the last step to the first; outputs are in that order.
        **options: see `Options`.

    Returns:
        outputs (B, T, U), or (B, 1, U) without return_sequences, and the state after the last step (B, U), float32.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array, weights are no GRUWeights, or an option is
            no bool.
        ValueError: an array has the wrong shape, the mask holds NaN, or an activation is unknown.
        MemoryError: there is no memory for the results.

    Example:
        >>> import gatewise, numpy as np
        >>> weights = gatewise.GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)), np.zeros((2, 12)))
        >>> outputs, state = gatewise.gru(np.ones((2, 7, 5)), weights)
        >>> outputs.shape, state.shape
        ((2, 7, 4), (2, 4))
        >>> gatewise.gru(["hello", "world"], weights)
        Traceback (most recent call last):
        TypeError: gru: x has the wrong type. Expected real numbers; received dtype <U5. Convert it to float32 first.
    """
    call = _call(weights, _checked("gru", x, weights, initial_state, mask, go_backwards, options))
    outputs, state = _results("gru", call)
    _native.forward(call, outputs, state, None)
    return outputs, state


def gru_vjp(
    x: npt.ArrayLike,
    weights: GRUWeights,
    initial_state: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    go_backwards: bool = False,
    **options: Unpack[Options],
) -> tuple[Array, Array, VJP]:
    """Runs a GRU layer over sequences and keeps what its gradients need: at most 4 floats a unit and step.

    The arrays given must not change until the gradients are computed. Arguments and errors are those of `gru`.

    Returns:
        outputs and state, as `gru` returns them, and a function from their gradients to those of the inputs.

    Example:
        >>> import gatewise, numpy as np
        >>> weights = gatewise.GRUWeights([[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
        >>> outputs, state, vjp = gru_vjp(np.ones((1, 2, 1)), weights)
        >>> vjp(d_state=[[1.0]]).initial_state  # z * z, z = 1/2
        array([[0.25]], dtype=float32)
    """
    inputs = _checked("gru_vjp", x, weights, initial_state, mask, go_backwards, options)
    call = _call(weights, inputs)
    outputs, state = _results("gru_vjp", call)
    cure = "Give fewer sequences at once, or call it inside gatewise.recompute()."
    saved = _empty("gru_vjp", "what the way back needs", (call.saved_floats,), cure)
    _native.forward(call, outputs, state, saved)
    return outputs, state, VJP(weights, inputs, call, saved)


class VJP:
    """The vector-Jacobian product of one forward call: from gradients of its results to gradients of its inputs.

    It can be pickled and copied. What it holds is private to the instruction set and to the version of gatewise:
    another process needs the same.
    """

    def __init__(self, weights: GRUWeights, inputs: dict[str, Any], call: _native.Call, saved: Array) -> None:
        self._weights, self._inputs, self._call, self._saved, self._isa = weights, inputs, call, saved, isa()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_call"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _call=_call(state["_weights"], state["_inputs"]))

    @property
    def saved_bytes(self) -> int:
        """How much memory holds what the forward call kept."""
        return self._saved.nbytes

    def __call__(self, d_outputs: npt.ArrayLike | None = None, d_state: npt.ArrayLike | None = None) -> Gradients:
        """Computes the gradients. May be called any number of times.

        Args:
            d_outputs: the gradient of the outputs, in their shape, or None for zeros.
            d_state: (B, U), the gradient of the state, or None for zeros.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array.
            ValueError: an array has the wrong shape, or the instruction set is not that of the forward call.
            MemoryError: there is no memory for the gradients.
        """
        where = "gru_vjp"
        self._require_readable(where)
        batch, timesteps, units = self._call.output_shape
        axes = ("batch", batch), ("timesteps", timesteps), ("units", units)
        dy = _optional(where, "d_outputs", d_outputs, axes)
        dh = _optional(where, "d_state", d_state, (axes[0], axes[2]))
        weights = self._weights
        d = Gradients(
            _empty(where, "the gradient of x", self._call.x_shape),
            _empty(where, "the gradient of the initial state", self._call.state_shape),
            np.empty_like(weights.kernel),
            np.empty_like(weights.recurrent_kernel),
            None if weights.bias is None else np.empty_like(weights.bias),
        )
        _native.backward(self._call, self._saved, dy, dh, *d)
        return d

    def _require_readable(self, where: str) -> None:
        """Raises unless the engine that runs here can read what was saved."""
        if isa() != self._isa:
            expected, received = f"the instruction set {self._isa}", isa()
        elif self._saved.size != self._call.saved_floats:
            expected, received = f"{self._call.saved_floats} floats", f"{self._saved.size} of another gatewise"
        else:
            return
        raise ValueError(
            f"{where}: what was saved cannot be read. Expected {expected}; received {received}. "
            "Run the forward call again."
        )


def _checked(
    where: str,
    x: npt.ArrayLike,
    weights: GRUWeights,
    initial_state: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    go_backwards: bool,
    options: Options,
) -> dict[str, Any]:
    """Checks what a caller gives. Returns what the engine takes of it besides the weights."""
    require_weights(where, weights)
    settings = _settings(where, go_backwards, options)
    features, units = ("features", weights.features), ("units", weights.units)
    axes: Axes = ("batch", "timesteps", features)
    x = real_array(where, "x", x, axes, np.float32, "Give one sequence a batch axis of 1: x[None].", _MASKED_X)
    batch, timesteps = ("batch", x.shape[0]), ("timesteps", x.shape[1])
    masks, gates = ("1 or 3", (1, 3)), ("gates", 3)
    input_dropout, recurrent_dropout = options.get("input_dropout"), options.get("recurrent_dropout")
    return settings | {
        "x": x,
        "initial_state": _optional(where, "initial_state", initial_state, (batch, units)),
        "mask": None if mask is None else mask_array(where, mask, (batch, timesteps)),
        "input_dropout": _optional(where, "input_dropout", input_dropout, (masks, batch, features)),
        "recurrent_dropout": _optional(where, "recurrent_dropout", recurrent_dropout, (gates, batch, units)),
    }


def _settings(where: str, go_backwards: bool, options: Options) -> dict[str, Any]:
    """Checks the options that are no arrays, and adds what the caller does not choose."""
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"{where}: {min(unknown)} is no argument. Expected one of {', '.join(Options.__annotations__)}; received "
            f"{min(unknown)!r}. Check its spelling."
        )
    activation, recurrent_activation = options.get("activation", "tanh"), options.get("recurrent_activation", "sigmoid")
    return {
        "activation": activation_code(where, "activation", activation),
        "recurrent_activation": activation_code(where, "recurrent_activation", recurrent_activation),
        "go_backwards": flag(where, "go_backwards", go_backwards),
        "return_sequences": flag(where, "return_sequences", options.get("return_sequences", True)),
        "zero_output_for_mask": flag(where, "zero_output_for_mask", options.get("zero_output_for_mask", False)),
        "recompute": recomputing(),
    }


def _call(weights: GRUWeights, inputs: dict[str, Any]) -> _native.Call:
    return _native.make_call(
        kernel=weights.kernel,
        recurrent_kernel=weights.recurrent_kernel,
        bias=weights.bias,
        cell=cells.gru(reset_after=weights.reset_after),
        **inputs,
    )


def _optional(where: str, name: str, value: npt.ArrayLike | None, axes: Axes) -> Array | None:
    return None if value is None else real_array(where, name, value, axes, np.float32)


def _results(where: str, call: _native.Call) -> tuple[Array, Array]:
    return _empty(where, "the outputs", call.output_shape), _empty(where, "the state", call.state_shape)


def _empty(where: str, name: str, shape: tuple[int, ...], cure: str = "Give fewer sequences at once.") -> Array:
    try:
        return np.empty(shape, np.float32)
    except (MemoryError, ValueError) as error:  # ValueError: of a size that no address reaches
        gib = 4 * math.prod(shape) / 2**30
        raise MemoryError(
            f"{where}: there is no memory for {name}. Expected {gib:.1f} GiB, {shape} of float32; received none "
            f"({error}). {cure}"
        ) from error
