# SPDX-License-Identifier: Apache-2.0
"""A recurrent layer over sequences: masks, directions, dropout and gradients around what a cell computes at a step.

Letters: B = batch, T = timesteps, F = features, U = units, G = gates of the cell, n = the rows of the batch that are
valid at a step. Weights come in Keras's layout, gates in the cell's order along the last axis; inside, gates are the
first axis: (G, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.arrays import Axis, mask_array, real_array
from gatewise.cells import Cell
from gatewise.options import flag, fraction, one_of
from gatewise.reference import gru, layer_norm_lstm, lstm, simple_rnn
from gatewise.reference.activations import ACTIVATIONS, Activation
from gatewise.reference.layer_norm import Normal, normal
from gatewise.reference.step import Kept, StateNormal
from gatewise.states import nested

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from gatewise.reference.step import Gradient

    Array = npt.NDArray[np.float64]
    States = Array | tuple[Array, ...]  # a cell with one state has it alone


class Equations(NamedTuple):
    """What a cell computes at a step, and that step's derivative.

    And whether its recurrent weights have a bias, and whether it normalises its products and its second state.
    """

    step: Any  # a Step; of a cell that normalises its second state, a NormalisingStep
    backward: Callable[[Kept, tuple[Array, ...]], Gradient]
    recurrent_bias: bool = False
    normalises: bool = False
    normalises_state: bool = False


# By number
EQUATIONS = (
    Equations(gru.step, gru.backward, recurrent_bias=True),
    Equations(gru.step_reset_before, gru.backward_reset_before),
    Equations(lstm.step, lstm.backward),
    Equations(simple_rnn.step, simple_rnn.backward),
    Equations(gru.step, gru.backward, normalises=True),
    Equations(gru.step_reset_before, gru.backward_reset_before, normalises=True),
    Equations(layer_norm_lstm.step, layer_norm_lstm.backward, normalises=True, normalises_state=True),
)


class _Layer(NamedTuple):
    cell: Cell
    kernel: Array  # (G, F, U)
    recurrent_kernel: Array  # (G, U, U)
    b: Array  # (G, 1, U)
    c: Array  # (G, 1, U), zeros of a cell that has none
    gain: Array  # (G, 1, U), of a cell that normalises, and so are the others
    recurrent_gain: Array  # (G, 1, U)
    state_normal: StateNormal
    given: frozenset[str]  # those of the weights that may be absent and are not
    activation: Activation
    recurrent_activation: Activation

    @property
    def equations(self) -> Equations:
        return EQUATIONS[self.cell]

    def normal(self, product: Array) -> Normal:
        """Normalises products of a gate, or of all, each by itself; leaves them alone where the cell does."""
        if not self.equations.normalises:
            return _Unchanged(product, np.ones(1))
        return normal(product, self.state_normal.epsilon)

    def kept(self, x_gates: Array, h_gates: Array, states: tuple[Array, ...]) -> Kept:
        """Brings what a step is made of."""
        x = self.normal(x_gates @ self.kernel).value * self.gain + self.b
        recurrent = _Recurrent(self, h_gates)
        return Kept(x, h_gates, recurrent, states, self.state_normal, self.activation, self.recurrent_activation)


class _Unchanged(Normal):
    """What a cell that does not normalise has for a normalised product: the product."""

    def back(self, d: Array) -> Array:
        return d


class _Recurrent(NamedTuple):
    """See `step.KeptRecurrent`."""

    layer: _Layer
    h_gates: Array

    def normal(self, gate: int, factor: Array | None) -> Normal:
        left = self.h_gates[gate] if factor is None else self.h_gates[gate] * factor
        return self.layer.normal(left @ self.layer.recurrent_kernel[gate])

    def __call__(self, gate: int, factor: Array | None = None) -> Array:
        product: Array = self.normal(gate, factor).value * self.layer.recurrent_gain[gate] + self.layer.c[gate]
        return product

    def back(self, gate: int, d: Array, factor: Array | None = None) -> Array:
        of_product = self.normal(gate, factor).back(d * self.layer.recurrent_gain[gate])
        left: Array = of_product @ self.layer.recurrent_kernel[gate].T
        return left


class Forward(NamedTuple):
    """What `forward` returns. Outputs and steps are in processing order: with go_backwards, the reverse of x's."""

    outputs: Array  # (B, T, U)
    last_output: Array  # (B, U), that of the last step; where that is masked, it may differ from the state
    state: States  # (B, U) each
    steps: list[tuple[Array, Kept]]  # (1 or G, n, F), x after dropout; and the rest
    layer: _Layer
    valid: npt.NDArray[np.bool_]  # (B, T), in processing order
    boundaries: npt.NDArray[np.bool_]  # (B, T), in processing order: one before the step
    restarts: npt.NDArray[np.bool_]  # (B, T), likewise: valid steps that began with the initial state again
    zoneout: tuple[Array, ...]  # (B, T, U) for each state, in processing order: what part a step keeps of it
    x_factors: Array  # (1 or G, B, F), dropout's
    h_factors: Array  # (G, B, U), dropout's
    go_backwards: bool
    zero_output_for_mask: bool


