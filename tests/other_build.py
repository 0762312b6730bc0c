# SPDX-License-Identifier: Apache-2.0
"""The engine built in another way, and tests that run on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gatewise

ROOT = Path(__file__).parents[1]
COMPILER = "g++"


def build(folder: Path, *definitions: str, source: Path = ROOT, faces: tuple[str, ...] = ("_native",)) -> Path:
    """Builds the engine and faces of it; returns the folder of the package that has them.

    Args:
        folder: where to build.
        definitions: of CMake's variables, as in "GATEWISE_EMULATE=ON".
        source: the folder of CMakeLists.txt.
        faces: CMake's targets besides the engine.
    """
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if cmake is None or shutil.which(COMPILER) is None:
        pytest.skip("needs cmake and g++: install both")
    made = folder / "build"
    configure = [cmake, "-S", str(source), "-B", str(made), *(f"-D{definition}" for definition in definitions)]
    configure += [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_CXX_COMPILER={COMPILER}"]
    subprocess.run(configure, check=True, timeout=300)
    subprocess.run([cmake, "--build", str(made), "--target", "gatewise", *faces, "-j2"], check=True, timeout=3000)
    package = folder / "site" / "gatewise"
    shutil.copytree(Path(gatewise.__file__).parent, package)
    for library in (*made.glob("libgatewise*.so"), *made.glob("_native*.so")):
        shutil.copy(library, package)
    return package


def run_tests(package: Path, names: list[str], environment: dict[str, str], *, deep: bool) -> None:
    """Runs test files on a package that `build` made, and the long tests in them if `deep`; fails if one does."""
    found = {"LD_LIBRARY_PATH": str(package), "PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *([] if deep else ["-m", "not deep"])]
    command += [f"tests/{name}.py" for name in names]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | found | environment,
        timeout=3000,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-5000:]
