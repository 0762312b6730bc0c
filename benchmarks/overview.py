# SPDX-License-Identifier: Apache-2.0
"""What was aimed at beside what was measured: every figure of `goals.toml`."""

from __future__ import annotations

import math
import statistics
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measured import NOT_MEASURED
from sections import (
    BACKENDS,
    CELLS,
    VARIANTS,
    frameworks,
    inference,
    isa,
    layer,
    neighbour,
    predictor,
    step,
    torch,
    variants,
)
from tables import MET, Table, aimed
from workloads import SIZES, workloads

if TYPE_CHECKING:
    from measured import Measured
    from sections import Section
    from workloads import Case

GOALS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("goals.toml").read_text(encoding="utf-8"))


def overview(measured: Measured) -> list[Table]:
    """Two tables: figures of each workload, and figures of the whole. Goals in brackets, a mark where they are met."""
    table = Table("Goals: measured, in brackets the goal", ["", *SIZES], remark=f"{MET}: the goal is met.")
    for label, section in compared().items():
        table.rows.append([label, *(_faster(measured, section, case) for case in _plain(section))])
    for label, section in compared().items():
        table.rows.append(
            [f"share of FMA peak: {label}", *(_share(measured, section, case) for case in _plain(section))]
        )
    for backend, name in BACKENDS.items():
        reach = [_within_reach(measured, name, layer(backend), case) for case in _plain(layer(backend))]
        table.rows.append([f"within reach: Keras on {name}", *reach])
    for backend, name in BACKENDS.items():
        for mask in ("padded", "holes"):
            table.rows.append([f"{mask} / unmasked: {name}", *_masked(measured, layer(backend), mask)])
        table.rows.append([f"faster, padded: {name}, (unmasked)", *_faster_padded(measured, layer(backend))])
    for variant in VARIANTS:
        table.rows.append([f"{variant} / none", *_variant(measured, variant)])
    for task in ("inference", "training"):
        table.rows.append([f"AVX2 / {measured.machine['isa']}: {task}", *_avx2(measured, task)])
    table.rows = [row for row in table.rows if any(cell != "-" for cell in row[1:])]
    return [table, _scalars(measured)]


def compared() -> dict[str, Section]:
    """The sections that compare us with peers, workload by workload, by what the tables call them."""
    found = {}
    for cell in CELLS:
        found[f"{cell}: inference"] = inference(cell)
        found |= {f"{cell}: training step, Keras on {BACKENDS[backend]}": layer(backend, cell) for backend in BACKENDS}
        found[f"{cell}: training step, torch.nn"] = torch(cell)
    return found


def _plain(section: Section) -> list[Case]:
    return [case for case in section.cases if case.mask == "none"]


def faster(measured: Measured, section: Section, case: Case) -> float:
    """The best of the peers' times divided by ours."""
    ours, *peers = (subject.name for subject in section.subjects)
    return measured.best(section.name, peers, case) / measured.median(section.name, ours, case)


def _faster(measured: Measured, section: Section, case: Case) -> str:
    has_goal = not section.name.endswith("keras-torch")  # whose goals would be those of PyTorch's own module
    goal = GOALS["faster"].get(section.goals, {}).get(case.name) if has_goal else None
    return aimed(faster(measured, section, case), goal, at_least=True)


def _share(measured: Measured, section: Section, case: Case) -> str:
    share = measured.share_of_peak(section.name, section.subjects[0].name, case)
    goal = None if measured.machine["zen4"] else GOALS["peak"].get(case.name)  # see goals.toml
    return aimed(share, goal, at_least=True)


def _within_reach(measured: Measured, framework: str, section: Section, case: Case) -> str:
    """How many times as fast as stock a layer would be that took what the framework takes, and worked at the peak."""
    (doubling,) = frameworks().cases
    alone = measured.median("frameworks", framework, doubling)
    least = alone + case.flops() / 1e6 / measured.peak_gflops()
    peers = [subject.name for subject in section.subjects[1:]]
    return aimed(measured.best(section.name, peers, case) / least, None, at_least=True)


def _masked(measured: Measured, section: Section, mask: str) -> list[str]:
    ours = section.subjects[0].name
    cells = []
    for case in _plain(section):
        goal = _ratio(mask, case)
        ratio = measured.paired(section.name, ours, replace(case, mask=mask), case)
        cells.append(aimed(ratio, goal, at_least=False))
    return cells


def _faster_padded(measured: Measured, section: Section) -> list[str]:
    """How many times as fast as stock with a padded mask; without one it should be less."""
    cells = []
    for case in _plain(section):
        plain, padded = (faster(measured, section, c) for c in (case, replace(case, mask="padded")))
        cells.append(aimed(padded, round(plain, 2), at_least=True))
    return cells


