# SPDX-License-Identifier: Apache-2.0
"""What a training step adds to a process: on `speech`, beside stock Keras; and as T grows, with recomputation."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from process import Subject, run_alone
from workloads import SIZES, Case

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (1_000, 3_000, 10_000, 30_000, 100_000)
BATCH, FEATURES, UNITS = 4, 40, 128
SCOPE = "recompute"
SCOPES = ("", SCOPE)


def measure(repeats: int, said: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measures each in fresh processes, in turn; a row says who, on how many steps, the bytes added, and times."""
    return [*_beside_stock(repeats, said), *_as_steps_grow(repeats, said)]


def processes(repeats: int) -> int:
    """How many processes `measure` starts."""
    return repeats * (3 + len(LENGTHS) * len(SCOPES))


def _beside_stock(repeats: int, said: Callable[[str], None]) -> list[dict[str, Any]]:
    case = Case("speech", "training", *SIZES["speech"])
    environment = {"KERAS_BACKEND": "tensorflow"}
    ours = Subject("gatewise.keras.GRU", "keras_layer", {"ours": True}, environment)
    stock = Subject("keras.layers.GRU", "keras_layer", {}, environment)
    again = replace(ours, name=f"{ours.name}, {SCOPE}")
    added: dict[str, list[int]] = {ours.name: [], again.name: [], stock.name: []}
    for _ in range(repeats):
        for subject in (ours, again, stock):
            said(f"memory: {subject.name} on speech")
            job = {"case": case.as_json(), "scope": SCOPE if subject is again else "", "repeats": 0}
            added[subject.name].append(run_alone("footprint.py", subject, job)["added"])
    return [{"what": "speech", "subject": name, "added": bytes_} for name, bytes_ in added.items()]


def _as_steps_grow(repeats: int, said: Callable[[str], None]) -> list[dict[str, Any]]:
    """NumPy, where the sizes of all arrays are known: outputs, their gradient and the input's are subtracted.

    With and without recomputation take turns, and medians count: of the peak in each process and of a step after it.
    """
    subjects = {scope: Subject(f"gatewise, {scope}" if scope else "gatewise", "numpy_op") for scope in SCOPES}
    rows = []
    for timesteps in LENGTHS:
        case = Case(f"{timesteps} steps", "training", BATCH, timesteps, FEATURES, UNITS)
        arrays = 4 * BATCH * timesteps * (2 * UNITS + FEATURES)
        found: dict[str, list[dict[str, Any]]] = {scope: [] for scope in SCOPES}
        for _ in range(repeats):
            for scope, subject in subjects.items():
                said(f"memory: {subject.name} on {timesteps} steps")
                job = {"case": case.as_json(), "scope": scope, "repeats": 1}
                found[scope].append(run_alone("footprint.py", subject, job))
        rows += [
            {
                "what": "steps",
                "subject": subjects[scope].name,
                "timesteps": timesteps,
                "beyond arrays": statistics.median(one["added"] for one in of_scope) - arrays,
                "milliseconds": statistics.median(one["milliseconds"][0] for one in of_scope),
            }
            for scope, of_scope in found.items()
        ]
    return rows
