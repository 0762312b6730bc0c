# SPDX-License-Identifier: Apache-2.0
"""Studies of `examples/`, run in small and in a process of their own, as a reader would run them."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TIMEOUT = 180  # seconds; a quick study takes about fifteen

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="the studies need the extra tensorflow: pip install 'gatewise[tensorflow]'",
)


class Ran(NamedTuple):
    """A study that was run with --quick: what it printed, its figures by name, and the folder of its results."""

    printed: str
    facts: dict[str, Any]
    out: Path


def run_study(name: str, out: Path, *arguments: object) -> Ran:
    """Runs a study with --quick and checks that it wrote what every study writes, and nothing else than it should."""
    page = ROOT / "docs" / f"{name}.md"
    before = page.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), "--quick", "--out", str(out), *map(str, arguments)],
        cwd=out,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    assert facts["quick"]
    assert min(facts["forward"], facts["backward"]) > 0, "the engine did not run"
    for picture in (out / f"{name}.svg", out / f"{name}.png"):
        assert picture.stat().st_size > 5000
    assert page.read_text(encoding="utf-8") == before
    return Ran(re.sub(r"\x1b\[[0-9;]*m", "", done.stdout), facts, out)
