# SPDX-License-Identifier: Apache-2.0
"""`gatewise demo`: a real series forecast by two stacked GRU layers, from the record to the saved model."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gatewise.extras import is_installed, missing_message

DEFAULT_OUTPUT = Path("gatewise-demo")
TITLE = "half a year of CO\N{SUBSCRIPT TWO} ahead, from the weekly record of Mauna Loa, with two stacked GRU layers"


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for picture and model.")] = DEFAULT_OUTPUT,
    epochs: Annotated[int, typer.Option(min=1, help="How often the training years are read.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and of the order of the batches.")] = 1,
    no_stock: Annotated[bool, typer.Option("--no-stock", help="Do not time keras.layers.GRU beside it.")] = False,
) -> None:
    """Forecasts half a year of CO2 with two stacked GRU layers.

    Trains on the weekly Mauna Loa record, tests against naive forecasts, and times the same epochs with stock Keras.

    Saves the model, loads it again, and draws a picture.
    """
    missing = [name for name in ("numpy", "rich", "matplotlib", "keras", "tensorflow") if not is_installed(name)]
    if missing:
        _fail(missing_message("gatewise demo", missing, ["cli", "tensorflow"]))
    _prepare_folder(output)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gatewise.cli import demo_screen as screen  # here: `gatewise --help` need not wait for it

    screen.show_title("gatewise demo", TITLE)
    with screen.console.status("[dim]starting Keras"), screen.held_stderr():
        from gatewise.cli import demo_steps  # starts the backend, which takes seconds
    if not demo_steps.run(output, epochs, seed, with_stock=not no_stock):
        raise typer.Exit(1)


def _prepare_folder(output: Path) -> None:
    """Makes the folder and tries to write into it, before anything takes time."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        _fail(
            f"gatewise demo: the output folder cannot be written. Expected a folder that exists or can be made; "
            f"received {output} ({error.strerror}). Choose another with --output."
        )


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
