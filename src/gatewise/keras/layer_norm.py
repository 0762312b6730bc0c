# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers with layer normalisation, on the engine. Keras has none of its own: their cells are ours, too."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from gatewise.keras import constructor_errors, zoneout
from gatewise.keras.engine import leaves_xla_off
from gatewise.keras.errors import class_name
from gatewise.keras.layer_norm_cells import LayerNormGRUCell, LayerNormLSTMCell
from gatewise.keras.native import Native


class _LayerNorm(Native):
    """Stands before a layer of stock Keras, whose cell it replaces.

    Attributes:
        PLAIN: that layer's class and its cell's, whose arguments are taken.
        CELL: the cell's class.
    """

    PLAIN: tuple[Any, Any]
    CELL: Any

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
        of_norm = {
            "epsilon": epsilon,
            "gain_initializer": gain_initializer,
            "gain_regularizer": gain_regularizer,
            "gain_constraint": gain_constraint,
        }
        plain, plain_cell = self.PLAIN
        zoneout.take(self, class_name(self), kwargs)
        constructor_errors.check_constructor(class_name(self), plain, (units,), kwargs)
        for argument, value in of_norm.items():
            constructor_errors.check_named(class_name(self), argument, value)
        kwargs.pop("use_cudnn", None)  # chooses between loops of Keras
        arguments = {*inspect.signature(plain_cell.__init__).parameters, "implementation"} - {"self", "units", "kwargs"}
        of_cell = {name: kwargs.pop(name) for name in arguments & kwargs.keys()}
        shared = {name: kwargs[name] for name in ("dtype", "trainable") if name in kwargs}
        name = f"layer_norm_{plain.__name__.lower()}_cell"
        keras.layers.RNN.__init__(self, self.CELL(units, **of_norm, **of_cell, **shared, name=name), **kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.use_cudnn = False
        if self.fallback_reason is None and leaves_xla_off():
            self.supports_jit = False

    @property
    def epsilon(self) -> float:
        """What is added to variances."""
        return float(self.cell.epsilon)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        cell = self.cell.get_config()
        names = ("epsilon", "gain_initializer", "gain_regularizer", "gain_constraint")
        return {**super().get_config(), **{name: cell[name] for name in names}}

    cell: Any


@keras.saving.register_keras_serializable(package="gatewise", name="LayerNormGRU")
class LayerNormGRU(_LayerNorm, keras.layers.GRU):
    """Reads sequences with gated recurrent units with layer normalisation (Ba, Kiros and Hinton 2016, 1607.06450).

    With LN(a) = (a - mean(a)) / sqrt(variance(a) + epsilon), over the units of a gate, each gate by itself:

        z       = recurrent_activation(gain_z * LN(x Kz) + bz + recurrent_gain_z * LN(h_prev Rz))    r likewise
        h_tilde = activation(gain_h * LN(x Kh) + bh + r * (recurrent_gain_h * LN(h_prev Rh)))        reset_after=True
        h_tilde = activation(gain_h * LN(x Kh) + bh + recurrent_gain_h * LN((r * h_prev) Rh))        reset_after=False
        h       = z * h_prev + (1 - z) * h_tilde

    (Ba et al. normalise the products of all gates as one vector; here no gate scales another.) A gate has one bias, in
    both orders. The weights are kernel (features, 3 * units), recurrent_kernel (units, 3 * units), bias (3 * units,),
    gain (3 * units,) and recurrent_gain (3 * units,), gates in the order z | r | h.

    Where the engine cannot run, the same is computed by Keras's own operations, and `fallback_reason` says why.

    Args:
        units: the width of the state.
        epsilon: what is added to variances; 0.001, as in `keras.layers.LayerNormalization`.
        gain_initializer: of gain and recurrent_gain.
        gain_regularizer: likewise.
        gain_constraint: likewise.
        **kwargs: all other arguments of `gatewise.keras.GRU`, `zoneout` among them, by name.

    Attributes:
        fallback_reason: why Keras's operations ran in the latest call or trace; None if the engine ran. The reasons are
            those of `gatewise.keras.GRU`.

    Example:
        >>> import numpy as np
        >>> layer = LayerNormGRU(4, return_sequences=True, return_state=True)
        >>> outputs, state = layer(np.zeros((2, 3, 5), "float32"))
        >>> tuple(outputs.shape), tuple(state.shape), layer.fallback_reason
        ((2, 3, 4), (2, 4), None)
    """

    PLAIN = keras.layers.GRU, keras.layers.GRUCell
    ZONEOUT = ("zoneout",)
    CELL = LayerNormGRUCell


@keras.saving.register_keras_serializable(package="gatewise", name="LayerNormLSTM")
class LayerNormLSTM(_LayerNorm, keras.layers.LSTM):
    """Reads sequences with long short-term memory with layer normalisation (Ba, Kiros and Hinton 2016, 1607.06450).

    With LN as in `gatewise.keras.LayerNormGRU`, each gate by itself:

        i = recurrent_activation(gain_i * LN(x Ki) + bi + recurrent_gain_i * LN(h_prev Ri))    f and o likewise
        g = activation(gain_g * LN(x Kg) + bg + recurrent_gain_g * LN(h_prev Rg))
        c = f * c_prev + i * g
        h = o * activation(state_gain * LN(c) + state_bias)

    The c that is carried on is the one before normalisation. The weights are kernel (features, 4 * units),
    recurrent_kernel (units, 4 * units), bias (4 * units,), gain (4 * units,), recurrent_gain (4 * units,), state_gain
    (units,) and state_bias (units,), gates in the order i | f | g | o.

    Args:
        units: the width of the states.
        epsilon: what is added to variances; 0.001, as in `keras.layers.LayerNormalization`.
        gain_initializer: of gain, recurrent_gain and state_gain; state_bias has the bias's.
        gain_regularizer: likewise.
        gain_constraint: likewise.
        **kwargs: all other arguments of `gatewise.keras.LSTM`, `zoneout` and `zoneout_cell` among them, by name.

    Attributes:
        fallback_reason: why Keras's operations ran in the latest call or trace; None if the engine ran. The reasons are
            those of `gatewise.keras.GRU`.

    Example:
        >>> import numpy as np
        >>> layer = LayerNormLSTM(4, return_sequences=True, return_state=True)
        >>> outputs, h, c = layer(np.zeros((2, 3, 5), "float32"))
        >>> tuple(outputs.shape), tuple(h.shape), tuple(c.shape), layer.fallback_reason
        ((2, 3, 4), (2, 4), (2, 4), None)
    """

    PLAIN = keras.layers.LSTM, keras.layers.LSTMCell
    ZONEOUT = ("zoneout", "zoneout_cell")
    CELL = LayerNormLSTMCell
