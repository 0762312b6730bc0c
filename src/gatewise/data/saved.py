# SPDX-License-Identifier: Apache-2.0
"""What is learned from data and belongs to a model: saved as JSON, or by Keras inside the model's file.

A `Saved` object has Keras's `get_config` and `from_config`. Its JSON holds the same configuration, so that a program
without Keras reads it:

    {"class_name": "gatewise>Vocabulary", "config": {...}}
"""

from __future__ import annotations

import json
import os
import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gatewise.data.errors import FormatError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

from contextlib import contextmanager

PACKAGE = "gatewise"


class Saved(ABC):
    """An object that its configuration, of numbers, strings, lists and dicts, describes completely.

    Example:
        >>> class Shift(Saved):
        ...     def __init__(self, by: float) -> None:
        ...         self.by = by
        ...
        ...     def get_config(self):
        ...         return {"by": self.by}
        >>> Shift(2.5).to_json()
        '{"class_name": "gatewise>Shift", "config": {"by": 2.5}}'
        >>> Shift.from_json(Shift(2.5).to_json()).by
        2.5
    """

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            The arguments that `from_config` makes an equal one from; JSON can hold them.
        """

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the object that a configuration describes.

        Args:
            config: what `get_config` gave.

        Returns:
            An equal object.
        """
        return cls(**config)

    def to_json(self) -> str:
        """Writes the object as JSON.

        Returns:
            The JSON; numbers are read again to the same bits.
        """
        return json.dumps({"class_name": f"{PACKAGE}>{type(self).__name__}", "config": self.get_config()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Makes the object that JSON describes.

        Args:
            text: what `to_json` gave.

        Returns:
            An equal object.

        Raises:
            FormatError: the text is no JSON, or describes something else.
        """
        return cls._from_json(text, f"{cls.__name__}.from_json")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the object to a JSON file; the file is there in whole or not at all.

        Args:
            path: the file, replaced if it exists.
        """
        with write_whole(path) as unfinished:
            unfinished.write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        Args:
            path: the file.

        Returns:
            An equal object.

        Raises:
            FormatError: the file holds something else.
        """
        where = f"{cls.__name__}.load: {os.fspath(path)}"
        try:
            text = Path(path).read_text(encoding="utf-8-sig")  # editors may have put a mark before it
        except UnicodeDecodeError as error:
            raise FormatError(
                f"{where}: the file is no text. Expected JSON that {cls.__name__}.save wrote; received bytes that are "
                "not UTF-8. Check the path."
            ) from error
        return cls._from_json(text, where)

    @classmethod
    def _from_json(cls, text: str, where: str) -> Self:
        expected = f'Expected {{"class_name": "{PACKAGE}>{cls.__name__}", "config": ...}}'
        cure = f"Give what {cls.__name__}.to_json or save wrote."
        try:
            described = json.loads(text)
        except (TypeError, ValueError) as error:  # it is no text, or no JSON
            raise FormatError(f"{where}: this is no JSON. {expected}; received {shorten(text)}. {cure}") from error
        name = described.get("class_name") if isinstance(described, dict) else None
        if name != f"{PACKAGE}>{cls.__name__}":
            received = f"class_name {name!r}" if name else shorten(described)
            raise FormatError(f"{where}: this describes something else. {expected}; received {received}. {cure}")
        try:
            return cls.from_config(described["config"])
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"{where}: the configuration does not fit. {expected}; received {shorten(described)}: {error}. {cure}"
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and type(self) is type(other) and other.get_config() == self.get_config()

    __hash__ = None  # type: ignore[assignment]  # what it has learned may change


def write_whole(path: str | os.PathLike[str]) -> AbstractContextManager[Path]:
    """Opens a file for writing that takes its name only when it is finished.

    Args:
        path: the file, replaced if it exists.

    Returns:
        A context manager that gives the path to write to, in the same folder; it is renamed at the end of the block, or
        removed when the block fails.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with write_whole(Path(folder, "notes.txt")) as unfinished:
        ...         _ = unfinished.write_text("all of it")
        ...     Path(folder, "notes.txt").read_text()
        'all of it'
    """
    return _write_whole(Path(path))


@contextmanager
def _write_whole(path: Path) -> Iterator[Path]:
    unfinished = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
