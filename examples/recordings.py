# SPDX-License-Identifier: Apache-2.0
"""The recordings of `spoken_digits.py`: where they lie, and what is refused."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.audio import read_wav
from gatewise.data.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE, TEST_TAKES = 8000, 5
COLUMNS = ("samples", "offsets", "digit", "speaker", "take", "rate")


@dataclass(frozen=True)
class Recordings:
    """Spoken digits: the sound of each, (samples,) float32, and (recordings,) digit, speaker and take."""

    sounds: list[NDArray[Any]]
    digit: NDArray[np.int64]
    speaker: NDArray[np.str_]
    take: NDArray[np.int64]

    def where(self, wanted: NDArray[np.bool_]) -> Recordings:
        """Keeps some of them."""
        sounds = [self.sounds[i] for i in np.flatnonzero(wanted)]
        return Recordings(sounds, self.digit[wanted], self.speaker[wanted], self.take[wanted])


def read(folder: Path) -> Recordings:
    """Reads `recordings/DIGIT_SPEAKER_TAKE.wav`, or the same packed into `spoken_digits.npz`."""
    packed, paths = folder / "spoken_digits.npz", sorted((folder / "recordings").glob("[0-9]_*_[0-9]*.wav"))
    found: dict[str, Any] = {}
    if zipfile.is_zipfile(packed):
        with np.load(packed) as archive:
            found = dict(archive)
    if paths:
        digit, speaker, take = np.array([path.stem.split("_") for path in paths]).T
        sounds = [read_wav(path, RATE) for path in paths]
    elif set(COLUMNS) <= set(found) and found["rate"] == RATE:
        samples, offsets, digit, speaker, take = (found[name] for name in COLUMNS[:-1])
        sounds = [sound / np.float32(32768) for sound in np.split(samples, offsets[1:-1])]
    else:
        raise FormatError(
            f"spoken_digits: {folder} does not fit. Expected recordings/DIGIT_SPEAKER_TAKE.wav, or spoken_digits.npz "
            f"with {', '.join(COLUMNS)}, and rate={RATE}; received no such WAV file, and in the other "
            f"{', '.join(found) or 'nothing'}. See docs/spoken_digits.md, 'Data'."
        )
    recordings = Recordings(sounds, digit.astype(int), speaker, take.astype(int))
    if not 0 < np.count_nonzero(recordings.take < TEST_TAKES) < len(sounds):
        raise FormatError(
            f"spoken_digits: {folder} lacks a part. Expected takes 0 to {TEST_TAKES - 1} for the test, and later ones; "
            f"received takes {sorted(set(recordings.take.tolist()))}. Add the others."
        )
    return recordings
