# SPDX-License-Identifier: Apache-2.0
"""The table of operands: what Python reads of it, and that every hook follows a row more."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from gatewise import operands
from gatewise.cells import Cell
from other_build import ROOT, build, run_tests

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("cell", Cell)
def test_the_engine_and_the_row_of_a_cell_say_the_same(cell: Cell) -> None:
    facts = operands.facts(cell)
    assert len(cell.row.gates) == facts.gates
    assert len(cell.row.states) == facts.states
    for order in (cell.row.torch, cell.row.onnx):
        assert order is None or sorted(order) == list(range(facts.gates))


def test_there_is_no_other_cell() -> None:
    assert len(operands.FACTS) == len(Cell)


def test_a_direction_holds_what_the_table_says() -> None:
    assert operands.Direction._fields == tuple(row.name for row in operands.OWN)
    assert {row.name for row in operands.SHARED} == {"x", "mask", "starts"}


# Each before a line of its file: an operand in the middle, which no cell looks at.
INSERTED = {
    "operands.h": ("  X(kernel, kernel,", '  X(probe, probe, "bu", FLOAT, OPTIONAL, OWN, DIFFERENTIABLE) \\\n'),
    "engine.h": ("  const float* kernel;", "  const float* probe;\n"),
}
GRADIENT = ("  float* kernel;", "  float* probe;\n")


def _insert(path: Path, before: str, line: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name} has {before!r} {text.count(before)} times"
    path.write_text(text.replace(before, line + before), encoding="utf-8")


def test_every_hook_follows_a_row_more(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "csrc", source / "csrc")
    shutil.copy(ROOT / "CMakeLists.txt", source)
    for name, (before, line) in INSERTED.items():
        _insert(source / "csrc" / name, before, line)
    _insert(source / "csrc" / "engine.h", *GRADIENT)
    faces = ("_native", "gatewise_tensorflow", "gatewise_torch", "gatewise_xla")
    headers = next((ROOT / "build").glob("xla-*/include"))
    settings = ("GATEWISE_X86=OFF", "CMAKE_BUILD_TYPE=Debug", f"GATEWISE_XLA_INCLUDE={headers}")
    package = build(tmp_path, *settings, source=source, faces=faces)
    run_tests(package, ["test_fuzz", "test_step"], {}, deep=False)
