# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: its sequences, batch first, compiled for latency in float32; one request, its tensors set once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from openvino import opset13 as ops

from subjects.weights import weights_of
from workloads import make_input, make_state

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
    weights = weights_of(case).to_onnx()
    inputs, recurrent = weights.B[0].reshape(2, case.gates, case.units)
    x = ops.parameter([case.batch, case.timesteps, case.features], np.float32)
    h = ops.parameter([case.batch, 1, case.units], np.float32)
    carried = case.task == "step"
    zeros = ops.constant(np.zeros((case.batch, 1, case.units), np.float32))
    start = h if carried else zeros
    lengths = ops.constant(np.full(case.batch, case.timesteps, np.int32))
    if case.cell == "GRU":
        # gates z and r add both biases, and so does OpenVINO before it starts; the candidate keeps two
        bias = np.concatenate([*(inputs[:2] + recurrent[:2]), inputs[2], recurrent[2]])[None]
        kernels = (ops.constant(array) for array in (weights.W, weights.R, bias))
        layer = ops.gru_sequence(
            x, start, lengths, *kernels, hidden_size=case.units, direction="forward", linear_before_reset=True
        )
    elif case.cell == "LSTM":
        # ONNX has the gates in the order i | o | f | c, OpenVINO in the order f | i | c | o
        arrays = (weights.W, weights.R, (inputs + recurrent).reshape(1, -1))
        order = [np.split(array, 4, axis=1) for array in arrays]
        kernels = (ops.constant(np.concatenate([o[2], o[0], o[3], o[1]], axis=1)) for o in order)
        layer = ops.lstm_sequence(x, start, zeros, lengths, *kernels, hidden_size=case.units, direction="forward")
    else:
        kernels = (ops.constant(array) for array in (weights.W, weights.R, (inputs + recurrent).reshape(1, -1)))
        layer = ops.rnn_sequence(x, start, lengths, *kernels, hidden_size=case.units, direction="forward")
    return openvino.Model([layer.output(0)], [x, h] if carried else [x], "layer")
