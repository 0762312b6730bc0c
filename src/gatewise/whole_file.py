# SPDX-License-Identifier: Apache-2.0
"""Files that are there in whole or not at all."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write_whole(path: Path, parts: Iterable[Any]) -> None:
    """Writes a file that takes its name when all of it is on the disk, and goes if anything fails, an interrupt too.

    Args:
        path: the file, replaced if it exists.
        parts: its bytes, in order.

    Raises:
        OSError: the system does not write; what was there stays.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "note")
        ...     write_whole(path, [b"all ", b"of it"])
        ...     path.read_bytes()
        b'all of it'
    """
    target = path.resolve()  # a link stays one
    unfinished = target.with_name(f".gatewise-{secrets.token_hex(8)}.tmp")
    try:
        try:
            with unfinished.open("xb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    finally:  # an interrupt may have come just before
        unfinished.unlink(missing_ok=True)
    if os.name == "posix":  # the new name, too
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
