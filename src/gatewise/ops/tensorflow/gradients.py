# SPDX-License-Identifier: Apache-2.0
"""The gradients of the engine's operations, registered with TensorFlow by importing this.

The gradient of the backward pass, a second derivative, is that of the layer composed of TensorFlow's operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import tensorflow as tf

from gatewise.engine import ACTIVATIONS
from gatewise.operands import OPTIONS, OWN, SHARED, SHARED_OUTPUTS, Direction, facts, float_of
from gatewise.ops import composed
from gatewise.ops.tensorflow.operations import in_lists, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = Any  # a tf.Tensor; TensorFlow ships no types that mypy can follow

# TensorFlow cannot vectorise a loop's derivatives, as tape.jacobian of a gradient does: short sequences have no loop.
_UNROLLED_TIMESTEPS = 32
_PLACES = {row.name: i for i, row in enumerate(SHARED)}
_X = _PLACES["x"]


@tf.RegisterGradient("GatewiseRnnTrain")
def _gradient_of_train(op: Any, *d_results: Tensor | None) -> list[Tensor | None]:
    n, first = op.get_attr("directions"), len(SHARED_OUTPUTS)
    d_outputs, *d_states, _ = in_lists(d_results, first, n)
    return _backward(op, op.outputs[-n:], d_outputs, d_states)


@tf.RegisterGradient("GatewiseRnn")
def _gradient_of_inference(op: Any, *d_results: Tensor) -> list[Tensor | None]:
    n, first = op.get_attr("directions"), len(SHARED_OUTPUTS)
    again = load()[0].gatewise_rnn_train(*in_lists(op.inputs, len(SHARED), n), **_options(op))
    d_outputs, *d_states = in_lists(d_results, first, n)
    return _backward(op, again.workspace, d_outputs, d_states)


def _backward(op: Any, workspace: Sequence[Tensor], d_outputs: Tensor, d_states: Sequence[Any]) -> list[Tensor | None]:
    """Takes the gradients of outputs and states to those of the layer's inputs; constants have none."""
    # A tape says which inputs need no gradient; tf.gradients does not. Without x's, a first layer saves a product.
    x_gradient = _X not in (getattr(op, "skip_input_indices", None) or ())
    n = op.get_attr("directions")
    lists = in_lists(op.inputs, len(SHARED), n)
    shared, own = lists[: len(SHARED)], lists[len(SHARED) :]
    found = iter(
        load()[0].gatewise_rnn_grad(
            *shared, d_outputs, *own, workspace, *d_states, x_gradient=x_gradient, **_options(op)
        )
    )
    gradients: list[Any] = [next(found) if row.differentiable else None for row in SHARED]
    if x_gradient:
        gradients[_X].set_shape(op.inputs[_X].shape)
    else:
        gradients[_X] = None
    for row in OWN:
        gradients += next(found) if row.differentiable else [None] * n
    return gradients


@tf.RegisterGradient("GatewiseRnnGrad")
def _gradient_of_backward(op: Any, *gradients: Tensor | None) -> list[Tensor | None]:
    """Takes the gradients of what the backward pass gives to those of what it takes."""
    n, options = op.get_attr("directions"), _options(op)
    first = len(SHARED) + len(SHARED_OUTPUTS)
    own = range(first, first + n * len(OWN))  # places of what the directions have of their own
    rows = [*SHARED, *SHARED_OUTPUTS, *(row for row in OWN for _ in range(n))]
    given = [None if _is_absent(value) else value for value in op.inputs]
    of_outputs = [i for i, row in enumerate(rows) if row in SHARED_OUTPUTS]
    with_gradient = [i for i, row in enumerate(rows) if row.differentiable and i not in of_outputs]  # as they are given
    present = [i for i in with_gradient if given[i] is not None]
    states = range(own.stop + n, own.stop + n + n * facts(options["cell"]).states)  # behind the workspaces
    d_results = [op.inputs[i] for i in (*of_outputs, *states)]
    values = [given[i] for i in present]
    with tf.GradientTape() as second:
        second.watch([*values, *d_results])
        with tf.GradientTape() as tape:
            tape.watch(values)
            lists = in_lists([given[i] for i in own], 0, n)
            each = [Direction(*of_one) for of_one in zip(*lists, strict=True)]
            x, mask, starts = (given[_PLACES[name]] for name in ("x", "mask", "starts"))
            outputs, of_each = composed.layer(_TensorFlow(), x, mask, starts, each, **_composed(options))
            results = [outputs, *(state for of_all in zip(*of_each, strict=True) for state in of_all)]
        d_values = tape.gradient(results, values, d_results, tf.UnconnectedGradients.ZERO)
    of_places = dict(zip(with_gradient, gradients, strict=True))
    asked = [i for i in present if of_places[i] is not None and (i != _X or op.get_attr("x_gradient"))]
    found = second.gradient(
        [d_values[present.index(i)] for i in asked],
        [*values, *d_results],
        [of_places[i] for i in asked],
        tf.UnconnectedGradients.ZERO,
    )
    of_inputs = dict(zip([*present, *of_outputs, *states], found, strict=True))
    return [of_inputs.get(i) for i in range(len(op.inputs))]


def _composed(options: dict[str, Any]) -> dict[str, Any]:
    """Brings the options of an operation to what `composed.layer` takes."""
    named: dict[str, Any] = {name: value for name, value in options.items() if name != "torch_layout"}
    named |= {name: float_of(named[name]) for name in ("zoneout_h", "zoneout_c")}
    return named | {name: ACTIVATIONS[named[name]] for name in ("activation", "recurrent_activation")}


def _options(op: Any) -> dict[str, int]:
    eager = getattr(op, "attrs", None)  # names and values in turn, where get_attr would take microseconds for each
    values = dict(zip(eager[::2], eager[1::2], strict=True)) if eager else {n: op.get_attr(n) for n in OPTIONS}
    return {name: values[name] for name in OPTIONS}


def _is_absent(value: Tensor) -> bool:
    return bool(value.shape.rank == 1 and value.shape[0] == 0)


class _TensorFlow:
    """The functions that the composed layer takes from TensorFlow."""

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

    def normal(self, value: Tensor, epsilon: Tensor | float) -> Tensor:
        centred = value - tf.reduce_mean(value, -1, keepdims=True)
        return centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + epsilon)

    def where(self, condition: Tensor, value: Tensor, otherwise: Tensor | float) -> Tensor:
        return tf.where(condition, value, otherwise)

    def time_first(self, value: Tensor) -> Tensor:
        return tf.transpose(value, (1, 0, 2))

    def flip(self, value: Tensor) -> Tensor:
        return tf.reverse(value, axis=[0])

    def roll(self, value: Tensor) -> Tensor:
        return tf.concat([value[-1:], value[:-1]], axis=0)

    def side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        return tf.concat(values, axis=-1)

    def scan(
        self, step: Callable[..., tuple[Tensor, ...]], start: tuple[Tensor, ...], sequences: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        timesteps = sequences[0].shape[0]
        if timesteps is None or timesteps > _UNROLLED_TIMESTEPS:
            return tuple(tf.scan(step, sequences, start))
        carried, steps = start, []
        for inputs in zip(*(tf.unstack(sequence) for sequence in sequences), strict=True):
            carried = step(carried, inputs)
            steps.append(carried)
        return tuple(tf.stack(values) for values in zip(*steps, strict=True))
