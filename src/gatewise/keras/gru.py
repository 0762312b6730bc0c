# SPDX-License-Identifier: Apache-2.0
"""`keras.layers.GRU` with the loop over time on the engine. Masks, states, dropout and saving stay Keras's."""

from __future__ import annotations

import inspect
from typing import Any, TypeAlias

import keras
from keras import ops

from gatewise.keras import errors, fallback

if keras.backend.backend() == "tensorflow":
    from gatewise.ops import tensorflow as engine

Tensor: TypeAlias = Any  # a tensor of Keras's backend; Keras ships no types


# The name is that of the stock layer: the paths in .weights.h5 files contain it, so the files fit both.
@keras.saving.register_keras_serializable(package="gatewise", name="GRU")
class GRU(keras.layers.GRU):
    """Reads sequences with gated recurrent units: `keras.layers.GRU`, faster on a CPU, with the same numbers.

    Arguments, weights, call and saved files are those of `keras.layers.GRU`; so is what it computes, with these
    remarks:

    - `unroll`, `use_cudnn` and `implementation` choose between loops of Keras. The engine runs whatever they say.
    - `dropout=1.0` drops nothing, as in Keras on TensorFlow; the same goes for `recurrent_dropout=1.0`.
    - float16 and bfloat16 are computed in float32 and rounded at the end of the call.
    - Input in a masked step is never read: NaN there reaches no output and no gradient.

    Attributes:
        fallback_reason: why Keras's own path ran in the latest call or trace; None if the engine ran. The reasons: an
            activation other than tanh, sigmoid, relu, linear or hard_sigmoid, float64, a GPU, tracing for export or for
            XLA, `portable()`, a backend that the engine is not connected to.

    Example:
        >>> import numpy as np
        >>> layer = GRU(4, return_sequences=True, return_state=True)
        >>> outputs, state = layer(np.zeros((2, 3, 5), "float32"))
        >>> tuple(outputs.shape), tuple(state.shape), layer.fallback_reason
        ((2, 3, 4), (2, 4), None)
    """

    fallback_reason: str | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # the stock layer's, see below
        errors.check_constructor(args, kwargs)
        super().__init__(*args, **kwargs)
        self.fallback_reason = fallback.settled_reason(self)
        if self.fallback_reason is None:
            self.supports_jit = False  # XLA cannot hold the engine's operations; Keras then leaves it off

    # Keras reads the signature in Operation.__new__, and people read it in help(). mypy knows no such attribute.
    setattr(__init__, "__signature__", inspect.signature(keras.layers.GRU.__init__))  # noqa: B010

    def build(self, sequences_shape: tuple[int | None, ...], initial_state_shape: Any = None) -> None:
        """Creates the weights, and a stateful layer's states, for sequences of shape (batch, timesteps, features)."""
        errors.check_batch_size(self, sequences_shape)
        super().build(sequences_shape, initial_state_shape)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer over sequences (batch, timesteps, features); see `keras.layers.GRU` for the call arguments."""
        errors.check_call(self, args, kwargs)
        return super().__call__(*args, **kwargs)

    def inner_loop(
        self, sequences: Tensor, initial_state: Tensor, mask: Tensor | None, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Carries the state through time.

        Args:
            sequences: (batch, timesteps, features).
            initial_state: (batch, units), alone or in a list.
            mask: (batch, timesteps), any dtype, nonzero = valid; or None.
            training: whether dropout acts and a gradient will follow.

        Returns:
            The last output (batch, units); the outputs in processing order, (batch, timesteps, units), or (batch, 1,
            units) without `return_sequences`; and the last state in a list, (batch, units). They differ in the last
            step if that step is masked.
        """
        self.fallback_reason = fallback.reason(self)
        if self.fallback_reason is not None:
            return super().inner_loop(sequences, initial_state, mask, training=training)  # type: ignore[no-any-return]
        state = initial_state[0] if isinstance(initial_state, list | tuple) else initial_state
        cell = self.cell
        outputs, last_state = engine.gru(
            _float32(sequences),
            _for_every_row(_float32(state), sequences),
            _float32(cell.kernel),
            _float32(cell.recurrent_kernel),
            None if cell.bias is None else _float32(cell.bias),
            _valid_steps(sequences, mask),
            _factors(cell.get_dropout_mask(sequences[:, 0, :])) if training and 0 < cell.dropout < 1 else None,
            _factors(cell.get_recurrent_dropout_mask(state)) if training and 0 < cell.recurrent_dropout < 1 else None,
            reset_after=bool(cell.reset_after),
            activation=fallback.ACTIVATION_NAMES[cell.activation],
            recurrent_activation=fallback.ACTIVATION_NAMES[cell.recurrent_activation],
            go_backwards=bool(self.go_backwards),
            return_sequences=bool(self.return_sequences),
            zero_output_for_mask=bool(self.zero_output_for_mask),
            training=bool(training),
        )
        return outputs[:, -1], outputs, [last_state]


def _float32(value: Tensor) -> Tensor:
    return ops.cast(ops.convert_to_tensor(value), "float32")


def _valid_steps(sequences: Tensor, mask: Tensor | None) -> Tensor | None:
    """Brings a mask, (batch or 1, timesteps) or (batch or 1, timesteps, 1), to (batch, timesteps) bool."""
    if isinstance(mask, list | tuple):
        mask = mask[0]
    if mask is None:
        return None
    mask = ops.cast(ops.convert_to_tensor(mask), "bool")
    if len(mask.shape) == 3:  # Keras takes a trailing axis of length 1
        mask = ops.squeeze(mask, axis=-1)
    return _for_every_row(mask, sequences)


def _for_every_row(value: Tensor, sequences: Tensor) -> Tensor:
    """Repeats a single row, (1, width), for the whole batch of `sequences`; leaves (batch, width) alone."""
    if value.shape[0] != 1 or sequences.shape[0] == 1:
        return value
    return ops.broadcast_to(value, (ops.shape(sequences)[0], ops.shape(value)[1]))


def _factors(masks: Tensor | list[Tensor]) -> Tensor:
    """Brings Keras's dropout masks, one (batch, width) or a list of three, to (1 or 3, batch, width) float32."""
    return _float32(ops.stack(masks) if isinstance(masks, list) else ops.expand_dims(masks, 0))
