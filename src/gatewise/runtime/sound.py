# SPDX-License-Identifier: Apache-2.0
"""Sound as a model reads it: files and samples into log-mel frames, recordings of different length in one array."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.inputs import told
from gatewise.runtime.progress import shown

if TYPE_CHECKING:
    import numpy.typing as npt

    from gatewise.runtime.graph import Value

    Array = npt.NDArray[Any]


def is_sound(given: Any) -> bool:
    """Whether it is a path, samples, or several of either: frames have two axes more than a recording."""
    if isinstance(given, str | os.PathLike):
        return True
    if isinstance(given, np.ndarray) and given.dtype != object:
        return given.ndim <= 2
    if not isinstance(given, list | tuple | np.ndarray) or not len(given):
        return False
    return isinstance(given[0], str | os.PathLike) or _rank(given[0]) <= 1


def frames_of(where: str, given: Any, parts: list[Any], value: Value, fill: float | None, verbose: Any) -> Array:
    """Makes frames of recordings.

    Args:
        where: opens the errors.
        given: a path, an array of samples, (batch, samples), or a list of paths or arrays.
        parts: a LogMel, and a Scaler or none.
        value: the input.
        fill: what recordings are filled up with at their end: what the model's mask leaves out; None: it has no mask.
        verbose: whether progress is shown.

    Returns:
        (batch, steps, bands) float32.

    Raises:
        TypeError: samples are neither int16 nor floating point.
        ValueError: a recording cannot be read, is too short or too long, or recordings differ in length and the model
            has no mask.
    """
    several = [given] if _is_one(given) else list(given)
    if not several:
        raise ValueError(f"{where}: there are no recordings. Expected one or more; received none. Leave the call out.")
    taken = shown(where, "recordings", several, [1] * len(several), verbose)
    frames = [_frames(where, i, one, parts) for i, one in enumerate(taken)]
    steps = value.shape[1]
    longest = max(map(len, frames))
    wanted = longest if steps is None else steps
    if longest > wanted:
        raise ValueError(
            f"{where}: a recording is too long. Expected at most {wanted} frames, the steps of the input; received "
            f"{longest}. Cut it as in training."
        )
    shortest = min(map(len, frames))
    if shortest < wanted and fill is None:
        raise ValueError(
            f"{where}: recordings differ in length. Expected {wanted} frames in each, for the model has no mask that "
            f"leaves out what they are filled up with; received {shortest}. Predict each by itself, fill them up as in "
            "training, or put keras.layers.Masking() behind the input."
        )
    filled = np.full((len(frames), wanted, frames[0].shape[1]), fill or 0, np.float32)
    for row, one in zip(filled, frames, strict=True):
        row[: len(one)] = one
    return filled


def _frames(where: str, number: int, recording: Any, parts: list[Any]) -> Array:
    from gatewise.data.audio.wav import read_wav

    log_mel, *scaler = parts
    if isinstance(recording, str | os.PathLike):
        recording = read_wav(recording, log_mel.rate)
    found: Array = told(f"{where}[{number}]", lambda: log_mel(recording))
    return told(f"{where}[{number}]", lambda: scaler[0](found)) if scaler else found


def _is_one(given: Any) -> bool:
    if isinstance(given, np.ndarray):
        return given.ndim == 1 and given.dtype.kind not in "OUT"
    return isinstance(given, str | os.PathLike) or (not isinstance(given[0], str | os.PathLike) and not _rank(given[0]))


def _rank(one: Any) -> int:
    try:
        return np.ndim(one)
    except ValueError:  # rows of different length
        return 2
