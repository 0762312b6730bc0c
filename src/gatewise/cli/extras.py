# SPDX-License-Identifier: Apache-2.0
"""What a command needs beyond NumPy, and what to type when it is not there."""

import importlib.util
from collections.abc import Sequence

INSTALL = "pip install 'gatewise[cli,tensorflow]'"


def missing_message(command: str, missing: Sequence[str]) -> str:
    r"""Says which packages a command lacks, and the line that installs them.

    Returns:
        The message, in one line.

    Example:
        >>> print(missing_message("gatewise demo", ["keras"]).replace(". ", ".\n"))
        gatewise demo: a package is missing.
        Expected the extras cli and tensorflow; not installed: keras.
        Run: pip install 'gatewise[cli,tensorflow]'
    """
    what = "a package is missing" if len(missing) == 1 else "packages are missing"
    names = ", ".join(missing)
    return f"{command}: {what}. Expected the extras cli and tensorflow; not installed: {names}. Run: {INSTALL}"


def find_missing(modules: Sequence[str]) -> list[str]:
    """Finds which modules cannot be imported, without importing them.

    Returns:
        Their names, in the order given.

    Example:
        >>> find_missing(["json", "no_such_module"])
        ['no_such_module']
    """
    return [name for name in modules if importlib.util.find_spec(name) is None]
