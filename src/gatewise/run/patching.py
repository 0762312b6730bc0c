# SPDX-License-Identifier: Apache-2.0
"""Keras and PyTorch patched in the moment in which a program has imported them, and not imported for it."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import gatewise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

FRAMEWORKS = {"keras": "Keras", "torch": "PyTorch"}  # the modules to wait for


def patch_on_import() -> None:
    """Patches each framework at the end of its import, or now if the interpreter has imported it while it started."""
    sys.meta_path.insert(0, _Finder())
    for name in FRAMEWORKS:
        if sys.modules.get(name) is not None:
            _patch(name)


def _patch(name: str) -> None:
    try:
        (gatewise.patch_keras if name == "keras" else gatewise.patch_torch)()
    except Exception as error:  # noqa: BLE001  # whatever it is that keeps the patch off, the program shall run
        warnings.warn(f"python -m gatewise: {FRAMEWORKS[name]} stays as it is. {error}", RuntimeWarning, stacklevel=2)


class _Finder:
    """Finds the frameworks as the finders behind it do, and has their loaders call `_patch` at the end."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in FRAMEWORKS:
            return None
        finders = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        others = (finder.find_spec(name, path, target) for finder in finders)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is not None and spec.loader is not None:
            _call_behind(spec.loader, _patch, name)
        return spec


def _call_behind(loader: Any, function: Callable[[str], None], name: str) -> None:
    """Has a loader call a function when it has executed a module, once: the loader itself stays the module's own."""
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module
        execute(module)
        function(name)

    loader.exec_module = exec_module
