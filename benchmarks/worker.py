# SPDX-License-Identifier: Apache-2.0
"""A process that times one subject alone: a block. It reads what to do from standard input, as JSON, and writes JSON.

In: module, options, threads, cases, rounds, seconds (of a round, at least), references (a folder).
Out: for each case, by its key, the milliseconds of a call in every round.

The first to run a case leaves its results in the references, and every later one has to give the same numbers before it
is timed. The cases of one name are timed in turn, a round of each, so that a change of the machine's speed meets all.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads import Case

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 1e-3  # of the largest element: float32 sums over up to 64 x 200 steps, added in different orders
WARM_SECONDS = 0.1


def milliseconds(run: Callable[[], Any], seconds: float) -> float:
    """Times a call, repeated for the given time; the clock is read once in a while, since a call may take 2 us."""
    calls, batch = 0, 1
    begin = time.perf_counter()
    while True:
        for _ in range(batch):
            run()
        calls += batch
        spent = time.perf_counter() - begin
        if spent >= seconds:
            return spent / calls * 1e3
        batch = max(1, int(calls * min(1.0, 0.2 * seconds / spent)))


def check(case: Case, results: list[Any], references: Path) -> None:
    """Compares results with those of the first subject that ran the case, or leaves them for the others."""
    if "dropout" in case.variant or case.variant == "zoneout":
        return  # random
    path = references / f"{case.key.replace('/', '-')}.npz"
    if not path.exists():
        np.savez(path, *map(np.asarray, results))
        return
    with np.load(path) as expected:
        for name, found in zip(expected.files, results, strict=True):
            scale = float(np.abs(expected[name]).max())
            np.testing.assert_allclose(
                found, expected[name], rtol=0, atol=TOLERANCE * scale, err_msg=f"{case.key}: {name}"
            )


def time_block(job: dict[str, Any]) -> dict[str, list[float]]:
    """Checks and times every case of a job."""
    subject: Any = importlib.import_module(f"subjects.{job['module']}")
    cases = [Case(**fields) for fields in job["cases"]]
    times: dict[str, list[float]] = {case.key: [] for case in cases}
    for _, group in itertools.groupby(cases, lambda case: case.name):
        runs = {}
        for case in group:
            run, results = subject.prepare(case, job["threads"], **job["options"])
            check(case, results(run()), Path(job["references"]))
            milliseconds(run, WARM_SECONDS)
            runs[case.key] = run
        for _ in range(job["rounds"]):
            for key, run in runs.items():
                times[key].append(milliseconds(run, job["seconds"]))
    return times


if __name__ == "__main__":
    print(json.dumps(time_block(json.load(sys.stdin))))