class Gradients(NamedTuple):
    """What `backward` returns: a gradient for each input of `forward`, in the shape of that input."""

    x: Array  # (B, T, F), zeros in masked steps
    initial_state: States  # (B, U) each
    kernel: Array  # (F, GU)
    recurrent_kernel: Array  # (U, GU)
    bias: Array | None  # (2, GU) or (GU,); None without bias


class LayerNormGradients(NamedTuple):
    """The same of a cell that normalises."""

    x: Array
    initial_state: States
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    gain: Array | None  # (GU,); None without gain, and so are the others
    recurrent_gain: Array | None  # (GU,)
    state_gain: Array | None  # (U,)
    state_bias: Array | None  # (U,)


def forward(
    x: npt.ArrayLike,
    kernel: npt.ArrayLike,
    recurrent_kernel: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    cell: Cell = Cell.GRU,
    initial_state: Any = None,
    mask: npt.ArrayLike | None = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    input_dropout: npt.ArrayLike | None = None,
    recurrent_dropout: npt.ArrayLike | None = None,
    gain: npt.ArrayLike | None = None,
    recurrent_gain: npt.ArrayLike | None = None,
    state_gain: npt.ArrayLike | None = None,
    state_bias: npt.ArrayLike | None = None,
    epsilon: float = 1e-3,
    starts: npt.ArrayLike | None = None,
    zoneout_h: float = 0.0,
    zoneout_c: float = 0.0,
    kept_h: npt.ArrayLike | None = None,
    kept_c: npt.ArrayLike | None = None,
) -> Forward:
    """Runs a layer over sequences. Arrays may have any real dtype; the computation is in float64.

    Args:
        x: (B, T, F). Masked steps are never read: what stands there, NaN included, reaches nothing.
        kernel: (F, GU).
        recurrent_kernel: (U, GU).
        bias: (2, GU), b and c, of a cell with both, else (GU,), b; or None for zeros.
        cell: what is computed at a step.
        initial_state: (B, U), or None for zeros; of a cell with several states a tuple of such.
        mask: (B, T), nonzero = valid, without NaN; or None. A masked step keeps the state, and repeats the output of
            the step before (zeros before the first valid step).
        go_backwards: x and mask are read from the last step to the first.
        zero_output_for_mask: a masked step's output is zeros.
        activation: a key of `ACTIVATIONS`.
        recurrent_activation: the gates'; a key of `ACTIVATIONS`.
        input_dropout: factors on x, the same at every step: (1, B, F), or (G, B, F), one for each gate; or None.
        recurrent_dropout: factors on h_prev in the products, the same at every step: (G, B, U); or None.
        gain: (GU,), of a cell that normalises, as what follows is: factors on the normalised x K; or None for ones.
        recurrent_gain: (GU,), factors on the normalised h_prev R; or None for ones.
        state_gain: (U,), factors on the normalised second state; or None for ones.
        state_bias: (U,), what is added to those; or None for zeros.
        epsilon: what is added to variances.
        starts: (B, T), nonzero = a boundary before that step in time, masked or not; or None. The next valid step in
            reading order begins with the initial state, and no output is repeated across it.
        zoneout_h: what part of h a step keeps: h = part * h_prev + (1 - part) * h_new (Krueger et al. 2016, arXiv
            1606.01305). An LSTM's h_new follows from its c_new, not from what zoneout makes of that.
        zoneout_c: likewise, of the second state.
        kept_h: (B, T, U), the part for every row, step and unit: nonzero = 1, else 0; or None, for `zoneout_h`.
        kept_c: likewise, of the second state.

    Returns:
        outputs (B, T, U), last_output (B, U), state (B, U), float64, and what `backward` needs.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array, or an option is no bool.
        ValueError: an array has the wrong shape, the mask holds NaN, or an activation is unknown.

    Example:
        >>> import numpy as np
        >>> result = forward(np.ones((1, 2, 1)), [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
        >>> result.outputs.round(4).tolist()  # z = 1/2: half of tanh(1), then three quarters of it
        [[[0.3808], [0.5712]]]
    """
    of_norm = {"gain": gain, "recurrent_gain": recurrent_gain, "state_gain": state_gain, "state_bias": state_bias}
    layer = _layer(cell, kernel, recurrent_kernel, bias, activation, recurrent_activation, of_norm, epsilon)
    n_gates, n_features, n_units = layer.kernel.shape
    x = _float64("x", x, "batch", "timesteps", ("features", n_features))
    n_batch, timesteps, _ = x.shape
    gates, batch, features, units = ("gates", n_gates), ("batch", n_batch), ("features", n_features), ("units", n_units)
    given = _several(cell, initial_state)
    initial = [_optional("initial_state", h, np.zeros((n_batch, n_units)), batch, units) for h in given]
    states = [state.copy() for state in initial]
    axes = (batch, ("timesteps", timesteps))
    valid = _flags("mask", mask, np.ones((n_batch, timesteps)), *axes)
    boundaries = _flags("starts", starts, np.zeros((n_batch, timesteps)), *axes)
    zoneout: list[Array] = [
        _flags(f"kept_{name}", kept, np.zeros((n_batch, timesteps, n_units)), *axes, units).astype(np.float64)
        if kept is not None
        else np.full((n_batch, timesteps, n_units), fraction("reference", f"zoneout_{name}", part))
        for name, kept, part in zip(cell.row.states, (kept_h, kept_c), (zoneout_h, zoneout_c), strict=False)
    ]
    masks = (f"1 or {n_gates}", (1, n_gates))
    x_factors = _optional("input_dropout", input_dropout, np.ones((1, n_batch, n_features)), masks, batch, features)
    no_factors = np.ones((n_gates, n_batch, n_units))
    h_factors = _optional("recurrent_dropout", recurrent_dropout, no_factors, gates, batch, units)
    go_backwards = flag("reference", "go_backwards", go_backwards)
    zero_output_for_mask = flag("reference", "zero_output_for_mask", zero_output_for_mask)
    if go_backwards:
        x, valid, zoneout = x[:, ::-1], valid[:, ::-1], [part[:, ::-1] for part in zoneout]
        boundaries = np.roll(boundaries[:, ::-1], 1, axis=1)  # before a step in time is after it in reading order
    boundaries[:, :1] = False  # nothing was read before it

    outputs, output, steps = np.zeros((n_batch, timesteps, n_units)), np.zeros((n_batch, n_units)), []
    restarts, crossed = np.zeros_like(valid), np.zeros(n_batch, bool)
    for t in range(timesteps):
        rows = valid[:, t]
        crossed |= boundaries[:, t]
        output[boundaries[:, t]] = 0
        restarts[:, t] = crossed & rows
        crossed &= ~rows
        for state, start in zip(states, initial, strict=True):
            state[restarts[:, t]] = start[restarts[:, t]]
        x_gates, h_gates = x[rows, t] * x_factors[:, rows], states[0][rows] * h_factors[:, rows]
        kept = layer.kept(x_gates, h_gates, tuple(state[rows] for state in states))
        functions = layer.activation.value, layer.recurrent_activation.value
        of_state = (layer.state_normal,) if layer.equations.normalises_state else ()
        new = layer.equations.step(kept.x, kept.recurrent, kept.states, *functions, *of_state)
        for state, value, part in zip(states, new, zoneout, strict=True):
            state[rows] = part[rows, t] * state[rows] + (1 - part[rows, t]) * value
        if zero_output_for_mask:
            output[~rows] = 0
        output[rows] = states[0][rows]
        outputs[:, t] = output
        steps.append((x_gates, kept))
    options = go_backwards, zero_output_for_mask
    about_steps = valid, boundaries, restarts, tuple(zoneout)
    return Forward(outputs, output, nested(states), steps, layer, *about_steps, x_factors, h_factors, *options)


