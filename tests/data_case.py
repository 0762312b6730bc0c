# SPDX-License-Identifier: Apache-2.0
"""What the tests on `gatewise.data` share: real data, a fresh interpreter, plain series, the shape of a message."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gatewise.data.series import TimeSeries

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def real_file(name: str) -> Path:
    """A file of the real data; skips where it does not lie beside the repository."""
    path = REAL / name
    if not path.exists():
        pytest.skip(f"needs real data that is not in the repository: {path.name} in {path.parent}")
    return path


def run_fresh(program: str, *arguments: object, backend: str = "jax") -> str:
    """What a fresh interpreter with a backend of Keras prints."""
    setting = f"import os; os.environ['KERAS_BACKEND'] = {backend!r}\n"
    command = [sys.executable, "-c", setting + program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain(several: list[TimeSeries]) -> list[tuple[str, list[str], list[list[float]]]]:
    """Series as lists: name, times, values."""
    return [(one.name, [str(time) for time in one.times], one.values.tolist()) for one in several]


def assert_teaches(message: str, *parts: str) -> None:
    """Checks that a message says where, what, expected, received and cure, and names the parts."""
    assert re.match(r"[^\n]+\. Expected [^\n]+; (received|not installed):? [^\n]+[.:] [^\n]+", message), message
    for part in parts:
        assert part in message
