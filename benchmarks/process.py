# SPDX-License-Identifier: Apache-2.0
"""A subject, who is measured, and the process that it gets for itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import available_cpus

if TYPE_CHECKING:
    from workloads import Case

HERE = Path(__file__).parent


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
        without: the names, tasks, masks and variants of cases that it is not timed with.
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
        return not {case.name, case.task, case.mask, case.variant} & {*self.without}


def run_alone(script: str, subject: Subject, job: dict[str, Any]) -> Any:
    """Runs a script in a process of its own, beside a busy one if the subject wants it.

    The script reads the job from standard input, with the subject's module, options and threads added. Its last line
    is parsed and returned.
    """
    threads = subject.threads or available_cpus()
    job = {"module": subject.module, "options": subject.options, "threads": threads, **job}
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **subject.environment,
    }
    command = [sys.executable, str(HERE / script)]
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if subject.neighbour else None
    try:
        ran = subprocess.run(
            command, input=json.dumps(job), env=environment, capture_output=True, text=True, check=False
        )
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()
    if ran.returncode:
        message = f"{subject.name}: {script} ended with {ran.returncode}\n{ran.stderr[-4000:]}"
        raise RuntimeError(message)
    return json.loads(ran.stdout.splitlines()[-1])
