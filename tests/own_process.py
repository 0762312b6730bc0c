# SPDX-License-Identifier: Apache-2.0
"""Programs in processes of their own, each with a hard limit of time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 240  # seconds; importing a framework takes most of what a program takes
# What a program for a process that must not see gatewise ends with.
WITHOUT_GATEWISE = "\nimport sys\nassert 'gatewise' not in sys.modules\n"
# Modules that a program begins with `HIDE.format(modules)` do not exist for it, however they are looked for.
HIDE = """
import sys
from importlib.machinery import PathFinder
class _Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = _Hiding
"""
FRAMEWORKS = ("keras", "tensorflow", "jax", "jaxlib", "torch", "onnx", "onnxruntime")
# Defines `peak(f)`: calls f and returns by how many bytes resident memory went up meanwhile. A child's ru_maxrss would
# begin with its parent's.
PEAK = """
from pathlib import Path
def _resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
def peak(f):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before = _resident("VmRSS")
    f()
    return _resident("VmHWM") - before
"""


def start(program: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Starts a Python program in a folder, with KERAS_BACKEND as it is here."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> Any:
    """Waits for a process; returns the JSON value of the last line that it printed."""
    try:
        printed, complaints = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == 0, complaints
    return json.loads(printed.splitlines()[-1])


def run(program: str, folder: Path, **environment: str) -> Any:
    """Runs a Python program; returns the JSON value of the last line that it printed."""
    return result(start(program, folder, **environment))
