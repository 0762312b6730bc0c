# SPDX-License-Identifier: Apache-2.0
"""Who may know whom: the rules of ARCHITECTURE.md, kept by reading the sources, the objects and a fresh interpreter."""

import ast
import graphlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "gatewise"
CSRC = ROOT / "csrc"

# --- Python ---

# What each part of the package may import of the package. A part is a module or a subpackage; "" is gatewise itself.
MAY_KNOW = {
    "": {
        *(
            "compare",
            "engine",
            "explain",
            "extras",
            "fallback",
            "info",
            "inspect",
            "keras",
            "layer_norm_weights",
            "native",
            "recompute",
            "runtime",
            "step",
            "torch",
        ),
        "weights",
    },
    "options": set(),
    "arrays": {"options"},
    "_native": set(),
    "cells": set(),
    "states": {"cells"},
    "operands": {"_native"},
    "weights": {"arrays", "cells", "operands", "options"},
    "layer_norm_weights": {"arrays", "cells", "options", "weights"},
    "reference": {"arrays", "cells", "options", "states"},
    "engine": {"_native", "options"},
    "scope": set(),
    "whole_file": set(),
    "extras": set(),
    "recompute": {"scope"},
    "native": {"_native", "arrays", "engine", "operands", "options", "recompute", "states", "weights"},
    "step": {"_native", "arrays", "engine", "operands", "options", "states", "weights"},
    "runtime.operations": {"cells", "engine", "operands", "options"},
    "runtime.doors.from_keras": {"cells", "engine", "extras", "options", "runtime", "runtime.operations"},
    "runtime.doors.from_onnx": {"cells", "extras", "options", "runtime", "runtime.operations", "weights"},
    "runtime.doors.from_torch": {"cells", "extras", "fallback", "options", "runtime", "runtime.operations", "weights"},
    "runtime": {
        *("_native", "cells", "data.audio", "data.errors", "data.labels", "data.saved", "data.scaling", "data.series"),
        *("data.text", "options", "runtime.doors.from_keras", "runtime.doors.from_onnx", "runtime.operations"),
        "whole_file",
    },
    "compare": {
        *("data.checks", "data.errors", "engine", "extras", "info", "keras", "options", "runtime"),
        *("runtime.doors.from_keras", "whole_file"),
    },
    "inspect": {
        *("cells", "extras", "options", "reference", "runtime", "runtime.doors.from_keras", "runtime.doors.from_onnx"),
        *("runtime.doors.from_torch", "runtime.operations", "whole_file"),
    },
    "fallback": {"scope"},
    "info": {"engine", "extras"},
    "ops.composed": {"operands", "reference"},
    "ops.tensorflow": {"cells", "engine", "extras", "operands", "ops.composed", "recompute"},
    "ops.jax": {"_native", "cells", "engine", "extras", "operands", "ops.composed", "recompute"},
    "ops.torch": {"_native", "cells", "engine", "extras", "fallback", "operands", "ops.composed", "recompute"},
    "keras": {
        *(
            "cells",
            "data.preprocessing",
            "extras",
            "fallback",
            "layer_norm_weights",
            "native",
            "operands",
            "options",
            "ops.tensorflow",
            "reference",
            "weights",
        ),
    },
    "torch": {"cells", "extras", "fallback", "layer_norm_weights", "operands", "options", "ops.torch"},
    "run": {"", "engine", "fallback"},
    "__main__": {"run"},
    "explain": {"fallback", "keras", "torch"},
    "cli": {"", "explain", "extras", "keras", "native", "weights"},
    "data.errors": {"options"},
    "data.checks": {"data.errors"},
    "data.saved": {"data.errors"},
    "data.labels": {"data.checks", "data.errors", "data.saved"},
    "data.scaling": {"data.checks", "data.errors", "data.saved"},
    "data.text": {"data.checks", "data.errors", "data.saved", "extras"},
    "data.series": {"data.checks", "data.errors", "data.saved", "extras", "data.scaling"},
    "data.audio": {"data.checks", "data.errors", "data.saved", "extras"},
    "data.preprocessing": {
        *("data.audio", "data.labels", "data.saved", "data.scaling", "data.series", "data.text"),
        "extras",
    },
}

