# SPDX-License-Identifier: Apache-2.0
"""The tables of each section: times with their spread, and what follows from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sections import KEEPS_MEMORY, VARIANTS, every_section
from tables import Table, digits, number, percent, spread
from workloads import SIZES, workloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from measured import Measured
    from sections import Section


def every_table(measured: Measured) -> list[Table]:
    """The tables of all that was measured."""
    ran = {timing.section for timing in measured.timings}
    tables = [table for section in every_section() if section.name in ran for table in tables_of(measured, section)]
    return [*tables, *memory_tables(measured)]


def tables_of(measured: Measured, section: Section) -> list[Table]:
    """The tables of a section."""
    special: dict[str, Callable[[Measured, Section], list[Table]]] = {
        "variants": _variants,
        "isa": _isa,
        "neighbour": _neighbour,
        "threads": _times,
        "frameworks": _times,
        "allocator": _allocator,
        "curves": _times,
    }
    return special.get(section.name, _comparison)(measured, section)


def _comparison(measured: Measured, section: Section) -> list[Table]:
    """Ours against the peers: times, how many times as fast as the best of them, and the share of peak."""
    ours, *peers = section.subjects
    scale = {"ms": 1, "us": 1000}[section.unit]
    columns = [section.unit, *(s.name for s in section.subjects), "faster", "FMA peak"]
    table = Table(section.title, columns)
    for case in section.cases:
        times = [[scale * t for t in measured.rounds(section.name, s.name, case)] for s in section.subjects]
        own = measured.median(section.name, ours.name, case)
        best = measured.best(section.name, [peer.name for peer in peers], case)
        name = case.name if case.mask == "none" else f"{case.name}, {case.mask}"
        share = measured.share_of_peak(section.name, ours.name, case)
        table.rows.append([name, *map(spread, times), number(best / own, "x"), percent(share)])
    return [table]


def _variants(measured: Measured, section: Section) -> list[Table]:
    """Each option divided by none, round by round."""
    ours = section.subjects[0].name
    table = Table(f"{section.title}, divided by none", ["", "none, ms", *VARIANTS])
    for case in workloads("training"):
        ratios = [measured.paired(section.name, ours, replace(case, variant=v), case) for v in VARIANTS]
        table.rows.append([case.name, spread(measured.rounds(section.name, ours, case)), *map(number, ratios)])
    return [table]


def _isa(measured: Measured, section: Section) -> list[Table]:
    """Both instruction sets: times, their ratio, and each one's share of its own peak."""
    chosen, avx2 = (subject.name for subject in section.subjects)
    columns = ["ms", measured.machine["isa"], "avx2", "ratio", "of its peak", "of AVX2's peak", "reset before / after"]
    tables = []
    for task in ("inference", "training"):
        table = Table(f"{section.title}, {task}", columns if task == "inference" else columns[:-1])
        for case in workloads(task):
            times = [measured.rounds(section.name, name, case) for name in (chosen, avx2)]
            medians = [measured.median(section.name, name, case) for name in (chosen, avx2)]
            peaks = [measured.peak_gflops(), measured.peak_gflops(lanes=8)]
            shares = [case.flops() / ms / 1e6 / peak for ms, peak in zip(medians, peaks, strict=True)]
            row = [case.name, *map(spread, times), number(medians[1] / medians[0]), *map(percent, shares)]
            if task == "inference":
                row.append(number(measured.paired(section.name, chosen, replace(case, variant="reset before"), case)))
            table.rows.append(row)
        tables.append(table)
    return tables


def _neighbour(measured: Measured, section: Section) -> list[Table]:
    """Each subject alone and beside a busy process."""
    table = Table(section.title, ["ms", "alone", "beside it", "slower"])
    for case in section.cases:
        for alone, beside in zip(section.subjects[::2], section.subjects[1::2], strict=True):
            if alone.runs(case):
                times = [measured.rounds(section.name, subject.name, case) for subject in (alone, beside)]
                medians = [measured.median(section.name, subject.name, case) for subject in (alone, beside)]
                table.rows.append(
                    [f"{case.task}, {alone.name}", *map(spread, times), number(medians[1] / medians[0], "x")]
                )
    return [table]


def _allocator(measured: Measured, section: Section) -> list[Table]:
    """Ours against stock, with the C library as it comes and where it keeps memory."""
    variables = " ".join(f"{name}={value}" for name, value in KEEPS_MEMORY.items())
    table = Table(section.title, ["ms", "ours", "stock", "faster"], remark=f"Kept: {variables}")
    for case in section.cases:
        for name, subjects in ((case.name, section.subjects[:2]), (f"{case.name}, kept", section.subjects[2:])):
            times = [measured.rounds(section.name, subject.name, case) for subject in subjects]
            own, stock = (measured.median(section.name, subject.name, case) for subject in subjects)
            table.rows.append([name, *map(spread, times), number(stock / own, "x")])
    return [table]


def _times(measured: Measured, section: Section) -> list[Table]:
    """Times alone: a row for each case, a column for each subject."""
    remark = "Sizes: batch x timesteps x features x units." if section.name == "curves" else ""
    table = Table(section.title, ["ms", *(subject.name for subject in section.subjects)], remark=remark)
    for case in section.cases:
        medians = [measured.median(section.name, subject.name, case) for subject in section.subjects]
        table.rows.append([f"{case.task}, {case.name}", *map(number, medians)])
    return [table]


def memory_tables(measured: Measured) -> list[Table]:
    """What a training step adds, and how that grows; none if it was not measured."""
    if not measured.memory:
        return []
    beside = Table("Memory that one training step on speech adds to the process, Keras on TensorFlow", ["", "MB"])
    for row in measured.memory:
        if row["what"] == "speech":
            beside.rows.append([row["subject"], spread([added / 1e6 for added in row["added"]])])
    growth = Table(
        "Memory and time of a training step as T grows: batch 4, 40 features, 128 units",
        ["", "T", "MB beyond inputs, outputs and their gradients", "ms"],
    )
    for row in measured.memory:
        if row["what"] == "steps":
            megabytes = digits(row["beyond arrays"] / 1e6)
            growth.rows.append([row["subject"], f"{row['timesteps']:,}", megabytes, digits(row["milliseconds"])])
    return [beside, growth]


def sizes_table() -> Table:
    """What the names of the workloads stand for."""
    rows = [[name, *map(str, sizes)] for name, sizes in SIZES.items()]
    return Table("The workloads", ["", "batch", "timesteps", "features", "units"], rows)
