# SPDX-License-Identifier: Apache-2.0
"""A package that an extra brings, and what to type when it is not there."""

from __future__ import annotations

import importlib.util
import sys


def is_installed(module: str) -> bool:
    """Says whether a module can be imported, without importing it.

    Example:
        >>> is_installed("json"), is_installed("no_such_module")
        (True, False)
    """
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def require(caller: str, module: str, extra: str) -> None:
    """Makes sure that a package is there before it is imported.

    Args:
        caller: the function that needs it, as users write it.
        module: the package.
        extra: the extra of gatewise that brings it.

    Raises:
        ModuleNotFoundError: it is not installed.

    Example:
        >>> require("read_wav", "no_such_module", "audio")
        Traceback (most recent call last):
            ...
        ModuleNotFoundError: read_wav: a package is missing. Expected the extra audio; not installed: no_such_module.
        Run: pip install 'gatewise[audio]'
    """
    if not is_installed(module):
        raise ModuleNotFoundError(
            f"{caller}: a package is missing. Expected the extra {extra}; not installed: {module}. "
            f"Run: pip install 'gatewise[{extra}]'",
            name=module,
        )
