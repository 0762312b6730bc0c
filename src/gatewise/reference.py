# SPDX-License-Identifier: Apache-2.0
"""What a GRU layer is: the specification, in float64 NumPy, that every other implementation is tested against.

A gated recurrent unit carries a state h through time. With the gates z (update) and r (reset) and the candidate
h_tilde, a step from h_prev to h is

    z       = recurrent_activation(x Kz + bz + h_prev Rz + cz)
    r       = recurrent_activation(x Kr + br + h_prev Rr + cr)
    h_tilde = activation(x Kh + bh + r * (h_prev Rh + ch))   reset_after=True: descends from arXiv 1406.1078 v1; cuDNN
    h_tilde = activation(x Kh + bh + (r * h_prev) Rh)        reset_after=False: arXiv 1406.1078 v3; there is no c
    h       = z * h_prev + (1 - z) * h_tilde

Much of the literature writes h = (1 - z) * h_prev + z * h_tilde: the same cell with z renamed to 1 - z.

Letters: B = batch, T = timesteps, F = features, U = units, n = the rows of the batch that are valid at a step. Weights
come in Keras's layout, gates in the order z | r | h along the last axis; inside, gates are the first axis: (3, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatewise.arrays import Axis, mask_array, real_array
from gatewise.options import flag, one_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


class _Activation(NamedTuple):
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]  # the derivative, as a function of the value y


def _sigmoid(x: Array) -> Array:
    e: Array = np.exp(-np.abs(x))  # cannot overflow
    return np.where(x < 0, e, 1.0) / (1 + e)


ACTIVATIONS = {
    "tanh": _Activation(np.tanh, lambda y: 1 - y * y),
    "sigmoid": _Activation(_sigmoid, lambda y: y * (1 - y)),
    "relu": _Activation(lambda x: np.maximum(x, 0), lambda y: np.where(y > 0, 1.0, 0.0)),
    "linear": _Activation(lambda x: x, np.ones_like),
    "hard_sigmoid": _Activation(lambda x: np.clip(x + 3, 0, 6) / 6, lambda y: np.where((y > 0) & (y < 1), 1 / 6, 0.0)),
}


class _Layer(NamedTuple):
    kernel: Array  # (3, F, U)
    recurrent_kernel: Array  # (3, U, U)
    b: Array  # (3, 1, U)
    c: Array  # (3, 1, U), zeros with reset_after=False
    use_bias: bool
    reset_after: bool
    activation: _Activation
    recurrent_activation: _Activation


class _Step(NamedTuple):
    """What the way back needs of a step."""

    x_gates: Array  # (1 or 3, n, F), x after dropout
    h_prev: Array  # (n, U)
    h_gates: Array  # (3, n, U), h_prev after dropout
    h_product: Array  # (n, U), h_prev Rh + ch
    z: Array  # (n, U)
    r: Array  # (n, U)
    h_tilde: Array  # (n, U)


class Forward(NamedTuple):
    """What `gru_forward` returns. Outputs and steps are in processing order: with go_backwards, the reverse of x's."""

    outputs: Array  # (B, T, U)
    last_output: Array  # (B, U), that of the last step; where that is masked, it may differ from the state
    state: Array  # (B, U)
    steps: list[_Step]
    layer: _Layer
    valid: npt.NDArray[np.bool_]  # (B, T), in processing order
    x_factors: Array  # (1 or 3, B, F), dropout's
    h_factors: Array  # (3, B, U), dropout's
    go_backwards: bool
    zero_output_for_mask: bool


class Gradients(NamedTuple):
    """What `gru_backward` returns: a gradient for each input of `gru_forward`, in the shape of that input."""

    x: Array  # (B, T, F), zeros in masked steps
    initial_state: Array  # (B, U)
    kernel: Array  # (F, 3U)
    recurrent_kernel: Array  # (U, 3U)
    bias: Array | None  # (2, 3U) or (3U,); None without bias


def _step_forward(layer: _Layer, x_gates: Array, h_prev: Array, h_gates: Array) -> tuple[Array, _Step]:
    """Takes one step. Returns the new state (n, U), and what `_step_backward` needs."""
    x_z, x_r, x_h = x_gates @ layer.kernel + layer.b
    h_z, h_r, h_product = h_gates @ layer.recurrent_kernel + layer.c
    z = layer.recurrent_activation.value(x_z + h_z)
    r = layer.recurrent_activation.value(x_r + h_r)
    reset = r * h_product if layer.reset_after else (r * h_gates[2]) @ layer.recurrent_kernel[2]
    h_tilde = layer.activation.value(x_h + reset)
    return z * h_prev + (1 - z) * h_tilde, _Step(x_gates, h_prev, h_gates, h_product, z, r, h_tilde)


