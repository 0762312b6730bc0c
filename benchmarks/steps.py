# SPDX-License-Identifier: Apache-2.0
"""One compiled training step of a Keras layer on each backend: forward, the loss sum(y * y), and every gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt


def make_step(layer: Any, x: npt.NDArray[Any], mask: npt.NDArray[Any] | None) -> Callable[[], list[Any]]:
    """Builds the layer for x (batch, timesteps, features) and compiles one training step as the backend's users do.

    Returns:
        A function that runs the step and returns the gradients of x and of the weights when they are there.
    """
    layer.build(x.shape)
    make = {"tensorflow": _tensorflow_step, "jax": _jax_step, "torch": _torch_step}[keras.backend.backend()]
    return make(layer, x, mask)


def _tensorflow_step(layer: Any, x: Any, mask: Any) -> Callable[[], list[Any]]:
    import tensorflow as tf

    inputs, valid = tf.constant(x), None if mask is None else tf.constant(mask)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = layer(inputs, mask=valid, training=True)
            loss = tf.reduce_sum(y * y)
        return tape.gradient(loss, [inputs, *layer.trainable_weights])

    return lambda: [gradient.numpy() for gradient in step()]


def _jax_step(layer: Any, x: Any, mask: Any) -> Callable[[], list[Any]]:
    import jax

    fixed = [variable.value for variable in layer.non_trainable_variables]
    valid = None if mask is None else jax.numpy.asarray(mask)

    def loss(inputs: Any, weights: Any) -> Any:
        y, _ = layer.stateless_call(weights, fixed, inputs, mask=valid, training=True)
        return (y * y).sum()

    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    inputs = jax.numpy.asarray(x)

    def run() -> list[Any]:
        weights = [variable.value for variable in layer.trainable_variables]
        d_inputs, d_weights = jax.block_until_ready(step(inputs, weights))
        return [np.asarray(d_inputs), *map(np.asarray, d_weights)]

    return run


def _torch_step(layer: Any, x: Any, mask: Any) -> Callable[[], list[Any]]:
    import torch

    inputs = torch.tensor(x, requires_grad=True)
    valid = None if mask is None else torch.tensor(mask)
    weights = [variable.value for variable in layer.trainable_variables]

    def run() -> list[Any]:
        y = layer(inputs, mask=valid, training=True)
        return [gradient.numpy() for gradient in torch.autograd.grad((y * y).sum(), [inputs, *weights])]

    return run
