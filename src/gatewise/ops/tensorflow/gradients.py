# SPDX-License-Identifier: Apache-2.0
"""The gradients of the engine's operations, registered with TensorFlow by importing this.

The gradient of the way back, a second derivative, is that of the GRU composed of TensorFlow's operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import tensorflow as tf

from gatewise.ops import composed
from gatewise.ops.direction import Direction
from gatewise.ops.tensorflow.operations import in_lists, layer_inputs, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = Any  # a tf.Tensor; TensorFlow ships no types that mypy can follow

# TensorFlow cannot vectorise a loop's derivatives, as tape.jacobian of a gradient does: short sequences have no loop.
_UNROLLED_TIMESTEPS = 32
_OPTIONS = (
    "reset_after",
    "go_backwards",
    "return_sequences",
    "zero_output_for_mask",
    "recompute",
    "activation",
    "recurrent_activation",
)


@tf.RegisterGradient("GatewiseGruTrain")
def _gradient_of_train(op: Any, d_outputs: Tensor, *d_states_and_saved: Tensor | None) -> list[Tensor | None]:
    n = op.get_attr("directions")
    return _way_back(op, op.outputs[-n:], d_outputs, d_states_and_saved[:n])


@tf.RegisterGradient("GatewiseGru")
def _gradient_of_inference(op: Any, d_outputs: Tensor, *d_states: Tensor) -> list[Tensor | None]:
    again = load()[0].gatewise_gru_train(*in_lists(op.inputs, op.get_attr("directions")), **_options(op))
    return _way_back(op, again.saved, d_outputs, d_states)


@tf.RegisterGradient("GatewiseGruGrad")
def _gradient_of_way_back(op: Any, *gradients: Tensor | None) -> list[Tensor | None]:
    """Takes the gradients of the way back's results to those of its inputs: the layer's, d_outputs and d_states."""
    n, differentiable = op.get_attr("directions"), len(gradients)
    given = [None if _is_absent(value) else value for value in op.inputs[: layer_inputs(n)]]
    present = [i for i, value in enumerate(given[:differentiable]) if value is not None]
    values = [given[i] for i in present]
    d_outputs, *d_states = op.inputs[-1 - n :]
    with tf.GradientTape() as second:
        second.watch([*values, d_outputs, *d_states])
        with tf.GradientTape() as first:
            first.watch(values)
            x, *per_direction, mask, input_dropout, recurrent_dropout = in_lists(given, n)
            each = [Direction(*own) for own in zip(*per_direction, input_dropout, recurrent_dropout, strict=True)]
            outputs, states = composed.directions(_TensorFlow(), x, mask, each, **_options(op))
        d_values = first.gradient([outputs, *states], values, [d_outputs, *d_states], tf.UnconnectedGradients.ZERO)
    asked = [i for i in present if gradients[i] is not None and (i > 0 or op.get_attr("x_gradient"))]
    found = second.gradient(
        [d_values[present.index(i)] for i in asked],
        [*values, d_outputs, *d_states],
        [gradients[i] for i in asked],
        tf.UnconnectedGradients.ZERO,
    )
    count = len(op.inputs)
    of_inputs = dict(zip([*present, *range(count - 1 - n, count)], found, strict=True))
    return [of_inputs.get(i) for i in range(count)]


def _is_absent(value: Tensor) -> bool:
    return bool(value.shape.rank == 1 and value.shape[0] == 0)


class _TensorFlow:
    """The functions that the composed GRU takes from TensorFlow."""

    def activation(self, name: str) -> Callable[[Tensor], Tensor]:
        functions: dict[str, Callable[[Tensor], Tensor]] = {
            "tanh": tf.tanh,
            "sigmoid": tf.sigmoid,
            "relu": tf.nn.relu,
            "linear": tf.identity,
            "hard_sigmoid": lambda x: tf.nn.relu6(x + 3) / 6,
        }
        return functions[name]

    def zero_state(self, x: Tensor, units: int) -> Tensor:
        return tf.zeros((tf.shape(x)[0], units))

    def all_valid(self, x: Tensor) -> Tensor:
        return tf.ones((*tf.unstack(tf.shape(x)[:2]), 1), tf.bool)

    def where(self, condition: Tensor, value: Tensor, otherwise: Tensor | float) -> Tensor:
        return tf.where(condition, value, otherwise)

    def time_first(self, value: Tensor) -> Tensor:
        return tf.transpose(value, (1, 0, 2))

    def flip(self, value: Tensor) -> Tensor:
        return tf.reverse(value, axis=[0])

    def side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        return tf.concat(values, axis=-1)

    def scan(
        self, step: Callable[..., tuple[Tensor, Tensor]], start: tuple[Tensor, Tensor], sequences: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        timesteps = sequences[0].shape[0]
        if timesteps is None or timesteps > _UNROLLED_TIMESTEPS:
            states, outputs = tf.scan(step, sequences, start)
            return states, outputs
        carried, steps = start, []
        for inputs in zip(*(tf.unstack(sequence) for sequence in sequences), strict=True):
            carried = step(carried, inputs)
            steps.append(carried)
        states, outputs = zip(*steps, strict=True)
        return tf.stack(states), tf.stack(outputs)


def _way_back(op: Any, saved: Sequence[Tensor], d_outputs: Tensor, d_states: Sequence[Tensor]) -> list[Tensor | None]:
    """Takes the gradients of outputs and states to those of the layer's inputs; the mask and the factors have none."""
    # A tape says which inputs need no gradient; tf.gradients does not. Without x's, a first layer saves a product.
    x_gradient = 0 not in (getattr(op, "skip_input_indices", None) or ())
    options, n = _options(op), op.get_attr("directions")
    d_x, *others = load()[0].gatewise_gru_grad(
        *in_lists(op.inputs, n), saved, d_outputs, d_states, x_gradient=x_gradient, **options
    )
    if x_gradient:
        d_x.set_shape(op.inputs[0].shape)
    gradients = [d_x if x_gradient else None, *(gradient for of_each in others for gradient in of_each)]
    return gradients + [None] * (layer_inputs(n) - len(gradients))


def _options(op: Any) -> dict[str, Any]:
    values = {name: op.get_attr(name) for name in _OPTIONS}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
