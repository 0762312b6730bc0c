# SPDX-License-Identifier: Apache-2.0
"""One training step of the layer against stock Keras, on every backend: forward, the loss sum(y * y), all gradients.

Each backend has a process of its own. Both layers have the same weights and see the same input. A round times one after
the other, so that a change of the machine's speed meets both; medians over the rounds are compared, and the fastest and
the slowest round are shown.

    python benchmarks/train_step.py                     measures all backends and prints every table
    python benchmarks/train_step.py --backend jax       one backend
    python benchmarks/train_step.py --readme README.md --details docs/speed.md     also writes them between markers
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
ROUNDS = 7
SECONDS_A_ROUND = 0.3
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"


def milliseconds(step: Callable[[], Any]) -> float:
    """Times a step, repeated for about SECONDS_A_ROUND."""
    begin, repeats = time.perf_counter(), 0
    while repeats == 0 or time.perf_counter() - begin < SECONDS_A_ROUND:
        step()
        repeats += 1
    return (time.perf_counter() - begin) / repeats * 1e3


def compare(workload: Any, *, masked: bool) -> dict[str, list[float]]:
    """Times stock Keras and gatewise in turn, once their gradients are known to be equal: milliseconds, one a round."""
    import keras
    import numpy as np
    from steps import make_step
    from workloads import make_input, make_mask

    import gatewise.keras

    x, mask = make_input(workload), make_mask(workload) if masked else None
    stock, ours = (cls(workload.units, return_sequences=True) for cls in (keras.layers.GRU, gatewise.keras.GRU))
    steps = [make_step(layer, x, mask) for layer in (stock, ours)]
    ours.set_weights(stock.get_weights())
    before = gatewise.native.calls()
    gradients = [step() for step in steps]
    ran = gatewise.native.calls()
    if (ran.forward - before.forward, ran.backward - before.backward) != (1, 1):
        message = (
            f"{workload.name}: the engine did not run once forward and back: {before}, {ran}, {ours.fallback_reason}"
        )
        raise RuntimeError(message)
    for theirs, own in zip(*gradients, strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-3 * float(np.abs(theirs).max()))
    rounds = [[milliseconds(step) for step in steps] for _ in range(ROUNDS)]
    return {"stock": [r[0] for r in rounds], "gatewise": [r[1] for r in rounds]}


def measure(backend: str) -> dict[str, Any]:
    """Measures every workload on the backend of this process."""
    import keras
    from workloads import WORKLOADS

    import gatewise

    results = {
        workload.name: {
            "sizes": list(workload[1:]),
            "plain": compare(workload, masked=False),
            "padded": compare(workload, masked=True),
        }
        for workload in WORKLOADS
    }
    versions = f"Keras {keras.__version__}, {BACKENDS[backend]} {sys.modules[backend].__version__}"
    machine = f"{cpu_name()}, {gatewise.num_threads()} threads, {gatewise.isa()}"
    return {"backend": backend, "machine": machine, "versions": versions, "results": results}


def cpu_name() -> str:
    """The CPU as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def ratio(times: dict[str, list[float]]) -> float:
    """How many times as fast as stock: the ratio of the medians."""
    return statistics.median(times["stock"]) / statistics.median(times["gatewise"])


def short(milliseconds_: float) -> str:
    """Three digits or so."""
    return f"{milliseconds_:.{2 if milliseconds_ < 10 else 1 if milliseconds_ < 100 else 0}f}"


def details(report: dict[str, Any]) -> str:
    """A table of one backend with the spread."""
    columns = ("stock ms", "gatewise ms", "faster")
    lines = [
        f"| workload | batch, steps, features, units | {' | '.join(columns)} | {', padded | '.join(columns)}, padded |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, result in report["results"].items():
        cells = [name, ", ".join(map(str, result["sizes"]))]
        for kind in ("plain", "padded"):
            for who in ("stock", "gatewise"):
                times = result[kind][who]
                cells.append(f"{short(statistics.median(times))} ({short(min(times))}-{short(max(times))})")
            cells.append(f"**{ratio(result[kind]):.1f}x**")
        lines.append(f"| {' | '.join(cells)} |")
    return f"{report['versions']}; {report['machine']}.\n\n" + "\n".join(lines)


def overview(reports: list[dict[str, Any]]) -> str:
    """A table of all backends: median milliseconds of stock Keras and of gatewise, and their ratio."""
    names = [f"{BACKENDS[report['backend']]}{kind}" for report in reports for kind in ("", ", padded")]
    lines = [f"| batch, steps, features, units | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    for name, first in reports[0]["results"].items():
        cells = [f"{name}: {', '.join(map(str, first['sizes']))}"]
        for report in reports:
            for kind in ("plain", "padded"):
                times = report["results"][name][kind]
                stock, ours = (short(statistics.median(times[who])) for who in ("stock", "gatewise"))
                cells.append(f"{stock} → {ours}, **{ratio(times):.1f}x**")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def put(path: Path, text: str) -> None:
    """Replaces what stands between the markers of a file."""
    before, rest = path.read_text().split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def run_backend(backend: str) -> dict[str, Any]:
    """Measures a backend in a process of its own."""
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--worker", backend]
    ran = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    report: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    print(f"\n{details(report)}", flush=True)
    return report


def main() -> None:
    """Prints the tables; writes them into documents if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=BACKENDS, help="measure this one alone")
    parser.add_argument("--readme", type=Path, help="a file with the markers between which the overview goes")
    parser.add_argument("--details", type=Path, help="likewise for the tables with the spread")
    parser.add_argument("--worker", choices=BACKENDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker)))
        return
    reports = [run_backend(backend) for backend in ([arguments.backend] if arguments.backend else BACKENDS)]
    print(f"\n{overview(reports)}")
    if arguments.readme:
        put(arguments.readme, f"{overview(reports)}\n\n{reports[0]['machine']}.")
    if arguments.details:
        put(arguments.details, "\n\n".join(f"## {BACKENDS[r['backend']]}\n\n{details(r)}" for r in reports))


if __name__ == "__main__":
    main()
