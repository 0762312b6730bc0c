# SPDX-License-Identifier: Apache-2.0
"""Sound files by soundfile (the extra audio); plain WAV files are read without it, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatewise.data.audio.header import count_missing
from gatewise.data.audio.plain_wav import read_plain_wav
from gatewise.data.checks import check_mask, check_whole, describe
from gatewise.data.errors import FormatError
from gatewise.data.saved import write_whole
from gatewise.extras import is_installed, require

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray


_LARGEST = 1e100  # its square, summed over any frame, is a float64
_EACH = "Of several recordings, give each by itself."

# Bytes of a sample, by soundfile's names.
_WIDTHS = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}


def read_wav(path: str | os.PathLike[str], rate: int, channel: int | None = None) -> NDArray[np.float32]:
    """Reads a WAV file, or any other that soundfile reads.

    WAV files of whole numbers of 8 to 32 bits are read without soundfile as well, to the same bits.

    Args:
        path: the file.
        rate: samples a second that the model was made for; the file has to have it.
        channel: which channel to read, from 0; needed when there are several.

    Returns:
        (samples,) float32, from -1 to 1.

    Raises:
        FormatError: the file is no sound, is empty, has fewer samples than its header promises (which WAV, AIFF and AU
            files say), or has another rate or several channels.
        ModuleNotFoundError: soundfile is not installed, and the file is no plain WAV file.
        TypeError: rate or channel is no whole number.
        ValueError: there is no such channel.
    """
    plain = None if is_installed("soundfile") else read_plain_wav(path)
    if plain is None:
        require("read_wav", "soundfile", "audio")
    rate = check_whole("read_wav", "rate", rate, cure="Usual is 16000.")
    if channel is not None:
        channel = check_whole("read_wav", "channel", channel, least=0, cure="Choose one of the file's channels.")
    where = f"read_wav: {Path(path)}"
    size = Path(path).stat().st_size
    if size == 0:
        raise FormatError(f"{where} is empty. Expected a WAV file; received 0 bytes. Record or copy it again.")
    samples, found, width = plain or _read(where, path, size)
    missing = count_missing(path)
    if missing:
        promised = f"{len(samples) + missing // width} samples" if width else f"{size + missing} bytes"
        received = f"{missing // width} samples less" if width else f"{missing} bytes less"
        raise FormatError(
            f"{where} is cut off. Expected {promised}, as its header promises; received {received}. Copy or record it "
            "again."
        )
    if found != rate:
        raise FormatError(
            f"{where} has another rate. Expected rate={rate} samples a second; received {found}. Convert it, for "
            f"instance by scipy.signal.resample_poly(samples, {rate}, {found}) or sox, or pass rate={found} if the "
            "model was trained at it."
        )
    if not len(samples):
        raise FormatError(f"{where} is empty. Expected samples; received a header without any. Record it again.")
    channels = samples.shape[1]
    if channel is None and channels > 1:
        raise FormatError(
            f"{where} has several channels. Expected one; received {channels}. Choose with channel=0 to "
            f"channel={channels - 1}."
        )
    if channel is not None and channel >= channels:
        raise ValueError(
            f"{where}: channel does not exist. Expected 0 to {channels - 1}; received {channel}. Choose one of those."
        )
    return np.ascontiguousarray(samples[:, channel or 0])


def _read(where: str, path: str | os.PathLike[str], size: int) -> tuple[NDArray[np.float32], int, int]:
    """Reads a file by soundfile: (samples, channels), the rate, and bytes of a sample of all channels, 0 if unknown."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            width = file.channels * _WIDTHS.get(file.subtype, 0)
            return file.read(file.frames, dtype="float32", always_2d=True), file.samplerate, width
    except (soundfile.SoundFileError, TypeError) as error:  # a TypeError: the ending .raw says nothing of the format
        raise FormatError(
            f"{where} is no sound file, or damaged. Expected a WAV file; received {size} bytes that soundfile does not "
            f"read: {error}. Check the path and the format."
        ) from error


def write_wav(path: str | os.PathLike[str], samples: ArrayLike, rate: int) -> None:
    """Writes a WAV file of 16 bits; it is there in whole or not at all.

    Args:
        path: the file, replaced if it exists.
        samples: (samples,) int16, or floating point from -1 to 1.
        rate: samples a second.

    Raises:
        TypeError: the samples are neither int16 nor floating point, or rate is no whole number.
        ValueError: the samples have another shape or do not fit, or rate is below 1.
        ModuleNotFoundError: soundfile is not installed.
    """
    require("write_wav", "soundfile", "audio")
    import soundfile

    rate = check_whole("write_wav", "rate", rate, cure="Usual is 16000.")
    array = check_samples("write_wav", samples)
    peak = float(np.abs(array).max(initial=0.0))
    if peak > 1:
        raise ValueError(
            f"write_wav: samples are too loud. Expected -1 to 1, or int16; received a peak of {peak:g}. Divide by it."
        )
    whole = np.asarray(samples)
    with write_whole(path) as unfinished:
        soundfile.write(unfinished, whole if whole.dtype == np.int16 else array, rate, "PCM_16", format="WAV")


def check_samples(caller: str, samples: ArrayLike) -> NDArray[np.float64]:
    """Checks sound, and brings whole numbers to the range from -1 to 1.

    Args:
        caller: the function, for the message.
        samples: (samples,) int16, or floating point.

    Returns:
        (samples,) float64; int16 is divided by 32768.

    Raises:
        ValueError: the shape is another, or a sample is not finite or far too large.
        TypeError: the samples are neither int16 nor floating point.
    """
    expected = "(samples,) of one channel, int16 or floating point from -1 to 1"
    check_mask(caller, "samples", samples, expected, "Give samples.filled(0).")
    try:
        array = np.asarray(samples)
    except ValueError as error:  # recordings of different length
        raise ValueError(
            f"{caller}: samples have the wrong rank. Expected {expected}; received {describe(samples)}. {_EACH}"
        ) from error
    if array.ndim > 1:
        raise ValueError(
            f"{caller}: samples have the wrong rank. Expected {expected}; received {array.shape}. Of several channels, "
            f"choose one: samples[:, 0]. {_EACH}"
        )
    if array.dtype == np.int16 and array.ndim:
        return array / 32768.0
    if array.dtype.kind != "f" or not array.ndim:
        cure = "Convert them, for instance int32 by samples / 2**31."
        if not isinstance(samples, np.ndarray):
            cure = (
                "Give an array: numpy.array(samples, dtype=numpy.int16), or floating point; files are read by read_wav."
            )
        raise TypeError(
            f"{caller}: samples have the wrong type. Expected {expected}; received {describe(samples)}. {cure}"
        )
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(
            f"{caller}: samples are not finite. Expected numbers from -1 to 1; received {array[place]} at "
            f"{place}. Check how they were made."
        )
    if array.size and float(np.abs(array).max()) > _LARGEST:
        place = int(np.abs(array).argmax())
        raise ValueError(
            f"{caller}: samples are too large. Expected numbers from -1 to 1, and none beyond {_LARGEST:g}, whose "
            f"energy float64 could not hold; received {array[place]:g} at {place}. Divide them by the largest."
        )
    return array.astype(np.float64)
