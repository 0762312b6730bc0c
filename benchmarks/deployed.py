# SPDX-License-Identifier: Apache-2.0
"""A process that runs the recogniser of spoken digits once, by one runtime, and says what that took.

    python benchmarks/deployed.py RUNTIME FOLDER

RUNTIME is a name of `RUNTIMES`, FOLDER what `digits_models.py` wrote. Out, as JSON: the seconds of processor time, of
all threads, of import, load and first run; the bytes resident after it and at most; how far the output is from stock
Keras's. Nothing is imported before the runtime that it could be spared.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from resident import resident


def main(runtime: str, folder: str) -> None:
    """Runs, and prints."""
    start, load = RUNTIMES[runtime]
    times = [time.process_time()]
    library = start()
    times.append(time.process_time())
    run = load(library, folder)
    times.append(time.process_time())
    import numpy as np  # which every one of them has imported

    x, want = (np.load(f"{folder}/{name}.npy") for name in ("input", "output"))
    before = time.process_time()
    y = np.asarray(run(x))
    seconds = [times[1] - times[0], times[2] - times[1], time.process_time() - before]
    found = dict(zip(("import", "load", "run"), seconds, strict=True))
    memory = {"resident": resident("VmRSS"), "peak": resident("VmHWM")}
    print(json.dumps(found | memory | {"error": float(np.abs(y - want).max())}))


def start_gatewise() -> Any:
    """Imports gatewise."""
    import gatewise

    return gatewise


def load_gatewise(gatewise: Any, folder: str) -> Any:
    """Loads the model's file; its sample is run and compared, as always."""
    return gatewise.load(f"{folder}/digits.safetensors").predict


def start_keras() -> Any:
    """Imports Keras and TensorFlow."""
    import keras

    return keras


def load_keras(keras: Any, folder: str) -> Any:
    """Loads the `.keras` file; a call of the model is faster at first than `predict`, which compiles it."""
    return keras.saving.load_model(f"{folder}/digits.keras", compile=False)


def start_torch() -> Any:
    """Imports PyTorch."""
    import torch

    return torch


def load_torch(torch: Any, folder: str) -> Any:
    """Builds the modules and loads their state."""
    gru0 = torch.nn.GRU(40, 64, bidirectional=True, batch_first=True)
    gru1 = torch.nn.GRU(128, 64, bidirectional=True, batch_first=True)
    modules = torch.nn.ModuleDict({"gru0": gru0, "gru1": gru1, "head": torch.nn.Linear(128, 10)})
    modules.load_state_dict(torch.load(f"{folder}/digits.pt", weights_only=True))

    def run(x: Any) -> Any:
        with torch.inference_mode():
            _, last = modules["gru1"](modules["gru0"](torch.from_numpy(x))[0])
            return torch.softmax(modules["head"](torch.cat([last[0], last[1]], 1)), 1).numpy()

    return run


def start_onnxruntime() -> Any:
    """Imports onnxruntime."""
    import onnxruntime

    return onnxruntime


def load_onnxruntime(onnxruntime: Any, folder: str) -> Any:
    """Makes a session of the ONNX file."""
    session = onnxruntime.InferenceSession(f"{folder}/digits.onnx", providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def start_litert() -> Any:
    """Imports LiteRT's interpreter."""
    from ai_edge_litert import interpreter

    return interpreter


def load_litert(litert: Any, folder: str) -> Any:
    """Makes an interpreter of the flatbuffer."""
    interpreter = litert.Interpreter(f"{folder}/digits.tflite")
    interpreter.allocate_tensors()

    def run(x: Any) -> Any:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


RUNTIMES = {
    "gatewise": (start_gatewise, load_gatewise),
    "LiteRT": (start_litert, load_litert),
    "onnxruntime": (start_onnxruntime, load_onnxruntime),
    "PyTorch": (start_torch, load_torch),
    "Keras on TensorFlow": (start_keras, load_keras),
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
