# SPDX-License-Identifier: Apache-2.0
"""`python -m gatewise script.py ARGS`: runs a program with its GRU layers on the engine, and says how many calls were.

Keras and PyTorch are patched, whichever of them the program imports, as `gatewise.patch_keras()` and
`gatewise.patch_torch()` would do in its first line. At the end a line on stderr counts the calls that ran natively.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gatewise.run import patching, processes, report, script

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
usage: python -m gatewise script.py [ARGS]
       python -m gatewise -m package.module [ARGS]

Runs a Python program with the GRU layers of Keras and PyTorch on gatewise's
engine, unchanged otherwise. At the end a line on stderr says how many calls ran
natively. Processes that it starts by multiprocessing follow, those of subprocess
do not.

Other commands: gatewise --help
"""


def main(arguments: Sequence[str]) -> None:
    """Runs what the arguments name.

    Args:
        arguments: those behind `python -m gatewise`.

    Raises:
        SystemExit: there is no such program, or the program ended so. Its other exceptions come through as well.
    """
    if arguments and arguments[0] in {"-h", "--help"}:
        sys.stdout.write(USAGE)
        return
    by_name = arguments[:1] == ["-m"]
    rest = arguments[1:] if by_name else arguments
    if not rest or rest[0].startswith("-"):
        sys.stderr.write(USAGE)
        sys.exit(2)
    sys.argv[:] = ["-m" if by_name else rest[0], *rest[1:]]
    patching.patch_on_import()
    program = script.find_module(rest[0]) if by_name else script.find_script(rest[0])
    report.at_exit(processes.Follower())
    script.run(program)


if __name__ == "__main__":  # importing it, as tools that read every module of a package do, runs nothing
    main(sys.argv[1:])
