# SPDX-License-Identifier: Apache-2.0
"""`gatewise check`: which recurrent layers of a saved model run on the engine, and what to change for the others."""

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import gatewise
from gatewise.extras import KERAS, is_installed, missing_message, required_by

_SUFFIXES = (".keras", ".h5", ".hdf5")
_ERROR = 2  # the status when there is no answer; 0 and 1 are the answers
_QUOTED = 300  # characters of what Keras says


def check(
    file: Annotated[Path, typer.Argument(help="A whole model that Keras saved: .keras or .h5.", show_default=False)],
    patch: Annotated[bool, typer.Option("--patch", help="As it runs after gatewise.patch_keras().")] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="A module that registers your own layers with Keras."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a program.")] = False,
) -> None:
    """Says which layers of a saved model run natively.

    Ends with status 0 if all recurrent layers run natively, 1 if some do not, 2 if it cannot tell.

    For a model of PyTorch, call gatewise.explain(model) in Python.
    """
    _require_file(file)
    if not is_installed("keras"):
        _fail(missing_message("gatewise check", ["keras"], ["cli", KERAS]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gatewise.cli import check_screen as screen  # here: `gatewise --help` need not wait for it

    with screen.waiting("" if as_json else "starting Keras"):
        model, problem = _load(file, patch, modules or [])
    if problem is not None:
        _fail(problem)
    explanation = gatewise.explain(model)
    if as_json:
        typer.echo(explanation.to_json())
    else:
        screen.show(explanation)
    raise typer.Exit(0 if explanation.native else 1)


def _require_file(file: Path) -> None:
    if file.suffix not in _SUFFIXES:
        cure = "For a model of PyTorch, or in another format, call gatewise.explain(model) in Python."
        _fail(f"gatewise check: the file has the wrong suffix. Expected .keras or .h5; received {file}. {cure}")
    if not file.is_file():
        _fail(f"gatewise check: there is no such file. Expected a saved model; received {file}. Check the path.")


def _load(file: Path, patch: bool, modules: list[str]) -> tuple[Any, str | None]:
    """Loads a model. Returns it, or what is to be said instead: while this runs, stderr is held back."""
    try:
        with required_by("gatewise check", *KERAS):
            import gatewise.keras
    except ModuleNotFoundError as error:
        return None, str(error)
    if patch:
        gatewise.patch_keras()
    sys.path.insert(0, "")  # a user's module lies in the current folder, where a command does not look
    try:
        for name in modules:
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        return None, f"gatewise check: --import failed. Expected a module; received {', '.join(modules)}. {error}."
    import keras

    try:
        return keras.saving.load_model(file, compile=False), None
    except Exception as error:  # noqa: BLE001  # whatever Keras, or a layer of the user's, finds wrong
        return None, (
            f"gatewise check: the file cannot be loaded. Expected a whole model that Keras saved; received {file}. If "
            f"layers of your own are in it, name their module with --import, or load it in Python and call "
            f"gatewise.explain(model). Keras said: {_short(str(error))}"
        )


def _short(said: str) -> str:
    """Leaves out the configurations that Keras repeats before and behind what it has to say."""
    said = said.rpartition("Exception encountered: ")[2].partition("Full object config: ")[0]
    said = " ".join(said.split())
    return said if len(said) <= _QUOTED else f"{said[:_QUOTED]}..."


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(_ERROR)
