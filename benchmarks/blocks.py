# SPDX-License-Identifier: Apache-2.0
"""Blocks: each subject alone in a process of its own, in turn, with a rest between, and the machine watched meanwhile.

A pool of threads that still spins would spoil the next subject's times: so no two share a process, and a block begins
when the process before has ended. A subject's rounds are spread over several blocks, between those of the others.

A block during which others used more than DISTURBED of the machine (other processes, or the host: "steal") is run
again, at most twice; the least disturbed attempt counts. The rule is the same for every subject.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import Load, available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case

WORKER = Path(__file__).with_name("worker.py")
DISTURBED = 0.05
REST_SECONDS = 0.5


@dataclass(frozen=True)
class Subject:
    """Who is timed.

    Attributes:
        name: as the tables call it; "gatewise" first in the names of ours.
        module: the file in `subjects/` that prepares it.
        options: what its `prepare` is given.
        environment: variables of its process.
        threads: how many; None for one for each CPU of this process.
        neighbour: whether a busy process competes with it.
        without: the masks and variants that it is not timed with.
    """

    name: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    threads: int | None = None
    neighbour: bool = False
    without: tuple[str, ...] = ()

    def runs(self, case: Case) -> bool:
        """Whether it is timed on a case."""
        return not {case.mask, case.variant} & {*self.without}


@dataclass(frozen=True)
class Plan:
    """How long is measured: the rounds of each block, and the seconds of a round, at least."""

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
    """What a block says of the machine: seconds, and the share of it that other processes and the host took."""

    section: str
    subject: str
    seconds: float
    foreign: float
    steal: float
    attempt: int

    @property
    def disturbance(self) -> float:
        """The share of the machine that was not there for the block."""
        return self.foreign + self.steal


def alternate(
    section: str,
    subjects: list[Subject],
    cases: list[Case],
    plan: Plan,
    references: Path,
    said: Callable[[str], None],
) -> tuple[list[Timing], list[Block]]:
    """Times all subjects on all cases, block by block, in turn; `said` hears what runs."""
    timings = {(s.name, c.key): Timing(section, s.name, c, []) for s in subjects for c in cases if s.runs(c)}
    blocks: list[Block] = []
    for number, rounds in enumerate(plan.rounds, 1):
        for subject in subjects:
            said(f"{section}: {subject.name}, block {number} of {len(plan.rounds)}")
            job = {
                "module": subject.module,
                "options": subject.options,
                "threads": subject.threads or available_cpus(),
                "cases": [case.as_json() for case in cases if subject.runs(case)],
                "rounds": rounds,
                "seconds": plan.seconds,
                "references": str(references),
            }
            times, attempts = _least_disturbed(section, subject, job, 1 if subject.neighbour else plan.attempts)
            blocks += attempts
            for key, milliseconds in times.items():
                timings[subject.name, key].rounds.extend(milliseconds)
    return list(timings.values()), blocks


def _least_disturbed(
    section: str, subject: Subject, job: dict[str, Any], most: int
) -> tuple[dict[str, list[float]], list[Block]]:
    """Runs a block, again if it was disturbed; the result of the least disturbed attempt, and all attempts."""
    best: dict[str, list[float]] = {}
    attempts: list[Block] = []
    for attempt in range(1, most + 1):
        time.sleep(REST_SECONDS)
        load = Load()
        times: dict[str, list[float]] = run_worker(WORKER, job, subject)
        seconds, foreign, steal = load.since()
        block = Block(section, subject.name, seconds, foreign, steal, attempt)
        if not attempts or block.disturbance < min(earlier.disturbance for earlier in attempts):
            best = times
        attempts.append(block)
        if block.disturbance <= DISTURBED:
            break
    return best, attempts


def run_worker(script: Path, job: dict[str, Any], subject: Subject) -> Any:
    """Runs a script in a process of its own, beside a busy one if the subject wants it; returns what it printed."""
    threads = str(job["threads"])
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **subject.environment,
    }
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if subject.neighbour else None
    try:
        ran = subprocess.run(
            [sys.executable, script],
            input=json.dumps(job),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()
    if ran.returncode:
        message = f"{subject.name}: {script.name} ended with {ran.returncode}\n{ran.stderr[-4000:]}"
        raise RuntimeError(message)
    return json.loads(ran.stdout.splitlines()[-1])
