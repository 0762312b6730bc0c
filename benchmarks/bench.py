# SPDX-License-Identifier: Apache-2.0
"""Measures gatewise against its peers, in one run, without network.

    python benchmarks/bench.py                                 everything, some seventy minutes
    python benchmarks/bench.py --only inference,step           parts of it, in the place of what an earlier run measured
    python benchmarks/bench.py --only inference,step --quick   roughly, in build/bench/quick

How: see `blocks.py`. What: see `sections.py` and `memory.py`. Aims: see `goals.toml`. Every round, and what disturbed
it, is in `build/bench/bench.json`; `publish.py` makes the documents of it. No table compares figures of two sections.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import gatewise
import memory
from blocks import FULL, QUICK, Plan, alternate
from comparisons import memory_tables, tables_of
from machine import Peak, available_cpus, cpu_name, is_zen4, versions
from measured import Measured
from overview import overview
from sections import every_section

if TYPE_CHECKING:
    from tables import Table

OUT = Path(__file__).resolve().parents[1] / "build" / "bench"


def main() -> None:
    """Measures, prints tables, writes the JSON."""
    arguments = parse()
    console = Console(width=None if sys.stdout.isatty() else 200)
    if arguments.quick:
        arguments.out /= "quick"  # rough figures never stand beside others
    arguments.out.mkdir(parents=True, exist_ok=True)
    measured = measure(arguments.only, QUICK if arguments.quick else FULL, arguments.out, console)
    show(overview(measured), console)
    console.print(remark(measured))


def parse() -> argparse.Namespace:
    """Reads the arguments; `only` becomes a list of sections."""
    names = [*(section.name for section in every_section()), "memory"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(names), help=f"some of {','.join(names)}")
    parser.add_argument("--quick", action="store_true", help="three short rounds in one block each: rough figures")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder for bench.json")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    if unknown := {*arguments.only} - {*names}:
        parser.error(f"--only: expected some of {','.join(names)}; received {','.join(sorted(unknown))}")
    return arguments


def measure(names: list[str], plan: Plan, out: Path, console: Console) -> Measured:
    """Runs the sections of these names, prints and saves each, and measures the FMA peak before each and at the end."""
    peak = Peak(out)
    machine = {"cpu": cpu_name(), "zen4": is_zen4(), "threads": available_cpus(), "isa": gatewise.isa()}
    measured = Measured(machine | {"versions": versions(), "dates": [time.strftime("%Y-%m-%d")]})
    measured.keep(out / "bench.json", names)
    sections = [section for section in every_section() if section.name in names]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress, tempfile.TemporaryDirectory() as references:
        steps = sum(len(section.subjects) * len(plan.rounds) for section in sections)
        repeats = min(3, sum(plan.rounds) // 2)
        task = progress.add_task("", total=steps + (memory.processes(repeats) if "memory" in names else 0))

        def said(what: str) -> None:
            progress.update(task, description=what, advance=1)

        for section in sections:
            measured.peak += peak.sample()
            timings, ran = alternate(section, plan, Path(references), peak, said)
            measured.timings += timings
            measured.blocks += ran
            measured.peak += peak.sample()
            measured.save(out / "bench.json")  # so that what is interrupted is not lost
            show(tables_of(measured, section), console)
        if "memory" in names:
            measured.memory[:] = memory.measure(repeats, said)
            show(memory_tables(measured), console)
    measured.save(out / "bench.json")
    return measured


def show(tables: list[Table], console: Console) -> None:
    """Prints the tables that have rows."""
    for table in tables:
        if table.rows:
            console.print(table.for_terminal())


def remark(measured: Measured) -> str:
    """What has to be known beside the figures: the machine and how quiet it was."""
    machine, blocks = measured.machine, measured.blocks
    packages = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    days = " and ".join(machine["dates"])
    lines = [f"{machine['cpu']}, {machine['threads']} threads, {machine['isa']}, {days}. {packages}."]
    peaks = [(n, measured.peak_gflops(threads=n)) for n in sorted({s["threads"] for s in measured.peak})]
    lines.append("FMA peak: " + ", ".join(f"{n} threads {gflops:.0f} GFLOP/s" for n, gflops in peaks) + ".")
    if blocks:
        worst = max(blocks, key=lambda block: block.disturbance)
        share = sum(block.disturbance * block.seconds for block in blocks) / sum(block.seconds for block in blocks)
        again = sum(block.attempt > 1 for block in blocks)
        crowded = sum(block.crowded for block in blocks)
        lines.append(
            f"Other processes and the host took {share:.1%} of the machine, {worst.disturbance:.0%} in the worst of "
            f"{len(blocks)} blocks, in {crowded} by running two CPUs on one core; {again} repeated a disturbed one."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
