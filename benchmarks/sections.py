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
CELLS = ("GRU", "LSTM", "SimpleRNN")
TORCH_NAMES = {"GRU": "GRU", "LSTM": "LSTM", "SimpleRNN": "RNN"}

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
PADDED, HOLES = {"mask": "padded"}, {"mask": "holes"}
VARIANTS = (
    *("reset before", "dropout", "recurrent dropout", "bidirectional"),
    *("layer normalisation", "zoneout", "starts"),
)

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
    gru = [inference(), *layers, step(), variants(), isa(), neighbour(), curves(), threads()]
    lstm = [predictor(), tagger()]
    others = [[inference(cell), *(layer(backend, cell) for backend in BACKENDS), torch(cell)] for cell in CELLS[1:]]
    return [*gru, *(section for of_cell in others for section in of_cell), *lstm]


def peers(cell: str = "GRU") -> list[Subject]:
    """Who else runs a layer of a cell on NumPy arrays."""
    return [ONNXRUNTIME, OPENVINO, stock_torch(cell)]


def stock_torch(cell: str = "GRU") -> Subject:
    """PyTorch's own module."""
    return Subject(f"torch.nn.{TORCH_NAMES[cell]}", "torch_module")


def our_torch(cell: str = "GRU") -> Subject:
    """Our module in its place."""
    return Subject(f"gatewise.torch.{TORCH_NAMES[cell]}", "torch_module", {"ours": True})


def _named(name: str, cell: str) -> str:
    """Names a section: those of the GRU after what they compare, the others after their cell, too."""
    return name if cell == "GRU" else f"{cell}-{name}".lower()


def inference(cell: str = "GRU") -> Section:
    """All outputs of a layer, from NumPy arrays."""
    name = _named("inference", cell)
    title = f"Inference of a {cell} layer, the whole sequence returned: gatewise.rnn on NumPy arrays"
    return Section(name, title, [OURS, *peers(cell)], workloads("inference", cell=cell), name)


def layer(backend: str, cell: str = "GRU") -> Section:
    """The Keras layer against Keras's own, with masks."""
    environment = {"KERAS_BACKEND": backend}
    ours = Subject(f"gatewise.keras.{cell}", "keras_layer", {"ours": True}, environment)
    stock = Subject(f"keras.layers.{cell}", "keras_layer", {}, environment, without=("holes",))
    others = [stock]
    if backend == "tensorflow":  # XLA, which `fit` chooses by itself, is faster on short sequences alone
        long = ("text", "speech", "large", "utterance", "bigbatch", "holes")
        others.append(replace(stock, name=f"{stock.name}, XLA", options={"xla": True}, without=long))
    title = f"Training step in Keras on {BACKENDS[backend]}: gatewise.keras.{cell}"
    cases = workloads("training", *((PADDED, HOLES) if cell == "GRU" else ()), cell=cell)
    return Section(_named(f"keras-{backend}", cell), title, [ours, *others], cases, _named(backend, cell))


def torch(cell: str = "GRU") -> Section:
    """The drop-in for PyTorch."""
    title = f"Training step in PyTorch: gatewise.torch.{TORCH_NAMES[cell]}"
    name = _named("torch", cell)
    return Section(name, title, [our_torch(cell), stock_torch(cell)], workloads("training", cell=cell), name)


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
    return Section("step", title, [OURS, ONNXRUNTIME, bound, OPENVINO, stock_torch()], cases, "step", "us")


def predictor() -> Section:
    """What predicts the next token of a speech recogniser."""
    bound = replace(ONNXRUNTIME, name="onnxruntime, bound", options={"bound": True})
    cases = [Case("2 x LSTM(640)", "step", 1, 1, 640, 640, cell="LSTM", layers=2)]
    title = "One step through two LSTM(640) layers, a speech recogniser's predictor: gatewise.Step"
    return Section(
        "predictor", title, [OURS, ONNXRUNTIME, bound, OPENVINO, stock_torch("LSTM")], cases, "predictor", "us"
    )


def tagger() -> Section:
    """What tags the words of sentences."""
    sizes, kind = (32, 30, 100, 256), {"variant": "bidirectional", "cell": "LSTM"}
    cases = [Case(f"tagger, {task}", task, *sizes, **kind) for task in ("inference", "training")]
    title = "A bidirectional LSTM, as taggers have: 32 sentences of 30 words, 100 features, 256 units each way"
    return Section("tagger", title, [our_torch("LSTM"), stock_torch("LSTM"), ONNXRUNTIME, OPENVINO], cases)


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
    alone = [OURS, ONNXRUNTIME, OPENVINO, replace(our_torch(), without=("inference",)), stock_torch()]
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
    ours = replace(our_torch(), without=("inference",))
    return Section("curves", "As sizes grow", [replace(OURS, without=("training",)), *peers(), ours], cases)


def threads() -> Section:
    """Cost as the threads grow."""
    counts = sorted({1, *(2**i for i in range(1, 10) if 2**i < available_cpus()), available_cpus()})
    who = [OURS, ONNXRUNTIME, OPENVINO, stock_torch(), replace(our_torch(), without=("inference",))]
    subjects = [replace(subject, name=f"{subject.name}, {n}", threads=n) for n in counts for subject in who]
    cases = [Case("text", task, *SIZES["text"]) for task in ("inference", "training")]
    return Section("threads", "As threads grow: text", subjects, cases)
