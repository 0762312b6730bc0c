# SPDX-License-Identifier: Apache-2.0
"""A program run as the interpreter would run it: as the module `__main__`, with its own path and tracebacks."""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder, SourceFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.machinery import ModuleSpec


class Program(NamedTuple):
    """A module, its names as the interpreter sets them for `__main__`, and the code that has yet to fill it."""

    module: ModuleType
    code: CodeType


def find_script(path: str) -> Program:
    """Reads a script, or the `__main__.py` in a folder or a zip file, and puts its folder first on `sys.path`.

    Raises:
        SystemExit: 2, with a message: there is none.
        SyntaxError: it is no Python; the interpreter shows where.
    """
    place = os.path.abspath(path)  # noqa: PTH100  # as the interpreter names it: links stay as they are
    spec = PathFinder.find_spec("__main__", [place])
    if spec is not None:
        _put_first(place)
        return _program(spec)
    try:
        with io.open_code(place) as file:
            source = file.read()
    except OSError as error:
        _fail(
            2,
            f"the script cannot be read. Expected a Python file, or a folder with a __main__.py; received {path} "
            f"({error.strerror}). Check the path.",
        )
    _put_first(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120  # links are followed
    module = _module(__file__=place, __loader__=SourceFileLoader("__main__", place), __spec__=None, __package__=None)
    with _shown_alone():
        return Program(module, compile(source, place, "exec", dont_inherit=True))


def find_module(name: str) -> Program:
    """Finds a module, or the `__main__` of a package, by its name, on `sys.path`, which begins with the current folder.

    Raises:
        SystemExit: 1, with a message, as the interpreter has it: there is none.
    """
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        spec = None
    if spec is None:
        _fail(
            1,
            f"there is no such module. Expected the name of a module or of a package with a __main__; received {name}.",
        )
    if spec.origin is not None:
        sys.argv[0] = spec.origin
    return _program(spec)


def run(program: Program) -> None:
    """Runs a program as `__main__`. Whatever it raises comes through, shown as if nothing stood above it."""
    sys.modules["__main__"] = program.module
    with _shown_alone(program.code):
        exec(program.code, vars(program.module))  # noqa: S102  # this is what it is for


def _program(spec: ModuleSpec) -> Program:
    loader: Any = spec.loader
    module = _module(
        __file__=spec.origin, __loader__=loader, __spec__=spec, __package__=spec.parent, __cached__=spec.cached
    )
    with _shown_alone():
        code = loader.get_code(spec.name)
    if code is None:
        _fail(1, f"the module cannot be run. Expected one written in Python; received {spec.origin}. Check the name.")
    return Program(module, code)


def _module(**names: Any) -> ModuleType:
    module = ModuleType("__main__")
    vars(module).update({"__builtins__": builtins, "__cached__": None, **names})
    return module


def _put_first(folder: str) -> None:
    """Puts a folder where `python -m` has put the current one."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


@contextmanager
def _shown_alone(code: CodeType | None = None) -> Iterator[None]:
    """Has the interpreter show an exception from the program's own frame on, through whatever hook the program set.

    Args:
        code: the program's; None while it is being compiled, when no frame is its own.
    """
    try:
        yield
    except BaseException as error:
        sys.excepthook = _hook(sys.excepthook, error, code)
        raise


def _hook(show: Callable[..., Any], ours: BaseException, code: CodeType | None) -> Callable[..., Any]:
    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if error is ours:
            while traceback is not None and traceback.tb_frame.f_code is not code:
                traceback = traceback.tb_next
            error.with_traceback(traceback)
        show(kind, error, traceback)

    return hook


def _fail(status: int, message: str) -> NoReturn:
    sys.stderr.write(f"python -m gatewise: {message}\n")
    sys.exit(status)
