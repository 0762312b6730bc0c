# SPDX-License-Identifier: Apache-2.0
"""A vocabulary of words, characters or bytes, with the spelling and the numbers of `keras.layers.TextVectorization`."""

from __future__ import annotations

import string
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from gatewise.data.checks import check_choice, check_whole
from gatewise.data.errors import list_some
from gatewise.data.text.encoder import (
    SPECIAL,
    UNKNOWN,
    UNKNOWN_TOKEN,
    TextEncoder,
    check_texts,
    check_tokens,
    check_unicode,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

SPLITS = ("whitespace", "character", "byte")
STANDARDS = ("auto", "lower_and_strip_punctuation", "lower", "strip_punctuation", None)
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Vocabulary(TextEncoder):
    """Numbers words, characters or bytes by how often the training part has them, as `TextVectorization` does.

    0 is padding, 1 everything that training did not have, 2 the most frequent token. The same texts give the same
    numbers as `keras.layers.TextVectorization`, except that letters outside ASCII are lowered too.

    Args:
        split: "whitespace" for words, "character", or "byte" for the bytes of UTF-8, which need no `adapt` and know no
            unknown.
        max_tokens: how many tokens there are at most, padding and unknown included.
        standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation" or None; "auto" is the first for words
            and None for characters and bytes.
        output_sequence_length: how many tokens a text becomes; without it, as many as the longest of the call.
        padding: "post" fills up at the end, "pre" at the beginning.
        truncating: "post" cuts off the end of what is longer, "pre" the beginning.
        vocabulary: the tokens from number 2 on, or what `get_vocabulary` gave; without it, `adapt` learns them.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: an argument has a value that it cannot have.

    Example:
        >>> vocabulary = Vocabulary().adapt(["A warm film.", "a cold, cold film"])
        >>> vocabulary.get_vocabulary()
        ['', '[UNK]', 'film', 'cold', 'a', 'warm']
        >>> vocabulary(["a warm book", "film!"])
        array([[4, 5, 1],
               [2, 0, 0]], dtype=int32)
        >>> vocabulary.decode([[4, 5, 1], [2, 0, 0]])
        ['a warm [UNK]', 'film']
        >>> Vocabulary(split="byte").encode(["é"])
        [[197, 171]]
    """

    def __init__(
        self,
        split: str = "whitespace",
        max_tokens: int | None = None,
        standardize: str | None = "auto",
        output_sequence_length: int | None = None,
        padding: str = "post",
        truncating: str = "post",
        vocabulary: Sequence[str] | None = None,
    ) -> None:
        super().__init__(output_sequence_length, padding, truncating)
        check_choice("Vocabulary", "split", split, SPLITS, "For subwords use gatewise.data.text.Subwords.")
        cure = "Choose one, or change the texts before."
        check_choice("Vocabulary", "standardize", standardize, STANDARDS, cure)
        if max_tokens is not None and (
            check_whole("Vocabulary", "max_tokens", max_tokens, cure="Give a larger number or None.") <= len(SPECIAL)
            or split == "byte"
        ):
            raise ValueError(
                f"Vocabulary: max_tokens leaves no token. Expected more than {len(SPECIAL)}, for padding and unknown "
                f"come first, and None for bytes, of which there are 256; received {max_tokens} for split={split!r}. "
                "Give a larger number or None."
            )
        self.split = split
        self.max_tokens = max_tokens
        self.standardize = standardize
        self._tokens: list[str] = []
        self._numbers: dict[str, int] = {}
        if split == "byte":
            self._set_tokens(_BYTES)
        elif vocabulary is not None:
            self._set_tokens(_without_special(vocabulary))

    def adapt(self, texts: Iterable[str]) -> Self:
        """Learns the vocabulary from the training part: by frequency, and in falling order of the token where equal.

        Args:
            texts: strings.

        Returns:
            The object itself.

        Raises:
            TypeError: the texts are no list of strings.
            ValueError: the texts hold no token.
        """
        found = check_texts("Vocabulary.adapt", texts)
        if self.split == "byte":
            return self
        counts = Counter(token for text in found for token in self._tokenize(text))
        for special in SPECIAL:
            counts.pop(special, None)
        if not counts:
            raise ValueError(
                f"Vocabulary.adapt: texts hold nothing to learn. Expected at least one token; received {len(found)} "
                f"texts without any. Check what was read, and standardize={self.standardize!r}."
            )
        tokens = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        self._set_tokens(tokens if self.max_tokens is None else tokens[: self.max_tokens - len(SPECIAL)])
        return self

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Gives the tokens of each text, neither padded nor cut.

        Args:
            texts: strings.

        Returns:
            One list of tokens for each text.

        Raises:
            TypeError: the texts are no list of strings.
            ValueError: nothing is learned yet, or bytes are wanted of text that UTF-8 cannot hold.
        """
        found = check_texts("Vocabulary", texts)
        self._check_learned("Vocabulary")
        if self.split == "byte":
            check_unicode("Vocabulary", found)
            return [[byte + len(SPECIAL) for byte in self._standard(text).encode()] for text in found]
        return [[self._numbers.get(token, UNKNOWN) for token in self._tokenize(text)] for text in found]

    def decode(self, tokens: ArrayLike | Sequence[Sequence[int]]) -> list[str]:
        """Gives the texts that tokens stand for, with "[UNK]" for what is unknown; padding is left out.

        Args:
            tokens: (batch, timesteps) whole numbers, or a list of lists.

        Returns:
            One text for each row; bytes that are no UTF-8 become U+FFFD.

        Raises:
            ValueError: a number is no token.
        """
        self._check_learned("Vocabulary.decode")
        rows = check_tokens("Vocabulary.decode", tokens, self.vocabulary_size())
        if self.split == "byte":
            kept = [[token - len(SPECIAL) for token in row if token >= len(SPECIAL)] for row in rows]
            return [bytes(row).decode(errors="replace") for row in kept]
        names = self.get_vocabulary()
        glue = " " if self.split == "whitespace" else ""
        return [glue.join(names[token] for token in row) for row in rows]

    def get_vocabulary(self) -> list[str]:
        """Lists the tokens by number.

        Returns:
            "" for padding, "[UNK]" for what is unknown, then the rest.
        """
        return [*SPECIAL, *self._tokens]

    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            The arguments that an equal one is made of, what was learned included.
        """
        learned = None if self.split == "byte" or not self._tokens else list(self._tokens)
        return {
            "split": self.split,
            "max_tokens": self.max_tokens,
            "standardize": self.standardize,
            **super().get_config(),
            "vocabulary": learned,
        }

    def _set_tokens(self, tokens: Sequence[str]) -> None:
        self._tokens = list(tokens)
        self._numbers = {token: number for number, token in enumerate(self._tokens, len(SPECIAL))}
        if len(self._numbers) < len(self._tokens) or self._numbers.keys() & set(SPECIAL):
            wrong = [token for token, count in Counter([*SPECIAL, *self._tokens]).items() if count > 1]
            raise ValueError(
                "Vocabulary: vocabulary repeats itself. Expected each token once, padding and unknown at the "
                f"beginning or not at all; received {list_some(wrong)} again. Remove the repetitions."
            )

    def _check_learned(self, caller: str) -> None:
        if not self._tokens:
            raise ValueError(
                f"{caller}: nothing is learned yet. Expected a call of adapt first; received texts to encode. "
                "Call vocabulary.adapt(training_texts)."
            )

    def _standard(self, text: str) -> str:
        standard = self.standardize
        if standard == "auto":
            standard = "lower_and_strip_punctuation" if self.split == "whitespace" else None
        if standard in {"lower", "lower_and_strip_punctuation"}:
            text = text.lower()
        if standard in {"strip_punctuation", "lower_and_strip_punctuation"}:
            text = text.translate(_PUNCTUATION)
        return text

    def _tokenize(self, text: str) -> list[str]:
        text = self._standard(text)
        return text.split() if self.split == "whitespace" else list(text)


def _without_special(vocabulary: Sequence[str]) -> list[str]:
    tokens = check_texts("Vocabulary: vocabulary", vocabulary)
    if tokens[:2] == ["", UNKNOWN_TOKEN]:
        return tokens[2:]
    return tokens
