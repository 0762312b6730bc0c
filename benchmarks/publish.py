# SPDX-License-Identifier: Apache-2.0
"""Writes what the latest `bench.py` measured into the README and `docs/`: tables between markers, and pictures.

python benchmarks/publish.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import OUT, remark
from comparisons import every_table, sizes_table
from curve_pictures import draw_growth, draw_memory
from measured import Measured
from overview import faster, overview
from pictures import draw_faster
from sections import CELLS, every_section, inference, layer, torch
from tables import digits
from workloads import SIZES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
GROWING = ("timesteps", "units", "batch", "threads")


def main() -> None:
    """Writes the documents."""
    measured = Measured.load(OUT / "bench.json")
    missing = {section.name for section in every_section()} - {timing.section for timing in measured.timings}
    if missing or not measured.memory:
        sys.exit(f"publish: the latest run measured a part only; {', '.join(sorted(missing))} and more may be missing.")
    draw_faster(measured, DOCS / "faster.svg")
    for what in GROWING:
        draw_growth(measured, what, DOCS / f"{what}.svg")
    draw_memory(measured, DOCS / "memory.svg")
    put(ROOT / "README.md", summary(measured))
    tables = [sizes_table(), *overview(measured), *every_table(measured)]
    growth = [f"![Cost by {what}]({what}.svg)" for what in GROWING]
    pictures = ["### Curves", *growth, "![Memory as timesteps grow](memory.svg)"]
    put(DOCS / "speed.md", "\n\n".join([remark(measured), *(table.for_document() for table in tables), *pictures]))


def summary(measured: Measured) -> str:
    """The README's picture and table: our milliseconds, and how many times as fast as the best peer, by cell."""
    titles = ["inference, NumPy", "training, Keras on TensorFlow", "training, Keras on JAX", "training, PyTorch"]
    lines = [f"| batch, steps, features, units | {' | '.join(titles)} |", f"|---|{'--:|' * len(titles)}"]
    for cell in CELLS:
        lines.append(f"| **{cell}** |{' |' * len(titles)}")
        for name, sizes in SIZES.items():
            cells = [f"{name}: {', '.join(map(str, sizes))}"]
            for section in (inference(cell), layer("tensorflow", cell), layer("jax", cell), torch(cell)):
                case = next(case for case in section.cases if (case.name, case.mask) == (name, "none"))
                own = measured.median(section.name, section.subjects[0].name, case)
                cells.append(f"{digits(own)} ms, **{faster(measured, section, case):.1f}x**")
            lines.append(f"| {' | '.join(cells)} |")
    about = (
        "Milliseconds of gatewise, and how many times as fast as the best peer: onnxruntime, OpenVINO and PyTorch for "
        "inference; stock Keras or PyTorch for a training step (forward, loss and all gradients). Medians of seven "
        "rounds and more; [docs/speed.md](docs/speed.md) has the spread, masks, memory, curves and the method, `make "
        f"bench` measures again. {measured.machine['cpu']}, {measured.machine['threads']} threads."
    )
    return "\n\n".join(["![How many times as fast gatewise is as its peers](docs/faster.svg)", "\n".join(lines), about])


def put(path: Path, text: str) -> None:
    """Replaces what stands between the markers of a file."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
