# SPDX-License-Identifier: Apache-2.0
"""What a person sees while it runs: a line for each run, and below it, on a terminal, how far the present one is."""

from __future__ import annotations

import shutil
from typing import TextIO

_BARS = "▁▂▃▄▅▆▇█"


class Progress:
    """Lines on a stream.

    Args:
        stream: where they go; None: nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._live = stream is not None and stream.isatty()
        self._shown = False

    def line(self, text: str) -> None:
        """Writes a line that stays."""
        if self._stream is not None:
            self._clear()
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def now(self, text: str) -> None:
        """Writes below all lines what is going on, in the place of what went on before; on a terminal alone."""
        if self._stream is not None and self._live:
            self._clear()
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\x1b[2m{text[:width]}\x1b[0m")
            self._stream.flush()
            self._shown = True

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._stream is not None:
            self._clear()
            self._stream.flush()

    def _clear(self) -> None:
        if self._shown and self._stream is not None:
            self._stream.write("\r\x1b[2K")
            self._shown = False


def spark(values: list[float], width: int = 12) -> str:
    """Draws values as a row of bars, at most `width` of them.

    Example:
        >>> spark([0.0, 1.0, 2.0, 7.0])
        '▁▂▃█'
    """
    picked = [values[i * len(values) // min(width, len(values))] for i in range(min(width, len(values)))]
    picked[-1:] = values[-1:]
    low, high = min(picked), max(picked)
    return "".join(_BARS[round((value - low) / ((high - low) or 1) * (len(_BARS) - 1))] for value in picked)


def duration(seconds: float) -> str:
    """Writes a time.

    Example:
        >>> duration(4.25), duration(75), duration(7300)
        ('4.2 s', '1:15 min', '2:02 h')
    """
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    whole, unit = (round(seconds), "min") if seconds < 3600 else (round(seconds / 60), "h")
    return f"{whole // 60}:{whole % 60:02} {unit}"
