# SPDX-License-Identifier: Apache-2.0
"""Functions of ours as primitives of JAX, with derivatives that JAX keeps through all of its transformations.

JAX asks a function for one derivative, its tangent, and makes the gradient of it by transposing. Where the tangent is a
primitive, so may be its transpose: the gradient is then whatever that one runs. A `custom_jvp` would be shorter, but
JAX drops its rule where it looks for what a loop need not compute anew each time.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = Any  # a jax.Array or a tracer
Function: TypeAlias = "Callable[..., Sequence[Array]]"  # of a Call and its operands
Derivative: TypeAlias = "Callable[[Call, Sequence[Array], Sequence[Any]], tuple[Sequence[Array], Sequence[Any]]]"


class Call(NamedTuple):
    """What is fixed about a call when it is traced. Its operands are `point` and then `takes`."""

    about: Any  # what else is fixed, hashable
    point: tuple[str, ...]  # the operands in which it is not linear
    takes: tuple[str, ...]  # those in which it is
    gives: tuple[str, ...]  # its results
    mapped: tuple[tuple[int | None, ...], ...] = ()  # the `in_axes` of every vmap around it, the innermost first


class Operation:
    """A primitive that runs a function.

    Args:
        name: what programs call it.
        run: the function; need not be differentiable.
        like: returns arrays of the same shapes and dtypes; `run` itself does, but may take long to trace.
        jvp: its derivative: returns the results, and their tangents, for operands and their tangents.
        is_shown: says whether programs have to hold what `run` does where JAX finds it: JAX asks where each device
            runs a part of it. None: never.
    """

    def __init__(
        self,
        name: str,
        run: Function,
        *,
        jvp: Derivative,
        like: Function | None = None,
        is_shown: Callable[[], bool] | None = None,
    ) -> None:
        self._run, self._like, self._jvp = run, like or run, jvp
        self._is_shown = is_shown or (lambda: False)
        self.primitive = Primitive(name)
        self.primitive.multiple_results = True
        self.primitive.def_impl(self._evaluate)
        self.primitive.def_abstract_eval(self._abstract)
        mlir.register_lowering(self.primitive, mlir.lower_fun(self._lower, multiple_results=True))
        batching.primitive_batchers[self.primitive] = self._batch
        ad.primitive_jvps[self.primitive] = self._differentiate

    def __call__(self, call: Call, *operands: Array) -> list[Array]:
        """Runs the function, or traces a call of it."""
        program = jax.make_jaxpr(compiled(self._run, call))(*operands) if self._is_shown() else None
        results: list[Array] = self.primitive.bind(*operands, call=call, program=program)
        return results

    def _evaluate(self, *operands: Array, call: Call, program: Any) -> Sequence[Array]:  # noqa: ARG002
        return compiled(self._run, call)(*operands)

    def _lower(self, *operands: Array, call: Call, program: Any) -> Sequence[Array]:  # noqa: ARG002
        return _vmapped(self._run, call)(*operands)

    def _differentiate(
        self, primals: Sequence[Array], tangents: Sequence[Any], *, call: Call, program: Any  # noqa: ARG002
    ) -> tuple[Sequence[Array], Sequence[Any]]:  # fmt: skip
        return self._jvp(call, primals, tangents)

    def _abstract(self, *operands: Any, call: Call, program: Any) -> list[Any]:  # noqa: ARG002
        shapes = [jax.ShapeDtypeStruct(operand.shape, operand.dtype) for operand in operands]
        results = jax.eval_shape(compiled(self._like, call), *shapes)
        return [jax.core.ShapedArray(result.shape, result.dtype) for result in results]

    def _batch(
        self, operands: Sequence[Array], axes: Sequence[int | None], *, call: Call, program: Any  # noqa: ARG002
    ) -> tuple[list[Array], list[int]]:  # fmt: skip
        moved = [
            operand if axis is None else jnp.moveaxis(operand, axis, 0)
            for operand, axis in zip(operands, axes, strict=True)
        ]
        level = tuple(None if axis is None else 0 for axis in axes)
        results = self(call._replace(mapped=(*call.mapped, level)), *moved)
        return results, [0] * len(results)


class Linear(Operation):
    """An operation that is linear in what it takes. `transpose_each_other` gives it its transpose.

    Args:
        smooth: the same as `run`, of JAX's own operations.
        name, run, like, is_shown: those of `Operation`.
    """

    def __init__(self, name: str, run: Function, *, smooth: Function, **others: Any) -> None:
        super().__init__(name, run, jvp=self._follow, **others)
        self._smooth = smooth

    def _follow(
        self, call: Call, primals: Sequence[Array], tangents: Sequence[Any]
    ) -> tuple[Sequence[Array], Sequence[Array]]:
        results, held, moving = self(call, *primals), len(call.point), moving_among(tangents)
        if all(i >= held for i in moving):  # it is its own derivative where only what it is linear in moves
            return results, self(call, *primals[:held], *map(ad.instantiate_zeros, tangents[held:]))

        def of_moving(*values: Array) -> Sequence[Array]:
            operands = list(primals)
            for i, value in zip(moving, values, strict=True):
                operands[i] = value
            return compiled(self._smooth, call)(*operands)

        moved: Sequence[Array] = jax.jvp(of_moving, [primals[i] for i in moving], [tangents[i] for i in moving])[1]
        return results, moved


def transpose_each_other(one: Linear, other: Linear) -> None:
    """Declares two operations to be each other's transposes: what one takes the other gives, at the same point."""
    ad.primitive_transposes[one.primitive] = partial(_transpose, other)
    ad.primitive_transposes[other.primitive] = partial(_transpose, one)


def _transpose(
    other: Linear, cotangents: Sequence[Any], *operands: Any, call: Call, program: Any  # noqa: ARG001
) -> list[Any]:  # fmt: skip
    held = len(call.point)
    given = [i for i, cotangent in enumerate(cotangents) if type(cotangent) is not ad.Zero]
    if not given:
        return [None] * len(operands)
    takes = tuple(call.gives[i] for i in given)
    mapped = tuple((*axes[:held], *[0] * len(given)) for axes in call.mapped)
    turned = call._replace(takes=takes, gives=call.takes, mapped=mapped)
    found: list[Any] = [None] * held
    for i, result in enumerate(other(turned, *operands[:held], *(cotangents[i] for i in given)), held):
        shared = tuple(n for n, axes in enumerate(reversed(call.mapped)) if axes[i] is None)
        found.append(jnp.sum(result, axis=shared) if shared else result)  # what several calls share gets the sum
    return found


def moving_among(tangents: Sequence[Any]) -> list[int]:
    """Lists the places of the tangents that are there: neither zeros nor those of whole numbers."""
    return [i for i, tangent in enumerate(tangents) if type(tangent) is not ad.Zero and tangent.dtype != jax.float0]


def zero_tangent(value: Array) -> Any:
    """Returns JAX's mark for a tangent of zeros."""
    dtype = value.dtype if jnp.issubdtype(value.dtype, jnp.floating) else jax.float0
    return ad.Zero(jax.core.ShapedArray(value.shape, dtype))


def _vmapped(function: Function, call: Call) -> Callable[..., Sequence[Array]]:
    mapped = partial(function, call)
    for axes in call.mapped:
        mapped = jax.vmap(mapped, in_axes=axes)
    return mapped


@cache
def compiled(function: Function, call: Call) -> Callable[..., Sequence[Array]]:
    """Returns a function of a call's operands, the same one for the same call, so that it is compiled once."""
    return jax.jit(_vmapped(function, call))
