# SPDX-License-Identifier: Apache-2.0
"""Writes one recogniser of spoken digits, with random weights, into a folder, in the form that each runtime reads.

    KERAS_BACKEND=tensorflow python benchmarks/digits_models.py FOLDER

Two Bidirectional GRU(64) over 40 log-mel bands and a softmax over ten digits, as in `examples/spoken_digits.py` but for
Masking, which ONNX and LiteRT have no word for. The ONNX file has GRU nodes; the LiteRT file has a loop for each
direction (WHILE), as its converter makes of Keras's layers, for one row of 50 frames. `input.npy` and `output.npy` are
an input and what stock Keras computes of it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

FRAMES, BANDS, UNITS, DIGITS = 50, 40, 64, 10


def main(folder: Path) -> None:
    """Writes every form."""
    import keras

    import gatewise

    keras.utils.set_random_seed(0)
    read = [keras.layers.Bidirectional(keras.layers.GRU(UNITS, return_sequences=more)) for more in (True, False)]
    head = keras.layers.Dense(DIGITS, activation="softmax")
    model = keras.Sequential([keras.Input((None, BANDS)), *read, head])
    x = np.random.default_rng(0).normal(size=(1, FRAMES, BANDS)).astype(np.float32)
    np.save(folder / "input.npy", x)
    np.save(folder / "output.npy", np.asarray(model(x)))
    model.save(folder / "digits.keras")
    gatewise.save(model, folder / "digits.safetensors")
    (folder / "digits.tflite").write_bytes(to_litert(model))
    (folder / "digits.onnx").write_bytes(to_onnx(model))
    to_torch(model, folder / "digits.pt")


def to_litert(model: Any) -> bytes:
    """Converts the model by TensorFlow, its shapes fixed, its weights constants: in a loop, variables do not work."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = tf.TensorSpec([1, FRAMES, BANDS], tf.float32)
    run = tf.function(model.call, input_signature=[signature])
    frozen = convert_variables_to_constants_v2(run.get_concrete_function(), lower_control_flow=False)
    converted: bytes = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    return converted


def directions(model: Any) -> list[list[Any]]:
    """The weights of each layer's two directions, forward first."""
    import gatewise

    pairs = [(layer.forward_layer, layer.backward_layer) for layer in model.layers[:2]]
    return [[gatewise.GRUWeights(*map(np.asarray, one.get_weights())) for one in pair] for pair in pairs]


def to_onnx(model: Any) -> bytes:
    """Writes GRU nodes by hand: what PyTorch's own exporter writes of `torch.nn.GRU`."""
    from onnx import TensorProto, helper, numpy_helper

    constants, nodes, name = [], [helper.make_node("Transpose", ["x"], ["x0"], perm=[1, 0, 2])], "x0"
    for i, pair in enumerate(directions(model)):
        given = [weights.to_onnx() for weights in pair]
        for letter in "WRB":
            both = np.concatenate([getattr(weights, letter) for weights in given])
            constants.append(numpy_helper.from_array(both, f"{letter}{i}"))
        options = {"hidden_size": UNITS, "direction": "bidirectional", "linear_before_reset": 1}
        nodes.append(helper.make_node("GRU", [name, f"W{i}", f"R{i}", f"B{i}"], [f"y{i}", f"h{i}"], **options))
        nodes.append(
            helper.make_node("Transpose", [(f"y{i}", f"h{i}")[i]], [f"t{i}"], perm=[(0, 2, 1, 3), (1, 0, 2)][i])
        )
        shape = [(0, 0, 2 * UNITS), (0, 2 * UNITS)][i]
        constants.append(numpy_helper.from_array(np.array(shape), f"shape{i}"))
        nodes.append(helper.make_node("Reshape", [f"t{i}", f"shape{i}"], [f"x{i + 1}"]))
        name = f"x{i + 1}"
    kernel, bias = map(np.asarray, model.layers[2].get_weights())
    constants += [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")]
    nodes.append(helper.make_node("Gemm", [name, "kernel", "bias"], ["scores"]))
    nodes.append(helper.make_node("Softmax", ["scores"], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", "frames", BANDS))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", DIGITS))
    graph = helper.make_graph(nodes, "digits", [x], [y], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    written: bytes = made.SerializeToString()
    return written


def to_torch(model: Any, path: Path) -> None:
    """Writes the state of two `torch.nn.GRU` and a head, which `deployed.py` builds again."""
    import torch

    state: dict[str, Any] = {}
    for i, pair in enumerate(directions(model)):
        for ending, weights in zip(("", "_reverse"), pair, strict=True):
            for name, array in weights.to_torch()._asdict().items():
                state[f"gru{i}.{name}_l0{ending}"] = torch.from_numpy(np.array(array))
    kernel, bias = map(np.array, model.layers[2].get_weights())
    state |= {"head.weight": torch.from_numpy(kernel.T.copy()), "head.bias": torch.from_numpy(bias)}
    torch.save(state, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
