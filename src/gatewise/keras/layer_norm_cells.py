# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells with layer normalisation, of Keras's own operations: what runs where the engine does not."""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
from keras import ops

from gatewise.cells import Cell, gru
from gatewise.layer_norm_weights import above_zero
from gatewise.reference import EQUATIONS

Tensor: TypeAlias = Any  # a tensor of Keras's backend; Keras ships no types


class _LayerNormCell:
    """Stands before a cell of stock Keras among the bases of one that normalises."""

    def __init__(
        self,
        units: int,
        *,
        epsilon: float = 1e-3,
        gain_initializer: Any = "ones",
        gain_regularizer: Any = None,
        gain_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)  # type: ignore[call-arg]  # the stock cell's
        self.epsilon = above_zero(type(self).__name__, epsilon)
        self.gain_initializer = keras.initializers.get(gain_initializer)
        self.gain_regularizer = keras.regularizers.get(gain_regularizer)
        self.gain_constraint = keras.constraints.get(gain_constraint)

    @property
    def engine_cell(self) -> Cell:
        """Which cell of the engine this is."""
        raise NotImplementedError

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights, for inputs of shape (batch, features)."""
        super().build(input_shape)  # type: ignore[misc]
        self.of_norm = self.engine_cell.row.weights  # torch.compile cannot follow an enumeration to its row
        for name in self.of_norm:
            setattr(self, name, self._parameter(name))

    def _parameter(self, name: str) -> Any:
        units: int = self.units  # type: ignore[attr-defined]
        width = units if name.startswith("state") else len(self.engine_cell.row.gates) * units
        kind = "bias" if name.endswith("bias") else "gain"
        how = {part: getattr(self, f"{kind}_{part}") for part in ("initializer", "regularizer", "constraint")}
        return self.add_weight(shape=(width,), name=name, **how)  # type: ignore[attr-defined]

    def normalised(self, a: Tensor, gain: Tensor) -> Tensor:
        """Normalises the numbers of a gate, in float32, whose statistics half precision could not hold."""
        wide = ops.cast(a, "float32") if keras.backend.standardize_dtype(a.dtype) in _HALF else a
        centred = wide - ops.mean(wide, axis=-1, keepdims=True)
        scale = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + self.epsilon)
        return ops.cast(centred * scale, a.dtype) * gain

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> tuple[Tensor, Any]:
        """Takes a step, as `reference/layer_norm.py` says.

        Args:
            inputs: (batch, features).
            states: (batch, units) each, alone or in a list.
            training: whether dropout acts.
        """
        cell: Any = self
        several = list(states) if isinstance(states, list | tuple) else [states]
        units = cell.units
        on_x = cell.get_dropout_mask(inputs) if training and 0 < cell.dropout < 1 else None
        on_h = cell.get_recurrent_dropout_mask(several[0]) if training and 0 < cell.recurrent_dropout < 1 else None

        def product(left: Tensor, factors: Any, weights: str, gain: str, gate: int) -> Tensor:
            if factors is not None:
                left = left * (factors[gate] if isinstance(factors, list) else factors)
            columns = slice(gate * units, (gate + 1) * units)
            right, scale = ops.convert_to_tensor(getattr(cell, weights)), ops.convert_to_tensor(getattr(cell, gain))
            return cell.normalised(ops.matmul(left, right[:, columns]), scale[columns])

        def recurrent(gate: int, factor: Tensor | None = None) -> Tensor:
            left = several[0] if factor is None else several[0] * factor
            return product(left, on_h, "recurrent_kernel", "recurrent_gain", gate)

        def of_state(c: Tensor) -> Tensor:
            return cell.normalised(c, cell.state_gain) + cell.state_bias

        gates = range(len(self.engine_cell.row.gates))
        x = [product(inputs, on_x, "kernel", "gain", gate) for gate in gates]
        if cell.bias is not None:
            bias = ops.convert_to_tensor(cell.bias)
            x = [of_gate + bias[gate * units : (gate + 1) * units] for gate, of_gate in enumerate(x)]
        equations = EQUATIONS[self.engine_cell]
        more = (of_state,) if equations.normalises_state else ()
        new = equations.step(x, recurrent, tuple(several), cell.activation, cell.recurrent_activation, *more)
        return new[0], list(new) if isinstance(states, list | tuple) else new[0]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {
            **super().get_config(),  # type: ignore[misc]
            "epsilon": self.epsilon,
            "gain_initializer": keras.initializers.serialize(self.gain_initializer),
            "gain_regularizer": keras.regularizers.serialize(self.gain_regularizer),
            "gain_constraint": keras.constraints.serialize(self.gain_constraint),
        }


_HALF = ("float16", "bfloat16")


@keras.saving.register_keras_serializable(package="gatewise", name="LayerNormGRUCell")
class LayerNormGRUCell(_LayerNormCell, keras.layers.GRUCell):
    """A step of `gatewise.keras.LayerNormGRU`, for `keras.layers.RNN`: see there.

    Example:
        >>> import numpy as np
        >>> layer = keras.layers.RNN(LayerNormGRUCell(4))
        >>> tuple(layer(np.zeros((2, 3, 5), "float32")).shape)
        (2, 4)
    """

    reset_after: bool

    @property
    def engine_cell(self) -> Cell:
        """Which cell of the engine this is."""
        return gru(reset_after=bool(self.reset_after), layer_norm=True)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights, for inputs of shape (batch, features)."""
        after, self.reset_after = bool(self.reset_after), False  # stock's bias then has one number a gate and unit
        super().build(input_shape)
        self.reset_after = after


@keras.saving.register_keras_serializable(package="gatewise", name="LayerNormLSTMCell")
class LayerNormLSTMCell(_LayerNormCell, keras.layers.LSTMCell):
    """A step of `gatewise.keras.LayerNormLSTM`, for `keras.layers.RNN`: see there.

    Example:
        >>> import numpy as np
        >>> layer = keras.layers.RNN(LayerNormLSTMCell(4))
        >>> tuple(layer(np.zeros((2, 3, 5), "float32")).shape)
        (2, 4)
    """

    @property
    def engine_cell(self) -> Cell:
        """Which cell of the engine this is."""
        return Cell.LAYER_NORM_LSTM
