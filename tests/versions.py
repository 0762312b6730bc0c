# SPDX-License-Identifier: Apache-2.0
"""Tries the oldest and the newest versions of Keras and its backends that the package supports: a table of what works.

Each row is a throw-away environment in which a wheel of this checkout is installed and `versions_smoke.py` runs:

    make test-versions                          all rows; it downloads a few GB and takes a while
    make test-versions ARGS="jax-oldest"        some of them, by name
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "versions"
SMOKE = Path(__file__).with_name("versions_smoke.py")
INSTALL_SECONDS, SMOKE_SECONDS = 1200, 600

# The first releases that the lower bounds of the extras in pyproject.toml let in; check_bounds compares.
OLDEST = {"keras": "3.5.0", "tensorflow-cpu": "2.16.1", "jax": "0.5.0"}
TESTED = {"torch": "2.13.0"}  # other versions of torch have CPU wheels on their own index alone
ROWS: dict[str, dict[str, str | None]] = {  # the backend comes last; None is the newest version
    "tensorflow-oldest": {"keras": OLDEST["keras"], "tensorflow-cpu": OLDEST["tensorflow-cpu"]},
    "tensorflow-newest": {"keras": None, "tensorflow-cpu": None},
    "tensorflow-oldest-newest-keras": {"keras": None, "tensorflow-cpu": OLDEST["tensorflow-cpu"]},
    "tensorflow-newest-oldest-keras": {"keras": OLDEST["keras"], "tensorflow-cpu": None},
    "jax-oldest": {"keras": OLDEST["keras"], "jax": OLDEST["jax"]},
    "jax-newest": {"keras": None, "jax": None},
    "jax-oldest-newest-keras": {"keras": None, "jax": OLDEST["jax"]},
    "jax-newest-oldest-keras": {"keras": OLDEST["keras"], "jax": None},
    "torch-tested": {"keras": None, "torch": TESTED["torch"]},
    "torch-tested-oldest-keras": {"keras": OLDEST["keras"], "torch": TESTED["torch"]},
}


def main() -> None:
    """Runs the rows that were asked for and prints the table; the exit status says whether all work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="default: all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are made")
    arguments = parser.parse_args()
    check_bounds()
    wheel = build_wheel(arguments.folder)
    failed = 0
    for name in arguments.rows or ROWS:
        works, report = try_row(arguments.folder / name, ROWS[name], wheel)
        failed += not works
        write(f"{'works ' if works else 'FAILED'}  {name:32} {report}")
    sys.exit(f"{failed} of the rows failed" if failed else 0)


def check_bounds() -> None:
    """Ends the program if the oldest versions here are not those that pyproject.toml promises."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for requirement in (*extras["tensorflow"], *extras["jax"]):
        package, bound = re.match(r"([a-z-]+)>=([0-9.]+)", requirement).groups()  # type: ignore[union-attr]
        if package in OLDEST and not f"{OLDEST[package]}.".startswith(f"{bound}."):
            sys.exit(
                f"versions.py: pyproject.toml promises {package}>={bound}. Expected {OLDEST[package]} to be first."
            )


def build_wheel(folder: Path) -> Path:
    """Builds the package once for all rows; returns the wheel."""
    wheels = folder / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    options = ["--no-deps", "--no-build-isolation", "-q", "-C", f"build-dir={folder / 'native'}", "-w", str(wheels)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, timeout=INSTALL_SECONDS)
    return next(wheels.glob("gatewise-*.whl"))


def try_row(folder: Path, row: dict[str, str | None], wheel: Path) -> tuple[bool, str]:
    """Makes an environment, runs the smoke test in it and removes it. Returns whether it passed, and what to show."""
    requirements = [package if version is None else f"{package}=={version}" for package, version in row.items()]
    backend = list(row)[-1].removesuffix("-cpu")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONPATH", None)
    commands = [
        ([python, "-m", "pip", "install", "-q", "--no-cache-dir", *requirements, str(wheel)], INSTALL_SECONDS),
        ([python, str(SMOKE)], SMOKE_SECONDS),
    ]
    try:
        for command, seconds in commands:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            )
            if done.returncode:
                return False, " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
    except subprocess.TimeoutExpired as error:
        return False, f"no end after {error.timeout:.0f} seconds: {' '.join(error.cmd[:6])}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    versions = json.loads(done.stdout.splitlines()[-1])
    return True, ", ".join(f"{package} {version}" for package, version in versions.items())


def write(line: str) -> None:
    """Shows a row as soon as it is known."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
