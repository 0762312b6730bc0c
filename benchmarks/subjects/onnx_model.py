# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers as an ONNX model.

A layer: x (T, B, F) and y (T, directions, B, U). A step: x (1, B, F) and every layer's states h0, c0, h1, ...
(1, B, U); their next ones, of the last layer first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from subjects.weights import weights_of

if TYPE_CHECKING:
    from workloads import Case


def make_model(case: Case) -> bytes:
    """Returns the model, with the weights of the case inside; shapes are fixed, so that a runtime may plan for them."""
    nodes, constants, inputs, outputs = [], [], [_value("x", case.timesteps, case.batch, case.features)], []
    x = "x"
    for i in range(case.layers):
        carried = [f"{state}{i}" for state in "hc"[: case.states]] if case.task == "step" else []
        after = [f"{name}_next" for name in carried]
        weights = weights_of(case, i).to_onnx()
        both = {name: np.concatenate([getattr(weights, name)] * case.directions) for name in "WRB"}
        constants += [numpy_helper.from_array(array, f"{name}{i}") for name, array in both.items()]
        inputs += [_value(name, 1, case.batch, case.units) for name in carried]
        outputs = [_value(name, 1, case.batch, case.units) for name in after] + outputs
        nodes.append(
            helper.make_node(
                {"SimpleRNN": "RNN"}.get(case.cell, case.cell),
                [x, f"W{i}", f"R{i}", f"B{i}", *(["", *carried] if carried else [])],
                ["", *after] if carried else ["y"],
                hidden_size=case.units,
                direction="bidirectional" if case.directions == 2 else "forward",
                **({"linear_before_reset": weights.linear_before_reset} if case.cell == "GRU" else {}),
            )
        )
        x = after[0] if carried else "y"
    if case.task != "step":
        outputs = [_value("y", case.timesteps, case.directions, case.batch, case.units)]
    graph = helper.make_graph(nodes, "layers", inputs, outputs, constants)
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    return model


def _value(name: str, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
