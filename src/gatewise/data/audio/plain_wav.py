# SPDX-License-Identifier: Apache-2.0
"""WAV files of whole numbers by Python's own module, for where soundfile is not installed: the same bits."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray


def read_plain_wav(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], int, int] | None:
    """Reads a WAV file of 8, 16, 24 or 32 bits, as far as its samples go.

    Args:
        path: the file.

    Returns:
        (samples, channels) float32, from -1 to 1, the rate, and bytes of a sample of all channels; None if it is none.
    """
    if not Path(path).is_file():
        return None
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError):
        return None
    if not 1 <= width <= 4:
        return None
    whole = np.frombuffer(raw, np.uint8)[: len(raw) // (width * channels) * width * channels].reshape(-1, width)
    if width == 1:  # from 0 to 255
        whole = np.bitwise_xor(whole, np.uint8(128))
    wide = np.zeros((len(whole), 4), np.uint8)
    wide[:, 4 - width :] = whole  # the lowest bytes come first
    samples = wide.view("<i4").astype(np.float32) / np.float32(2**31)
    return samples.reshape(-1, channels), rate, width * channels
