# SPDX-License-Identifier: Apache-2.0
"""What a comparison has found so far, in a folder: a file for each finding, so that an interrupted one goes on."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from gatewise.data.errors import FormatError
from gatewise.options import cut
from gatewise.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
_QUESTION = "question"


class Records:
    """Findings by name: JSON values.

    Args:
        folder: where they are kept, made if it is not there; None: in memory alone.
        question: what is asked, by name: data, settings. A folder keeps one question.

    Raises:
        FormatError: a file in the folder is damaged.
        ValueError: the folder holds findings of another question.
        OSError: the system does not write or read; what was kept stays. BlockingIOError: another comparison has the
            folder, when this one enters it.

    Example:
        >>> records = Records(None, {"data": "1f2e"})
        >>> records.put("seed-1", [0.5])
        >>> records.get("seed-1"), records.get("seed-2")
        ([0.5], None)
    """

    def __init__(self, folder: str | os.PathLike[str] | None, question: dict[str, Any]) -> None:
        self._folder = None if folder is None else Path(folder)
        self._found: dict[str, Any] = {}
        self._lock: int | None = None
        if self._folder is None:
            return
        if self._folder.exists() and not self._folder.is_dir():
            raise ValueError(
                f"compare: folder is a file. Expected a folder, or a name for one; received {self._folder}. Choose "
                "another name."
            )
        with _told(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        question = json.loads(json.dumps(question))  # as a file gives it back: tuples are lists
        before = self.get(_QUESTION)
        if before is None:
            self.put(_QUESTION, question)
        elif before != question:
            raise ValueError(_another(self._folder, before, question))

    def __enter__(self) -> Self:
        """Has the folder to itself until it is left, or the process ends."""
        if self._folder is not None and os.name == "posix":
            self._lock = _locked(self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def get(self, name: str) -> Any:
        """Gives a finding, or None."""
        return self.made(name, lambda kept: kept)

    def made(self, name: str, make: Callable[[Any], T]) -> T | None:
        """Gives what is made of a finding, or None."""
        path = None if self._folder is None else self._folder / f"{name}.json"
        try:
            if name not in self._found and path is not None and path.exists():
                self._found[name] = json.loads(path.read_text(encoding="utf-8"))
            return make(self._found[name]) if name in self._found else None
        except (ValueError, TypeError, LookupError) as error:
            raise FormatError(
                f"compare: {path} is damaged. Expected what compare wrote; received {cut(str(error))}. Delete this "
                "file: what it held is found again, in what is left of the budget."
            ) from error

    def put(self, name: str, value: Any) -> None:
        """Keeps a finding: it is in the folder in whole or not at all."""
        text = json.dumps(value)
        if self._folder is not None:
            with _told(self._folder):
                write_whole(self._folder / f"{name}.json", [text.encode()])
        self._found[name] = json.loads(text)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Says of an error of the system where it is, and what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"compare: folder cannot be written. Expected a folder with room, where files may be made; received "
            f"{error.strerror}. Make room or choose another, and call again: what is in it stays",
            str(folder),
        ) from error


def _locked(folder: Path) -> int | None:
    """Locks a folder, until what is returned is closed; None where the system has no locks there."""
    import fcntl  # which only POSIX has

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise BlockingIOError(
            error.errno,
            "compare: folder is in use. Expected one that no other comparison works in; received one that another call "
            "or process has. Wait until it ends, or choose another",
            str(folder),
        ) from error
    except OSError:  # some network drives
        os.close(lock)
        return None
    return lock


def _another(folder: Path, before: Any, question: dict[str, Any]) -> str:
    known = before if isinstance(before, dict) else {}
    other = [name for name in question if known.get(name) != question[name]]
    first = other[0] if other else "settings"
    return (
        f"compare: {folder} holds another comparison. Expected the same data and settings; received another "
        f"{', '.join(other) or 'set of settings'} ({first} was {cut(repr(known.get(first)), 40)}, is "
        f"{cut(repr(question.get(first)), 40)}). Choose another folder, or ask the same again."
    )
