# SPDX-License-Identifier: Apache-2.0
"""The engine for NumPy: the arguments are checked here, once, and run in C++.

Letters: B = batch, T = timesteps, F = features, U = units, G = gates of the cell. What each argument means is specified
in `reference/loop.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypedDict, Unpack

import numpy as np

from gatewise import _native
from gatewise.arrays import Axes, mask_array, real_array
from gatewise.engine import ACTIVATIONS, Calls, activation_code, calls, isa, num_threads, set_num_threads
from gatewise.operands import INPUTS, OUTPUTS, engine_options
from gatewise.options import flag, fraction
from gatewise.recompute import recomputing
from gatewise.states import by_name, nested
from gatewise.weights import Weights, require_weights

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    State: TypeAlias = Any  # an array (B, U); of a cell with several states a tuple of such

_MASKED_X = "Fill in what is masked and say which steps count: x.filled(0), mask=~numpy.ma.getmaskarray(x).any(axis=2)."

# The engine's settings and counts belong to `gatewise.native` for those who call it, too.
__all__ = [
    "ACTIVATIONS",
    "VJP",
    "Calls",
    "Gradients",
    "LayerNormGradients",
    "Options",
    "calls",
    "isa",
    "num_threads",
    "rnn",
    "rnn_vjp",
    "set_num_threads",
]


class Gradients(NamedTuple):
    """Gradients of `rnn`'s inputs, each in the shape of its input, float32."""

    x: Array  # (B, T, F), zeros in masked steps
    initial_state: State
    kernel: Array  # (F, GU)
    recurrent_kernel: Array  # (U, GU)
    bias: Array | None  # as the weights' bias


class LayerNormGradients(NamedTuple):
    """The same of a layer with layer normalisation."""

    x: Array
    initial_state: State
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    gain: Array | None  # as the weights' own, and so are those that follow
    recurrent_gain: Array | None
    state_gain: Array | None = None
    state_bias: Array | None = None


class Options(TypedDict, total=False):
    """The options of `rnn` and `rnn_vjp` beyond the first five arguments; their defaults are Keras's.

    zero_output_for_mask: a masked step's output is zeros; False repeats the output before it.
    return_sequences: False for the last output alone; True.
    activation: the candidate's: "tanh", "sigmoid", "relu", "linear" or "hard_sigmoid"; "tanh".
    recurrent_activation: the gates', likewise; "sigmoid".
    input_dropout: factors on x, the same at every step: (1, B, F), or (G, B, F), one for each gate; None.
    recurrent_dropout: factors on the previous state, the same at every step: (G, B, U), one for each gate; None.
    starts: (B, T), nonzero = a boundary before that step in time, masked or not, which no state and no gradient
        crosses. Whoever reads on beyond it, either way, begins with the initial state, whose gradient is the sum over
        all that did; a masked step does not repeat an output from before it. The state after the last step is that of
        the last valid one. None.
    zoneout_h: what part of its state before, from 0 to 1, a unit keeps in a step: zoneout's expectation; 0.0.
    zoneout_c: likewise, of the second state; the new h follows from the new c, as the cell computed it.
    kept_h: (B, T, U), nonzero = the unit keeps all of its state before in that step, else nothing: a draw of zoneout,
        which goes before `zoneout_h`; None.
    kept_c: likewise, of the second state.
    """

    zero_output_for_mask: bool
    return_sequences: bool
    activation: str
    recurrent_activation: str
    input_dropout: npt.ArrayLike | None
    recurrent_dropout: npt.ArrayLike | None
    starts: npt.ArrayLike | None
    zoneout_h: float
    zoneout_c: float
    kept_h: npt.ArrayLike | None
    kept_c: npt.ArrayLike | None


def rnn(
    x: npt.ArrayLike,
    weights: Weights,
    initial_state: Any = None,
    mask: npt.ArrayLike | None = None,
    go_backwards: bool = False,
    **options: Unpack[Options],
) -> tuple[Array, State]:
    """Runs a recurrent layer over sequences; the weights say which.

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
        TypeError: an array does not hold real numbers or is a masked array, weights are none of gatewise's, or an
            option is no bool.
        ValueError: an array has the wrong shape, the mask holds NaN, or an activation is unknown.
        MemoryError: there is no memory for the results.

    Example:
        >>> import gatewise, numpy as np
        >>> weights = gatewise.GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)), np.zeros((2, 12)))
        >>> outputs, state = gatewise.rnn(np.ones((2, 7, 5)), weights)
        >>> outputs.shape, state.shape
        ((2, 7, 4), (2, 4))
        >>> gatewise.rnn(["hello", "world"], weights)
        Traceback (most recent call last):
        TypeError: rnn: x has the wrong type. Expected real numbers; received dtype <U5. Convert it to float32 first.
    """
    call = _native.Call(*_checked("rnn", x, weights, initial_state, mask, go_backwards, options))
    results = _results("rnn", call)
    _native.forward(call, results, None)
    return results[0], nested(results[1:])


