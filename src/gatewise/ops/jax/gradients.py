# SPDX-License-Identifier: Apache-2.0
"""The layer as a function that JAX differentiates.

Each link is a `jax.custom_vjp`: the layer, whose gradient starts from the layer that saves; that one, which a second
derivative goes through again; and the way back, whose own derivative is composed of JAX's operations.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gatewise.ops import composed
from gatewise.ops.jax import xla

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Array: TypeAlias = Any  # a jax.Array or a tracer


class Inputs(NamedTuple):
    """The layer's inputs, as in `gru`."""

    x: Array
    initial_state: Array | None
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    mask: Array | None
    input_dropout: Array | None
    recurrent_dropout: Array | None


class Gradients(NamedTuple):
    """A gradient for each input that can have one, None for those that are absent or not wanted."""

    x: Array | None
    initial_state: Array | None
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None


class _Jax:
    """JAX's functions for `composed.gru`."""

    def activation(self, name: str) -> Callable[[Array], Array]:
        return (lambda x: x) if name == "linear" else getattr(jax.nn, name)

    def zero_state(self, x: Array, units: int) -> Array:
        return jnp.zeros((x.shape[0], units), jnp.float32)

    def all_valid(self, x: Array) -> Array:
        return jnp.ones((*x.shape[:2], 1), bool)

    def where(self, condition: Array, value: Array, otherwise: Array | float) -> Array:
        return jnp.where(condition, value, otherwise)

    def time_first(self, value: Array) -> Array:
        return jnp.swapaxes(value, 0, 1)

    def flip(self, value: Array) -> Array:
        return jnp.flip(value, axis=0)

    def scan(
        self,
        step: Callable[[tuple[Array, Array], tuple[Array, Array]], tuple[Array, Array]],
        start: tuple[Array, Array],
        sequences: tuple[Array, Array],
    ) -> tuple[Array, Array]:
        def carry(state: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[Any, Any]:
            state = step(state, inputs)
            return state, state

        states: tuple[Array, Array] = jax.lax.scan(carry, start, sequences)[1]
        return states


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def layer(options: xla.Options, inputs: Inputs) -> tuple[Array, Array]:
    """Runs the layer. Returns its outputs and its last state."""
    outputs, state = xla.run(xla.FORWARD, options, inputs._asdict())
    return outputs, state


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _saving_layer(options: xla.Options, inputs: Inputs) -> tuple[Array, Array, Array]:
    outputs, state, saved = xla.run(xla.FORWARD_SAVING, options, inputs._asdict())
    return outputs, state, saved


class _Kept(NamedTuple):
    """What the layer keeps for its gradient."""

    inputs: Inputs
    saved: Array
    outputs: Array | None  # where the engine needs them
    x_gradient: tuple[()] | None  # whether x needs one: not None. A first layer saves a product without


def _keep(options: xla.Options, marked: Inputs) -> tuple[tuple[Array, Array, Array], _Kept]:
    inputs = jax.tree.map(lambda primal: primal.value, marked, is_leaf=_is_marked)
    outputs, state, saved = _saving_layer(options, inputs)
    needed = outputs if xla.needs_outputs(options, inputs._asdict()) else None
    return (outputs, state, saved), _Kept(inputs, saved, needed, () if marked.x.perturbed else None)


def _keep_of_layer(options: xla.Options, marked: Inputs) -> tuple[tuple[Array, Array], _Kept]:
    (outputs, state, _), kept = _keep(options, marked)
    return (outputs, state), kept


def _is_marked(value: Any) -> bool:
    return isinstance(value, jax.custom_derivatives.CustomVJPPrimal)


def _gradient(options: xla.Options, kept: _Kept, cotangents: tuple[Array, ...]) -> tuple[Inputs]:
    # What is saved has a cotangent too, of nothing. Zeros of outputs that nobody used are not made up.
    d_outputs, d_state = (
        None if isinstance(value, jax.custom_derivatives.SymbolicZero) else value for value in cotangents[:2]
    )
    if d_outputs is None and d_state is None:  # a second derivative asks, but only for what is saved
        return (_of_inputs([None] * 5),)
    gradients = _way_back(
        options, kept.x_gradient is not None, kept.inputs, kept.saved, kept.outputs, d_outputs, d_state
    )
    return (_of_inputs(gradients),)


layer.defvjp(_keep_of_layer, _gradient, symbolic_zeros=True)
_saving_layer.defvjp(_keep, _gradient, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _way_back(
    options: xla.Options,
    x_gradient: bool,
    inputs: Inputs,
    saved: Array,
    outputs: Array | None,
    d_outputs: Array | None,
    d_state: Array | None,
) -> Gradients:
    wanted = {
        "d_x": x_gradient,
        "d_initial_state": inputs.initial_state is not None,
        "d_kernel": True,
        "d_recurrent_kernel": True,
        "d_bias": inputs.bias is not None,
    }
    operands = inputs._asdict() | {"saved": saved, "outputs": outputs, "d_outputs": d_outputs, "d_state": d_state}
    results = iter(xla.run(xla.BACKWARD, options, operands, [name for name in wanted if wanted[name]]))
    return Gradients(*(next(results) if is_wanted else None for is_wanted in wanted.values()))


_Operands: TypeAlias = tuple[Inputs, Array | None, Array | None]  # of the way back, but for the way forward's results


def _keep_operands(
    options: xla.Options,
    x_gradient: bool,
    inputs: Inputs,
    saved: Array,
    outputs: Array | None,
    d_outputs: Array | None,
    d_state: Array | None,
) -> tuple[Gradients, _Operands]:
    gradients = _way_back(options, x_gradient, inputs, saved, outputs, d_outputs, d_state)
    return gradients, (inputs, d_outputs, d_state)


def _second_gradient(
    options: xla.Options, x_gradient: bool, operands: _Operands, cotangents: Gradients
) -> tuple[Inputs, None, None, Array | None, Array | None]:
    """Differentiates the first derivative of the composed layer. What is saved, and the outputs, follow from inputs."""
    inputs, *incoming = operands
    first: tuple[Array | None, ...] = inputs[:5]  # those with a gradient
    others: tuple[Array | None, ...] = inputs[5:]

    def run(*arrays: Array | None) -> tuple[Array, Array]:
        x, initial_state, kernel, recurrent_kernel, bias = arrays
        mask, input_dropout, recurrent_dropout = others
        return composed.gru(
            _Jax(), x, initial_state, kernel, recurrent_kernel, bias, mask, input_dropout, recurrent_dropout,
            **options._asdict(),
        )  # fmt: skip

    def way_back(arrays: tuple[Array | None, ...], *incoming: Array | None) -> Gradients:
        results, pull = jax.vjp(run, *arrays)
        given = (
            jnp.zeros_like(result) if gradient is None else gradient
            for result, gradient in zip(results, incoming, strict=True)
        )
        gradients = Gradients(*pull(tuple(given)))
        return gradients if x_gradient else gradients._replace(x=None)

    _, pull = jax.vjp(way_back, first, *incoming)
    gradients, d_d_outputs, d_d_state = pull(cotangents)
    return _of_inputs(gradients), None, None, d_d_outputs, d_d_state


def _of_inputs(gradients: Iterable[Array | None]) -> Inputs:
    """Brings gradients to the shape that JAX wants: one for each input, None where there can be none."""
    x, initial_state, kernel, recurrent_kernel, bias = gradients
    return Inputs(x, initial_state, kernel, recurrent_kernel, bias, None, None, None)


_way_back.defvjp(_keep_operands, _second_gradient)
