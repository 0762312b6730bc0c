# SPDX-License-Identifier: Apache-2.0
"""Tries the versions of Python, the compilers, and the oldest and newest Keras and backends that the package supports.

Each row of the table is a throw-away environment in which a wheel of this checkout is installed and a smoke test runs:
`versions_smoke_numpy.py` where no framework is installed, else `versions_smoke.py`. A row is absent where its
interpreter, its compiler or the wheels of its packages are not to be had, and says which. Interpreters are looked for
on PATH, as python3.13 and the like:

    make test-versions                          all rows; it downloads many GB and takes an hour
    make test-versions ARGS="jax-oldest clang"  some of them, by name
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "versions"
SMOKE, SMOKE_NUMPY = Path(__file__).with_name("versions_smoke.py"), Path(__file__).with_name("versions_smoke_numpy.py")
INSTALL_SECONDS, SMOKE_SECONDS = 1200, 600


class Build(NamedTuple):
    """How a wheel is built."""

    python: str = ""  # by which interpreter, with what pyproject.toml asks for; "": by this program's, with what it has
    compiler: str = ""  # "": the one that CMake chooses


class Row(NamedTuple):
    """What is tried."""

    packages: dict[str, str | None]  # installed beside gatewise, the backend last; None is the newest version
    python: str = ""  # the interpreter that runs it; "": this program's
    build: Build = Build()


class AbsentError(Exception):
    """Something that a row needs is not to be had here."""


class FailedError(Exception):
    """A command failed; what it wrote."""


# The first releases that the lower bounds in pyproject.toml let in; check_bounds compares.
OLDEST = {"numpy": "1.26.0", "safetensors": "0.4.0", "keras": "3.5.0", "tensorflow-cpu": "2.16.1", "jax": "0.5.0"}
TESTED = {"torch": "2.13.0"}  # other versions of torch have CPU wheels on their own index alone
NEWEST: dict[str, dict[str, str | None]] = {
    "": {"numpy": None},
    "-tensorflow": {"keras": None, "tensorflow-cpu": None},
    "-jax": {"keras": None, "jax": None},
    "-torch": {"keras": None, "torch": TESTED["torch"]},
}
BOTH = {"torch": TESTED["torch"], **NEWEST["-tensorflow"]}
STABLE = Build("python3.12")  # its wheel is for every later version too


def _on_newest(name: str, python: str, build: Build) -> dict[str, Row]:
    return {f"{name}{backend}": Row(packages, python, build) for backend, packages in NEWEST.items()}


ROWS = {
    "numpy-oldest": Row({"safetensors": OLDEST["safetensors"], "numpy": OLDEST["numpy"]}),
    "tensorflow-oldest": Row({"keras": OLDEST["keras"], "tensorflow-cpu": OLDEST["tensorflow-cpu"]}),
    "tensorflow-newest": Row(NEWEST["-tensorflow"]),
    "tensorflow-oldest-newest-keras": Row({"keras": None, "tensorflow-cpu": OLDEST["tensorflow-cpu"]}),
    "tensorflow-newest-oldest-keras": Row({"keras": OLDEST["keras"], "tensorflow-cpu": None}),
    "jax-oldest": Row({"keras": OLDEST["keras"], "jax": OLDEST["jax"]}),
    "jax-newest": Row(NEWEST["-jax"]),
    "jax-oldest-newest-keras": Row({"keras": None, "jax": OLDEST["jax"]}),
    "jax-newest-oldest-keras": Row({"keras": OLDEST["keras"], "jax": None}),
    "torch-tested": Row(NEWEST["-torch"]),
    "torch-tested-oldest-keras": Row({"keras": OLDEST["keras"], "torch": TESTED["torch"]}),
    "torch-beside-tensorflow": Row(BOTH),
    **_on_newest("clang", "", Build(compiler="clang")),
    **_on_newest("python3.12", "python3.12", STABLE),
    "python3.12-torch-beside-tensorflow": Row(BOTH, "python3.12", STABLE),
    **_on_newest("python3.13", "python3.13", STABLE),
    "python3.13-own-wheel": Row(NEWEST[""], "python3.13", Build("python3.13")),
    **_on_newest("python3.14", "python3.14", STABLE),
    "python3.14-own-wheel": Row(NEWEST[""], "python3.14", Build("python3.14")),
    **_on_newest("python3.15", "python3.15", STABLE),
    "python3.15-own-wheel": Row(NEWEST[""], "python3.15", Build("python3.15")),
}


def main() -> None:
    """Runs the rows that were asked for and prints the table; the exit status is 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="default: all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are made")
    arguments = parser.parse_args()
    check_bounds()
    count = dict.fromkeys(("works", "FAILED", "absent"), 0)
    for name in arguments.rows or ROWS:
        state, report = try_row(arguments.folder.resolve(), name)
        count[state] += 1
        write(f"{state:6}  {name:34} {report}")
    write(f"{count['works']} rows work, {count['FAILED']} failed, {count['absent']} could not be tried here")
    sys.exit(1 if count["FAILED"] else 0)


