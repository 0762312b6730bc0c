# SPDX-License-Identifier: Apache-2.0
"""Blocks: each subject alone in a process of its own, in turn, with a rest between, and the machine watched meanwhile.

A pool of threads that still spins would spoil the next subject's times: so no two share a process, and a block begins
when the process before has ended. A subject's rounds are spread over several blocks, between those of the others, and
no block has half of them: what slows a machine for a while and is seen by no counter shall not decide a median.

A block is run again, at most twice, if others used more than DISTURBED of the machine meanwhile (other processes, or
the host: "steal"), or if more than CROWDED of the FMA peak was missing before or after it. The least disturbed attempt
counts. A block does not begin, for some time, while so much of the peak is missing. The rules are the same for every
subject.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from machine import Load
from process import run_alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from machine import Peak
    from process import Subject
    from sections import Section
    from workloads import Case

DISTURBED = 0.05
CROWDED = 0.2  # of the peak: what is missing beyond it is not the clock's wandering, but a core that two CPUs share
REST_SECONDS = 0.5
RESTS = 40  # at most, as long as CPUs share a core


@dataclass(frozen=True)
class Plan:
    """How long is measured: the rounds of each block, the seconds of a round, at least, and the attempts, at most."""

    rounds: tuple[int, ...]
    seconds: float
    attempts: int


FULL = Plan(rounds=(3, 2, 2), seconds=0.2, attempts=3)
QUICK = Plan(rounds=(3,), seconds=0.1, attempts=1)


@dataclass(frozen=True)
class Timing:
    """What was measured of a subject and a case: milliseconds of a call, one a round."""

    section: str
    subject: str
    case: Case
    rounds: list[float]


@dataclass(frozen=True)
class Block:
    """What a block says of the machine.

    Attributes:
        seconds: how long it took.
        foreign: the share of the machine that other processes took.
        steal: the share that the host took and counted.
        missing: the share of the FMA peak that all CPUs did not reach before or after it.
    """

    section: str
    subject: str
    seconds: float
    foreign: float
    steal: float
    missing: float
    attempt: int

    @property
    def crowded(self) -> bool:
        """Whether CPUs shared a core, by what was missing of the peak."""
        return self.missing > CROWDED

    @property
    def disturbance(self) -> float:
        """The share of the machine that was not there for the block."""
        return self.foreign + self.steal + (self.missing if self.crowded else 0.0)


def alternate(
    section: Section, plan: Plan, references: Path, peak: Peak, said: Callable[[str], None]
) -> tuple[list[Timing], list[Block]]:
    """Times the subjects of a section on its cases, block by block, in turn; `said` hears what runs."""
    timings = {
        (subject.name, case.key): Timing(section.name, subject.name, case, [])
        for subject in section.subjects
        for case in section.cases
        if subject.runs(case)
    }
    blocks: list[Block] = []
    for number, rounds in enumerate(plan.rounds, 1):
        for subject in section.subjects:
            said(f"{section.name}: {subject.name}, block {number} of {len(plan.rounds)}")
            cases = [case.as_json() for case in section.cases if subject.runs(case)]
            job = {"cases": cases, "rounds": rounds, "seconds": plan.seconds, "references": str(references)}
            most = 1 if subject.neighbour else plan.attempts
            times, attempts = _least_disturbed(section.name, subject, job, most, peak)
            blocks += attempts
            for key, milliseconds in times.items():
                timings[subject.name, key].rounds.extend(milliseconds)
    return list(timings.values()), blocks


def _least_disturbed(
    section: str, subject: Subject, job: dict[str, Any], most: int, peak: Peak
) -> tuple[dict[str, list[float]], list[Block]]:
    """Runs a block, again if it was disturbed; the result of the least disturbed attempt, and all attempts."""
    best: dict[str, list[float]] = {}
    attempts: list[Block] = []
    for attempt in range(1, most + 1):
        missing = _rest(peak)
        load = Load()
        times: dict[str, list[float]] = run_alone("worker.py", subject, job)
        seconds, foreign, steal = load.since()
        block = Block(section, subject.name, seconds, foreign, steal, max(missing, peak.missing()), attempt)
        if not attempts or block.disturbance < min(earlier.disturbance for earlier in attempts):
            best = times
        attempts.append(block)
        if block.disturbance <= DISTURBED:
            break
    return best, attempts


def _rest(peak: Peak) -> float:
    """Rests before a block; gives the share of the peak that is missing then."""
    for _ in range(RESTS):
        time.sleep(REST_SECONDS)
        missing = peak.missing()
        if missing <= CROWDED:
            break
    return missing
