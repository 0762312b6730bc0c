# SPDX-License-Identifier: Apache-2.0
"""The layer as a function that JAX differentiates, forward and backward.

Three operations: the layer; its tangent, a linear map whose operands are what the layer was given, what it kept, and
tangents; and the tangent's transpose, the gradient. The layer and the gradient are the engine's; the tangent, which
reverse mode transposes and never runs, is composed of JAX's operations, and so are the derivatives of the last two.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gatewise.engine import isa
from gatewise.operands import OWN, Direction
from gatewise.ops import composed
from gatewise.ops.jax import xla
from gatewise.ops.jax.primitives import Call, Linear, Operation, moving_among, transpose_each_other, zero_tangent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = Any  # a jax.Array or a tracer
_Arrays: TypeAlias = tuple[Array, ...]
_Named: TypeAlias = dict[str, Array]  # as xla.py names the inputs and the results of a layer


class _Jax:
    """JAX's functions for `composed.layer`."""

    def activation(self, name: str) -> Callable[[Array], Array]:
        return (lambda x: x) if name == "linear" else getattr(jax.nn, name)

    def zero_state(self, x: Array, units: int) -> Array:
        return jnp.broadcast_to(jnp.zeros_like(x[:, 0, :1]), (x.shape[0], units))  # cut up among devices as x is

    def all_valid(self, x: Array) -> Array:
        return jnp.ones((*x.shape[:2], 1), bool)

    def normal(self, value: Array, epsilon: Array | float) -> Array:
        centred = value - value.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + epsilon)

    def where(self, condition: Array, value: Array, otherwise: Array | float) -> Array:
        return jnp.where(condition, value, otherwise)

    def time_first(self, value: Array) -> Array:
        return jnp.swapaxes(value, 0, 1)

    def flip(self, value: Array) -> Array:
        return jnp.flip(value, axis=0)

    def roll(self, value: Array) -> Array:
        return jnp.roll(value, 1, axis=0)

    def side_by_side(self, values: Sequence[Array]) -> Array:
        return jnp.concatenate(values, axis=-1)

    def scan(self, step: Callable[[_Arrays, _Arrays], _Arrays], start: _Arrays, sequences: _Arrays) -> _Arrays:
        def carry(carried: _Arrays, inputs: _Arrays) -> tuple[_Arrays, _Arrays]:
            carried = step(carried, inputs)
            return carried, carried

        every: _Arrays = jax.lax.scan(carry, start, sequences)[1]
        return every


class _About(NamedTuple):
    """What is fixed about a layer, besides names."""

    options: xla.Options
    isa: str  # how much is kept depends on it


def layer(options: xla.Options, inputs: _Named) -> _Named:
    """Runs the layer.

    Args:
        options: what it computes.
        inputs: those that are there, by name.

    Returns:
        The results by name.
    """
    gives = xla.results(xla.FORWARD, options, inputs)
    call = Call(_About(options, isa()), tuple(inputs), (), gives)
    return dict(zip(gives, _layer(call, *inputs.values()), strict=True))


def _run_layer(call: Call, *operands: Array) -> list[Array]:
    target = xla.FORWARD_KEEPING if any(map(xla.is_workspace, call.gives)) else xla.FORWARD
    found = xla.run(target, call.about.options, _split(call, operands)[0])
    return [found[name] for name in call.gives]


def _follow(call: Call, primals: Sequence[Array], tangents: Sequence[Any]) -> tuple[list[Array], list[Any]]:
    moving, gives = moving_among(tangents), xla.results(xla.FORWARD_KEEPING, call.about.options, call.point)
    found = dict(zip(gives, _layer(call._replace(gives=gives), *primals), strict=True))
    kept = [name for name in gives if xla.is_workspace(name)]
    followed = Call(
        call.about,
        point=(*call.point, *kept),
        takes=tuple(call.point[i] for i in moving),
        gives=tuple(name for name in gives if name not in kept),
        mapped=tuple((*axes, *[0] * len(kept), *(axes[i] for i in moving)) for axes in call.mapped),
    )
    tangent_of = {name: zero_tangent(value) for name, value in found.items()}
    if moving:
        operands = *primals, *(found[name] for name in kept), *(tangents[i] for i in moving)
        tangent_of |= zip(followed.gives, _tangent(followed, *operands), strict=True)
    return [found[name] for name in call.gives], [tangent_of[name] for name in call.gives]


def _run_gradient(call: Call, *operands: Array) -> list[Array]:
    point, cotangents = _split(call, operands)
    given = point | {f"d_{name}": cotangent for name, cotangent in cotangents.items()}
    found = xla.run(xla.BACKWARD, call.about.options, given, {f"d_{name}" for name in call.gives})
    return [found[f"d_{name}"] for name in call.gives]


def _compose_tangent(call: Call, *operands: Array) -> Sequence[Array]:
    point, tangents = _split(call, operands)
    run = partial(_compose, call.about.options, point, call.takes, call.gives)
    moved: Sequence[Array] = jax.jvp(run, [point[name] for name in call.takes], list(tangents.values()))[1]
    return moved


def _compose_gradient(call: Call, *operands: Array) -> Sequence[Array]:
    point, cotangents = _split(call, operands)
    run = partial(_compose, call.about.options, point, call.gives, call.takes)
    pull = jax.vjp(run, *(point[name] for name in call.gives))[1]
    gradients: Sequence[Array] = pull(list(cotangents.values()))
    return gradients


def _split(call: Call, operands: Sequence[Array]) -> tuple[_Named, _Named]:
    held = len(call.point)
    return dict(zip(call.point, operands[:held], strict=True)), dict(zip(call.takes, operands[held:], strict=True))


def _compose(
    options: xla.Options, point: _Named, moving: Sequence[str], wanted: Sequence[str], *values: Array
) -> list[Array]:
    """Computes some results of the layer, at a point some of whose inputs have other values."""
    given = point | dict(zip(moving, values, strict=True))
    each = [Direction(*(given.get(xla.own(row.name, i)) for row in OWN)) for i in range(xla.directions(given))]
    x, mask, starts = given["x"], given.get("mask"), given.get("starts")
    batch, timesteps, features = x.shape
    if not timesteps:  # the composition takes at least one step, and a masked one changes nothing
        x, mask = jnp.zeros((batch, 1, features), x.dtype), jnp.zeros((batch, 1), bool)
        starts, each = None, [own._replace(kept_h=None, kept_c=None) for own in each]
    outputs, states = composed.layer(_Jax(), x, mask, starts, each, **options._asdict())
    if options.return_sequences:
        outputs = outputs[:, :timesteps]
    names = xla.results(xla.FORWARD, options, given)
    results = dict(zip(names, (outputs, *chain.from_iterable(states)), strict=True))
    return [results[name] for name in wanted]


_layer = Operation("gatewise_rnn", _run_layer, jvp=_follow, is_shown=xla.on_several_devices)
_tangent = Linear("gatewise_rnn_tangent", _compose_tangent, smooth=_compose_tangent, like=_run_layer)
_gradient = Linear("gatewise_rnn_gradient", _run_gradient, smooth=_compose_gradient, is_shown=xla.on_several_devices)
transpose_each_other(_tangent, _gradient)
