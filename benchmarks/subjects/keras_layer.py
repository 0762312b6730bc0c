# SPDX-License-Identifier: Apache-2.0
"""A Keras layer's training step, in the form that the users of each backend run: a `tf.function`, `jax.jit`, eager.

Both layers get the same weights; with `ours` it is that of `gatewise.keras`, else that of `keras.layers`, with `xla`
compiled by XLA on TensorFlow. The backend, and how many threads it has, stand in the environment of the process.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import keras

import gatewise.keras
from workloads import make_input, make_mask, make_starts, make_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case

DROPPED, KEPT = 0.2, 0.1  # by dropout; by zoneout


def prepare(
    case: Case, threads: int, *, ours: bool = False, xla: bool = False
) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    gatewise.set_num_threads(threads)
    tensorflow_step = functools.partial(_tensorflow_step, xla=xla)
    make_step = {"tensorflow": tensorflow_step, "jax": _jax_step, "torch": _torch_step}[keras.backend.backend()]
    layer, x, mask, starts = make_layer(case, ours=ours), make_input(case), make_mask(case), make_starts(case)
    step = make_step(layer, x, mask, {"training": True} if starts is None else {"training": True, "starts": starts})
    before = gatewise.native.calls()

    def as_arrays(gradients: Any) -> list[Any]:
        ran = gatewise.native.calls().backward > before.backward
        if ran != ours:
            message = (
                f"{case.key}: the engine {'ran' if ran else 'did not run'}; {getattr(layer, 'fallback_reason', '')}"
            )
            raise RuntimeError(message)
        return [keras.ops.convert_to_numpy(gradient) for gradient in gradients]

    return step, as_arrays


def make_layer(case: Case, *, ours: bool) -> Any:
    """Returns the layer of a case, built, with the case's weights; both directions have the same."""
    normalised = case.variant == "layer normalisation"
    kind = getattr(gatewise.keras if ours else keras.layers, f"LayerNorm{case.cell}" if normalised else case.cell)
    options: dict[str, Any] = {"reset_after": case.reset_after} if case.cell == "GRU" else {}
    options |= {"zoneout": KEPT} if case.variant == "zoneout" else {}
    layer: Any = kind(
        case.units,
        return_sequences=True,
        **options,
        dropout=DROPPED if case.variant == "dropout" else 0.0,
        recurrent_dropout=DROPPED if case.variant == "recurrent dropout" else 0.0,
    )
    if case.variant == "bidirectional":
        layer = keras.layers.Bidirectional(layer)
    keras.utils.set_random_seed(0)
    layer.build((case.batch, case.timesteps, case.features))
    if not normalised:  # which has other weights; its first ones do, the same in every process
        layer.set_weights(make_weights(case) * (2 if case.variant == "bidirectional" else 1))
    return layer


def _tensorflow_step(layer: Any, x: Any, mask: Any, given: dict[str, Any], *, xla: bool) -> Callable[[], Any]:
    import tensorflow as tf

    inputs, valid = tf.constant(x), None if mask is None else tf.constant(mask)

    @tf.function(jit_compile=xla)
    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = layer(inputs, mask=valid, **given)
            loss = tf.reduce_sum(y * y)
        return tape.gradient(loss, [inputs, *layer.trainable_weights])

    run: Callable[[], Any] = step
    return run


def _jax_step(layer: Any, x: Any, mask: Any, given: dict[str, Any]) -> Callable[[], Any]:
    import jax

    fixed = [variable.value for variable in layer.non_trainable_variables]
    weights = [variable.value for variable in layer.trainable_variables]
    inputs, valid = jax.numpy.asarray(x), None if mask is None else jax.numpy.asarray(mask)

    def loss(inputs: Any, weights: Any) -> Any:
        y, _ = layer.stateless_call(weights, fixed, inputs, mask=valid, **given)
        return (y * y).sum()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))

    def step() -> list[Any]:
        d_inputs, d_weights = jax.block_until_ready(gradients(inputs, weights))
        return [d_inputs, *d_weights]

    return step


def _torch_step(layer: Any, x: Any, mask: Any, given: dict[str, Any]) -> Callable[[], Any]:
    import torch

    inputs = torch.tensor(x, requires_grad=True)
    valid = None if mask is None else torch.tensor(mask)
    weights = [variable.value for variable in layer.trainable_variables]

    def step() -> Any:
        y = layer(inputs, mask=valid, **given)
        return torch.autograd.grad((y * y).sum(), [inputs, *weights])

    return step
