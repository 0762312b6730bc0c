# SPDX-License-Identifier: Apache-2.0
"""Subwords by Hugging Face's `tokenizers`: learned here, or taken from a `tokenizer.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gatewise.data.checks import check_whole
from gatewise.data.errors import FormatError, shorten
from gatewise.data.text.encoder import SPECIAL, UNKNOWN_TOKEN, TextEncoder, check_texts, check_tokens, check_unicode
from gatewise.extras import require

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import tokenizers
    from numpy.typing import ArrayLike

PAD_TOKEN = "[PAD]"  # noqa: S105  # the usual name; get_vocabulary calls it "", as Keras does


class Subwords(TextEncoder):
    """Splits rare words into frequent pieces, so that nothing is unknown (needs the extra text).

    What `adapt` learns is a byte pair encoding on the bytes of UTF-8 (arXiv 1508.07909).

    Args:
        max_tokens: how many tokens `adapt` learns at most, of which 256 are the bytes, 0 padding and 1 unknown.
        output_sequence_length: how many tokens a text becomes; without it, as many as the longest of the call.
        padding: "post" fills up at the end, "pre" at the beginning.
        truncating: "post" cuts off the end of what is longer, "pre" the beginning.
        tokenizer: the JSON of a `tokenizers.Tokenizer`, whose number 0 is its padding or is moved to 1, and so all
            others; without it, `adapt` learns one.

    Raises:
        FormatError: tokenizer is not the JSON of a tokenizer.

    Example:
        >>> subwords = Subwords(max_tokens=270).adapt(["low lower lowest", "new newer newest"])
        >>> [subwords.get_vocabulary()[token] for token in subwords.encode(["lowest"])[0]]
        ['lo', 'west']
        >>> subwords.decode(subwords(["a newer word"]))
        ['a newer word']
    """

    def __init__(
        self,
        max_tokens: int = 8000,
        output_sequence_length: int | None = None,
        padding: str = "post",
        truncating: str = "post",
        tokenizer: str | None = None,
    ) -> None:
        super().__init__(output_sequence_length, padding, truncating)
        if check_whole("Subwords", "max_tokens", max_tokens, cure="Several thousand are usual.") < 256 + len(SPECIAL):
            raise ValueError(
                f"Subwords: max_tokens is too small. Expected at least {256 + len(SPECIAL)}, for padding, unknown and "
                f"256 bytes; received {max_tokens}. Several thousand are usual."
            )
        self.max_tokens = max_tokens
        self._tokenizer: tokenizers.Tokenizer | None = None
        self._moved = 0
        if tokenizer is not None:
            self._set_tokenizer("Subwords: tokenizer", tokenizer)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **arguments: Any) -> Self:
        """Takes a tokenizer that somebody else trained.

        Args:
            path: a `tokenizer.json` of Hugging Face.
            arguments: those of the class, but `tokenizer`.

        Returns:
            The encoder.

        Raises:
            FormatError: the file is no such JSON.
        """
        made = cls(**arguments)
        made._set_tokenizer(f"Subwords.from_file: {path}", Path(path).read_text(encoding="utf-8"))
        return made

    def adapt(self, texts: Iterable[str]) -> Self:
        """Learns the pieces from the training part.

        Args:
            texts: strings.

        Returns:
            The object itself.

        Raises:
            TypeError: the texts are no list of strings.
            ValueError: the texts are empty, or UTF-8 cannot hold one.
        """
        found = check_texts("Subwords.adapt", texts)
        check_unicode("Subwords.adapt", found)
        if not any(found):
            raise ValueError(
                f"Subwords.adapt: texts hold nothing to learn. Expected at least one character; received {len(found)} "
                "texts without any. Check what was read."
            )
        require("Subwords.adapt", "tokenizers", "text")
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.max_tokens,
            special_tokens=[PAD_TOKEN, UNKNOWN_TOKEN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(found, trainer)
        tokenizer.encode_special_tokens = True  # "[PAD]" in a text is text
        self._tokenizer, self._moved = tokenizer, 0
        return self

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Gives the tokens of each text, neither padded nor cut.

        Args:
            texts: strings.

        Returns:
            One list of tokens for each text.

        Raises:
            TypeError: the texts are no list of strings.
            ValueError: nothing is learned yet, or UTF-8 cannot hold a text.
        """
        found = check_texts("Subwords", texts)
        check_unicode("Subwords", found)
        tokenizer = self._learned("Subwords")
        encoded = tokenizer.encode_batch(found, add_special_tokens=False)
        return [[token + self._moved for token in row.ids] for row in encoded]

    def decode(self, tokens: ArrayLike | Sequence[Sequence[int]]) -> list[str]:
        """Gives the texts that tokens stand for; padding and unknown are left out.

        Args:
            tokens: (batch, timesteps) whole numbers, or a list of lists.

        Returns:
            One text for each row.

        Raises:
            ValueError: a number is no token.
        """
        tokenizer = self._learned("Subwords.decode")
        rows = check_tokens("Subwords.decode", tokens, self.vocabulary_size())
        return [tokenizer.decode([token - self._moved for token in row]) for row in rows]

    def get_vocabulary(self) -> list[str]:
        """Lists the pieces by number, as the tokenizer spells them.

        Returns:
            "" for padding, then the rest; "[UNK]" where a number has no piece.
        """
        tokenizer = self._learned("Subwords.get_vocabulary")
        pieces = {number + self._moved: piece for piece, number in tokenizer.get_vocab(with_added_tokens=True).items()}
        return ["", *(pieces.get(number, UNKNOWN_TOKEN) for number in range(1, max(pieces) + 1))]

    def get_config(self) -> dict[str, Any]:
        """Describes the object completely.

        Returns:
            The arguments that an equal one is made of, what was learned included.
        """
        learned = None if self._tokenizer is None else self._tokenizer.to_str()
        return {"max_tokens": self.max_tokens, **super().get_config(), "tokenizer": learned}

    def _learned(self, caller: str) -> tokenizers.Tokenizer:
        if self._tokenizer is None:
            raise ValueError(
                f"{caller}: nothing is learned yet. Expected a call of adapt first; received texts to encode. "
                "Call subwords.adapt(training_texts)."
            )
        return self._tokenizer

    def _set_tokenizer(self, where: str, text: str) -> None:
        require("Subwords", "tokenizers", "text")
        from tokenizers import Tokenizer

        try:
            json.loads(text)["model"]
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # tokenizers raises nothing narrower
            raise FormatError(
                f"{where} is no tokenizer. Expected the JSON of a tokenizers.Tokenizer; received {shorten(text)}: "
                f"{error}. Give what Tokenizer.to_str or Tokenizer.save wrote."
            ) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._moved = 0 if tokenizer.id_to_token(0) in {"", PAD_TOKEN, "<pad>"} else 1
