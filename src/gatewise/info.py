# SPDX-License-Identifier: Apache-2.0
"""What a report of a fault has to say of this machine and of what is installed on it, without importing a framework."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from pathlib import Path

from gatewise import engine
from gatewise.extras import installed_from

_PACKAGES = ("numpy", "safetensors", "keras", "tf_keras", "tensorflow", "jax", "jaxlib", "torch")
# The library that connects the engine to each framework, and the module that asks whether it can be used there.
_FACES = {
    "TensorFlow": ("libgatewise_tensorflow.so", "tensorflow", "gatewise.ops.tensorflow"),
    "JAX": ("libgatewise_xla.so", "jax", "gatewise.ops.jax"),
    "PyTorch": ("libgatewise_torch.so", "torch", "gatewise.ops.torch"),
}
# Variables that change what runs or how fast: these, and all whose names begin so. None of them holds a secret.
_VARIABLES = {
    *("CUDA_VISIBLE_DEVICES", "LD_PRELOAD", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTEROP_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_USE_LEGACY_KERAS", "TF_XLA_FLAGS", "TORCHDYNAMO_DISABLE", "XLA_FLAGS"),
}
_BEGINNINGS = ("GATEWISE_", "JAX_", "KERAS_", "KMP_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_")


@dataclasses.dataclass(frozen=True)
class Face:
    """The connection of the engine to a framework.

    Attributes:
        built: whether its library was built.
        problem: what keeps it from being used; None if nothing does, as far as is known without importing the
            framework. A program that has imported `gatewise.keras` or `gatewise.torch` has tried it.
    """

    built: bool
    problem: str | None

    def __str__(self) -> str:
        return f"{'built' if self.built else 'not built'}{f'; {self.problem}' if self.problem else ''}"


@dataclasses.dataclass(frozen=True)
class Info:
    """What `gatewise.info` found. `str` makes text of it for a report, `to_json` the same for a program.

    Attributes:
        gatewise: "version"; "installed_from", as pip takes it, None for a package index; "folder" of the package.
        python: "version", "implementation" and "platform".
        packages: the version of each package that matters, None for one that is not installed.
        keras_backend: "name", None without Keras, and "chosen_by": what says so.
        cpu: "model"; "cpus" of the machine; "usable_cpus", those that this process may use.
        engine: "instruction_set" and "threads" of the engine; "forward_calls" and "backward_calls" that it completed.
        faces: the connection to each framework, by its name.
        environment: the environment variables that matter and are set.
    """

    gatewise: dict[str, str | None]
    python: dict[str, str]
    packages: dict[str, str | None]
    keras_backend: dict[str, str | None]
    cpu: dict[str, str | int]
    engine: dict[str, str | int]
    faces: dict[str, Face]
    environment: dict[str, str]

    def __str__(self) -> str:
        lines = list(self._lines())
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:{width}}  {text}" for name, text in lines)

    def to_json(self) -> str:
        """Returns it as JSON, an object with an entry for each attribute."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def _lines(self) -> list[tuple[str, str]]:
        ours, python, cpu, engine = self.gatewise, self.python, self.cpu, self.engine
        calls = f"{engine['forward_calls']} forward and {engine['backward_calls']} backward calls so far"
        found = [f"{name} {version}" for name, version in self.packages.items() if version is not None]
        absent = [name for name, version in self.packages.items() if version is None]
        backend, chosen_by = self.keras_backend.values()
        return [
            ("gatewise", f"{ours['version']}, from {ours['installed_from'] or 'a package index'}"),
            ("", f"in {ours['folder']}"),
            ("Python", f"{python['version']} ({python['implementation']}), {python['platform']}"),
            ("CPU", f"{cpu['model']}, {cpu['usable_cpus']} of {cpu['cpus']} CPUs usable"),
            ("engine", f"{engine['instruction_set']}, threads: {engine['threads']}, {calls}"),
            ("packages", ", ".join(found)),
            ("not installed", ", ".join(absent) or "-"),
            ("Keras backend", f"{backend} ({chosen_by})" if backend else "-"),
            *((f"for {name}", str(face)) for name, face in self.faces.items()),
            *((name, value) for name, value in self.environment.items()),
        ]


def info() -> Info:
    """Gathers what a report of a fault should hold: versions, CPU, instruction set, threads, frameworks, settings.

    No framework is imported for it. In a program that has imported some, it says what was found there: call it in the
    program that has the fault.

    Example:
        >>> import gatewise
        >>> found = gatewise.info()  # print(found) shows all of it
        >>> found.engine["instruction_set"] == gatewise.isa(), found.faces["TensorFlow"].built
        (True, True)
    """
    packages = _versions()
    return Info(
        gatewise=_gatewise(),
        python={
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "platform": platform.platform(),
        },
        packages=packages,
        keras_backend=_keras_backend(packages["keras"]),
        cpu={"model": cpu_model(), "cpus": os.cpu_count() or 1, "usable_cpus": _usable_cpus()},
        engine={
            "instruction_set": engine.isa(),
            "threads": engine.num_threads(),
            "forward_calls": engine.calls().forward,
            "backward_calls": engine.calls().backward,
        },
        faces={name: _face(*parts, packages) for name, parts in _FACES.items()},
        environment=_environment(),
    )


def _gatewise() -> dict[str, str | None]:
    from importlib import metadata  # here: it takes as long to import as the rest of gatewise

    try:
        version = metadata.version("gatewise")
    except metadata.PackageNotFoundError:
        version = "not installed"  # found on the path alone
    origin = installed_from()
    return {
        "version": version,
        "installed_from": None if origin is None else _without_home(origin),
        "folder": _without_home(str(Path(__file__).parent)),
    }


def _without_home(text: str) -> str:
    """A report that anyone may read need not say who writes it."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _versions() -> dict[str, str | None]:
    """Finds the version of each module, whatever its distribution is called: tensorflow-cpu is one of tensorflow."""
    from importlib import metadata

    distributions = metadata.packages_distributions()
    return {name: metadata.version(distributions[name][0]) if name in distributions else None for name in _PACKAGES}


def _keras_backend(keras: str | None) -> dict[str, str | None]:
    """Says which backend Keras has, or would take: it asks these, one after the other."""
    if keras is None:
        return {"name": None, "chosen_by": None}
    if "keras" in sys.modules:
        return {"name": sys.modules["keras"].backend.backend(), "chosen_by": "in use"}
    if os.environ.get("KERAS_BACKEND"):
        return {"name": os.environ["KERAS_BACKEND"], "chosen_by": "KERAS_BACKEND"}
    file = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"), "keras.json")
    try:
        return {"name": json.loads(file.read_text(encoding="utf-8"))["backend"], "chosen_by": _without_home(str(file))}
    except (OSError, ValueError, KeyError):  # Keras passes over such a file as well
        return {"name": "tensorflow", "chosen_by": "Keras's default"}


def cpu_model() -> str:
    """Names the CPU, as its maker does where the system says so."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _face(library: str, framework: str, module: str, packages: dict[str, str | None]) -> Face:
    built = (Path(__file__).parent / library).exists()
    if module in sys.modules:
        problem = sys.modules[module].available()
    elif packages[framework] is None:
        problem = f"{framework} is not installed"
    else:
        problem = None if built else "this build left it out"
    return Face(built, problem)


def _environment() -> dict[str, str]:
    return {
        name: _without_home(value)
        for name, value in sorted(os.environ.items())
        if name in _VARIABLES or name.startswith(_BEGINNINGS)
    }
