# SPDX-License-Identifier: Apache-2.0
"""All that one run measured, and the questions that tables and pictures ask of it."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blocks import Block, Timing
    from workloads import Case


@dataclass
class Measured:
    """What `build/bench/bench.json` holds.

    Attributes:
        machine: the CPU, the number of threads, the instruction set and the versions.
        peak: samples of the FMA peak, taken between the sections.
        blocks: how disturbed each block was, repeated ones included.
        timings: what was timed.
        memory: what was measured by the process's memory.
    """

    machine: dict[str, Any]
    peak: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    memory: list[dict[str, Any]] = field(default_factory=list)

    def rounds(self, section: str, subject: str, case: Case) -> list[float]:
        """Milliseconds of a call, one a round; empty if that was not timed."""
        wanted = section, subject, case.key
        return next((t.rounds for t in self.timings if (t.section, t.subject, t.case.key) == wanted), [])

    def median(self, section: str, subject: str, case: Case) -> float:
        """Milliseconds of a call; NaN if that was not timed."""
        rounds = self.rounds(section, subject, case)
        return statistics.median(rounds) if rounds else float("nan")

    def peak_gflops(self, threads: int | None = None, lanes: int | None = None) -> float:
        """The best of the FMA peak's samples; of the widest vectors and all threads unless told otherwise."""
        threads = threads or max(sample["threads"] for sample in self.peak)
        lanes = lanes or max(sample["lanes"] for sample in self.peak)
        return max(s["gflops"] for s in self.peak if (s["threads"], s["lanes"]) == (threads, lanes))

    def share_of_peak(self, section: str, subject: str, case: Case) -> float:
        """The share of the peak that the real steps' multiplications and additions reach."""
        return case.flops() / self.median(section, subject, case) / 1e6 / self.peak_gflops()

    def as_json(self) -> dict[str, Any]:
        """Everything, in plain types."""
        return asdict(self)
