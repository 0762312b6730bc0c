# SPDX-License-Identifier: Apache-2.0
"""`gatewise info`: what a report of a fault should say of this machine."""

from typing import Annotated

import typer

import gatewise


def info(as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a program.")] = False) -> None:
    """Shows versions, CPU, threads, frameworks and settings.

    It is the text to paste into a report of a fault. No framework is imported.
    """
    found = gatewise.info()
    typer.echo(found.to_json() if as_json else found)