def check_bounds() -> None:
    """Ends the program if the oldest versions here are not those that pyproject.toml promises."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for requirement in (*project["dependencies"], *extras["tensorflow"], *extras["jax"]):
        package, bound = re.match(r"([a-z-]+)>=([0-9.]+)", requirement).groups()  # type: ignore[union-attr]
        if package in OLDEST and not f"{OLDEST[package]}.".startswith(f"{bound}."):
            sys.exit(
                f"versions.py: pyproject.toml promises {package}>={bound}. Expected {OLDEST[package]} to be first."
            )


def try_row(folder: Path, name: str) -> tuple[str, str]:
    """Makes an environment, runs the smoke test in it and removes it. Returns how it went, and what to show."""
    row, place = ROWS[name], folder / name
    backend = list(row.packages)[-1].removesuffix("-cpu")
    smoke = SMOKE_NUMPY if backend == "numpy" else SMOKE
    try:
        python = make_environment(place, row.python)
        wheel = build_wheel(folder, row.build)
        install(python, row.packages, wheel)
        printed = run([python, str(smoke)], SMOKE_SECONDS, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3")
    except AbsentError as problem:
        return "absent", str(problem)
    except FailedError as problem:
        return "FAILED", " / ".join(str(problem).splitlines()[-3:])
    finally:
        shutil.rmtree(place, ignore_errors=True)
    versions = json.loads(printed.splitlines()[-1])
    shown = ", ".join(f"{package} {version}" for package, version in versions.items())
    tag = re.sub(r"gatewise-[^-]+-", "", wheel.stem)
    return "works", f"{shown}; wheel {tag} by {row.build.python or 'this python'}, {compiler_of(wheel)}"


def make_environment(folder: Path, name: str) -> str:
    """Makes an empty environment of an interpreter; returns its python."""
    shutil.rmtree(folder, ignore_errors=True)
    run([interpreter(name), "-m", "venv", str(folder)], INSTALL_SECONDS)
    return str(folder / "bin" / "python")


def interpreter(name: str) -> str:
    """Finds an interpreter; "" is the one that runs this program."""
    path = shutil.which(name) if name else sys.executable
    if path is None:
        raise AbsentError(f"{name} is not on PATH")
    try:
        run([path, "--version"], SMOKE_SECONDS)
    except FailedError as problem:  # such as a shim of pyenv's whose version is not switched on
        raise AbsentError(f"{path} does not run: {str(problem).splitlines()[0]}") from None
    return path


@functools.cache
def build_wheel(folder: Path, build: Build) -> Path:
    """Builds the package once for all rows that want it so; returns the wheel."""
    where = folder / "-".join(("wheel", *filter(None, build)))
    shutil.rmtree(where, ignore_errors=True)
    options = ["--no-deps", "-q", "-w", str(where), "-C", f"build-dir={where / 'native'}"]
    changed = {}
    if build.compiler:
        changed = {"CC": build.compiler, "CXX": f"{build.compiler}++"}
        if shutil.which(changed["CXX"]) is None:
            raise AbsentError(f"{changed['CXX']} is not on PATH")
    if build.python:
        python = make_environment(folder / f"build-{build.python}", build.python)
        changed |= {"GATEWISE_XLA_INCLUDE": ""}  # what pyproject.toml asks for brings the headers
    else:
        python, options = sys.executable, [*options, "--no-build-isolation"]
    run([python, "-m", "pip", "wheel", *options, str(ROOT)], INSTALL_SECONDS, **changed)
    wheel = next(where.glob("gatewise-*.whl"))
    if build.compiler not in compiler_of(wheel).lower():
        raise FailedError(f"the wheel was to be compiled by {build.compiler}; it was by {compiler_of(wheel)}")
    return wheel


def compiler_of(wheel: Path) -> str:
    """Reads from the build, which lies beside its wheel, which compiler CMake found."""
    found = next(wheel.parent.glob("native/CMakeFiles/*/CMakeCXXCompiler.cmake")).read_text(encoding="utf-8")
    return " ".join(re.findall(r'set\(CMAKE_CXX_COMPILER_(?:ID|VERSION) "(.+)"\)', found))


def install(python: str, packages: dict[str, str | None], wheel: Path) -> None:
    """Installs packages and the wheel from wheels alone: to compile a framework is no row's business."""
    options = ["--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off", "--only-binary", ":all:"]
    requirements = [asked(package, version) for package, version in packages.items()]
    try:
        run([python, "-m", "pip", "install", *options, *requirements, str(wheel)], INSTALL_SECONDS)
    except FailedError as problem:
        missing = re.search(r"(?i)no matching distributions? (?:found for|available for .*:)\s+(\S+)", str(problem))
        if missing is None or "Retrying" in str(problem):  # an index that cannot be reached has none of anything
            raise
        raise AbsentError(f"there is no wheel of {missing[1]} for this Python") from None


def asked(package: str, version: str | None) -> str:
    """Asks pip for a version, or for the newest of those that are allowed."""
    return f"{package}>={OLDEST[package]}" if version is None else f"{package}=={version}"


def run(command: list[str], seconds: int, **changed: str) -> str:
    """Runs a command in another environment than this program's; returns what it printed."""
    environment = {**os.environ, **changed}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command, cwd=ROOT.anchor, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FailedError(f"no end after {error.timeout:.0f} seconds: {' '.join(command[:6])}") from None
    if done.returncode:
        end = f"exit status {done.returncode}" if done.returncode < 0 else ""  # a signal's
        raise FailedError(f"{done.stdout}{done.stderr}{end}".strip())
    return done.stdout


def write(line: str) -> None:
    """Shows a row as soon as it is known."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
