# SPDX-License-Identifier: Apache-2.0
"""The processes that a program starts by `multiprocessing`: they are patched too, and what they ran is counted.

A process leaves a file in a folder that all know, named after its number: empty when it begins, with its counts when it
ends. One that is ended by a signal, as `multiprocessing.Pool` may end its workers, leaves it empty.
"""

from __future__ import annotations

import os
import tempfile
from multiprocessing import spawn, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise import engine
from gatewise.run import patching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Follower:
    """Follows a process from its start, whether it begins as a copy of this one or anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        util.register_after_fork(self, _Follower.begin)

    def __reduce__(self) -> tuple[Callable[[Path], _Follower], tuple[Path]]:
        return _follow_anew, (self.folder,)

    def begin(self) -> None:
        """Begins to count in a new process, to say at its end what it ran."""
        (self.folder / str(os.getpid())).touch()
        util.Finalize(None, self._end, (engine.calls(),), exitpriority=0)

    def _end(self, before: engine.Calls) -> None:
        now = engine.calls()
        counts = f"{now.forward - before.forward} {now.backward - before.backward}"
        (self.folder / str(os.getpid())).write_text(counts, encoding="ascii")


def follow() -> Path:
    """Follows the processes that this one starts, and that they start.

    Returns:
        The folder for their counts.
    """
    folder = Path(tempfile.mkdtemp(prefix="gatewise-run-"))
    _send_along(_Follower(folder))
    return folder


def _follow_anew(folder: Path) -> _Follower:
    """Begins in a process that imports everything anew, before it imports the program's own script."""
    patching.patch_on_import()
    follower = _Follower(folder)
    _send_along(follower)
    follower.begin()  # a process that is no copy in any way calls nothing that was registered
    return follower


def _send_along(follower: _Follower) -> None:
    """Puts the follower among what a new process is told: it unpickles that before it does anything else."""
    stock = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {**stock(name), "gatewise": follower}

    spawn.get_preparation_data = get_preparation_data


def counts(folder: Path) -> Iterator[engine.Calls | None]:
    """Yields what each process ran that has begun; None for one that ended before it could say."""
    for path in folder.iterdir():
        text = path.read_text(encoding="ascii").split()
        yield engine.Calls(*map(int, text)) if text else None
