# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: its GRUSequence, batch first, compiled for latency in float32; one request, its tensors set once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from openvino import opset13 as ops

import gatewise
from workloads import make_input, make_state, make_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case


def prepare(case: Case, threads: int) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(make_model(case), "CPU", settings).create_infer_request()
    inputs = [make_input(case), *([make_state(case)[:, None]] if case.task == "step" else [])]
    for i, array in enumerate(inputs):
        request.set_input_tensor(i, openvino.Tensor(array, shared_memory=True))

    def run() -> list[Any]:
        request.infer()
        return inputs  # which have to live as long as the request that reads them in place

    return run, lambda _: [request.get_output_tensor(0).data[:, 0]]


def make_model(case: Case) -> openvino.Model:
    """A model with the weights of the case inside: x (B, T, F) and, for a step, h (B, 1, U); y (B, 1, T, U)."""
    weights = gatewise.GRUWeights(*make_weights(case), reset_after=case.reset_after).to_onnx()
    if weights.B is None:
        raise ValueError("openvino_request: the layer has no bias. Expected one; received None. Give it one.")
    inputs, recurrent = weights.B[0].reshape(2, 3, case.units)
    # gates z and r add both biases, and so does OpenVINO before it starts; the candidate keeps two
    bias = np.concatenate([*(inputs[:2] + recurrent[:2]), inputs[2], recurrent[2]])[None]
    x = ops.parameter([case.batch, case.timesteps, case.features], np.float32)
    h = ops.parameter([case.batch, 1, case.units], np.float32)
    carried = case.task == "step"
    layer = ops.gru_sequence(
        x,
        h if carried else ops.constant(np.zeros((case.batch, 1, case.units), np.float32)),
        ops.constant(np.full(case.batch, case.timesteps, np.int32)),
        ops.constant(weights.W),
        ops.constant(weights.R),
        ops.constant(bias),
        hidden_size=case.units,
        direction="forward",
        linear_before_reset=True,
    )
    return openvino.Model([layer.output(0)], [x, h] if carried else [x], "layer")