def _step_backward(layer: _Layer, step: _Step, dh: Array) -> tuple[Array, Array, Array, list[Array]]:
    """Takes dh (n, U), the gradient of a step's new state, back to the gradients of what the step was made of.

    Below, a gate's name with a d is the gradient of its sum, before the activation.

    Returns:
        dx_gates (3, n, F), dh_prev (n, U) without what flows through h_gates, dh_gates (3, n, U), and the gradients of
        kernel, recurrent_kernel, b and c.
    """
    z, r, h_tilde = step.z, step.r, step.h_tilde
    dz = dh * (step.h_prev - h_tilde) * layer.recurrent_activation.slope(z)
    dh_tilde = dh * (1 - z) * layer.activation.slope(h_tilde)
    if layer.reset_after:
        dr = dh_tilde * step.h_product * layer.recurrent_activation.slope(r)
        left = step.h_gates  # what stands left of the recurrent kernel
        d_product = np.stack([dz, dr, dh_tilde * r])
        dh_gates = d_product @ layer.recurrent_kernel.swapaxes(1, 2)
    else:
        left = step.h_gates * np.stack([np.ones_like(r), np.ones_like(r), r])
        d_reset = dh_tilde @ layer.recurrent_kernel[2].T
        dr = d_reset * step.h_gates[2] * layer.recurrent_activation.slope(r)
        d_product = np.stack([dz, dr, dh_tilde])
        dh_gates = np.stack([dz @ layer.recurrent_kernel[0].T, dr @ layer.recurrent_kernel[1].T, d_reset * r])
    d_sum = np.stack([dz, dr, dh_tilde])
    d_kernel, d_recurrent = step.x_gates.swapaxes(1, 2) @ d_sum, left.swapaxes(1, 2) @ d_product
    db, dc = d_sum.sum(axis=1, keepdims=True), d_product.sum(axis=1, keepdims=True)
    return d_sum @ layer.kernel.swapaxes(1, 2), dh * z, dh_gates, [d_kernel, d_recurrent, db, dc]


def gru_forward(
    x: npt.ArrayLike,
    kernel: npt.ArrayLike,
    recurrent_kernel: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    reset_after: bool = True,
    initial_state: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    input_dropout: npt.ArrayLike | None = None,
    recurrent_dropout: npt.ArrayLike | None = None,
) -> Forward:
    """Runs a GRU layer over sequences. Arrays may have any real dtype; the computation is in float64.

    Args:
        x: (B, T, F). Masked steps are never read: what stands there, NaN included, reaches nothing.
        kernel: (F, 3U).
        recurrent_kernel: (U, 3U).
        bias: (2, 3U), b and c, if `reset_after`, else (3U,), b; or None for zeros.
        reset_after: which of its two formulas the candidate follows.
        initial_state: (B, U), or None for zeros.
        mask: (B, T), nonzero = valid, without NaN; or None. A masked step keeps the state, and repeats the output of
            the step before (zeros before the first valid step).
        go_backwards: x and mask are read from the last step to the first.
        zero_output_for_mask: a masked step's output is zeros.
        activation: the candidate's; a key of `ACTIVATIONS`.
        recurrent_activation: the gates'; a key of `ACTIVATIONS`.
        input_dropout: factors on x, the same at every step: (1, B, F), or (3, B, F), one for each gate; or None.
        recurrent_dropout: factors on h_prev in the products, the same at every step: (3, B, U); or None.

    Returns:
        outputs (B, T, U), last_output (B, U), state (B, U), float64, and what `gru_backward` needs.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array, or an option is no bool.
        ValueError: an array has the wrong shape, the mask holds NaN, or an activation is unknown.

    Example:
        >>> import numpy as np
        >>> forward = gru_forward(np.ones((1, 2, 1)), [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
        >>> forward.outputs.round(4).tolist()  # z = 1/2: half of tanh(1), then three quarters of it
        [[[0.3808], [0.5712]]]
    """
    layer = _layer(kernel, recurrent_kernel, bias, reset_after, activation, recurrent_activation)
    _, n_features, n_units = layer.kernel.shape
    x = _float64("x", x, "batch", "timesteps", ("features", n_features))
    n_batch, timesteps, _ = x.shape
    gates, batch, features, units = ("gates", 3), ("batch", n_batch), ("features", n_features), ("units", n_units)
    h = _optional("initial_state", initial_state, np.zeros((n_batch, n_units)), batch, units).copy()
    mask = np.ones((n_batch, timesteps)) if mask is None else mask
    valid = mask_array("reference", mask, (batch, ("timesteps", timesteps)))
    masks = ("1 or 3", (1, 3))
    x_factors = _optional("input_dropout", input_dropout, np.ones((1, n_batch, n_features)), masks, batch, features)
    h_factors = _optional("recurrent_dropout", recurrent_dropout, np.ones((3, n_batch, n_units)), gates, batch, units)
    go_backwards = flag("reference", "go_backwards", go_backwards)
    zero_output_for_mask = flag("reference", "zero_output_for_mask", zero_output_for_mask)
    if go_backwards:
        x, valid = x[:, ::-1], valid[:, ::-1]

    outputs, output, steps = np.zeros((n_batch, timesteps, n_units)), np.zeros((n_batch, n_units)), []
    for t in range(timesteps):
        rows = valid[:, t]
        x_gates, h_gates = x[rows, t] * x_factors[:, rows], h[rows] * h_factors[:, rows]
        h[rows], step = _step_forward(layer, x_gates, h[rows], h_gates)
        if zero_output_for_mask:
            output[~rows] = 0
        output[rows] = h[rows]
        outputs[:, t] = output
        steps.append(step)
    return Forward(outputs, output, h, steps, layer, valid, x_factors, h_factors, go_backwards, zero_output_for_mask)


