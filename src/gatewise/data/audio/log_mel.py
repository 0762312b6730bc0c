# SPDX-License-Identifier: Apache-2.0
"""Log-mel frames: the energy of short pieces of sound in bands that follow the ear.

    samples -> pieces of frame_length, one each frame_step -> Hann window -> |FFT|^2 -> mel bands -> log

Every frame is computed by itself, with the additions in one order, so that it has the same bits in any company: in a
batch, alone, or in a stream. A matrix product would add in another order for another number of frames.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.audio.wav import check_samples
from gatewise.data.checks import check_whole, describe, is_real
from gatewise.data.saved import Saved

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gatewise.data.audio.stream import LogMelStream

_USUAL = "Usual are rate=16000 and bands=40, and no frame_length and frame_step."
FRAMES_AT_ONCE = 256  # bounds the memory; any number gives the same bits


class LogMel(Saved):
    """Turns sound into log-mel frames, for the model's training and its stream alike.

    The defaults are what speech recognition uses: 25 ms frames each 10 ms, 40 bands.

    Args:
        rate: samples a second.
        bands: mel bands, the features of a frame.
        frame_length: samples of a frame; without it, 25 ms.
        frame_step: samples from one frame to the next; without it, 10 ms.
        low: lower edge of the lowest band, in Hz.
        high: upper edge of the highest band, in Hz; without it, half the rate.
        floor: energy below which the logarithm is cut off; -1 to 1 is the range of the samples.

    Raises:
        TypeError: rate, bands, frame_length or frame_step is no whole number.
        ValueError: an argument has a value that it cannot have.

    Example:
        >>> log_mel = LogMel(rate=8000)
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)  # 1 kHz for a second
        >>> frames = log_mel(tone)
        >>> frames.shape, frames.dtype
        ((98, 40), dtype('float32'))
        >>> stream = log_mel.stream()
        >>> chunks = [stream.push(chunk) for chunk in np.array_split(tone, 7)]
        >>> bool((np.concatenate(chunks) == frames).all())  # the same bits
        True
    """

    def __init__(
        self,
        rate: int,
        bands: int = 40,
        frame_length: int | None = None,
        frame_step: int | None = None,
        low: float = 20.0,
        high: float | None = None,
        floor: float = 1e-10,
    ) -> None:
        rate = check_whole("LogMel", "rate", rate, cure=_USUAL)
        bands = check_whole("LogMel", "bands", bands, cure=_USUAL)
        lengths = {"frame_length": round(0.025 * rate), "frame_step": round(0.010 * rate)}
        for name, given in (("frame_length", frame_length), ("frame_step", frame_step)):
            lengths[name] = check_whole("LogMel", name, lengths[name] if given is None else given, cure=_USUAL)
        self.rate = rate
        self.bands = bands
        self.frame_length = lengths["frame_length"]
        self.frame_step = lengths["frame_step"]
        self.low = low
        self.high = rate / 2 if high is None else high
        self.floor = floor
        self._check()
        self.fft_length = 1 << (self.frame_length - 1).bit_length()
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.frame_length) / self.frame_length)
        filters = mel_filters(bands, self.fft_length, rate, self.low, self.high)
        narrow = np.flatnonzero(~filters.any(axis=1))
        if narrow.size:
            raise ValueError(
                f"LogMel: bands are too many. Expected each to hold a frequency of the FFT, {rate / self.fft_length:g} "
                f"Hz apart; received bands={bands}, of which {narrow.size} are empty. Use fewer, or a longer "
                "frame_length."
            )
        self._starts = filters.astype(bool).argmax(axis=1)
        width = int(filters.astype(bool).sum(axis=1).max())
        padded = np.pad(filters, ((0, 0), (0, width)))
        # weights[k, band]: that of the frequency k behind the band's first one
        self._weights = padded[np.arange(bands), self._starts + np.arange(width)[:, None]]

    def count_frames(self, samples: int) -> int:
        """Counts the frames that fit into a number of samples.

        Args:
            samples: how many there are.

        Returns:
            How many frames `__call__` gives.
        """
        samples = check_whole("LogMel.count_frames", "samples", samples, least=0, cure="Give len(samples).")
        return max(0, 1 + (samples - self.frame_length) // self.frame_step)

    def __call__(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Computes all frames of a recording.

        Args:
            samples: (samples,) int16, or floating point from -1 to 1, at the rate; what does not fill a frame at the
                end is left out.

        Returns:
            (frames, bands) float32, natural logarithms of energies.

        Raises:
            ValueError: the recording is shorter than a frame, not finite or far too large, or there are several.
            TypeError: the samples are neither int16 nor floating point.
        """
        array = check_samples("LogMel", samples)
        if len(array) < self.frame_length:
            raise ValueError(
                f"LogMel: samples are fewer than a frame. Expected at least frame_length={self.frame_length}; received "
                f"{len(array)}. Leave the recording out, or fill it up with zeros."
            )
        return self.compute(array)

    def stream(self) -> LogMelStream:
        """Begins a stream, which takes sound as it comes and gives the same frames.

        Returns:
            A stream at its beginning.
        """
        from gatewise.data.audio.stream import LogMelStream

        return LogMelStream(self)

    def compute(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """Computes the frames of sound that is checked already.

        Args:
            samples: (samples,) float64.

        Returns:
            (frames, bands) float32; none if the samples do not fill one.
        """
        frames = np.empty((self.count_frames(len(samples)), self.bands), dtype=np.float32)
        for first in range(0, len(frames), FRAMES_AT_ONCE):
            place = slice(first, min(first + FRAMES_AT_ONCE, len(frames)))
            begin = first * self.frame_step
            end = (place.stop - 1) * self.frame_step + self.frame_length
            pieces = np.lib.stride_tricks.sliding_window_view(samples[begin:end], self.frame_length)[:: self.frame_step]
            frames[place] = self._log_energies(pieces)
        return frames

    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            The arguments that an equal one is made of.
        """
        names = ("rate", "bands", "frame_length", "frame_step", "low", "high", "floor")
        return {name: getattr(self, name) for name in names}

    def _log_energies(self, pieces: NDArray[np.float64]) -> NDArray[np.floating[Any]]:
        spectrum = np.fft.rfft(pieces * self._window, self.fft_length, axis=-1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        power = np.pad(power, ((0, 0), (0, len(self._weights))))  # bands narrower than the widest read on, times 0
        energy = np.zeros((len(pieces), self.bands))
        for offset, weights in enumerate(self._weights):
            energy += power[:, self._starts + offset] * weights
        return np.asarray(np.log(np.maximum(energy, self.floor)))

    def _check(self) -> None:
        for name in ("low", "high", "floor"):
            if not is_real(getattr(self, name)) or isinstance(getattr(self, name), bool):
                raise TypeError(
                    f"LogMel: {name} is no number. Expected a number; received {describe(getattr(self, name))}. Usual "
                    "are low=20 and floor=1e-10, and no high."
                )
            setattr(self, name, float(getattr(self, name)))
        if not 0 <= self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"LogMel: low and high do not fit. Expected 0 <= low < high <= rate / 2 = {self.rate / 2:g}; received "
                f"low={self.low}, high={self.high}. A sound holds no frequency above half its rate."
            )
        if not 0 < self.floor < math.inf:
            raise ValueError(
                f"LogMel: floor does not fit. Expected a finite number above 0; received {self.floor}. Usual is 1e-10: "
                "silence has no logarithm."
            )


def mel_filters(bands: int, fft_length: int, rate: int, low: float, high: float) -> NDArray[np.float64]:
    """Computes the weight of each frequency in each band: triangles on the mel scale that overlap by half.

    mel(f) = 1127 ln(1 + f / 700), O'Shaughnessy, Speech Communication (1987), as HTK and Kaldi have it. The frequency 0
    counts nowhere.

    Args:
        bands: how many triangles.
        fft_length: length of the FFT.
        rate: samples a second.
        low: lower edge of the lowest triangle, in Hz.
        high: upper edge of the highest, in Hz.

    Returns:
        (bands, fft_length // 2 + 1) float64, from 0 to 1.
    """
    mel = 1127.0 * np.log1p(np.arange(fft_length // 2 + 1) * (rate / fft_length) / 700.0)
    edges = np.linspace(1127.0 * np.log1p(low / 700.0), 1127.0 * np.log1p(high / 700.0), bands + 2)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters: NDArray[np.float64] = np.maximum(
        0.0, np.minimum((mel - left) / (middle - left), (right - mel) / (right - middle))
    )
    filters[:, 0] = 0.0
    return filters
