# SPDX-License-Identifier: Apache-2.0
"""What a framework takes by itself: a step in the form of `keras_layer`'s that doubles input and weights, nothing else.

No layer in it can take less, however fast it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workloads import make_input, make_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Array, Case


def prepare(case: Case, threads: int, *, framework: str) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    make_step = {"TensorFlow": _tensorflow_step, "JAX": _jax_step, "PyTorch": _torch_step}[framework]
    return make_step(make_input(case), list(make_weights(case)), threads), lambda doubled: [*map(np.asarray, doubled)]


def _tensorflow_step(x: Array, weights: list[Array], threads: int) -> Callable[[], Any]:
    import tensorflow as tf

    del threads  # in the environment
    inputs, variables = tf.constant(x), [tf.Variable(weight) for weight in weights]

    @tf.function
    def step() -> Any:
        return [2.0 * array for array in (inputs, *variables)]

    run: Callable[[], Any] = step
    return run


def _jax_step(x: Array, weights: list[Array], threads: int) -> Callable[[], Any]:
    import jax

    del threads  # as many as there are CPUs
    arrays = [jax.numpy.asarray(array) for array in (x, *weights)]
    double = jax.jit(lambda *arrays: [2.0 * array for array in arrays])
    return lambda: jax.block_until_ready(double(*arrays))


def _torch_step(x: Array, weights: list[Array], threads: int) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    arrays = [torch.tensor(array) for array in (x, *weights)]
    return lambda: [2.0 * array for array in arrays]
