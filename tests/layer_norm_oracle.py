# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells with layer normalisation, composed of Keras's own LayerNormalization: an independent opinion."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from gatewise.cells import Cell


class OracleCell(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """One step, gate by gate, each product with a LayerNormalization of its own; no dropout."""

    def __init__(self, arrays: dict[str, Any], cell: Cell, activation: str, recurrent_activation: str) -> None:
        super().__init__(dtype=str(arrays["kernel"].dtype))
        self.of, self.gates = cell, len(cell.row.gates)
        self.units = len(arrays["recurrent_kernel"])
        self.state_size = [self.units] * len(cell.row.states)
        self.output_size = self.units
        self.activation = keras.activations.get(activation)
        self.of_gates = keras.activations.get(recurrent_activation)
        self.own = {}
        for name, array in arrays.items():
            if name.startswith(("initial", "x")):
                continue
            for i, block in enumerate([array] if name.startswith("state") else np.split(array, self.gates, axis=-1)):
                self.own[name, i] = self.add_weight(shape=block.shape, name=f"{name}_{i}")
                self.own[name, i].assign(block)
        self.norms = {
            (side, i): keras.layers.LayerNormalization(center=False, scale=False, dtype=self.dtype)
            for side in ("x", "h", "c")
            for i in range(self.gates)
        }

    def build(self, _input_shape: Any) -> None:
        for norm in self.norms.values():
            norm.build((None, self.units))

    def normal(self, side: str, gate: int, value: Any, gain: str) -> Any:
        scaled = self.norms[side, gate](value)
        return scaled * self.own[gain, gate] if (gain, gate) in self.own else scaled

    def of_x(self, gate: int, x: Any) -> Any:
        a = self.normal("x", gate, x @ self.own["kernel", gate], "gain")
        return a + self.own["bias", gate] if ("bias", gate) in self.own else a

    def of_h(self, gate: int, h: Any) -> Any:
        return self.normal("h", gate, h @ self.own["recurrent_kernel", gate], "recurrent_gain")

    def call(self, x: Any, states: Any, training: bool = False) -> Any:
        del training
        h = states[0]
        if self.of is Cell.LAYER_NORM_LSTM:
            i, f, g, o = (self.of_x(k, x) + self.of_h(k, h) for k in range(4))
            c = self.of_gates(f) * states[1] + self.of_gates(i) * self.activation(g)
            seen = self.normal("c", 0, c, "state_gain")
            seen = seen + self.own["state_bias", 0] if ("state_bias", 0) in self.own else seen
            h = self.of_gates(o) * self.activation(seen)
            return h, [h, c]
        z, r = (self.of_gates(self.of_x(k, x) + self.of_h(k, h)) for k in range(2))
        if self.of is Cell.LAYER_NORM_GRU:
            h_tilde = self.activation(self.of_x(2, x) + r * self.of_h(2, h))
        else:
            h_tilde = self.activation(self.of_x(2, x) + self.of_h(2, r * h))
        h = z * h + (1 - z) * h_tilde
        return h, [h]

    def gradient_of(self, name: str, gradients: dict[str, Any]) -> Any:
        """The gradient of an array, put together of its gates'."""
        blocks = [
            ops.convert_to_numpy(gradients[variable.name]) for (of, _), variable in self.own.items() if of == name
        ]
        return np.concatenate(blocks, axis=-1)
