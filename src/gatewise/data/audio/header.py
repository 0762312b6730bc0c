# SPDX-License-Identifier: Apache-2.0
"""What the header of a sound file promises: libsndfile reads what is there of a file that was cut off, without a word.

WAV, RF64    "RIFF" size "WAVE"   then chunks: name, size, content; sound is in "data"    little-endian
AIFF, 8SVX   "FORM" size "AIFF"   the same; sound is in "SSND" or "BODY"                  big-endian
AU           ".snd" offset size
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import os

_ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}
_SOUND = (b"data", b"SSND", b"BODY")
# What writes into a pipe cannot go back to the header: it leaves 0 there, or a size about as large as can be.
_UNKNOWN = 0x7FFFF000


def count_missing(path: str | os.PathLike[str]) -> int:
    """Counts the bytes of sound that a file's header promises and that are not there.

    Args:
        path: the file.

    Returns:
        How many; 0 if all are there, if the header leaves open how many there are, or if its format is another.
    """
    with Path(path).open("rb") as file:
        begin, promised = _find_sound(file)
        present = file.seek(0, 2) - begin
    return max(0, promised - present)


def _find_sound(file: BinaryIO) -> tuple[int, int]:
    """Finds where the sound begins, and how many bytes it should have."""
    magic, first, second = struct.unpack(">4sII", file.read(12).ljust(12, b"\0"))
    if magic == b".snd":
        return first, _known(second)
    order, long_size = _ORDERS.get(magic), 0
    while order is not None and len(head := file.read(8)) == 8:
        name, size = struct.unpack(f"{order}4sI", head)
        if name in _SOUND:
            return file.tell(), long_size or _known(size)
        begin = file.tell()
        if name == b"ds64":  # of RF64, whose sizes have 64 bits
            _, long_size = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
        file.seek(begin + size + size % 2)
    return 0, 0


def _known(size: int) -> int:
    return 0 if size >= _UNKNOWN else size