def gru_backward(
    forward: Forward, d_outputs: npt.ArrayLike | None = None, d_state: npt.ArrayLike | None = None
) -> Gradients:
    """Computes the vector-Jacobian product of `gru_forward`.

    Args:
        forward: what `gru_forward` returned.
        d_outputs: (B, T, U), the gradient of `outputs`; that of `last_output` belongs to the last step. None for zeros.
        d_state: (B, U), the gradient of `state`. None for zeros.

    Returns:
        The gradients of x, initial_state, kernel, recurrent_kernel and bias, float64.

    Raises:
        TypeError: an array does not hold real numbers or is a masked array.
        ValueError: an array has the wrong shape.

    Example:
        >>> import numpy as np
        >>> forward = gru_forward(np.ones((1, 2, 1)), [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]])
        >>> gru_backward(forward, d_state=[[1.0]]).initial_state.tolist()  # z * z
        [[0.25]]
    """
    layer, (batch, timesteps, units), features = forward.layer, forward.outputs.shape, forward.x_factors.shape[2]
    sizes = (("batch", batch), ("timesteps", timesteps), ("units", units))
    dy = _optional("d_outputs", d_outputs, np.zeros((batch, timesteps, units)), *sizes)
    dh = _optional("d_state", d_state, np.zeros((batch, units)), sizes[0], sizes[2]).copy()
    dx, d_output = np.zeros((batch, timesteps, features)), np.zeros((batch, units))
    d_weights = [np.zeros_like(weight) for weight in layer[:4]]
    for t in reversed(range(timesteps)):
        rows = forward.valid[:, t]
        d_output += dy[:, t]
        dh[rows] += d_output[rows]
        d_output[rows | forward.zero_output_for_mask] = 0  # else it passes on to the step whose output was repeated
        dx_gates, dh_prev, dh_gates, d_step = _step_backward(layer, forward.steps[t], dh[rows])
        dx[rows, t] = (dx_gates * forward.x_factors[:, rows]).sum(axis=0)
        dh[rows] = dh_prev + (dh_gates * forward.h_factors[:, rows]).sum(axis=0)
        d_weights = [total + part for total, part in zip(d_weights, d_step, strict=True)]
    d_kernel, d_recurrent, db, dc = d_weights
    d_bias = np.concatenate([db, dc]).reshape(2, 3 * units) if layer.reset_after else db.reshape(3 * units)
    dx = dx[:, ::-1] if forward.go_backwards else dx
    return Gradients(dx, dh, _joined(d_kernel), _joined(d_recurrent), d_bias if layer.use_bias else None)


def _layer(
    kernel: npt.ArrayLike,
    recurrent_kernel: npt.ArrayLike,
    bias: npt.ArrayLike | None,
    reset_after: bool,
    activation: str,
    recurrent_activation: str,
) -> _Layer:
    reset_after = flag("reference", "reset_after", reset_after)
    units = len(_float64("recurrent_kernel", recurrent_kernel, "units", "3 * units"))
    gates = ("3 * units", 3 * units)
    kernel = _split(_float64("kernel", kernel, "features", gates))
    recurrent_kernel = _split(_float64("recurrent_kernel", recurrent_kernel, "units", gates))
    b_and_c = np.zeros((2, 3, 1, units))
    if bias is not None and reset_after:
        b_and_c[:] = _float64("bias", bias, ("b and c", 2), gates).reshape(2, 3, 1, units)
    elif bias is not None:
        b_and_c[0] = _float64("bias", bias, gates).reshape(3, 1, units)
    function = ACTIVATIONS[one_of("reference", "activation", activation, ACTIVATIONS)]
    of_gates = ACTIVATIONS[one_of("reference", "recurrent_activation", recurrent_activation, ACTIVATIONS)]
    return _Layer(kernel, recurrent_kernel, b_and_c[0], b_and_c[1], bias is not None, reset_after, function, of_gates)


def _split(kernel: Array) -> Array:
    return kernel.reshape(len(kernel), 3, kernel.shape[1] // 3).swapaxes(0, 1)


def _joined(kernel: Array) -> Array:
    return kernel.swapaxes(0, 1).reshape(kernel.shape[1], 3 * kernel.shape[2])


def _float64(name: str, value: npt.ArrayLike, *axes: Axis) -> Array:
    return real_array("reference", name, value, axes, np.float64)


def _optional(name: str, value: npt.ArrayLike | None, default: Array, *axes: Axis) -> Array:
    return default if value is None else _float64(name, value, *axes)
