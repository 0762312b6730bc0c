# SPDX-License-Identifier: Apache-2.0
"""The processes that a program starts by `multiprocessing`: they are patched too, and what they ran is counted.

A process leaves a file in a folder that all know, named after its number: empty when it begins, with its counts when it
ends. One that is ended by a signal, as `multiprocessing.Pool` may end its workers, leaves it empty.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from multiprocessing import spawn, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise import engine
from gatewise.run import patching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Follower:
    """Follows a program's processes from their start, whether one begins as a copy of another or anew."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        util.register_after_fork(self, Follower.begin)
        if hasattr(os, "register_at_fork"):  # Windows has no copies
            os.register_at_fork(before=self._make_folder)
        self._send_along()

    def __reduce__(self) -> tuple[Callable[[Path], Follower], tuple[Path]]:
        return _follow_anew, (self._make_folder(),)

    def begin(self) -> None:
        """Begins to count in a new process, to say at its end what it ran."""
        self._own_file().touch()
        util.Finalize(None, self._end, (engine.calls(),), exitpriority=0)

    def counts(self) -> Iterator[engine.Calls | None]:
        """Yields what each process ran that has begun; None for one that ended before it could say. Only once."""
        if self._folder is None:
            return
        for path in self._folder.iterdir():
            text = path.read_text(encoding="ascii").split()
            yield engine.Calls(*map(int, text)) if text else None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, before: engine.Calls) -> None:
        now = engine.calls()
        counts = f"{now.forward - before.forward} {now.backward - before.backward}"
        self._own_file().write_text(counts, encoding="ascii")

    def _own_file(self) -> Path:
        return self._make_folder() / str(os.getpid())

    def _make_folder(self) -> Path:
        if self._folder is None:  # most programs start no process, and need none
            self._folder = Path(tempfile.mkdtemp(prefix="gatewise-run-"))
        return self._folder

    def _send_along(self) -> None:
        """Puts itself among what a new process is told: it unpickles that before it does anything else."""
        stock = spawn.get_preparation_data

        def get_preparation_data(name: str) -> dict[str, Any]:
            return {**stock(name), "gatewise": self}

        spawn.get_preparation_data = get_preparation_data


def _follow_anew(folder: Path) -> Follower:
    """Begins in a process that imports everything anew, before it imports the program's own script."""
    patching.patch_on_import()
    follower = Follower(folder)
    follower.begin()  # a process that is no copy in any way calls nothing that was registered
    return follower