def _variant(measured: Measured, variant: str) -> list[str]:
    section = variants()
    ours = section.subjects[0].name
    pairs = [(replace(case, variant=variant), case) for case in workloads("training")]
    ratios = [measured.paired(section.name, ours, *pair) for pair in pairs]
    goals = [_ratio(variant, case) for _, case in pairs]
    return [aimed(ratio, goal, at_least=False) for ratio, goal in zip(ratios, goals, strict=True)]


def _ratio(what: str, case: Case) -> float | None:
    """What a mask or a variant may cost, divided by none."""
    goals = GOALS["ratio"]
    found: float | None = goals["but"].get(what, {}).get(case.name, goals.get(what))
    return found


def _avx2(measured: Measured, task: str) -> list[str]:
    section, goal = isa(), GOALS["ratio"]["avx2"]
    chosen, avx2 = (subject.name for subject in section.subjects)
    medians = [[measured.median(section.name, name, case) for name in (avx2, chosen)] for case in workloads(task)]
    return [aimed(slow / fast, goal, at_least=False) for slow, fast in medians]


def _scalars(measured: Measured) -> Table:
    table = Table("Goals of the whole", ["", "measured (goal)"])
    table.rows += _step(measured) + _predictor(measured) + _beside_neighbour(measured) + _memory(measured.memory)
    table.rows = [row for row in table.rows if row[1] != "-"]
    return table


def _step(measured: Measured) -> list[list[str]]:
    section, goals = step(), GOALS["step"]
    one, many = section.cases
    own = measured.median(section.name, section.subjects[0].name, one)
    theirs = measured.best(section.name, ["onnxruntime", "onnxruntime, bound"], one)
    wide = faster(measured, section, many)
    return [
        ["one step of one row: us, at most", aimed(own * 1000, goals["microseconds"], at_least=False)],
        ["the same: onnxruntime / ours, at least", aimed(theirs / own, goals["onnxruntime"], at_least=True)],
        ["one step of 256 rows: best peer / ours", aimed(wide, GOALS["faster"]["step"][many.name], at_least=True)],
    ]


def _predictor(measured: Measured) -> list[list[str]]:
    section = predictor()
    (case,) = section.cases
    theirs = measured.best(section.name, ["onnxruntime", "onnxruntime, bound"], case)
    ratio = theirs / measured.median(section.name, section.subjects[0].name, case)
    goal = GOALS["predictor"]["onnxruntime"]
    return [["one step through two LSTM(640) layers: onnxruntime / ours", aimed(ratio, goal, at_least=True)]]


def _beside_neighbour(measured: Measured) -> list[list[str]]:
    section, rows = neighbour(), []
    for case in section.cases:
        for alone, beside in zip(section.subjects[::2], section.subjects[1::2], strict=True):
            if alone.runs(case):
                base, slow = (measured.median(section.name, subject.name, case) for subject in (alone, beside))
                goal = GOALS["neighbour"]["slower"] if alone.name.startswith("gatewise") else None
                label = f"beside a busy process / alone, text {case.task}: {alone.name}"
                rows.append([label, aimed(slow / base, goal, at_least=False)])
    return rows


def _memory(rows: list[dict[str, Any]]) -> list[list[str]]:
    goals = GOALS["memory"]
    added = [statistics.median(row["added"]) for row in rows if row["what"] == "speech"]
    share, again = (added[i] / added[-1] if added else NOT_MEASURED for i in (0, 1))
    lines = [
        ["memory a training step adds on speech: ours / stock on TensorFlow", aimed(share, None, at_least=False)],
        ["the same inside gatewise.recompute()", aimed(again, None, at_least=False)],
    ]
    grown = {row["timesteps"]: row for row in rows if row["subject"] == "gatewise, recompute"}
    plain = {row["timesteps"]: row for row in rows if row["what"] == "steps" and row["subject"] == "gatewise"}
    if grown:
        long, short = max(grown), sorted(grown)[-3]
        times = grown[long]["milliseconds"] / plain[long]["milliseconds"]
        ratio = grown[long]["beyond arrays"] / max(1, grown[short]["beyond arrays"])
        growth = math.log(max(ratio, 1e-9)) / math.log(long / short)
        lines += [
            [f"recompute, {long:,} steps: time / without", aimed(times, goals["recompute_time"], at_least=False)],
            [
                f"recompute, {short:,} to {long:,} steps: memory grows as T to the power",
                aimed(growth, goals["recompute_growth"], at_least=False),
            ],
        ]
    return lines
