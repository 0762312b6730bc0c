# SPDX-License-Identifier: Apache-2.0
"""The engine under the address and undefined behaviour sanitizers: no read or write lies outside its array."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from other_build import COMPILER, build, run_tests

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sanitized"), "GATEWISE_SANITIZE=ON")


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["test_properties", "test_same_bits", "test_native", "test_runtime_program"], id="calls"),
        pytest.param(["test_starts", "test_zoneout", "test_recompute"], id="passes"),
        pytest.param(["test_step", "test_step_streams"], id="steps"),
        pytest.param(["test_runtime_file_fuzz"], id="files"),  # all of its seeds, the deep ones too
    ],
)
def test_the_engine_stays_within_its_arrays(package: Path, names: list[str]) -> None:
    runtimes = [
        subprocess.run(
            [COMPILER, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    # Python keeps what it has until the end: no leaks are looked for
    environment = {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}
    run_tests(package, names, environment, deep=True)
