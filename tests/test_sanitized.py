# SPDX-License-Identifier: Apache-2.0
"""The engine under the address and undefined behaviour sanitizers: no read or write lies outside its array."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gatewise

ROOT = Path(__file__).parents[1]
TESTS = ["tests/test_properties.py", "tests/test_same_bits.py", "tests/test_native.py"]


@pytest.mark.deep
def test_the_engine_stays_within_its_arrays(tmp_path: Path) -> None:
    cmake, compiler = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"), "g++"
    if cmake is None or shutil.which(compiler) is None:
        pytest.skip("needs cmake and g++: install both")
    build = tmp_path / "build"
    configure = [
        cmake,
        "-S",
        str(ROOT),
        "-B",
        str(build),
        "-DGATEWISE_SANITIZE=ON",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    subprocess.run([*configure, f"-DCMAKE_CXX_COMPILER={compiler}"], check=True, timeout=300)
    subprocess.run([cmake, "--build", str(build), "--target", "gatewise", "_native", "-j2"], check=True, timeout=3000)

    site = tmp_path / "site" / "gatewise"
    shutil.copytree(Path(gatewise.__file__).parent, site)
    for library in (build / "libgatewise.so", *build.glob("_native*.so")):
        shutil.copy(library, site)
    runtimes = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(site),
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps what it has until the end
        "PYTHONPATH": str(site.parent),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    ran = subprocess.run(command, cwd=ROOT, env=environment, timeout=3000, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-5000:]
