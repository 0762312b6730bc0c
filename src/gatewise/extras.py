# SPDX-License-Identifier: Apache-2.0
"""Packages that extras bring, and what to type when one is not there."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Extra: TypeAlias = str | tuple[str, ...]  # an extra of gatewise; a tuple: any one of these, the first if none is chosen

KERAS = ("tensorflow", "jax", "torch")  # each brings Keras with the backend that it is named after


def is_installed(module: str) -> bool:
    """Says whether a module can be imported, without importing it.

    Example:
        >>> is_installed("json"), is_installed("no_such_module")
        (True, False)
    """
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def missing_message(caller: str, missing: Sequence[str], extras: Sequence[Extra]) -> str:
    r"""Says which packages are missing, and the line that installs them.

    Args:
        caller: who needs them, as users write it.
        missing: the packages, at least one.
        extras: the extras of gatewise that bring them.

    Returns:
        The message, in one line.

    Example:
        >>> print(missing_message("gatewise demo", ["keras"], ["cli", KERAS]).replace(". ", ".\n"))
        ... # doctest: +ELLIPSIS
        gatewise demo: a package is missing.
        Expected the extras cli and tensorflow (or jax, or torch); not installed: keras.
        Run: ...pip install '...[cli,tensorflow]...'
    """
    what = "a package is missing" if len(missing) == 1 else "packages are missing"
    expected = f"the extra{'s' if len(extras) > 1 else ''} {' and '.join(map(_in_words, extras))}"
    chosen = [extra if isinstance(extra, str) else extra[0] for extra in extras]
    run = f"{_pip()} install {_what_pip_installs(missing, chosen)}"
    return f"{caller}: {what}. Expected {expected}; not installed: {', '.join(missing)}. Run: {run}"


def require(caller: str, module: str, *extras: str) -> None:
    """Makes sure that a package is there before it is imported.

    Args:
        caller: the function that needs it, as users write it.
        module: the package.
        extras: the extra of gatewise that brings it, or several, of which any one does.

    Raises:
        ModuleNotFoundError: it is not installed.

    Example:
        >>> require("read_wav", "no_such_module", "audio")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ModuleNotFoundError: read_wav: a package is missing. Expected the extra audio; not installed: no_such_module.
        Run: ...pip install '...[audio]...'
    """
    if not is_installed(module):
        raise ModuleNotFoundError(missing_message(caller, [module], [extras]), name=module)


@contextmanager
def required_by(caller: str, *extras: str) -> Iterator[None]:
    """Turns the error of an import inside the block into one that says what to install.

    Keras imports its backend itself, and only its error tells which one it looked for.

    Args:
        caller: the module or function that cannot do without, as users write it.
        extras: the extra of gatewise that brings what is imported, or several, of which any one does.

    Raises:
        ModuleNotFoundError: a package is not installed. What an installed package fails to find is its own error.

    Example:
        >>> with required_by("gatewise.torch", "torch"):  # doctest: +ELLIPSIS
        ...     import no_such_module
        Traceback (most recent call last):
            ...
        ModuleNotFoundError: gatewise.torch: a package is missing. Expected the extra torch; not installed:
        no_such_module. Run: ...pip install '...[torch]...'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or is_installed(package):
            raise
        message = missing_message(caller, [package], [tuple(sorted(extras, key=lambda extra: extra != package))])
        raise ModuleNotFoundError(message + _other_backend(package, extras), name=package) from None


def _other_backend(missing: str, extras: Sequence[str]) -> str:
    """Names the backend of Keras that is there, where the one that Keras was told to take is not."""
    there = [extra for extra in extras if missing in extras and is_installed(extra)]
    return f" Or set KERAS_BACKEND={there[0]}, which is installed." if there else ""


def _in_words(extra: Extra) -> str:
    if isinstance(extra, str):
        return extra
    first, *others = extra
    return f"{first} ({', '.join(f'or {other}' for other in others)})" if others else first


def _pip() -> str:
    """Returns the command that installs into this interpreter's environment."""
    found = shutil.which("pip")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return "pip"
    return f"{shlex.quote(sys.executable)} -m pip"


def _what_pip_installs(missing: Sequence[str], extras: Sequence[str]) -> str:
    """Returns what to name to pip so that it finds this gatewise again: where it was installed from."""
    names, record = ",".join(extras), _record_of_installation()
    if record is None:
        return f"'gatewise[{names}]'"
    url = _as_pip_takes_it(record)
    if not url.startswith("file:"):
        return f"'gatewise[{names}] @ {url}'"
    path = _local_path(url)
    option = "-e " if record.get("dir_info", {}).get("editable") else ""
    return option + shlex.quote(f"{path}[{names}]") if path.exists() else " ".join(missing)


def installed_from() -> str | None:
    """Says where pip took this gatewise from: `file:` and a folder or a wheel, `git+https:` with the commit.

    Returns:
        The URL as pip takes it; None if it came from a package index, by its name.
    """
    record = _record_of_installation()
    return None if record is None else _as_pip_takes_it(record)


def _record_of_installation() -> dict[str, Any] | None:
    """Reads where gatewise was installed from (PEP 610); None if that was a package index."""
    import json
    from importlib import metadata  # here: it takes as long to import as the rest of gatewise

    try:
        text = metadata.distribution("gatewise").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    record: dict[str, Any] | None = json.loads(text) if text else None
    return record


def _as_pip_takes_it(record: dict[str, Any]) -> str:
    """Writes a record of PEP 610 as the URL that pip takes.

    Example:
        >>> vcs_info = {"vcs": "git", "commit_id": "1f2e3d"}
        >>> _as_pip_takes_it({"url": "https://example.org/gatewise.git", "vcs_info": vcs_info})
        'git+https://example.org/gatewise.git@1f2e3d'
        >>> _as_pip_takes_it({"url": "file:///home/me/gatewise", "dir_info": {}})
        'file:///home/me/gatewise'
    """
    url = str(record["url"])
    vcs = record.get("vcs_info")
    if vcs:
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    below = record.get("subdirectory")
    return f"{url}#subdirectory={below}" if below else url


def _local_path(url: str) -> Path:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    return Path(url2pathname(urlsplit(url).path))
