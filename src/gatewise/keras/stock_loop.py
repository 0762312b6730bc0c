# SPDX-License-Identifier: Apache-2.0
"""Keras's own loop over time, run where the engine does not: with the numbers that the engine gives.

Some loops of Keras are wrong at masked steps (faults 4 to 7 of `tests/test_keras_bugs.py`). A layer that is right on
the engine shall not be wrong in a file that it is exported to.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
from keras import ops

from gatewise.keras.kinds import ENGINE_CELLS, cells_of

if TYPE_CHECKING:
    from collections.abc import Callable

Tensor: TypeAlias = Any  # a tensor of Keras's backend; Keras ships no types
Results: TypeAlias = tuple[Tensor, Tensor, list[Tensor]]


def run(
    layer: Any,
    sequences: Tensor,
    initial_state: Tensor | list[Tensor],
    valid: Tensor | None,
    training: bool,
    otherwise: Callable[..., Results],
) -> Results:
    """Carries the states of a layer through time, as `loop.inner_loop` says, by the operations of Keras.

    Args:
        layer: a recurrent layer of a cell in `kinds.py`, or of several.
        sequences: (batch, timesteps, features).
        initial_state: (batch, units), alone or in a list; for several cells, a list of one such for each.
        valid: (batch, timesteps) bool; or None.
        training: whether dropout acts.
        otherwise: Keras's own loop, a function of these four arguments.
    """
    sequences = _of_this_length(sequences)
    if valid is None or any(type(cell) not in ENGINE_CELLS for cell in cells_of(layer)):
        return otherwise(sequences, initial_state, valid, training=training)
    if layer.unroll:
        return _unrolled(layer, sequences, initial_state, valid, training)
    results = otherwise(sequences, initial_state, valid, training=training)
    return _silent_at_first(layer, results, valid) if keras.backend.backend() == "jax" else results


def _of_this_length(sequences: Tensor) -> Tensor:
    """Makes what `torch.jit` traces refuse sequences of another length.

    A trace holds the steps that there were, one after the other; of a longer sequence it would read the first ones.
    """
    if keras.backend.backend() != "torch":
        return sequences
    import torch

    if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # torch has types, but not everywhere
        return sequences
    with warnings.catch_warnings():  # that the length becomes a constant is what is meant
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        steps = int(sequences.shape[1])
    return torch.split(sequences, [steps], dim=1)[0]


def _unrolled(
    layer: Any, sequences: Tensor, initial_state: Tensor | list[Tensor], valid: Tensor, training: bool
) -> Results:
    """Writes out the steps of masked sequences.

    Keras's unrolled loops fail on PyTorch when they go backwards, zero the wrong steps on TensorFlow and none on JAX.
    """
    states = initial_state if isinstance(initial_state, list | tuple) else [initial_state]
    steps = range(sequences.shape[1])
    output, outputs = None, []
    for t in reversed(steps) if layer.go_backwards else steps:
        counts = valid[:, t : t + 1]
        next_output, next_states = layer.cell(sequences[:, t], states, training=training)
        flat = zip(keras.tree.flatten(next_states), keras.tree.flatten(states), strict=True)
        states = keras.tree.pack_sequence_as(states, [ops.where(counts, new, old) for new, old in flat])
        before = ops.zeros_like(next_output) if output is None or layer.zero_output_for_mask else output
        output = ops.where(counts, next_output, before)
        outputs.append(output)
    return output, ops.stack(outputs if layer.return_sequences else [output], axis=1), list(states)


def _silent_at_first(layer: Any, results: Results, valid: Tensor) -> Results:
    """Makes outputs before the first valid step zeros, which are the initial state in Keras's loop on JAX."""
    last, outputs, states = results
    if layer.zero_output_for_mask:
        return results
    seen = ops.cumsum(ops.cast(ops.flip(valid, axis=1) if layer.go_backwards else valid, "int32"), axis=1) > 0
    last = ops.where(seen[:, -1:], last, ops.zeros_like(last))
    if not layer.return_sequences:
        return last, ops.expand_dims(last, 1), states
    return last, ops.where(ops.expand_dims(seen, -1), outputs, ops.zeros_like(outputs)), states
