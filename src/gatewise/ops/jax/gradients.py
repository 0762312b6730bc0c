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
from gatewise.ops.direction import Direction
from gatewise.ops.jax import xla

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = Any  # a jax.Array or a tracer
_OfEach: TypeAlias = tuple[Any, ...]  # an array, or None, for each direction


class Inputs(NamedTuple):
    """The inputs of a layer of one direction or two; or their gradients, None where there is none or none is wanted."""

    x: Array
    mask: Array | None
    directions: tuple[Direction, ...]

    def by_name(self) -> dict[str, Array | None]:
        """Names them as the handlers do."""
        of_each = {
            xla.own(name, i): value
            for i, direction in enumerate(self.directions)
            for name, value in direction._asdict().items()
        }
        return {"x": self.x, "mask": self.mask} | of_each


class _Jax:
    """JAX's functions for `composed.directions`."""

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

    def side_by_side(self, values: Sequence[Array]) -> Array:
        return jnp.concatenate(values, axis=-1)

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
def layer(options: xla.Options, inputs: Inputs) -> tuple[Array, _OfEach]:
    """Runs the layer. Returns its outputs and the last state of each direction."""
    found = xla.run(xla.FORWARD, options, inputs.by_name())
    return found["outputs"], _of_each("state", found, inputs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _saving_layer(options: xla.Options, inputs: Inputs) -> tuple[Array, _OfEach, _OfEach]:
    found = xla.run(xla.FORWARD_SAVING, options, inputs.by_name())
    return found["outputs"], _of_each("state", found, inputs), _of_each("saved", found, inputs)


def _of_each(name: str, found: dict[str, Array], inputs: Inputs) -> _OfEach:
    return tuple(found[xla.own(name, i)] for i in range(len(inputs.directions)))


class _Kept(NamedTuple):
    """What the layer keeps for its gradient."""

    inputs: Inputs
    saved: _OfEach
    x_gradient: tuple[()] | None  # whether x needs one: not None. A first layer saves a product without


def _keep(options: xla.Options, marked: Inputs) -> tuple[tuple[Array, _OfEach, _OfEach], _Kept]:
    inputs = jax.tree.map(lambda primal: primal.value, marked, is_leaf=_is_marked)
    outputs, states, saved = _saving_layer(options, inputs)
    return (outputs, states, saved), _Kept(inputs, saved, () if marked.x.perturbed else None)


def _keep_of_layer(options: xla.Options, marked: Inputs) -> tuple[tuple[Array, _OfEach], _Kept]:
    (outputs, states, _), kept = _keep(options, marked)
    return (outputs, states), kept


def _is_marked(value: Any) -> bool:
    return isinstance(value, jax.custom_derivatives.CustomVJPPrimal)


def _gradient(options: xla.Options, kept: _Kept, cotangents: tuple[Any, ...]) -> tuple[Inputs]:
    # What is saved has a cotangent too, of nothing. Zeros of outputs that nobody used are not made up.
    d_outputs, d_states = jax.tree.map(
        lambda value: None if _is_zero(value) else value, cotangents[:2], is_leaf=_is_zero
    )
    if not jax.tree.leaves((d_outputs, d_states)):  # a second derivative asks, but only for what is saved
        none = Direction(*[None] * len(Direction._fields))
        return (Inputs(None, None, (none,) * len(kept.inputs.directions)),)
    x_gradient = kept.x_gradient is not None
    return (_way_back(options, x_gradient, kept.inputs, kept.saved, d_outputs, d_states),)


def _is_zero(value: Any) -> bool:
    return isinstance(value, jax.custom_derivatives.SymbolicZero)


layer.defvjp(_keep_of_layer, _gradient, symbolic_zeros=True)
_saving_layer.defvjp(_keep, _gradient, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _way_back(
    options: xla.Options,
    x_gradient: bool,
    inputs: Inputs,
    saved: _OfEach,
    d_outputs: Array | None,
    d_states: _OfEach,
) -> Inputs:
    given = inputs.by_name()
    wanted = {f"d_{name}" for name, value in given.items() if value is not None and (x_gradient or name != "x")}
    operands = given | {"d_outputs": d_outputs}
    for name, of_each in (("saved", saved), ("d_state", d_states)):
        operands |= {xla.own(name, i): value for i, value in enumerate(of_each)}
    found = xla.run(xla.BACKWARD, options, operands, wanted)
    each = (
        Direction(*(found.get(f"d_{xla.own(name, i)}") for name in Direction._fields))
        for i in range(len(inputs.directions))
    )
    return Inputs(found.get("d_x"), None, tuple(each))


_Operands: TypeAlias = tuple[Inputs, Array | None, _OfEach]  # of the way back, but for what is saved


def _keep_operands(
    options: xla.Options,
    x_gradient: bool,
    inputs: Inputs,
    saved: _OfEach,
    d_outputs: Array | None,
    d_states: _OfEach,
) -> tuple[Inputs, _Operands]:
    gradients = _way_back(options, x_gradient, inputs, saved, d_outputs, d_states)
    return gradients, (inputs, d_outputs, d_states)


def _second_gradient(
    options: xla.Options, x_gradient: bool, operands: _Operands, cotangents: Inputs
) -> tuple[Inputs, None, Array | None, _OfEach]:
    """Differentiates the first derivative of the composed layer. What is saved follows from the inputs."""
    inputs, *incoming = operands

    def run(differentiable: Inputs) -> tuple[Array, _OfEach]:
        each = [
            own._replace(input_dropout=given.input_dropout, recurrent_dropout=given.recurrent_dropout)
            for own, given in zip(differentiable.directions, inputs.directions, strict=True)
        ]
        return composed.directions(_Jax(), differentiable.x, inputs.mask, each, **options._asdict())

    def way_back(differentiable: Inputs, d_outputs: Array | None, d_states: _OfEach) -> Inputs:
        results, pull = jax.vjp(run, differentiable)
        given = jax.tree.map(
            lambda result, gradient: jnp.zeros_like(result) if gradient is None else gradient,
            results,
            (d_outputs, d_states),
        )
        gradients: Inputs = pull(given)[0]
        return gradients if x_gradient else gradients._replace(x=None)

    _, pull = jax.vjp(way_back, _differentiable(inputs), *incoming)
    gradients, d_d_outputs, d_d_states = pull(cotangents)
    return gradients, None, d_d_outputs, d_d_states


def _differentiable(inputs: Inputs) -> Inputs:
    each = (direction._replace(input_dropout=None, recurrent_dropout=None) for direction in inputs.directions)
    return Inputs(inputs.x, None, tuple(each))


_way_back.defvjp(_keep_operands, _second_gradient)
