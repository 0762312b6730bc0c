# SPDX-License-Identifier: Apache-2.0
"""What is compared with what: each section has its subjects, ours first, and its cases."""

from __future__ import annotations

from dataclasses import dataclass, replace

from machine import available_cpus
from process import Subject
from workloads import SIZES, Case, workloads

OURS = Subject("gatewise", "numpy_op")
ONNXRUNTIME = Subject("onnxruntime", "onnxruntime_session", without=("training",))
OPENVINO = Subject("OpenVINO", "openvino_request", without=("training",))
TORCH = Subject("torch.nn.GRU", "torch_module")
OUR_TORCH = Subject("gatewise.torch.GRU", "torch_module", {"ours": True})
PEERS = [ONNXRUNTIME, OPENVINO, TORCH]

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
PADDED, HOLES = {"mask": "padded"}, {"mask": "holes"}
VARIANTS = ("reset before", "dropout", "recurrent dropout", "bidirectional")

# For the GNU C library: that it never gives memory back, and has one heap, whose size has no bound
KEEPS_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_ARENA_MAX": "1"}

# The middle of the curves, and what grows along each
BATCH, TIMESTEPS, FEATURES, UNITS = 32, 100, 64, 128
CURVES = {
    "timesteps": (1, 3, 10, 30, 100, 300, 1000),
    "units": (16, 32, 64, 128, 256, 512, 1024),
    "batch": (1, 2, 4, 8, 16, 32, 64, 128, 256),
}


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
    layers = [*map(layer, BACKENDS), torch(), frameworks(), allocator()]
    return [inference(), *layers, step(), variants(), isa(), neighbour(), curves(), threads()]


def inference() -> Section:
    """All outputs of a layer, from NumPy arrays."""
    title = "Inference, the whole sequence returned: gatewise.rnn on NumPy arrays"
    return Section("inference", title, [OURS, *PEERS], workloads("inference"), "inference")


def layer(backend: str) -> Section:
    """The Keras layer against Keras's own, with masks."""
    environment = {"KERAS_BACKEND": backend}
    ours = Subject("gatewise.keras.GRU", "keras_layer", {"ours": True}, environment)
    stock = Subject("keras.layers.GRU", "keras_layer", {}, environment, without=("holes",))
    peers = [stock]
    if backend == "tensorflow":  # XLA, which `fit` chooses by itself, is faster on short sequences alone
        long = ("text", "speech", "large", "utterance", "bigbatch", "holes")
        peers.append(replace(stock, name="keras.layers.GRU, XLA", options={"xla": True}, without=long))
    title = f"Training step in Keras on {BACKENDS[backend]}: gatewise.keras.GRU"
    return Section(f"keras-{backend}", title, [ours, *peers], workloads("training", PADDED, HOLES), backend)


def torch() -> Section:
    """The drop-in for PyTorch."""
    title = "Training step in PyTorch: gatewise.torch.GRU"
    return Section("torch", title, [OUR_TORCH, TORCH], workloads("training"), "torch")


def frameworks() -> Section:
    """What bounds the training steps of small layers."""
    title = "What a framework takes by itself: a step that doubles input and weights, and nothing else"
    subjects = [Subject(name, "framework_alone", {"framework": name}) for name in BACKENDS.values()]
    return Section("frameworks", title, subjects, [Case("quickstart", "doubling", *SIZES["quickstart"])])


def allocator() -> Section:
    """What it costs JAX that the C library gives a step's memory back to the system, and takes it anew for the next."""
    title = "A training step in Keras on JAX, and where malloc keeps what is freed"
    plain = layer("jax").subjects
    kept = [replace(s, name=f"{s.name}, kept", environment={**s.environment, **KEEPS_MEMORY}) for s in plain]
    cases = [Case(name, "training", *SIZES[name]) for name in ("speech", "bigbatch")]
    return Section("allocator", title, [*plain, *kept], cases)


def step() -> Section:
    """One step at a time, as streams are read."""
    bound = replace(ONNXRUNTIME, name="onnxruntime, bound", options={"bound": True})
    cases = [Case("1 row", "step", 1, 1, 40, 128), Case("256 rows", "step", 256, 1, 40, 128)]
    title = "One step, 40 features, 128 units: gatewise.Step"
    return Section("step", title, [OURS, ONNXRUNTIME, bound, OPENVINO, TORCH], cases, "step", "us")


def variants() -> Section:
    """What options of the layer cost."""
    ours = Subject("gatewise.keras.GRU", "keras_layer", {"ours": True}, {"KERAS_BACKEND": "tensorflow"})
    cases = workloads("training", *({"variant": variant} for variant in VARIANTS))
    return Section("variants", "What options cost: a training step in Keras on TensorFlow", [ours], cases)


def isa() -> Section:
    """The instruction sets."""
    avx2 = replace(OURS, name="gatewise, AVX2", environment={"GATEWISE_ISA": "avx2"})
    cases = workloads("inference", {"task": "training"}, {"variant": "reset before"})
    return Section(
        "isa", "The instruction set that was chosen, and AVX2: gatewise on NumPy arrays", [OURS, avx2], cases
    )


def neighbour() -> Section:
    """A busy process beside ours, and beside the peers."""
    alone = [OURS, ONNXRUNTIME, OPENVINO, replace(OUR_TORCH, without=("inference",)), TORCH]
    beside = [replace(subject, name=f"{subject.name}, beside", neighbour=True) for subject in alone]
    pairs = [subject for pair in zip(alone, beside, strict=True) for subject in pair]
    cases = [Case("text", task, *SIZES["text"]) for task in ("inference", "training")]
    return Section("neighbour", "Beside one busy process: text", pairs, cases)


def curves() -> Section:
    """Cost as the sizes grow, one at a time from the middle."""
    middle = {"batch": BATCH, "timesteps": TIMESTEPS, "features": FEATURES, "units": UNITS}
    grown = [middle | {what: n} for what, counts in CURVES.items() for n in counts]
    points = {(s["batch"], s["timesteps"], s["features"], s["units"]): None for s in grown}
    cases = [Case(" x ".join(map(str, sizes)), task, *sizes) for sizes in points for task in ("inference", "training")]
    ours = replace(OUR_TORCH, without=("inference",))
    return Section("curves", "As sizes grow", [replace(OURS, without=("training",)), *PEERS, ours], cases)


def threads() -> Section:
    """Cost as the threads grow."""
    counts = sorted({1, *(2**i for i in range(1, 10) if 2**i < available_cpus()), available_cpus()})
    who = [OURS, ONNXRUNTIME, OPENVINO, TORCH, replace(OUR_TORCH, without=("inference",))]
    subjects = [replace(subject, name=f"{subject.name}, {n}", threads=n) for n in counts for subject in who]
    cases = [Case("text", task, *SIZES["text"]) for task in ("inference", "training")]
    return Section("threads", "As threads grow: text", subjects, cases)
