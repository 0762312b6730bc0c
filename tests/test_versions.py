# SPDX-License-Identifier: Apache-2.0
"""What of `make test-versions` needs no download: its smoke test on NumPy, and what it says of what is absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VERSIONS, SMOKE = Path(__file__).with_name("versions.py"), Path(__file__).with_name("versions_smoke_numpy.py")


def run(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(VERSIONS), "--folder", str(path / "rows"), *arguments]
    environment = os.environ | {"PATH": str(path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_the_smoke_test_holds_here_without_a_framework() -> None:
    subprocess.run([sys.executable, str(SMOKE)], timeout=240, check=True)


@pytest.mark.parametrize(("row", "missing"), [("python3.13", "python3.13"), ("clang", "clang++")])
def test_a_row_says_that_its_interpreter_or_compiler_is_not_there(row: str, missing: str, tmp_path: Path) -> None:
    ran = run(row, path=tmp_path)
    said, count = ran.stdout.splitlines()
    assert said.split() == ["absent", row, missing, "is", "not", "on", "PATH"], ran.stderr
    assert (count, ran.returncode) == ("0 rows work, 0 failed, 1 could not be tried here", 0)


def test_a_row_says_that_its_interpreter_does_not_run(tmp_path: Path) -> None:
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho 'no such version' >&2\nexit 127\n")
    shim.chmod(0o755)
    said = run("python3.13", path=tmp_path).stdout.splitlines()[0]
    assert said.endswith(f"{shim} does not run: no such version")
