# SPDX-License-Identifier: Apache-2.0
"""Compares what two commits compute, bit for bit: outputs, states and every gradient. Nothing is stored.

    .venv/bin/python tests/golden_bits.py main~1            the working tree beside a commit
    .venv/bin/python tests/golden_bits.py main~5 main       two commits

Both are built by the same compiler, with AVX-512 emulated where the CPU has none, and run `golden_bits_cases.py` in
processes of their own. The exit status is 1 if a bit differs; the cases that do are listed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASES = Path(__file__).with_name("golden_bits_cases.py")
Found = dict[str, dict[str, str]]


def main() -> None:
    """Compares the commits that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", nargs="?", help="another; default: the working tree")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        old = results(arguments.old, Path(folder))
        new = results(arguments.new, Path(folder))
    found = differences(old, new)
    same = f"the same bits in {len(old)} cases, {sum(map(len, old.values()))} arrays"
    sys.stdout.write("\n".join(found or [same]) + "\n")
    sys.exit(1 if found else 0)


def results(commit: str | None, folder: Path) -> Found:
    """Builds a commit, or the working tree, and returns the hashes of what it computes: by case and array."""
    source, site = folder / f"source-{commit}", folder / f"site-{commit}"
    if commit is None:
        source = ROOT
    else:
        source.mkdir()
        packed = folder / f"{commit}.zip"
        subprocess.run([shutil.which("git") or "git", "archive", "-o", str(packed), commit], cwd=ROOT, check=True)
        shutil.unpack_archive(packed, source)
    options = ["--no-deps", "--no-build-isolation", "-q", "--disable-pip-version-check", "--target", str(site)]
    options += ["-C", f"build-dir={folder}/build-{commit}"]
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        options += ["-C", "cmake.define.GATEWISE_EMULATE=ON"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, env=environment)
    environment |= {"PYTHONPATH": str(site), "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "2"}
    ran = subprocess.run([sys.executable, str(CASES)], env=environment, check=True, stdout=subprocess.PIPE)
    found: Found = json.loads(ran.stdout)
    return found


def differences(old: Found, new: Found) -> list[str]:
    """Says in which cases which arrays differ."""
    if old.keys() != new.keys():
        return [f"the cases differ: {sorted(old.keys() ^ new.keys())}"]
    found = []
    for case, arrays in old.items():
        names = [name for name in arrays.keys() | new[case].keys() if arrays.get(name) != new[case].get(name)]
        if names:
            found.append(f"{case}: {', '.join(sorted(names))}")
    return found


if __name__ == "__main__":
    main()