def backward(
    result: Forward, d_outputs: npt.ArrayLike | None = None, d_state: Any = None
) -> Gradients | LayerNormGradients:
    """Computes the vector-Jacobian product of `forward`.

    Args:
        result: what `forward` returned.
        d_outputs: (B, T, U), the gradient of `outputs`; that of `last_output` belongs to the last step. None for zeros.
        d_state: (B, U), the gradient of `state`; a tuple as that is one. None for zeros.

    Returns:
        The gradients of x, initial_state, kernel, recurrent_kernel and bias, float64.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array.
        ValueError: an array has the wrong shape.

    Example:
        >>> import numpy as np
        >>> result = forward(np.ones((1, 2, 1)), [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
        >>> backward(result, d_state=[[1.0]]).initial_state.tolist()  # z * z
        [[0.25]]
    """
    layer, (batch, timesteps, units), features = result.layer, result.outputs.shape, result.x_factors.shape[2]
    sizes = (("batch", batch), ("timesteps", timesteps), ("units", units))
    dy = _optional("d_outputs", d_outputs, np.zeros((batch, timesteps, units)), *sizes)
    given = _several(layer.cell, d_state)
    at_end = (sizes[0], sizes[2])
    d_states = [_optional("d_state", d, np.zeros((batch, units)), *at_end).copy() for d in given]
    dx, d_output = np.zeros((batch, timesteps, features)), np.zeros((batch, units))
    d_initial = [np.zeros((batch, units)) for _ in d_states]  # of what was begun again with
    d_kernel, d_recurrent_kernel, db, dc, d_gain, d_recurrent_gain = (np.zeros_like(weight) for weight in layer[1:7])
    d_state_gain, d_state_bias = np.zeros(units), np.zeros(units)
    for t in reversed(range(timesteps)):
        rows, (x_gates, kept) = result.valid[:, t], result.steps[t]
        d_output += dy[:, t]
        d_states[0][rows] += d_output[rows]
        # Else it passes on to the step whose output was repeated.
        d_output[rows | result.boundaries[:, t] | result.zero_output_for_mask] = 0
        after = [of_state[rows] for of_state in d_states]
        parts = [part[rows, t] for part in result.zoneout]
        d = layer.equations.backward(kept, tuple((1 - p) * of for p, of in zip(parts, after, strict=True)))
        of_x, of_h = (layer.normal(p) for p in (x_gates @ layer.kernel, d.left @ layer.recurrent_kernel))
        d_x, d_product = of_x.back(d.x * layer.gain), of_h.back(d.product * layer.recurrent_gain)
        dx[rows, t] = ((d_x @ layer.kernel.swapaxes(1, 2)) * result.x_factors[:, rows]).sum(axis=0)
        for of_state, value, p, of in zip(d_states, d.states, parts, after, strict=True):
            of_state[rows] = value + p * of
        d_states[0][rows] += (d.h * result.h_factors[:, rows]).sum(axis=0)
        restarted = result.restarts[:, t]
        for of_state, of_initial in zip(d_states, d_initial, strict=True):
            of_initial[restarted] += of_state[restarted]
            of_state[restarted] = 0
        d_kernel += x_gates.swapaxes(1, 2) @ d_x
        d_recurrent_kernel += d.left.swapaxes(1, 2) @ d_product
        d_gain += (d.x * of_x.value).sum(axis=1, keepdims=True)
        d_recurrent_gain += (d.product * of_h.value).sum(axis=1, keepdims=True)
        d_state_gain += d.state_gain
        d_state_bias += d.state_bias
        db += d.x.sum(axis=1, keepdims=True)
        dc += d.product.sum(axis=1, keepdims=True)
    weights = {
        "bias": np.concatenate([db, dc]).reshape(2, -1) if layer.equations.recurrent_bias else db.reshape(-1),
        "gain": d_gain.reshape(-1),
        "recurrent_gain": d_recurrent_gain.reshape(-1),
        "state_gain": d_state_gain,
        "state_bias": d_state_bias,
    }
    kind = LayerNormGradients if layer.equations.normalises else Gradients
    of_given = {n: value if n in layer.given else None for n, value in weights.items() if n in kind._fields}
    dx = dx[:, ::-1] if result.go_backwards else dx
    d_initial = [of_state + of_initial for of_state, of_initial in zip(d_states, d_initial, strict=True)]
    return kind(dx, nested(d_initial), _joined(d_kernel), _joined(d_recurrent_kernel), **of_given)


