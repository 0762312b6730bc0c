# SPDX-License-Identifier: Apache-2.0
"""The tutorials' `Tokenizer`: the names and the indices of `tf.keras.preprocessing.text`, which Keras 3 dropped.

The most frequent word has index 1, or 2 behind an `oov_token`; words that are equally frequent stand in the order in
which they first came. Index 0 is left for padding.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gatewise.data.checks import check_choice, check_iterable, describe
from gatewise.data.errors import FormatError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
MODES = ("binary", "count", "freq", "tfidf")
_COUNTS = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")


def text_to_word_sequence(text: str, filters: str = FILTERS, lower: bool = True, split: str = " ") -> list[str]:
    """Splits a text into words.

    Args:
        text: the text.
        filters: characters that separate words.
        lower: whether capitals become small.
        split: what separates words.

    Returns:
        The words, none of them empty.

    Example:
        >>> text_to_word_sequence("A dull, dull film!")
        ['a', 'dull', 'dull', 'film']
    """
    if not isinstance(text, str):
        raise TypeError(
            f"text_to_word_sequence: text is no string. Expected str; received {describe(text)}. Call it for each text."
        )
    if lower:
        text = text.lower()
    return [word for word in text.translate(dict.fromkeys(map(ord, filters), split)).split(split) if word]


class Tokenizer:
    """Numbers words by how often they come, with the methods and the indices of TensorFlow's `Tokenizer`.

    Args:
        num_words: only the most frequent `num_words - 1` words are kept when texts become sequences.
        filters: characters that separate words.
        lower: whether capitals become small.
        split: what separates words.
        char_level: whether every character is a token.
        oov_token: what stands for words that are unknown or left out by num_words; without it they are left out.
        analyzer: a function from a text to its words, instead of filters, lower and split.
        document_count: how many texts came before.

    Attributes:
        word_index: from word to index, all words, num_words or not.
        index_word: from index to word.
        word_counts: from word to how often it came, in the order of the first time.
        word_docs: from word to how many texts hold it.
        index_docs: the same by index.
        document_count: how many texts there were.

    Example:
        >>> tokenizer = Tokenizer(num_words=4, oov_token="<OOV>")
        >>> tokenizer.fit_on_texts(["The film was good", "The film was dull, dull, dull"])
        >>> tokenizer.word_index
        {'<OOV>': 1, 'dull': 2, 'the': 3, 'film': 4, 'was': 5, 'good': 6}
        >>> tokenizer.texts_to_sequences(["the dull book"])
        [[3, 2, 1]]
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: Callable[[str], Sequence[str]] | None = None,
        document_count: int = 0,
    ) -> None:
        self.num_words = num_words
        self.filters = filters
        self.lower = lower
        self.split = split
        self.char_level = char_level
        self.oov_token = oov_token
        self.analyzer = analyzer
        self.document_count = document_count
        self.word_counts: dict[str, int] = {}
        self.word_docs: dict[str, int] = {}
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}
        self.index_docs: dict[int, int] = {}

    def fit_on_texts(self, texts: Iterable[str | list[str]]) -> None:
        """Counts words and numbers them; a later call counts on.

        Args:
            texts: strings, or lists of words that are already split. One string counts as a list of its characters.
        """
        counts, documents = Counter(self.word_counts), Counter(self.word_docs)
        for text in _check_iterable("fit_on_texts", texts):
            words = self._words("fit_on_texts", text)
            self.document_count += 1
            counts.update(words)
            documents.update(set(words))
        self.word_counts, self.word_docs = dict(counts), dict(documents)
        ranked = sorted(counts, key=lambda word: -counts[word])  # stable: equal ones keep their order
        known = ranked if self.oov_token is None else [self.oov_token, *ranked]
        self.word_index = {word: index for index, word in enumerate(known, start=1)}
        self.index_word = {index: word for word, index in self.word_index.items()}
        self.index_docs |= {self.word_index[word]: count for word, count in documents.items()}

    def fit_on_sequences(self, sequences: Sequence[Iterable[int]]) -> None:
        """Counts in how many sequences an index comes, for `sequences_to_matrix` without texts.

        Args:
            sequences: lists of indices.
        """
        self.document_count += len(sequences)
        self.index_docs = dict(Counter(self.index_docs) + Counter(i for one in sequences for i in set(one)))

    def texts_to_sequences(self, texts: Iterable[str | list[str]]) -> list[list[int]]:
        """Gives the indices of the words of each text.

        Args:
            texts: strings, or lists of words.

        Returns:
            One list of indices for each text.
        """
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[str | list[str]]) -> Iterator[list[int]]:
        """Gives the same as `texts_to_sequences`, one after another."""
        for text in _check_iterable("texts_to_sequences", texts):
            indices = (self._kept(self.word_index.get(word)) for word in self._words("texts_to_sequences", text))
            yield [index for index in indices if index is not None]

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """Gives the words that indices stand for.

        Args:
            sequences: lists of indices.

        Returns:
            One text for each, its words with blanks between.
        """
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Iterable[int]]) -> Iterator[str]:
        """Gives the same as `sequences_to_texts`, one after another."""
        for sequence in sequences:
            kept = (self._kept(index if index in self.index_word else None) for index in sequence)
            yield " ".join(self.index_word[index] for index in kept if index is not None)

    def texts_to_matrix(self, texts: Iterable[str | list[str]], mode: str = "binary") -> NDArray[np.float64]:
        """Gives a row for each text and a column for each index.

        Args:
            texts: strings, or lists of words.
            mode: "binary", "count", "freq" or "tfidf".

        Returns:
            (texts, num_words) float64; without num_words, one column more than there are words.
        """
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Sequence[Sequence[int]], mode: str = "binary") -> NDArray[np.float64]:
        """Gives a row for each sequence and a column for each index.

        Args:
            sequences: lists of indices.
            mode: "binary": 1 where it comes; "count": how often; "freq": its part of the sequence; "tfidf":
                (1 + log count) log(1 + texts / (1 + texts that hold it)).

        Returns:
            (sequences, num_words) float64; without num_words, one column more than there are words.

        Raises:
            ValueError: mode is unknown, or nothing was counted.
        """
        columns = self.num_words or (len(self.word_index) + 1 if self.word_index else 0)
        self._check_matrix(mode, columns)
        matrix = np.zeros((len(sequences), columns))
        for row, sequence in zip(matrix, sequences, strict=True):
            for index, count in Counter(index for index in sequence if index < columns).items():
                row[index] = self._weight(mode, index, count, len(sequence))
        return matrix

    def get_config(self) -> dict[str, Any]:
        """Describes the tokenizer, without its analyzer, as TensorFlow's does: counts stand as JSON in strings."""
        arguments = ("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count")
        return {
            **{name: getattr(self, name) for name in arguments},
            **{name: json.dumps(getattr(self, name)) for name in _COUNTS},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the tokenizer that a configuration describes.

        Args:
            config: what `get_config` gave, of this class or of TensorFlow's.

        Returns:
            An equal tokenizer.
        """
        made = cls(**{name: value for name, value in config.items() if name not in _COUNTS})
        for name in _COUNTS:
            counts = json.loads(config[name])
            setattr(made, name, {int(key): value for key, value in counts.items()} if name.startswith("i") else counts)
        return made

    def to_json(self, **options: Any) -> str:
        """Writes the tokenizer as JSON, which TensorFlow's `tokenizer_from_json` reads as well.

        Args:
            options: those of `json.dumps`.

        Returns:
            The JSON.
        """
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **options)

    def _words(self, method: str, text: str | list[str]) -> Sequence[str]:
        if isinstance(text, list) and all(isinstance(word, str) for word in text):
            return [word.lower() for word in text] if self.lower else text
        if not isinstance(text, str):
            raise TypeError(
                f"Tokenizer.{method}: texts hold something else. Expected strings, or lists of words; received "
                f"{type(text).__name__} {shorten(text)}. Leave it out, or make it a str."
            )
        if self.char_level:
            return text.lower() if self.lower else text
        if self.analyzer is not None:
            return self.analyzer(text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def _kept(self, index: int | None) -> int | None:
        """Gives an index that num_words keeps, or that of oov_token in its place, or nothing."""
        if index is not None and not (self.num_words and index >= self.num_words):
            return index
        return None if self.oov_token is None else self.word_index.get(self.oov_token)

    def _weight(self, mode: str, index: int, count: int, length: int) -> float:
        if mode == "tfidf":
            documents = 1 + self.index_docs.get(index, 0)
            return float((1 + np.log(count)) * np.log(1 + self.document_count / documents))
        return {"binary": 1.0, "count": float(count), "freq": count / length}[mode]

    def _check_matrix(self, mode: str, columns: int) -> None:
        check_choice("Tokenizer.sequences_to_matrix", "mode", mode, MODES)
        if not columns or (mode == "tfidf" and not self.document_count):
            raise ValueError(
                "Tokenizer.sequences_to_matrix: nothing is counted yet. Expected num_words, or a call of fit_on_texts; "
                "received a tokenizer without either. Fit it on the training texts first."
            )


def _check_iterable(method: str, texts: Any) -> Iterable[str | list[str]]:
    if isinstance(texts, str):
        return texts  # as in the books: its characters
    return check_iterable(
        f"Tokenizer.{method}", "texts", texts, "a list of strings", "Wrap one text in a list: [text]."
    )


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """Makes the tokenizer that JSON describes.

    Args:
        json_string: what `to_json` gave, of this `Tokenizer` or of TensorFlow's.

    Returns:
        An equal tokenizer.

    Raises:
        FormatError: it is not the JSON of a tokenizer.

    Example:
        >>> tokenizer = Tokenizer()
        >>> tokenizer.fit_on_texts(["a film"])
        >>> tokenizer_from_json(tokenizer.to_json()).word_index
        {'a': 1, 'film': 2}
    """
    try:
        return Tokenizer.from_config(json.loads(json_string)["config"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            "tokenizer_from_json: this describes no tokenizer. Expected what Tokenizer.to_json gave; received "
            f"{shorten(json_string)}: {error!r}. Check which file was read."
        ) from error
