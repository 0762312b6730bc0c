# SPDX-License-Identifier: Apache-2.0
"""The NumPy face takes nothing of Python but its stable interface, which one wheel for 3.12 and later is built against.

A build for 3.11, whose stable interface is too small for nanobind, does not see a name that the interface lacks.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig

import numpy as np
import pytest

from other_build import COMPILER, ROOT

nanobind = pytest.importorskip("nanobind", reason="its headers are compiled: install nanobind")

(MODULE,) = re.findall(r"nanobind_add_module\(([^)]*)\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
SOURCES = re.findall(r"csrc/bind/\w+\.cpp", MODULE)
# What nanobind itself calls, and the stable interface has from 3.12 on.
BEFORE = """#include <Python.h>
extern "C" PyObject* PyObject_Vectorcall(PyObject*, PyObject* const*, size_t, PyObject*);
extern "C" PyObject* PyObject_VectorcallMethod(PyObject*, PyObject* const*, size_t, PyObject*);
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python's own build is held to the stable interface")
@pytest.mark.parametrize("source", SOURCES)
def test_the_bindings_compile_against_the_stable_interface(source: str) -> None:
    if shutil.which(COMPILER) is None:
        pytest.skip("needs g++: install it")
    folders = (nanobind.include_dir(), np.get_include(), sysconfig.get_path("include"), str(ROOT / "csrc"))
    command = [COMPILER, "-std=c++17", "-fsyntax-only", "-DPy_LIMITED_API=0x030B0000", "-x", "c++", "-"]
    ran = subprocess.run(
        [*command, *(f"-I{folder}" for folder in folders)],
        input=f'{BEFORE}#include "{ROOT / source}"\n',
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-5000:]
