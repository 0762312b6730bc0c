# SPDX-License-Identifier: Apache-2.0
"""Packages that extras bring, and what to type when one is not there."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def is_installed(module: str) -> bool:
    """Says whether a module can be imported, without importing it.

    Example:
        >>> is_installed("json"), is_installed("no_such_module")
        (True, False)
    """
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def missing_message(caller: str, missing: Sequence[str], extras: Sequence[str]) -> str:
    r"""Says which packages are missing, and the line that installs them.

    Args:
        caller: who needs them, as users write it.
        missing: the packages, at least one.
        extras: the extras of gatewise that bring them.

    Returns:
        The message, in one line.

    Example:
        >>> print(missing_message("gatewise demo", ["keras"], ["cli", "tensorflow"]).replace(". ", ".\n"))
        gatewise demo: a package is missing.
        Expected the extras cli and tensorflow; not installed: keras.
        Run: pip install 'gatewise[cli,tensorflow]'
    """
    what = "a package is missing" if len(missing) == 1 else "packages are missing"
    expected = f"the extra{'s' if len(extras) > 1 else ''} {' and '.join(extras)}"
    run = f"pip install 'gatewise[{','.join(extras)}]'"
    return f"{caller}: {what}. Expected {expected}; not installed: {', '.join(missing)}. Run: {run}"


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
        raise ModuleNotFoundError(missing_message(caller, [module], [extra]), name=module)
