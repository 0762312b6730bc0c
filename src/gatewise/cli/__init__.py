# SPDX-License-Identifier: Apache-2.0
"""The command line: `gatewise demo` and the commands that follow.

One file a command; everything heavy is imported when it is used, so that `gatewise --help` answers at once.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the `gatewise` command.

    Raises:
        SystemExit: with the command's exit status; status 1 and a message if the extra `cli` is not installed.
    """
    try:
        from gatewise.cli.app import app  # here, so that a missing extra is a message, not a traceback
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        from gatewise.extras import missing_message

        sys.exit(missing_message("gatewise", [str(error.name)], ["cli", "tensorflow"]))
    app(prog_name="gatewise")