# Which parts may import these, at any place. Everything else third-party is numpy and safetensors.
FRAMEWORKS = {
    "tensorflow": {"ops.tensorflow", "keras", "cli", "inspect"},
    "keras": {
        *("keras", "cli", "compare", "explain", "inspect", "data.preprocessing", "data.series", "data.text"),
        "runtime.doors.from_keras",
    },
    "jax": {"ops.jax", "inspect"},
    "torch": {"ops.torch", "keras", "torch", "explain", "inspect", "runtime.doors.from_torch"},
    "onnx": {"runtime.doors.from_onnx"},
    "matplotlib": {"cli", "compare", "inspect"},
    "optuna": {"compare"},
    "rich": {"cli"},
    "typer": {"cli"},
    "pandas": {"data.series"},
    "polars": {"data.series"},
    "soundfile": {"data.audio"},
    "tokenizers": {"data.text"},
}


def modules() -> dict[str, ast.Module]:
    """The package's modules by dotted name below gatewise: "" for gatewise itself, "keras.gru"."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


MODULES = modules()


def part_of(module: str) -> str:
    """The row of MAY_KNOW that a module belongs to: the longest that is the module or a package around it."""
    rows = [row for row in MAY_KNOW if row and (module == row or module.startswith(f"{row}."))]
    return max(rows, key=len) if rows else module


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def import_nodes(tree: ast.AST, *, when_imported: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """A tree's import statements but those for type checkers; `when_imported` leaves out those inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.stmt) and _is_type_checking(node):
            continue
        elif not (when_imported and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield from import_nodes(node, when_imported=when_imported)


def imported(module: str, *, when_imported: bool) -> set[str]:
    """The full dotted names of what a module imports; `from package import module` names the module."""
    ours = {f"gatewise.{name}" for name in (*MODULES, "_native")}
    names: set[str] = set()
    for node in import_nodes(MODULES[module], when_imported=when_imported):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            continue
        assert node.level == 0, f"gatewise.{module} imports relatively: line {node.lineno}"
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            names.add(name if name in ours else str(node.module))
    return names


def imported_here(module: str, *, when_imported: bool) -> set[str]:
    """The modules of the package, without the leading gatewise, that a module imports."""
    names = {name for name in imported(module, when_imported=when_imported) if name.split(".")[0] == "gatewise"}
    return {name.removeprefix("gatewise").removeprefix(".") for name in names}


def frameworks(module: str, *, when_imported: bool) -> set[str]:
    """The frameworks that a module imports."""
    return {name.split(".")[0] for name in imported(module, when_imported=when_imported)} & FRAMEWORKS.keys()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_knows_only_what_its_part_may_know(module: str) -> None:
    part = part_of(module)
    if module and module not in MAY_KNOW and module in {row.split(".")[0] for row in MAY_KNOW if "." in row}:
        assert not imported(module, when_imported=False), f"gatewise.{module} only holds its modules"
        return
    assert part in MAY_KNOW, f"gatewise.{module} has no row in MAY_KNOW: say there whom it may know"
    known = {part_of(name) for name in imported_here(module, when_imported=False)} - {part}
    assert known <= MAY_KNOW[part], f"gatewise.{module} may not import {sorted(known - MAY_KNOW[part])}"


@pytest.mark.parametrize("module", MODULES)
def test_a_framework_is_imported_only_where_it_is_used(module: str) -> None:
    wrong = {name for name in frameworks(module, when_imported=False) if part_of(module) not in FRAMEWORKS[name]}
    assert not wrong, f"gatewise.{module} may not import {sorted(wrong)}"


def test_imports_have_no_cycle() -> None:
    graph = {module: imported_here(module, when_imported=False) - {module} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, with the cycle


def loaded_with(module: str) -> set[str]:
    """The modules of the package that importing one of them loads."""
    loaded: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in MODULES and name not in loaded:
            loaded.add(name)
            todo += ["", *(name[: dot.start()] for dot in re.finditer(r"\.", name))]  # the packages around it
            todo += imported_here(name, when_imported=True)
    return loaded


@pytest.mark.parametrize(
    ("module", "light"),
    [("", set()), ("cli.app", {"rich", "typer"}), ("data.text", set()), ("data.series", set()), ("data.audio", set())],
    ids=["gatewise", "gatewise.cli", "gatewise.data.text", "gatewise.data.series", "gatewise.data.audio"],
)
def test_importing_reaches_no_framework(module: str, light: set[str]) -> None:
    for name in loaded_with(module):
        heavy = frameworks(name, when_imported=True) - light
        assert not heavy, f"importing gatewise.{module} loads gatewise.{name}, which imports {sorted(heavy)}"


def run_python(program: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_importing_the_package_loads_no_framework() -> None:
    loaded = json.loads(run_python("import gatewise, json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert "gatewise.native" in loaded
    assert not FRAMEWORKS.keys() & set(loaded)


# --- C++ ---

# What each part of csrc/ may include besides itself. A part is a folder, an interface, or a file's name.
MAY_INCLUDE = {
    "engine.h": set(),
    "program.h": {"engine.h"},
    "engine": {"dispatch", "passes", "threads", "engine.h"},
    "dispatch": {"passes"},
    "threads": set(),
    "simd": {"engine.h"},
    "cells": {"simd"},
    "products": {"simd"},
    "formats": {"cells", "products", "threads", "engine.h"},
    "passes": {"cells", "formats", "products", "simd", "threads", "engine.h"},
    "program": {"dispatch", "products", "simd", "threads", "engine.h", "program.h"},
    "isa": {"cells", "formats", "passes", "program"},
    "operands": set(),
    "bind": {"engine.h", "operands", "program.h"},
}
# C headers without inline code, which alone may reach a file with an instruction set's flags.
PLAIN_HEADERS = {"stddef.h", "stdint.h", "cstddef", "cstdint", "immintrin.h", "arm_neon.h"}
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".c", ".cpp"})


def c_part(path: Path) -> str:
    """The row of MAY_INCLUDE that a file belongs to."""
    relative = path.relative_to(CSRC)
    interface = path.name in {"engine.h", "program.h"}
    return relative.parts[0] if len(relative.parts) > 1 or interface else relative.stem


def code_of(path: Path) -> str:
    """A C++ source without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def included_files(path: Path) -> set[Path]:
    """The files of csrc/ that a file includes itself; includes are written from csrc/ or from the file's own folder."""
    found = set()
    for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', code_of(path), re.MULTILINE):
        candidates = [path.parent / name, CSRC / name]
        existing = [candidate.resolve() for candidate in candidates if candidate.exists()]
        assert existing, f"{path.relative_to(ROOT)} includes {name}, which is not in csrc/"
        found.add(existing[0])
    return found


def included_systems(path: Path) -> set[str]:
    """The headers in angle brackets that a file includes itself."""
    return set(re.findall(r"^\s*#\s*include\s+<([^>]+)>", code_of(path), re.MULTILINE))


def c_name(path: Path) -> str:
    return path.relative_to(CSRC).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=c_name)
def test_a_c_source_includes_only_what_its_part_may(path: Path) -> None:
    part = c_part(path)
    assert part in MAY_INCLUDE, f"csrc/{c_name(path)} has no row in MAY_INCLUDE: say there what it may include"
    allowed = MAY_INCLUDE[part] | {part}
    wrong = {c_name(file) for file in included_files(path) if c_part(file) not in allowed}
    assert not wrong, f"csrc/{c_name(path)} may not include {sorted(wrong)}"


@pytest.mark.parametrize("path", sorted((CSRC / "isa").glob("*.cpp")), ids=c_name)
def test_what_an_instruction_set_is_compiled_from_has_no_inline_library_code(path: Path) -> None:
    # Of an inline function that two objects hold, compiled for different CPUs, the linker keeps either one.
    todo, seen = [path], set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += included_files(file)
            wrong = included_systems(file) - PLAIN_HEADERS
            assert not wrong, f"csrc/{c_name(file)}, included by csrc/{c_name(path)}, includes {sorted(wrong)}"


# Where no cell and no format is known by name.
BLIND = {"products", "passes", "threads", "bind"}


@pytest.mark.parametrize("path", [path for path in SOURCES if c_part(path) in BLIND], ids=c_name)
def test_a_cell_and_a_format_are_known_by_their_concepts(path: Path) -> None:
    concepts = {"cells/cell.h", "formats/format.h", "formats/pack.h", "formats/panels.h"}
    wrong = {c_name(file) for file in included_files(path) if c_part(file) in {"cells", "formats"}}
    assert wrong <= concepts, f"csrc/{c_name(path)} may not include {sorted(wrong - concepts)}"


@pytest.mark.parametrize("path", [path for path in SOURCES if c_part(path) in BLIND], ids=c_name)
def test_no_pass_product_or_hook_knows_a_gate(path: Path) -> None:
    text = re.sub(r"\bupdate\(|::update\b|\"update\"", "", path.read_text(encoding="utf-8"))  # Step.update is no gate
    assert not re.search(r"(?i)update|forget|candidate|reset.?gate|reset_after|cell state|h_tilde|kReset", text)
    assert not re.search(r"\b\d+ \* (?:\w+\.)?units\b|\bunits \* \d", re.sub(r'"[^"]*"', "", code_of(path)))


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "ops").rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_no_operation_of_a_framework_knows_a_gate(path: Path) -> None:
    assert not re.search(r"(?i)\bupdate gate|forget|candidate|reset.?gate|reset_after|\b\d+ \* units", path.read_text())


@pytest.mark.parametrize("path", [path for path in SOURCES if c_part(path) != "simd"], ids=c_name)
def test_vector_intrinsics_stand_in_simd_alone(path: Path) -> None:
    # A pause, while the pool waits, is no arithmetic; nor is setting the floating-point mode.
    intrinsics = r"\b_mm\d*_|\b__m\d+|\b__builtin_ia32_(?!pause|ldmxcsr|stmxcsr)|\bfloat32x4_t\b"
    assert not re.search(intrinsics, code_of(path))
    assert not included_systems(path) & {"immintrin.h", "arm_neon.h"}


@pytest.mark.parametrize("path", [path for path in SOURCES if c_part(path) != "bind"], ids=c_name)
def test_only_bind_sees_python_and_frameworks(path: Path) -> None:
    assert not re.search(r"\bPy_|\bPyObject\b|\bnanobind\b|\bTF_[A-Z]|\bdlsym\b|\bxla\b|\baoti_", code_of(path))


def test_a_name_of_a_type_stands_for_one_type() -> None:
    # Two types of one name in two objects: the linker keeps one of their implicit functions, for both.
    owners: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.suffix == ".h" and c_part(path) != "bind":
            for name in re.findall(r"^(?:struct|class|enum class) (\w+)[^;{]*\{", code_of(path), re.MULTILINE):
                owners.setdefault(name, []).append(c_name(path))
    assert not {name: paths for name, paths in owners.items() if len(paths) > 1}


def objects() -> list[Path]:
    """What this interpreter's build compiled from csrc/isa/."""
    builds = (ROOT / "build").glob(f"cp3{sys.version_info.minor}-*")
    return sorted(path for build in builds for path in build.glob("CMakeFiles/gatewise_*.dir/csrc/isa/*.o"))


def test_an_instruction_set_exports_one_symbol() -> None:
    found = objects()
    if not found:
        pytest.skip("no build in build/: `make test` builds there")
    for path in found:
        command = ["nm", "--defined-only", "--extern-only", "--format=posix", str(path)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
        assert len(lines) == 1, f"{path.name} exports {[line.split()[0] for line in lines]}"


# --- Every source ---


def every_source() -> list[Path]:
    """The files that a person wrote in a language with comments."""
    folders = [PACKAGE, CSRC, *(ROOT / name for name in ("tests", "benchmarks", "examples"))]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".h", ".c", ".cpp"}]
    return sorted([*found, *(ROOT / name for name in ("CMakeLists.txt", "Makefile", "pyproject.toml", ".ci/run"))])


@pytest.mark.parametrize("path", every_source(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_source_opens_with_its_licence(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    opening = lines[1] if lines[:1] and lines[0].startswith("#!") else "".join(lines[:1])
    assert opening in {f"{mark} SPDX-License-Identifier: Apache-2.0" for mark in ("#", "//")}