def rnn_vjp(
    x: npt.ArrayLike,
    weights: Weights,
    initial_state: Any = None,
    mask: npt.ArrayLike | None = None,
    go_backwards: bool = False,
    **options: Unpack[Options],
) -> tuple[Array, State, VJP]:
    """Runs a recurrent layer over sequences and keeps what its gradients need: a GRU some 4 floats a unit and step.

    The arrays given must not change until the gradients are computed. Arguments and errors are those of `rnn`.

    Returns:
        outputs and state, as `rnn` returns them, and a function from their gradients to those of the inputs.

    Example:
        >>> import gatewise, numpy as np
        >>> weights = gatewise.GRUWeights([[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
        >>> outputs, state, vjp = rnn_vjp(np.ones((1, 2, 1)), weights)
        >>> vjp(d_state=[[1.0]]).initial_state  # z * z, z = 1/2
        array([[0.25]], dtype=float32)
    """
    given = _checked("rnn_vjp", x, weights, initial_state, mask, go_backwards, options)
    call = _native.Call(*given)
    results = _results("rnn_vjp", call)
    cure = "Give fewer sequences at once, or call it inside gatewise.recompute()."
    workspace = _empty("rnn_vjp", "what the backward pass needs", (call.workspace_floats,), cure)
    _native.forward(call, results, workspace)
    return results[0], nested(results[1:]), VJP(weights, given, call, workspace)


class VJP:
    """The vector-Jacobian product of one forward call: from gradients of its results to gradients of its inputs.

    It can be pickled and copied. What it holds is private to the instruction set and to the version of gatewise:
    another process needs the same.
    """

    def __init__(self, weights: Weights, given: tuple[Any, ...], call: _native.Call, workspace: Array) -> None:
        self._weights, self._given, self._call, self._workspace, self._isa = weights, given, call, workspace, isa()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_call"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _call=_native.Call(*state["_given"]))

    @property
    def workspace_bytes(self) -> int:
        """How much memory holds what the forward call kept."""
        return self._workspace.nbytes

    def __call__(self, d_outputs: npt.ArrayLike | None = None, d_state: Any = None) -> Gradients | LayerNormGradients:
        """Computes the gradients. May be called any number of times.

        Args:
            d_outputs: the gradient of the outputs, in their shape, or None for zeros.
            d_state: (B, U), the gradient of the state, or None for zeros; a tuple as the state is one.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array.
            ValueError: an array has the wrong shape, or the instruction set is not that of the forward call.
            MemoryError: there is no memory for the gradients.
        """
        where, weights = "rnn_vjp", self._weights
        self._require_readable(where)
        shape, state_shape, *_ = self._call.output_shapes
        axes = tuple(zip(("batch", "timesteps", "units"), shape, strict=True))
        n = len(weights.cell.row.states)
        dy = _optional(where, "d_outputs", d_outputs, axes)
        d_states = _states(where, "d_state", d_state, weights, (axes[0], axes[2]))
        initial = [_empty(where, "the gradient of the initial state", state_shape) for _ in range(n)]
        d: dict[str, Any] = {
            "x": _empty(where, "the gradient of x", self._given[0][0].shape),
            **{name: None if array is None else np.empty_like(array) for name, array in weights.arrays().items()},
        } | dict(zip(_INITIAL, initial, strict=False))
        d_results = (dy, *d_states, *(None,) * (len(OUTPUTS) - 1 - n))
        _native.backward(self._call, self._workspace, d_results, tuple(d.get(row.name) for row in INPUTS))
        kind = LayerNormGradients if weights.cell.row.weights else Gradients
        return kind(d["x"], nested(initial), **{name: d[name] for name in weights.arrays() if name in kind._fields})

    def _require_readable(self, where: str) -> None:
        """Raises unless the engine that runs here can read what was kept."""
        if isa() != self._isa:
            expected, received = f"the instruction set {self._isa}", isa()
        elif self._workspace.size != self._call.workspace_floats:
            expected, received = f"{self._call.workspace_floats} floats", f"{self._workspace.size} of another gatewise"
        else:
            return
        raise ValueError(
            f"{where}: what was kept cannot be read. Expected {expected}; received {received}. "
            "Run the forward call again."
        )


_INITIAL = ("initial_h", "initial_c")  # the operands that initial_state is made of
_INPUT_NAMES = tuple(row.name for row in INPUTS)


