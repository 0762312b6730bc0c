# SPDX-License-Identifier: Apache-2.0
"""A recurrent layer as an ONNX model: x (T, B, F) and, for a step, h (1, B, U); y (T, 1, B, U)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto, helper, numpy_helper

from subjects.weights import weights_of

if TYPE_CHECKING:
    from workloads import Case


def make_model(case: Case) -> bytes:
    """Returns the model, with the weights of the case inside; shapes are fixed, so that a runtime may plan for them."""
    weights = weights_of(case).to_onnx()
    constants = [numpy_helper.from_array(getattr(weights, name), name) for name in "WRB"]
    shapes = {
        "x": (case.timesteps, case.batch, case.features),
        "h": (1, case.batch, case.units),
        "y": (case.timesteps, 1, case.batch, case.units),
    }
    x, h, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    carried = case.task == "step"
    node = helper.make_node(
        {"SimpleRNN": "RNN"}.get(case.cell, case.cell),
        ["x", "W", "R", "B", *(["", "h"] if carried else [])],
        ["y"],
        hidden_size=case.units,
        **({"linear_before_reset": weights.linear_before_reset} if case.cell == "GRU" else {}),
    )
    graph = helper.make_graph([node], "layer", [x, h] if carried else [x], [y], constants)
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    return model
