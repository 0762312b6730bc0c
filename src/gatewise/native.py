# SPDX-License-Identifier: Apache-2.0
"""The engine for NumPy: the arguments are checked here, once, and run in C++.

Letters: B = batch, T = timesteps, F = features, U = units. What each argument means is specified in `reference.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

import numpy as np

from gatewise import _native
from gatewise.arrays import real_array
from gatewise.engine import ACTIVATIONS, Calls, activation_code, calls, isa, num_threads, set_num_threads
from gatewise.recompute import recomputing
from gatewise.weights import GRUWeights

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

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

    Float32 C-contiguous arrays are read in place; other strides and real dtypes are copied first.

    Args:
        x: (B, T, F). Masked steps are never read: what stands there, NaN included, reaches nothing.
        weights: the layer's.
        initial_state: (B, U), or None for zeros.
        mask: (B, T), nonzero = valid, or None. A masked step keeps the state, and repeats the output of the step before
            (zeros before the first valid step).
        go_backwards: x and mask are read from the last step to the first; outputs are in that order.
        **options: see `Options`.

    Returns:
        outputs (B, T, U), or (B, 1, U) without return_sequences, and the state after the last step (B, U), float32.

    Raises:
        TypeError: an array does not hold real numbers, or weights are no GRUWeights.
        ValueError: an array has the wrong shape, or an activation is unknown.

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
    call = _check("gru", x, weights, initial_state, mask, go_backwards, options)
    outputs, state = _empty(*call.output_shape), _empty(*call.state_shape)
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
    call = _check("gru_vjp", x, weights, initial_state, mask, go_backwards, options)
    outputs, state, saved = _empty(*call.output_shape), _empty(*call.state_shape), _empty(call.saved_floats)
    _native.forward(call, outputs, state, saved)
    return outputs, state, VJP(call, saved, weights)


class VJP:
    """The vector-Jacobian product of one forward call: from gradients of its results to gradients of its inputs."""

    def __init__(self, call: _native.Call, saved: Array, weights: GRUWeights) -> None:
        self._call, self._saved, self._weights, self._isa = call, saved, weights, isa()

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
            TypeError: an array does not hold real numbers.
            ValueError: an array has the wrong shape, or the instruction set was changed since the forward call.
        """
        where = "gru_vjp"
        if isa() != self._isa:
            raise ValueError(
                f"{where}: what was saved cannot be read. Expected the instruction set {self._isa}; received {isa()}. "
                "Run the forward call again."
            )
        batch, timesteps, units = self._call.output_shape
        axes = ("batch", batch), ("timesteps", timesteps), ("units", units)
        dy = _optional(where, "d_outputs", d_outputs, axes)
        dh = _optional(where, "d_state", d_state, (axes[0], axes[2]))
        weights = self._weights
        d = Gradients(
            _empty(*self._call.x_shape),
            _empty(batch, units),
            np.empty_like(weights.kernel),
            np.empty_like(weights.recurrent_kernel),
            None if weights.bias is None else np.empty_like(weights.bias),
        )
        _native.backward(self._call, self._saved, dy, dh, *d)
        return d


def _check(
    where: str,
    x: npt.ArrayLike,
    weights: GRUWeights,
    initial_state: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    go_backwards: bool,
    options: Options,
) -> _native.Call:
    if not isinstance(weights, GRUWeights):
        raise TypeError(
            f"{where}: weights has the wrong type. Expected gatewise.GRUWeights; received {type(weights).__name__}. "
            "Make one of the layer's arrays: GRUWeights(kernel, recurrent_kernel, bias)."
        )
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"{where}: {min(unknown)} is no argument. Expected one of {', '.join(Options.__annotations__)}; received "
            f"{min(unknown)!r}. Check its spelling."
        )
    features, units = ("features", weights.features), ("units", weights.units)
    hint = "Give one sequence a batch axis of 1: x[None]."
    x = real_array(where, "x", x, ("batch", "timesteps", features), np.float32, rank_hint=hint)
    batch, timesteps = ("batch", x.shape[0]), ("timesteps", x.shape[1])
    state = _optional(where, "initial_state", initial_state, (batch, units))
    factors = _optional(where, "input_dropout", options.get("input_dropout"), ("1 or 3", batch, features))
    if factors is not None and len(factors) not in (1, 3):
        raise ValueError(
            f"{where}: input_dropout has the wrong shape. Expected (1 or 3, batch={batch[1]}, features={features[1]}); "
            f"received {factors.shape}. Check axis 0."
        )
    return _native.make_call(
        x=x,
        kernel=weights.kernel,
        recurrent_kernel=weights.recurrent_kernel,
        bias=weights.bias,
        initial_state=state,
        mask=None if mask is None else _valid(where, mask, batch, timesteps),
        input_dropout=factors,
        recurrent_dropout=_optional(
            where, "recurrent_dropout", options.get("recurrent_dropout"), (("gates", 3), batch, units)
        ),
        reset_after=weights.reset_after,
        activation=activation_code(where, "activation", options.get("activation", "tanh")),
        recurrent_activation=activation_code(
            where, "recurrent_activation", options.get("recurrent_activation", "sigmoid")
        ),
        go_backwards=bool(go_backwards),
        return_sequences=bool(options.get("return_sequences", True)),
        zero_output_for_mask=bool(options.get("zero_output_for_mask", False)),
        recompute=recomputing(),
    )


def _optional(
    where: str, name: str, value: npt.ArrayLike | None, axes: tuple[str | tuple[str, int], ...]
) -> Array | None:
    return None if value is None else real_array(where, name, value, axes, np.float32)


def _valid(
    where: str, mask: npt.ArrayLike, batch: tuple[str, int], timesteps: tuple[str, int]
) -> npt.NDArray[np.bool_]:
    mask = np.asarray(mask)
    valid = mask if mask.dtype == np.bool_ else real_array(where, "mask", mask, (batch, timesteps), np.float32) != 0
    if valid.shape != (batch[1], timesteps[1]):
        raise ValueError(
            f"{where}: mask has the wrong shape. Expected (batch={batch[1]}, timesteps={timesteps[1]}); received "
            f"{valid.shape}. Give one value for each step of x."
        )
    return np.ascontiguousarray(valid)


def _empty(*shape: int) -> Array:
    return np.empty(shape, np.float32)