def _checked(
    where: str,
    x: npt.ArrayLike,
    weights: Weights,
    initial_state: Any,
    mask: npt.ArrayLike | None,
    go_backwards: bool,
    options: Options,
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Checks what a caller gives. Returns the inputs and the options in the engine's order."""
    require_weights(where, weights)
    settings = _settings(where, weights, go_backwards, options)
    features, units = ("features", weights.features), ("units", weights.units)
    axes: Axes = ("batch", "timesteps", features)
    x = real_array(where, "x", x, axes, np.float32, "Give one sequence a batch axis of 1: x[None].", _MASKED_X)
    batch, timesteps = ("batch", x.shape[0]), ("timesteps", x.shape[1])
    n = len(weights.cell.row.gates)
    masks, gates = (f"1 or {n}", (1, n)), ("gates", n)
    input_dropout, recurrent_dropout = options.get("input_dropout"), options.get("recurrent_dropout")
    states = _states(where, "initial_state", initial_state, weights, (batch, units))
    starts = options.get("starts")
    inputs = {
        "x": x,
        "mask": None if mask is None else mask_array(where, mask, (batch, timesteps)),
        "starts": None if starts is None else mask_array(where, starts, (batch, timesteps), "starts"),
        **dict(zip(_INITIAL, states, strict=False)),
        **weights.arrays(),
        "input_dropout": _optional(where, "input_dropout", input_dropout, (masks, batch, features)),
        "recurrent_dropout": _optional(where, "recurrent_dropout", recurrent_dropout, (gates, batch, units)),
    }
    if options:
        for name in _of_states(where, weights, options, "kept"):
            draws = options[name]  # type: ignore[literal-required]
            inputs[name] = None if draws is None else mask_array(where, draws, (batch, timesteps, units), name)
    return tuple(map(inputs.get, _INPUT_NAMES)), settings


def _settings(where: str, weights: Weights, go_backwards: bool, options: Options) -> tuple[int, ...]:
    """Checks the options that are no arrays, and adds what the caller does not choose."""
    if options and (unknown := options.keys() - Options.__annotations__.keys()):
        raise TypeError(
            f"{where}: {min(unknown)} is no argument. Expected one of {', '.join(Options.__annotations__)}; received "
            f"{min(unknown)!r}. Check its spelling."
        )
    activation, recurrent_activation = options.get("activation", "tanh"), options.get("recurrent_activation", "sigmoid")
    return engine_options(
        cell=weights.cell,
        activation=activation_code(where, "activation", activation),
        recurrent_activation=activation_code(where, "recurrent_activation", recurrent_activation),
        go_backwards=flag(where, "go_backwards", go_backwards),
        return_sequences=flag(where, "return_sequences", options.get("return_sequences", True)),
        zero_output_for_mask=flag(where, "zero_output_for_mask", options.get("zero_output_for_mask", False)),
        recompute=recomputing(),
        **{
            name: fraction(where, name, options[name])  # type: ignore[literal-required]
            for name in _of_states(where, weights, options, "zoneout")
        },
    )


def _of_states(where: str, weights: Weights, options: Options, kind: str) -> list[str]:
    """Names the options of a kind that are given, one for a state; raises if the cell has not the state."""
    names, states = [name for name in options if name.startswith(kind)], weights.cell.row.states
    for name in names:
        if name.removeprefix(f"{kind}_") not in states:
            raise TypeError(
                f"{where}: {name} has no place in this layer. Expected one for {' or '.join(states)}; received it for "
                f"a {weights.cell.name}. Leave it out."
            )
    return names


def _states(where: str, name: str, state: Any, weights: Weights, axes: Axes) -> list[Array | None]:
    """Checks what stands for a layer's states. Returns one for each."""
    if state is None:
        return [None] * len(weights.cell.row.states)
    return [
        real_array(where, named, value, axes, np.float32)
        for named, value in by_name(where, name, state, weights.cell).items()
    ]


def _optional(where: str, name: str, value: npt.ArrayLike | None, axes: Axes) -> Array | None:
    return None if value is None else real_array(where, name, value, axes, np.float32)


def _results(where: str, call: _native.Call) -> tuple[Any, ...]:
    """Makes room for the outputs, in the engine's order: the sequence, and the states."""
    return tuple(
        None if shape is None else _empty(where, "the state" if i else "the outputs", shape)
        for i, shape in enumerate(call.output_shapes)
    )


def _empty(where: str, name: str, shape: tuple[int, ...], cure: str = "Give fewer sequences at once.") -> Array:
    try:
        return np.empty(shape, np.float32)
    except (MemoryError, ValueError) as error:  # ValueError: of a size that no address reaches
        gib = 4 * math.prod(shape) / 2**30
        raise MemoryError(
            f"{where}: there is no memory for {name}. Expected {gib:.1f} GiB, {shape} of float32; received none "
            f"({error}). {cure}"
        ) from error
