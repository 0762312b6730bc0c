# SPDX-License-Identifier: Apache-2.0
"""A process that measures what one training step adds to its memory.

In: module, options, threads, case, scope (the name of a scope of gatewise, or ""), repeats (timed after that step).
Out: added: the peak of the resident memory during the step, less what was resident before, in bytes; milliseconds: of
each repeat. Before the step, a layer of the same kind has run on next to nothing: libraries and threads are there.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gatewise
from resident import resident
from workloads import Case


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Runs the steps."""
    subject: Any = importlib.import_module(f"subjects.{job['module']}")
    case = Case(**job["case"])
    scope = getattr(gatewise, job["scope"]) if job["scope"] else contextlib.nullcontext
    with scope():
        tiny, _ = subject.prepare(replace(case, batch=2, timesteps=2), job["threads"], **job["options"])
        tiny()
        run, results = subject.prepare(case, job["threads"], **job["options"])
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is what is resident now
        before = resident("VmRSS")
        gradients = run()
        added = resident("VmHWM") - before
        results(gradients)  # raises if the engine did not run where it should
        milliseconds = []
        for _ in range(job["repeats"]):
            begin = time.perf_counter()
            run()
            milliseconds.append((time.perf_counter() - begin) * 1e3)
    return {"added": added, "milliseconds": milliseconds}


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
