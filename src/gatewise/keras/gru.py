# SPDX-License-Identifier: Apache-2.0
"""`keras.layers.GRU` with the loop over time on the engine. Masks, states, dropout and saving stay Keras's."""

from __future__ import annotations

import inspect
from typing import Any, TypeAlias

import keras

from gatewise.keras import call_errors, constructor_errors, loop, sequence_errors
from gatewise.keras.engine import leaves_xla_off
from gatewise.keras.errors import class_name
from gatewise.keras.fallback import FallbackReason

Tensor: TypeAlias = Any  # a tensor of Keras's backend; Keras ships no types

_STOCK = keras.layers.GRU  # some put ours there, under that name

# Where gatewise is not imported, Keras's error ends in the configuration of the layer, and that ends in this.
_TO_LOAD = "import gatewise.keras first, or load stock Keras by custom_objects={'gatewise>GRU': keras.layers.GRU}"


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
            TensorFlow's XLA, `gatewise.portable()`, a backend that the engine is not connected to.

    Example:
        >>> import numpy as np
        >>> layer = GRU(4, return_sequences=True, return_state=True)
        >>> outputs, state = layer(np.zeros((2, 3, 5), "float32"))
        >>> tuple(outputs.shape), tuple(state.shape), layer.fallback_reason
        ((2, 3, 4), (2, 4), None)
    """

    fallback_reason = FallbackReason()

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # the stock layer's, see below
        constructor_errors.check_constructor(class_name(self), _STOCK, args, kwargs)
        super().__init__(*args, **kwargs)
        if self.fallback_reason is None and leaves_xla_off():
            self.supports_jit = False

    # Keras reads the signature in Operation.__new__, and people read it in help(). mypy knows no such attribute.
    setattr(__init__, "__signature__", inspect.signature(keras.layers.GRU.__init__))  # noqa: B010

    def build(self, sequences_shape: tuple[int | None, ...], initial_state_shape: Any = None) -> None:
        """Creates the weights, and a stateful layer's states, for sequences of shape (batch, timesteps, features)."""
        sequence_errors.check_build(self, sequences_shape)
        super().build(sequences_shape, initial_state_shape)

    def get_build_config(self) -> dict[str, Any] | None:
        """Returns what Keras builds a loaded layer from, and what to do where it cannot be loaded."""
        config = super().get_build_config()
        return {**config, "to_load": _TO_LOAD} if config and type(self) is GRU else config

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer over sequences (batch, timesteps, features); see `keras.layers.GRU` for the call arguments."""
        call_errors.check_call(self, args, kwargs)
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
        return loop.inner_loop(self, sequences, initial_state, mask, training, super().inner_loop)
