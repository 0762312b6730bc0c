# SPDX-License-Identifier: Apache-2.0
"""Measures gatewise against its peers, in one run, without network.

    python benchmarks/bench.py                                 everything, about 20 minutes
    python benchmarks/bench.py --only inference,step --quick   parts of it, roughly

How: see `blocks.py`. What: see `sections.py`. Aims: see `goals.toml`. Every round and every disturbance of the machine
is in `build/bench/bench.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tomllib
from pathlib import Path

from rich.console import Console

import gatewise
from blocks import FULL, QUICK, alternate
from machine import Peak, available_cpus, cpu_name, versions
from measured import Measured
from sections import every_section
from tables import comparison

HERE = Path(__file__).parent
OUT = HERE.parent / "build" / "bench"


def main() -> None:
    """Measures, prints tables, writes the JSON."""
    sections = {section.name: section for section in every_section()}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help=f"some of {','.join(sections)}")
    parser.add_argument("--quick", action="store_true", help="three short rounds in one block each: rough figures")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else list(sections)
    if unknown := set(chosen) - sections.keys():
        parser.error(f"--only: expected some of {','.join(sections)}; received {','.join(sorted(unknown))}")
    OUT.mkdir(parents=True, exist_ok=True)
    goals = tomllib.loads((HERE / "goals.toml").read_text(encoding="utf-8"))
    console, peak = Console(width=None if sys.stdout.isatty() else 160), Peak(OUT)
    machine = {"cpu": cpu_name(), "threads": available_cpus(), "isa": gatewise.isa(), "versions": versions()}
    measured = Measured(machine, peak.samples)
    console.print(machine)
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            section = sections[name]
            peak.sample()
            with console.status(section.title) as status:
                timings, blocks = alternate(
                    name,
                    section.subjects,
                    section.cases,
                    QUICK if arguments.quick else FULL,
                    Path(folder),
                    status.update,
                )
            peak.sample()
            measured.timings += timings
            measured.blocks += blocks
            console.print(comparison(measured, section, goals).for_terminal())
    (OUT / "bench.json").write_text(json.dumps(measured.as_json(), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
