# SPDX-License-Identifier: Apache-2.0
"""Sequences of different length in one array, with the mask that says what is real."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PAD = 0
SIDES = ("pre", "post")


class Padded(NamedTuple):
    """Sequences in one array.

    Attributes:
        tokens: (batch, timesteps) int32, 0 where there is nothing.
        mask: (batch, timesteps) bool, True where there is something.
    """

    tokens: NDArray[np.int32]
    mask: NDArray[np.bool_]


def pad(
    sequences: Sequence[Sequence[int]],
    maxlen: int | None = None,
    padding: str = "post",
    truncating: str = "post",
) -> Padded:
    """Fills sequences up to one length, and cuts those that are longer.

    `keras.utils.pad_sequences` does the first half; this also gives the mask, in which a token 0 counts, and needs no
    Keras.

    Args:
        sequences: whole numbers, one sequence for each row.
        maxlen: the length; without it, that of the longest sequence, and at least 1.
        padding: "post" fills up at the end, "pre" at the beginning.
        truncating: "post" cuts off the end, "pre" the beginning.

    Returns:
        Tokens and mask, each (batch, timesteps).

    Raises:
        ValueError: maxlen is below 1, or a side is unknown.

    Example:
        >>> tokens, mask = pad([[5, 6, 7], [8]])
        >>> tokens
        array([[5, 6, 7],
               [8, 0, 0]], dtype=int32)
        >>> mask
        array([[ True,  True,  True],
               [ True, False, False]])
    """
    check_padding("pad", "maxlen", maxlen, padding, truncating)
    length = maxlen if maxlen is not None else max([1, *(len(sequence) for sequence in sequences)])
    tokens = np.full((len(sequences), length), PAD, dtype=np.int32)
    mask = np.zeros(tokens.shape, dtype=np.bool_)
    for row, sequence in enumerate(sequences):
        kept = sequence[:length] if truncating == "post" else sequence[max(0, len(sequence) - length) :]
        place = slice(0, len(kept)) if padding == "post" else slice(length - len(kept), length)
        tokens[row, place] = kept
        mask[row, place] = True
    return Padded(tokens, mask)


def check_padding(caller: str, name: str, length: int | None, padding: str, truncating: str) -> None:
    """Checks what says how sequences are padded.

    Args:
        caller: the class or function, for the message.
        name: what it calls the length.
        length: the length, or None.
        padding: where it fills up.
        truncating: where it cuts.

    Raises:
        ValueError: the length is below 1, or a side is unknown.
    """
    if length is not None and length < 1:
        raise ValueError(
            f"{caller}: {name} is too small. Expected at least 1, or None for the longest sequence; received {length}. "
            "Choose how many tokens are read."
        )
    for argument, side in (("padding", padding), ("truncating", truncating)):
        if side not in SIDES:
            raise ValueError(
                f"{caller}: {argument} is unknown. Expected 'pre' or 'post'; received {side!r}. 'post' is the end."
            )
