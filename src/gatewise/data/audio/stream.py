# SPDX-License-Identifier: Apache-2.0
"""Log-mel frames of sound that is still coming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.audio.wav import check_samples
from gatewise.data.checks import check_whole, describe

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gatewise.data.audio.log_mel import LogMel


class LogMelStream:
    """Takes sound in pieces of any length and gives each frame as soon as it is complete.

    The frames are those of `LogMel` on the whole recording, bit for bit. `LogMel.stream()` makes one.

    Args:
        log_mel: what computes the frames.
        block: frames that are given at once: what does not fill so many waits.

    Attributes:
        room: how many samples may wait.

    Example:
        >>> from gatewise.data.audio import LogMel
        >>> stream = LogMel(rate=8000).stream()  # a frame is 200 samples, the next begins 80 later
        >>> [stream.push(np.zeros(100)).shape for _ in range(4)]
        [(0, 40), (1, 40), (1, 40), (1, 40)]
    """

    def __init__(self, log_mel: LogMel, block: int = 1) -> None:
        self.log_mel, self.block = log_mel, check_whole("LogMelStream", "block", block, cure="Usual is 1.")
        self.room = log_mel.frame_length - 1 + (self.block - 1) * log_mel.frame_step
        self._rest = np.zeros(0)
        self._skip = 0  # samples to leave out where frames do not touch

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Takes the next samples.

        Args:
            samples: (samples,) int16, or floating point from -1 to 1; any number, none included.

        Returns:
            (frames, bands) float32: the frames that are complete now; none most of the time, if pieces are short.

        Raises:
            ValueError: the samples have another shape, or are not finite; the stream stays as it was.
            TypeError: the samples are neither int16 nor floating point.
        """
        array = check_samples("LogMelStream.push", samples)
        skipped = min(self._skip, len(array))
        waiting = np.concatenate([self._rest, array[skipped:]])
        count = self.log_mel.count_frames(len(waiting)) // self.block * self.block
        used = count * self.log_mel.frame_step
        needed = used - self.log_mel.frame_step + self.log_mel.frame_length if count else 0
        frames = self.log_mel.compute(waiting[:needed])
        self._skip += max(0, used - len(waiting)) - skipped
        self._rest = waiting[used:]
        return frames

    @property
    def state(self) -> tuple[NDArray[np.float64], int]:
        """The samples that wait, at most `room`; and how many of the next to leave out, where frames do not touch."""
        return self._rest.copy(), self._skip

    @state.setter
    def state(self, given: tuple[ArrayLike, int]) -> None:
        received: Any = given
        if not isinstance(received, tuple | list) or len(received) != 2:
            raise TypeError(
                "LogMelStream.state: this is none of such a stream. Expected samples and a number to leave out; "
                f"received {describe(given)}. Give what state gave."
            )
        rest, skip = check_samples("LogMelStream.state", given[0]), given[1]
        skip = check_whole("LogMelStream.state", "skip", skip, least=0, cure="Give what state gave.")
        if len(rest) > self.room or (skip and len(rest)) or skip > max(0, self.log_mel.frame_step - 1):
            raise ValueError(
                f"LogMelStream.state: this is none of such a stream. Expected at most {self.room} samples, or fewer "
                f"than {self.log_mel.frame_step} to leave out; received {len(rest)} and {skip}. Give what state gave."
            )
        self._rest, self._skip = rest, skip

    def reset(self) -> None:
        """Forgets what was pushed: the next sample is the first."""
        self._rest, self._skip = np.zeros(0), 0
