# SPDX-License-Identifier: Apache-2.0
"""What a comparison has found so far, in a folder: a file for each finding, so that an interrupted one goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise.data.errors import FormatError
from gatewise.options import cut
from gatewise.whole_file import write_whole

if TYPE_CHECKING:
    import os

_QUESTION = "question"


class Records:
    """Findings by name: JSON values.

    Args:
        folder: where they are kept, made if it is not there; None: in memory alone.
        question: what is asked, by name: data, settings. A folder keeps one question.

    Raises:
        FormatError: a file in the folder is damaged.
        ValueError: the folder holds findings of another question.
        OSError: the system does not write or read.

    Example:
        >>> records = Records(None, {"data": "1f2e"})
        >>> records.put("seed-1", [0.5])
        >>> records.get("seed-1"), records.get("seed-2")
        ([0.5], None)
    """

    def __init__(self, folder: str | os.PathLike[str] | None, question: dict[str, Any]) -> None:
        self._folder = None if folder is None else Path(folder)
        self._found: dict[str, Any] = {}
        if self._folder is None:
            return
        if self._folder.exists() and not self._folder.is_dir():
            raise ValueError(
                f"compare: folder is a file. Expected a folder, or a name for one; received {self._folder}. Choose "
                "another name."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        question = json.loads(json.dumps(question))  # as a file gives it back: tuples are lists
        before = self.get(_QUESTION)
        if before is None:
            self.put(_QUESTION, question)
        elif before != question:
            raise ValueError(_another(self._folder, before, question))

    def get(self, name: str) -> Any:
        """Gives a finding, or None."""
        if name not in self._found and self._folder is not None and (path := self._folder / f"{name}.json").exists():
            try:
                self._found[name] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise FormatError(
                    f"compare: {path} is damaged. Expected what compare wrote; received {error}. Delete this file: "
                    "what it held is found again."
                ) from error
        return self._found.get(name)

    def put(self, name: str, value: Any) -> None:
        """Keeps a finding: it is in the folder in whole or not at all."""
        text = json.dumps(value)
        if self._folder is not None:
            write_whole(self._folder / f"{name}.json", [text.encode()])
        self._found[name] = json.loads(text)


def _another(folder: Path, before: Any, question: dict[str, Any]) -> str:
    known = before if isinstance(before, dict) else {}
    other = [name for name in question if known.get(name) != question[name]]
    first = other[0] if other else "settings"
    return (
        f"compare: {folder} holds another comparison. Expected the same data and settings; received another "
        f"{', '.join(other) or 'set of settings'} ({first} was {cut(repr(known.get(first)), 40)}, is "
        f"{cut(repr(question.get(first)), 40)}). Choose another folder, or ask the same again."
    )