def _layer(
    cell: Cell,
    kernel: npt.ArrayLike,
    recurrent_kernel: npt.ArrayLike,
    bias: npt.ArrayLike | None,
    activation: str,
    recurrent_activation: str,
    of_norm: dict[str, npt.ArrayLike | None],
    epsilon: float,
) -> _Layer:
    n, units = len(cell.row.gates), len(_float64("recurrent_kernel", recurrent_kernel, "units", "gates * units"))
    gates = (f"{n} * units", n * units)
    kernel = _split(_float64("kernel", kernel, "features", gates), n)
    recurrent_kernel = _split(_float64("recurrent_kernel", recurrent_kernel, "units", gates), n)
    b_and_c = np.zeros((2, n, 1, units))
    equations = EQUATIONS[cell]
    if bias is not None and equations.recurrent_bias:
        b_and_c[:] = _float64("bias", bias, ("b and c", 2), gates).reshape(2, n, 1, units)
    elif bias is not None:
        b_and_c[0] = _float64("bias", bias, gates).reshape(n, 1, units)
    function = ACTIVATIONS[one_of("reference", "activation", activation, ACTIVATIONS)]
    of_gates = ACTIVATIONS[one_of("reference", "recurrent_activation", recurrent_activation, ACTIVATIONS)]
    exists = {name: equations.normalises_state if "state" in name else equations.normalises for name in of_norm}
    if extra := [name for name, value in of_norm.items() if value is not None and not exists[name]]:
        raise ValueError(f"reference: {extra[0]} has no place in this cell. Expected None; received it. Leave it out.")
    ones, size = np.ones(n * units), ("units", units)
    gains = [_optional(name, of_norm[name], ones, gates).reshape(n, 1, units) for name in ("gain", "recurrent_gain")]
    state_gain = _optional("state_gain", of_norm["state_gain"], np.ones(units), size)
    state_bias = _optional("state_bias", of_norm["state_bias"], np.zeros(units), size)
    given = frozenset(name for name, value in (of_norm | {"bias": bias}).items() if value is not None)
    of_state = StateNormal(state_gain, state_bias, epsilon)
    b, c = b_and_c
    return _Layer(cell, kernel, recurrent_kernel, b, c, gains[0], gains[1], of_state, given, function, of_gates)


def _several(cell: Cell, state: Any) -> tuple[Any, ...]:
    """Brings what stands for a cell's states, one alone or a tuple, to a tuple."""
    n = len(cell.row.states)
    return (None,) * n if state is None else (state,) if n == 1 else tuple(state)


def _split(kernel: Array, gates: int) -> Array:
    return kernel.reshape(len(kernel), gates, -1).swapaxes(0, 1)


def _joined(kernel: Array) -> Array:
    return kernel.swapaxes(0, 1).reshape(kernel.shape[1], -1)


def _float64(name: str, value: npt.ArrayLike, *axes: Axis) -> Array:
    return real_array("reference", name, value, axes, np.float64)


def _flags(name: str, value: npt.ArrayLike | None, default: Array, *axes: Axis) -> npt.NDArray[np.bool_]:
    return mask_array("reference", default if value is None else value, axes, name).copy()


def _optional(name: str, value: npt.ArrayLike | None, default: Array, *axes: Axis) -> Array:
    return default if value is None else _float64(name, value, *axes)
