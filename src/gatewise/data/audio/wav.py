# SPDX-License-Identifier: Apache-2.0
"""Sound files by soundfile (needs the extra audio)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatewise.data.errors import FormatError
from gatewise.data.saved import write_whole
from gatewise.extras import require

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray


def read_wav(path: str | os.PathLike[str], rate: int, channel: int | None = None) -> NDArray[np.float32]:
    """Reads a WAV file, or any other that soundfile reads.

    Args:
        path: the file.
        rate: samples a second that the model was made for; the file has to have it.
        channel: which channel to read, from 0; needed when there are several.

    Returns:
        (samples,) float32, from -1 to 1.

    Raises:
        FormatError: the file is no sound, is empty, or has another rate or several channels.
        ModuleNotFoundError: soundfile is not installed.
    """
    require("read_wav", "soundfile", "audio")
    import soundfile

    where = f"read_wav: {Path(path)}"
    size = Path(path).stat().st_size
    if size == 0:
        raise FormatError(f"{where} is empty. Expected a WAV file; received 0 bytes. Record or copy it again.")
    try:
        samples, found = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise FormatError(
            f"{where} is no sound file. Expected a WAV file; received {size} bytes that soundfile does not read: "
            f"{error}. Check the path and the format."
        ) from error
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
    if channel is not None and not 0 <= channel < channels:
        raise ValueError(
            f"{where}: channel does not exist. Expected 0 to {channels - 1}; received {channel}. Choose one of those."
        )
    return np.ascontiguousarray(samples[:, channel or 0])


def write_wav(path: str | os.PathLike[str], samples: ArrayLike, rate: int) -> None:
    """Writes a WAV file of 16 bits; it is there in whole or not at all.

    Args:
        path: the file, replaced if it exists.
        samples: (samples,) int16, or floating point from -1 to 1.
        rate: samples a second.

    Raises:
        ValueError: the samples have another shape or do not fit.
        ModuleNotFoundError: soundfile is not installed.
    """
    require("write_wav", "soundfile", "audio")
    import soundfile

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
        ValueError: the shape is another, or a sample is not finite.
        TypeError: the samples are neither int16 nor floating point.
    """
    array = np.asarray(samples)
    if array.ndim != 1:
        raise ValueError(
            f"{caller}: samples have the wrong rank. Expected (samples,) of one channel; received {array.shape}. "
            "Choose a channel: samples[:, 0]."
        )
    if array.dtype == np.int16:
        return array / 32768.0
    if array.dtype.kind != "f":
        raise TypeError(
            f"{caller}: samples have the wrong type. Expected int16 or floating point from -1 to 1; received "
            f"{array.dtype}. Convert them, for instance int32 by samples / 2**31."
        )
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(
            f"{caller}: samples are not finite. Expected numbers from -1 to 1; received {array[place]} at "
            f"{place}. Check how they were made."
        )
    return array.astype(np.float64)
