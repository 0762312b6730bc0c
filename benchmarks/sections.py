# SPDX-License-Identifier: Apache-2.0
"""What is compared with what: each section has its subjects, ours first, and its cases."""

from __future__ import annotations

from dataclasses import dataclass

from blocks import Subject
from workloads import Case, workloads

OURS = Subject("gatewise", "numpy_op")
ONNXRUNTIME = Subject("onnxruntime", "onnxruntime_session")
OPENVINO = Subject("OpenVINO", "openvino_request")
TORCH = Subject("torch.nn.GRU", "torch_module")
OUR_TORCH = Subject("gatewise.torch.GRU", "torch_module", {"ours": True})

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
PADDED, HOLES = {"mask": "padded"}, {"mask": "holes"}


@dataclass(frozen=True)
class Section:
    """A comparison.

    `goals` names the table of goals.toml that holds its ratios, or is ""; `unit` is that of its table, "ms" or "us".
    """

    name: str
    title: str
    subjects: list[Subject]
    cases: list[Case]
    goals: str = ""
    unit: str = "ms"


def every_section() -> list[Section]:
    """All sections, in the order in which they run."""
    return [inference(), *map(layer, BACKENDS), torch(), step()]


def inference() -> Section:
    """All outputs of a layer, from NumPy arrays."""
    title = "Inference, the whole sequence returned: gatewise.gru on NumPy arrays"
    peers = [ONNXRUNTIME, OPENVINO, TORCH]
    return Section("inference", title, [OURS, *peers], workloads("inference"), "inference")


def layer(backend: str) -> Section:
    """The Keras layer against Keras's own, with masks."""
    environment = {"KERAS_BACKEND": backend}
    ours = Subject("gatewise.keras.GRU", "keras_layer", {"ours": True}, environment)
    stock = Subject("keras.layers.GRU", "keras_layer", {}, environment, without=("holes",))
    title = f"Training step in Keras on {BACKENDS[backend]}: gatewise.keras.GRU"
    return Section(f"keras-{backend}", title, [ours, stock], workloads("training", PADDED, HOLES), backend)


def torch() -> Section:
    """The drop-in for PyTorch."""
    title = "Training step in PyTorch: gatewise.torch.GRU"
    return Section("torch", title, [OUR_TORCH, TORCH], workloads("training"), "torch")


def step() -> Section:
    """One step at a time, as streams are read."""
    bound = Subject("onnxruntime, bound", "onnxruntime_session", {"bound": True})
    cases = [Case("1 row", "step", 1, 1, 40, 128), Case("256 rows", "step", 256, 1, 40, 128)]
    title = "One step, 40 features, 128 units: gatewise.gru with a state given"
    return Section("step", title, [OURS, ONNXRUNTIME, bound, OPENVINO, TORCH], cases, "step", "us")
