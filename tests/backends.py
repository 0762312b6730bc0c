# SPDX-License-Identifier: Apache-2.0
"""What the layer's tests need of the Keras backend in use: tensors from arrays and back, gradients, native calls."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy.typing as npt
import pytest

from gatewise import native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Array: TypeAlias = npt.NDArray[Any]
Tensor: TypeAlias = Any  # a tensor of the backend

BACKEND: str = keras.backend.backend()
tensorflow_only = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="a claim about TensorFlow: KERAS_BACKEND=tensorflow"
)

if BACKEND not in {"tensorflow", "jax", "torch"}:
    pytest.skip(f"the backend {BACKEND} has no engine: KERAS_BACKEND=tensorflow, jax or torch", allow_module_level=True)


def tensor(array: npt.ArrayLike, dtype: str | None = None) -> Tensor:
    """An array, or a tensor, as a tensor of the backend."""
    return keras.ops.convert_to_tensor(array, dtype)


def arrays_of(values: Any) -> Any:
    """Tensors, alone or nested, as arrays; half precision as float32, which NumPy knows."""
    return keras.tree.map_structure(_array, values)


def _array(value: Any) -> Any:
    if value is None:
        return None
    if keras.backend.standardize_dtype(value.dtype) in {"bfloat16", "float16"}:
        value = keras.ops.cast(value, "float32")
    return keras.ops.convert_to_numpy(value)


def dot(value: Tensor, d_value: Array) -> Tensor:
    """The sum of the products: a loss whose gradient of `value` is `d_value`."""
    return keras.ops.sum(value * tensor(d_value, keras.backend.standardize_dtype(value.dtype)))


@contextmanager
def float64() -> Iterator[None]:
    """Lets the backend compute in float64: JAX does only when told."""
    if BACKEND != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


@contextmanager
def native_calls(forward: int, backward: int = 0) -> Iterator[None]:
    """Asserts that so many native calls complete inside.

    JAX computes while Python goes on: turn what a call returns into arrays before the block ends.
    """
    before = native.calls()
    yield
    after = native.calls()
    ran = (after.forward - before.forward, after.backward - before.backward)
    assert ran == (forward, backward), f"{ran} native calls forward and backward, expected {(forward, backward)}"


def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer; returns arrays."""
    return arrays_of(layer(*args, **kwargs))


def gradient(
    function: Callable[..., tuple[Tensor, Any]], weights: Sequence[Any] = (), *, compiled: bool = False
) -> Callable[..., tuple[Any, dict[str, Array]]]:
    """Makes a function of arrays that returns a function's results and its gradients.

    Args:
        function: takes tensors under their names; returns a scalar loss and any results.
        weights: Keras variables that it reads, of which gradients are taken too.
        compiled: on JAX, compiles it once for all calls with the same shapes. Without it, and elsewhere, it runs
            eagerly.

    Returns:
        A function of a dict of arrays, of which gradients are taken, and of others, without gradients, by keyword. It
        returns the results, and the gradients by the names of the arrays and of the variables; all are arrays.
    """
    differentiate = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND](function, weights, compiled)

    def run(arrays: dict[str, Array], **constants: Any) -> tuple[Any, dict[str, Array]]:
        tensors = {name: tensor(array) for name, array in arrays.items()}
        results, of_tensors, of_weights = differentiate(tensors, constants)
        named = {weight.name: value for weight, value in zip(weights, of_weights, strict=True)}
        return arrays_of(results), arrays_of({**of_tensors, **named})

    return run


# Each makes a function of tensors and constants that returns results, the gradients of the tensors, of the weights.
Differentiate: TypeAlias = "Callable[[dict[str, Tensor], dict[str, Any]], tuple[Any, dict[str, Tensor], Any]]"


def _tensorflow(function: Any, weights: Sequence[Any], _compiled: bool) -> Differentiate:
    import tensorflow as tf

    def differentiate(tensors: dict[str, Tensor], constants: dict[str, Any]) -> tuple[Any, dict[str, Tensor], Any]:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss, results = function(**tensors, **constants)
        return results, *tape.gradient(loss, (tensors, [weight.value for weight in weights]))

    return differentiate


def _jax(function: Any, weights: Sequence[Any], compiled: bool) -> Differentiate:
    import jax

    def pure(tensors: dict[str, Tensor], values: list[Tensor], constants: dict[str, Any]) -> tuple[Tensor, Any]:
        with keras.StatelessScope(list(zip(weights, values, strict=True))):
            return function(**tensors, **constants)

    value_and_grad = jax.value_and_grad(pure, argnums=(0, 1), has_aux=True)
    run = jax.jit(value_and_grad) if compiled else value_and_grad

    def differentiate(tensors: dict[str, Tensor], constants: dict[str, Any]) -> tuple[Any, dict[str, Tensor], Any]:
        (_, results), gradients = run(tensors, [weight.value for weight in weights], constants)
        return results, *gradients

    return differentiate


def _torch(function: Any, weights: Sequence[Any], _compiled: bool) -> Differentiate:
    import torch

    def differentiate(tensors: dict[str, Tensor], constants: dict[str, Any]) -> tuple[Any, dict[str, Tensor], Any]:
        sources = {name: value.detach().clone().requires_grad_() for name, value in tensors.items()}
        loss, results = function(**sources, **constants)
        gradients = torch.autograd.grad(loss, [*sources.values(), *(weight.value for weight in weights)])
        return results, dict(zip(sources, gradients, strict=False)), gradients[len(sources) :]

    return differentiate


def gradient_of_gradient(function: Callable[[Tensor], Tensor], x: Array) -> Array:
    """The gradient of half the squared length of a function's gradient: of f(x), of g = df/dx, of g * g / 2."""
    of = {"tensorflow": _tensorflow_twice, "jax": _jax_twice, "torch": _torch_twice}[BACKEND]
    return arrays_of(of(function, tensor(x)))


def _tensorflow_twice(function: Any, x: Tensor) -> Tensor:
    import tensorflow as tf

    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = function(x)
        half = tf.reduce_sum(inner.gradient(value, x) ** 2) / 2
    return outer.gradient(half, x)


def _jax_twice(function: Any, x: Tensor) -> Tensor:
    import jax

    return jax.grad(lambda x: (jax.grad(function)(x) ** 2).sum() / 2)(x)


def _torch_twice(function: Any, x: Tensor) -> Tensor:
    import torch

    x = x.requires_grad_()
    (first,) = torch.autograd.grad(function(x), x, create_graph=True)
    return torch.autograd.grad((first**2).sum() / 2, x)[0]
