# SPDX-License-Identifier: Apache-2.0
"""What every text encoder does: texts in, padded tokens and their mask out, and back."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.checks import check_iterable, check_mask
from gatewise.data.errors import shorten
from gatewise.data.saved import Saved
from gatewise.data.text.padding import PAD, Padded, check_padding, pad

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

UNKNOWN = 1
UNKNOWN_TOKEN = "[UNK]"  # noqa: S105  # as in keras.layers.TextVectorization
SPECIAL = ("", UNKNOWN_TOKEN)


class TextEncoder(Saved):
    """Numbers for the pieces of texts: 0 is padding, 1 what is unknown, the rest what was learned.

    Put `keras.layers.Embedding(encoder.vocabulary_size(), 64, mask_zero=True)` behind it: the mask of padding then
    reaches the GRU by itself.

    Args:
        output_sequence_length: how many tokens a text becomes; without it, as many as the longest of the call.
        padding: "post" fills up at the end, "pre" at the beginning.
        truncating: "post" cuts off the end of what is longer, "pre" the beginning.
    """

    def __init__(
        self, output_sequence_length: int | None = None, padding: str = "post", truncating: str = "post"
    ) -> None:
        name = type(self).__name__
        check_padding(name, "output_sequence_length", output_sequence_length, padding, truncating)
        self.output_sequence_length = output_sequence_length
        self.padding = padding
        self.truncating = truncating

    @abstractmethod
    def adapt(self, texts: Iterable[str]) -> Self:
        """Learns the vocabulary from the training part.

        Args:
            texts: strings.

        Returns:
            The object itself.
        """

    @abstractmethod
    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Gives the tokens of each text, neither padded nor cut.

        Args:
            texts: strings.

        Returns:
            One list of tokens for each text.
        """

    @abstractmethod
    def decode(self, tokens: ArrayLike | Sequence[Sequence[int]]) -> list[str]:
        """Gives the texts that tokens stand for; padding is left out.

        Args:
            tokens: (batch, timesteps) whole numbers, or a list of lists.

        Returns:
            One text for each row.
        """

    @abstractmethod
    def get_vocabulary(self) -> list[str]:
        """Lists the tokens by number, as `keras.layers.TextVectorization.get_vocabulary` does.

        Returns:
            "" for padding, "[UNK]" for what is unknown, then the rest.
        """

    def vocabulary_size(self) -> int:
        """Counts the tokens, padding and unknown included: the `input_dim` of the Embedding.

        Returns:
            One more than the largest number that a text can give.
        """
        return len(self.get_vocabulary())

    def __call__(self, texts: Iterable[str]) -> NDArray[np.int32]:
        """Encodes and pads.

        Args:
            texts: strings.

        Returns:
            (batch, timesteps) int32.
        """
        return self.encode_and_pad(texts).tokens

    def encode_and_pad(self, texts: Iterable[str]) -> Padded:
        """Encodes and pads, and gives the mask as well, for a GRU without an Embedding below.

        Args:
            texts: strings.

        Returns:
            Tokens, (batch, timesteps) int32, and mask, (batch, timesteps) bool.
        """
        return pad(self.encode(texts), self.output_sequence_length, self.padding, self.truncating)

    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            The arguments that an equal one is made of.
        """
        return {
            "output_sequence_length": self.output_sequence_length,
            "padding": self.padding,
            "truncating": self.truncating,
        }


def check_texts(caller: str, texts: Any) -> list[str]:
    """Checks that texts are a list of strings.

    Args:
        caller: the method, for the message.
        texts: what it was given.

    Returns:
        The texts as a list of `str`.

    Raises:
        TypeError: it is one string, or holds something else.
    """
    found = list(check_iterable(caller, "texts", texts, "a list of strings", "Wrap it in a list: [text]."))
    for place, text in enumerate(found):
        if not isinstance(text, str):
            cure = "Decode it: text.decode('utf-8')." if isinstance(text, bytes) else "Leave it out or make it a str."
            raise TypeError(
                f"{caller}: texts[{place}] is no string. Expected str; received {type(text).__name__} "
                f"{shorten(text)}. {cure}"
            )
    return found


def check_unicode(caller: str, texts: list[str]) -> None:
    """Checks that texts can be written in UTF-8.

    Args:
        caller: the method, for the message.
        texts: strings.

    Raises:
        ValueError: one holds half of a surrogate pair, as a wrong decoder leaves it.
    """
    for place, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{caller}: texts[{place}] holds a lone surrogate. Expected text that UTF-8 can hold; received "
                f"U+{ord(text[error.start]):04X} at {error.start}. Decode the text again from its bytes, or replace "
                "such characters: text.encode(errors='replace').decode()."
            ) from error


def check_tokens(caller: str, tokens: Any, size: int) -> list[list[int]]:
    """Checks that tokens are rows of numbers that a vocabulary has.

    Args:
        caller: the method, for the message.
        tokens: (batch, timesteps) whole numbers, or a list of lists.
        size: of the vocabulary.

    Returns:
        The rows without padding.

    Raises:
        TypeError: a row is masked.
        ValueError: the rank or the type is wrong, or a number is no token.
    """
    expected = "(batch, timesteps) whole numbers"
    check_mask(caller, "tokens", tokens, expected, "Give tokens.filled(0): 0 is padding.")
    cure = "For one text, wrap it in a list: [tokens]."
    rows = [_as_row(row) for row in check_iterable(caller, "tokens", tokens, expected, cure)]
    for row in rows:
        if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
            raise ValueError(
                f"{caller}: tokens have the wrong shape or type. Expected {expected}; received "
                f"a row of shape {row.shape} and type {row.dtype}. {cure}"
            )
        if row.size and not (row.min() >= 0 and row.max() < size):
            raise ValueError(
                f"{caller}: tokens are not of this vocabulary. Expected 0 to {size - 1}; received {row.min()} to "
                f"{row.max()}. Use the encoder that the model was saved with."
            )
    return [row[row != PAD].tolist() for row in rows]


def _as_row(row: Any) -> NDArray[Any]:
    try:
        return np.asarray(row)
    except ValueError:  # lists of different length
        return np.asarray(row, dtype=object)
