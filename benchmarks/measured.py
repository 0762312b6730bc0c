# SPDX-License-Identifier: Apache-2.0
"""All that one run measured, and the questions that tables and pictures ask of it."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from blocks import Block, Timing
from workloads import Case

if TYPE_CHECKING:
    from pathlib import Path

NOT_MEASURED = float("nan")


@dataclass
class Measured:
    """What `build/bench/bench.json` holds.

    Attributes:
        machine: the CPU, the number of threads, the instruction set, the versions, and the days of measuring.
        peak: samples of the FMA peak, taken between the sections.
        blocks: how disturbed each block was, repeated ones included.
        timings: what was timed.
        memory: the rows of `memory.measure`.
    """

    machine: dict[str, Any]
    peak: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    memory: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, path: Path, names: list[str]) -> None:
        """Takes over what an earlier run on the same machine and versions measured of other sections than these."""
        if not path.exists():
            return
        earlier = Measured.load(path)
        if {**earlier.machine, "dates": []} != {**self.machine, "dates": []}:
            return
        self.timings += [timing for timing in earlier.timings if timing.section not in names]
        self.blocks += [block for block in earlier.blocks if block.section not in names]
        self.memory += [] if "memory" in names else earlier.memory
        if self.timings or self.memory:
            self.machine["dates"] = sorted({*earlier.machine["dates"], *self.machine["dates"]})
            self.peak = earlier.peak

    def rounds(self, section: str, subject: str, case: Case) -> list[float]:
        """Milliseconds of a call, one a round; empty if that was not timed."""
        wanted = section, subject, case.key
        return next((t.rounds for t in self.timings if (t.section, t.subject, t.case.key) == wanted), [])

    def median(self, section: str, subject: str, case: Case) -> float:
        """Milliseconds of a call; NaN if that was not timed."""
        rounds = self.rounds(section, subject, case)
        return statistics.median(rounds) if rounds else NOT_MEASURED

    def best(self, section: str, subjects: list[str], case: Case) -> float:
        """Milliseconds of the fastest of several; NaN if none was timed."""
        medians = [self.median(section, subject, case) for subject in subjects]
        return min((median for median in medians if median == median), default=NOT_MEASURED)  # noqa: PLR0124  # not NaN

    def paired(self, section: str, subject: str, case: Case, base: Case) -> float:
        """How much longer a case takes than another that was timed in the same rounds: the median of the ratios."""
        pairs = zip(self.rounds(section, subject, case), self.rounds(section, subject, base), strict=True)
        ratios = [mine / its for mine, its in pairs]
        return statistics.median(ratios) if ratios else NOT_MEASURED

    def peak_gflops(self, threads: int | None = None, lanes: int | None = None) -> float:
        """The best of the FMA peak's samples; of the widest vectors and all threads unless told otherwise."""
        threads = threads or max(sample["threads"] for sample in self.peak)
        lanes = lanes or max(sample["lanes"] for sample in self.peak)
        best: float = max(s["gflops"] for s in self.peak if (s["threads"], s["lanes"]) == (threads, lanes))
        return best

    def share_of_peak(self, section: str, subject: str, case: Case) -> float:
        """The share of the peak that the real steps' multiplications and additions reach."""
        return case.flops() / self.median(section, subject, case) / 1e6 / self.peak_gflops()

    def save(self, path: Path) -> None:
        """Writes everything as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Reads what `save` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        timings = [Timing(**{**timing, "case": Case(**timing["case"])}) for timing in found["timings"]]
        return cls(found["machine"], found["peak"], [Block(**b) for b in found["blocks"]], timings, found["memory"])
