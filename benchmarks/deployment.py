# SPDX-License-Identifier: Apache-2.0
"""What it takes to run a trained model where it is used: installed bytes, import, load, memory, and what streams cost.

    python benchmarks/deployment.py             everything, some minutes, and prints tables
    python benchmarks/deployment.py --publish   and writes them into docs/deploy.md; on a quiet machine
    python benchmarks/deployment.py --only sizes

Each runtime runs in processes of its own (`deployed.py`), in turn, nine times after one that fills the disk's cache;
medians count. Installed is what the distribution and all that it requires brought, without compiled Python.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console

import streams
from deployed import RUNTIMES
from machine import available_cpus, cpu_name, versions
from publish import DOCS, put
from tables import MET, Table, digits

HERE = Path(__file__).parent
DISTRIBUTIONS = {
    "gatewise": "gatewise",
    "LiteRT": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
    "PyTorch": "torch",
    "Keras on TensorFlow": "tensorflow-cpu",
}
STARTS, TOLERANCE = 9, 1e-4
MOST_SECONDS = 0.3  # of processor time: `import gatewise` and the load of a model of 0.3 MB


def main() -> None:
    """Measures, prints, and publishes if told to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("sizes", "streams"), help="a part alone, which is not published")
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/deploy.md")
    arguments = parser.parse_args()
    if arguments.only and arguments.publish:
        parser.error("--publish: expected all parts; received --only. Leave one of them out.")
    tables = [] if arguments.only == "streams" else [sizes_table()]
    tables += [] if arguments.only == "sizes" else streams.every_table()
    console = Console(width=120)
    for table in tables:
        console.print(table.for_terminal())
    console.print(remark())
    if arguments.publish:
        put(DOCS / "deploy.md", "\n\n".join([remark(), *(table.for_document() for table in tables)]))


def remark() -> str:
    """The machine and the versions."""
    packages = ", ".join(f"{name} {version}" for name, version in versions("ai-edge-litert").items())
    return f"{cpu_name()}, {available_cpus()} threads. {packages}."


def closure(name: str) -> list[importlib.metadata.Distribution]:
    """A distribution and all that it requires here, without extras.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [name]
    while waiting:
        one = canonicalize_name(waiting.pop())
        if one in found:
            continue
        found[one] = importlib.metadata.distribution(one)
        requirements = map(Requirement, found[one].requires or ())
        waiting += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return list(found.values())


def installed_bytes(distributions: list[importlib.metadata.Distribution]) -> int:
    """The bytes of their files."""
    files = [Path(str(one.locate_file(file))) for one in distributions for file in one.files or ()]
    return sum(file.stat().st_size for file in {*files} if file.suffix != ".pyc" and file.is_file())


def starts(folder: str) -> dict[str, list[dict[str, Any]]]:
    """Starts every runtime in turn; returns what each said, without its first."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNTIMES}
    quiet = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    for _ in range(1 + STARTS):
        for name, every in found.items():
            command = [sys.executable, str(HERE / "deployed.py"), name, folder]
            ran = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
            if ran.returncode:
                message = f"{name}: deployed.py ended with {ran.returncode}\n{ran.stderr[-4000:]}"
                raise RuntimeError(message)
            every.append(json.loads(ran.stdout.splitlines()[-1]))
            if every[-1]["error"] > TOLERANCE:
                message = f"{name}: computes otherwise than stock Keras, by {every[-1]['error']}."
                raise RuntimeError(message)
    return {name: every[1:] for name, every in found.items()}


def sizes_table() -> Table:
    """The table of what each runtime takes, and whether ours keeps its bound."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, str(HERE / "digits_models.py"), folder], env=environment, check=True)
        megabytes = (Path(folder) / "digits.safetensors").stat().st_size / 1e6
        found = starts(folder)
    columns = ["", "packages", "installed, MB", "import, s", "load, s", "first run, s", "resident, MB", "at most, MB"]
    table = Table("What it takes to run a recogniser of spoken digits", columns)
    for name, every in found.items():
        distributions = closure(DISTRIBUTIONS[name])
        middle = {what: statistics.median(one[what] for one in every) for what in every[0]}
        seconds = [f"{middle[what]:.3f}" for what in ("import", "load", "run")]
        memory = [digits(middle[what] / 1e6) for what in ("resident", "peak")]
        table.rows.append(
            [name, str(len(distributions)), digits(installed_bytes(distributions) / 1e6), *seconds, *memory]
        )
    own = statistics.median(one["import"] + one["load"] for one in found["gatewise"])
    met = f"below {MOST_SECONDS} s {MET}" if own < MOST_SECONDS else f"NOT below {MOST_SECONDS} s"
    table.remark = (
        f"`import gatewise` and loading the model of {megabytes:.2f} MB: {own:.3f} s, {met}. Seconds are processor "
        "time of all threads, medians of nine processes whose files the disk's cache has. Two Bidirectional GRU(64) "
        "over 40 bands, one row of 50 frames, random weights; LiteRT reads each direction by a WHILE loop."
    )
    return table


if __name__ == "__main__":
    main()
