# SPDX-License-Identifier: Apache-2.0
"""The Typer application: one line for each command."""

from typing import Annotated

import typer

from gatewise.cli.check import check
from gatewise.cli.demo import demo
from gatewise.cli.info import info

app = typer.Typer(
    name="gatewise",
    help="GRU layers at the speed of the CPU: the commands.",
    no_args_is_help=True,
    epilog="python -m gatewise script.py runs a program with Keras and PyTorch patched.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"gatewise {version('gatewise')}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(demo)
app.command()(check)
app.command()(info)
