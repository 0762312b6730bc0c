# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: its sequences, batch first, compiled for latency in float32; one request, its tensors set once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from openvino import opset13 as ops

from subjects.weights import weights_of
from workloads import make_input, make_states

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
    inputs = [make_input(case)]
    if case.task == "step":
        inputs += [state[:, None] for of_layer in make_states(case).swapaxes(0, 1) for state in of_layer]
    for i, array in enumerate(inputs):
        request.set_input_tensor(i, openvino.Tensor(array, shared_memory=True))

    def run() -> list[Any]:
        request.infer()
        return inputs  # which have to live as long as the request that reads them in place

    def batch_first(_: Any) -> list[Any]:
        y = request.get_output_tensor(0).data.reshape(case.batch, case.directions, case.timesteps, case.units)
        return [y.swapaxes(1, 2).reshape(case.batch, case.timesteps, -1)]

    return run, batch_first


def make_model(case: Case) -> openvino.Model:
    """A model with the weights of the case inside.

    A layer: x (B, T, F) and y (B, directions, T, U). A step: x and every layer's states (B, 1, U), a layer after the
    other; their next ones, of the last layer first.
    """
    x = ops.parameter([case.batch, case.timesteps, case.features], np.float32)
    inputs, outputs, below = [x], [], x
    for i in range(case.layers):
        states = [_start(case) for _ in range(case.states)]
        layer = _sequence(case, i, below, states)
        if case.task == "step":
            inputs += states
            outputs = [layer.output(1 + k) for k in range(case.states)] + outputs
            below = layer.output(1)  # (B, 1, U) is a sequence of one step, too
        else:
            outputs = [layer.output(0)]
    return openvino.Model(outputs, inputs, "layers")


def _start(case: Case) -> Any:
    """The states before the first step: given for a step, else zeros."""
    shape = [case.batch, case.directions, case.units]
    return ops.parameter(shape, np.float32) if case.task == "step" else ops.constant(np.zeros(shape, np.float32))


def _sequence(case: Case, layer: int, x: Any, states: list[Any]) -> Any:
    """One recurrent layer; both directions have the same weights."""
    weights = weights_of(case, layer).to_onnx()
    inputs, recurrent = weights.B[0].reshape(2, case.gates, case.units)
    if case.cell == "GRU":
        # gates z and r add both biases, and so does OpenVINO before it starts; the candidate keeps two
        bias = np.concatenate([*(inputs[:2] + recurrent[:2]), inputs[2], recurrent[2]])[None]
    else:
        bias = (inputs + recurrent).reshape(1, -1)
    arrays = [weights.W, weights.R, bias]
    if case.cell == "LSTM":  # ONNX has the gates in the order i | o | f | c, OpenVINO in the order f | i | c | o
        gates = [np.split(array, 4, axis=1) for array in arrays]
        arrays = [np.concatenate([of[2], of[0], of[3], of[1]], axis=1) for of in gates]
    kernels = [ops.constant(np.concatenate([array] * case.directions)) for array in arrays]
    lengths = ops.constant(np.full(case.batch, case.timesteps, np.int32))
    make = {"GRU": ops.gru_sequence, "LSTM": ops.lstm_sequence, "SimpleRNN": ops.rnn_sequence}[case.cell]
    options: Any = {"hidden_size": case.units, "direction": "bidirectional" if case.directions == 2 else "forward"}
    options |= {"linear_before_reset": True} if case.cell == "GRU" else {}
    return make(x, *states, lengths, *kernels, **options)
