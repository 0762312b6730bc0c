# SPDX-License-Identifier: Apache-2.0
"""The engine under the address and undefined behaviour sanitizers: no read or write lies outside its array."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from other_build import COMPILER, build, run_tests

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.deep
def test_the_engine_stays_within_its_arrays(tmp_path: Path) -> None:
    package = build(tmp_path, "GATEWISE_SANITIZE=ON")
    runtimes = [
        subprocess.run(
            [COMPILER, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    # Python keeps what it has until the end: no leaks are looked for
    environment = {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}
    run_tests(package, ["test_properties", "test_same_bits", "test_native", "test_runtime_program"], environment)
