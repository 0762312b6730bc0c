# SPDX-License-Identifier: Apache-2.0
"""Sequences of different length in one array, with the mask that says what is real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.data.checks import check_choice, check_iterable, check_mask, check_whole, describe, is_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PAD = 0
SIDES = ("pre", "post")
_ENCODE = "Encode text first, as Vocabulary does; keras.utils.pad_sequences(..., dtype='float32') pads other numbers."
_ONE_LIST = "Give one list of numbers for each row."


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
        TypeError: a sequence holds something else than whole numbers, or maxlen is none.
        ValueError: maxlen is below 1, a side is unknown, a sequence has another rank, or a number exceeds 32 bits.

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
    rows = _as_rows(sequences)
    length = maxlen if maxlen is not None else max([1, *(len(row) for row in rows)])
    tokens = np.full((len(rows), length), PAD, dtype=np.int32)
    mask = np.zeros(tokens.shape, dtype=np.bool_)
    for number, row in enumerate(rows):
        kept = row[:length] if truncating == "post" else row[max(0, len(row) - length) :]
        place = slice(0, len(kept)) if padding == "post" else slice(length - len(kept), length)
        tokens[number, place] = kept
        mask[number, place] = True
    return Padded(tokens, mask)


def _as_rows(sequences: Any) -> list[NDArray[np.int32]]:
    rows = check_iterable("pad", "sequences", sequences, "a list of sequences of whole numbers", _ENCODE)
    return [_as_tokens(row, sequence) for row, sequence in enumerate(rows)]


def _as_tokens(row: int, sequence: Any) -> NDArray[np.int32]:
    """Makes an array of a sequence of whole numbers of 32 bits."""
    where, expected = f"pad: sequences[{row}]", "a sequence of whole numbers"
    check_mask(where, "numbers", sequence, expected, "Leave out what is masked: sequence.compressed().")
    try:
        array = np.asarray(sequence)
    except ValueError as error:  # lists of different length in it
        raise ValueError(
            f"{where} has the wrong rank. Expected {expected}; received {describe(sequence)}. {_ONE_LIST}"
        ) from error
    if array.ndim > 1:
        raise ValueError(f"{where} has the wrong rank. Expected {expected}; received {array.shape}. {_ONE_LIST}")
    if not array.ndim or (array.size and array.dtype.kind not in "iu"):
        large = array.ndim and all(map(is_whole, sequence))  # beyond 64 bits
        if not large:
            raise TypeError(
                f"{where} holds something else. Expected {expected}; received {describe(sequence)}. {_ENCODE}"
            )
    limits = np.iinfo(np.int32)
    if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
        raise ValueError(
            f"{where} holds numbers that are too large. Expected {limits.min} to {limits.max}; received {array.min()} "
            f"to {array.max()}. Number the tokens from 0 on."
        )
    return array.astype(np.int32)


def check_padding(caller: str, name: str, length: int | None, padding: str, truncating: str) -> None:
    """Checks what says how sequences are padded.

    Args:
        caller: the class or function, for the message.
        name: what it calls the length.
        length: the length, or None.
        padding: where it fills up.
        truncating: where it cuts.

    Raises:
        TypeError: the length is no whole number.
        ValueError: the length is below 1, or a side is unknown.
    """
    if length is not None:
        check_whole(caller, name, length, cure="Choose how many tokens are read, or None for the longest sequence.")
    for argument, side in (("padding", padding), ("truncating", truncating)):
        check_choice(caller, argument, side, SIDES, "'post' is the end.")
