# SPDX-License-Identifier: Apache-2.0
"""`gatewise.data.text.Tokenizer` beside TensorFlow's, whose indices it has to give."""

import itertools
import json
import tarfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_case import assert_teaches, real_file
from gatewise.data.errors import FormatError
from gatewise.data.text import Tokenizer, text_to_word_sequence, tokenizer_from_json

tf = pytest.importorskip("tensorflow", reason="the oracle is TensorFlow's Tokenizer")
oracle = tf.keras.preprocessing.text

WORDS = st.sampled_from(
    ["the", "The", "film", "FILM!", "a", "é", "Straße", "<OOV>", "x-y", "1.5", "don't", "İ", "a\tb"]
)
TEXT = st.one_of(st.lists(WORDS, max_size=12).map(" ".join), st.lists(WORDS, max_size=5), st.text(max_size=12))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "num_words": st.integers(1, 12),
        "oov_token": st.sampled_from(["<OOV>", "film", "?"]),
        "char_level": st.booleans(),
        "lower": st.booleans(),
        "filters": st.sampled_from(["", "!", "aé"]),
        "split": st.sampled_from([" ", "-", "the"]),
    },
)
COUNTS = ("word_counts", "word_docs", "word_index", "index_word", "index_docs")


def both(options: dict[str, Any]) -> tuple[Tokenizer, Any]:
    return Tokenizer(**options), oracle.Tokenizer(**options)


def assert_same_state(ours: Tokenizer, theirs: Any) -> None:
    for name in COUNTS:
        assert getattr(ours, name) == dict(getattr(theirs, name)), name
    assert list(ours.word_counts) == list(theirs.word_counts), "the order of the first time"
    assert list(ours.word_index) == list(theirs.word_index)
    assert ours.document_count == theirs.document_count


@given(OPTIONS, st.lists(TEXT, max_size=6), st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=3))
def test_indices_and_counts_are_those_of_tensorflow(
    options: dict[str, Any], texts: list[Any], more: list[Any], other: list[Any]
) -> None:
    ours, theirs = both(options)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(texts)
        tokenizer.fit_on_texts(more)
    assert_same_state(ours, theirs)
    for given_texts in (texts, other):
        sequences = theirs.texts_to_sequences(given_texts)
        assert ours.texts_to_sequences(given_texts) == sequences
        assert ours.sequences_to_texts(sequences) == theirs.sequences_to_texts(sequences)
    strange = [[0, 1, 5, 99], [], [2, 2, 3]]
    assert ours.sequences_to_texts(strange) == theirs.sequences_to_texts(strange)


@pytest.mark.parametrize("mode", ["binary", "count", "freq", "tfidf"])
@given(OPTIONS, st.lists(TEXT, min_size=1, max_size=6), st.lists(TEXT, max_size=4))
def test_matrices_are_those_of_tensorflow(
    mode: str, options: dict[str, Any], texts: list[Any], other: list[Any]
) -> None:
    ours, theirs = both(options)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(texts)
    if not ours.num_words and not ours.word_index:
        with pytest.raises(ValueError, match="nothing is counted yet"):
            ours.texts_to_matrix(other, mode)
        return
    matrix = ours.texts_to_matrix(other, mode)
    expected = theirs.texts_to_matrix(other, mode)
    assert matrix.dtype == expected.dtype
    np.testing.assert_array_equal(matrix, expected)


@given(OPTIONS, st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=5))
def test_sequences_alone_give_the_matrix_of_tensorflow(options: dict[str, Any], sequences: list[list[int]]) -> None:
    ours, theirs = both({**options, "num_words": 8})
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_sequences(sequences)
        tokenizer.fit_on_sequences(sequences[:1])
    assert_same_state(ours, theirs)
    np.testing.assert_array_equal(
        ours.sequences_to_matrix(sequences, "tfidf"), theirs.sequences_to_matrix(sequences, "tfidf")
    )


@given(OPTIONS, st.lists(TEXT, max_size=6))
def test_json_goes_both_ways(options: dict[str, Any], texts: list[Any]) -> None:
    ours, theirs = both(options)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(texts)
    assert_same_state(tokenizer_from_json(theirs.to_json()), theirs)
    read = oracle.tokenizer_from_json(ours.to_json(indent=1))
    assert_same_state(ours, read)
    assert read.texts_to_sequences(texts) == ours.texts_to_sequences(texts)
    assert json.loads(ours.to_json())["config"].keys() == json.loads(theirs.to_json())["config"].keys()


@given(TEXT.filter(lambda text: isinstance(text, str)), st.booleans())
def test_words_are_those_of_tensorflow(text: str, lower: bool) -> None:
    assert text_to_word_sequence(text, lower=lower) == oracle.text_to_word_sequence(text, lower=lower)


def test_one_string_counts_as_its_characters_as_in_the_books() -> None:
    ours, theirs = both({"char_level": True})
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts("First Citizen: Before we proceed")
    assert_same_state(ours, theirs)
    assert ours.document_count == 32


def test_an_analyzer_splits_instead() -> None:
    ours, theirs = both({"analyzer": lambda text: text.split("|")})
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(["a b|c", "C|c"])
    assert_same_state(ours, theirs)
    assert ours.texts_to_sequences(["c|a b"]) == theirs.texts_to_sequences(["c|a b"])


@pytest.mark.parametrize("options", [{}, {"num_words": 500, "oov_token": "<OOV>"}, {"char_level": True}], ids=str)
def test_film_reviews_get_the_indices_of_tensorflow(options: dict[str, Any]) -> None:
    with tarfile.open(real_file("movie_review_polarity.tar.gz")) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".txt")][::20]
        texts = [archive.extractfile(member).read().decode("latin-1") for member in members]  # type: ignore[union-attr]
    assert len(texts) == 100
    ours, theirs = both(options)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(texts[:60])
    assert_same_state(ours, theirs)
    assert ours.texts_to_sequences(texts) == theirs.texts_to_sequences(texts)


def test_texts_are_taken_one_after_another_from_what_never_ends() -> None:
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(text for text in ("a film", "a book"))
    endless = (f"a film {number}" for number in itertools.count())
    assert next(tokenizer.texts_to_sequences_generator(endless)) == [1, 2]


def test_what_is_no_text_is_named() -> None:
    tokenizer = Tokenizer()
    with pytest.raises(TypeError) as caught:
        tokenizer.fit_on_texts(["good", None])  # type: ignore[list-item]
    assert_teaches(str(caught.value), "Tokenizer.fit_on_texts", "NoneType")
    with pytest.raises(ValueError, match="mode is unknown") as unknown:
        tokenizer.texts_to_matrix(["good"], "tf-idf")
    assert_teaches(str(unknown.value), "'tfidf'", "'tf-idf'")
    for text in ("", "{}", "[1]", "no json"):
        with pytest.raises(FormatError) as wrong:
            tokenizer_from_json(text)
        assert_teaches(str(wrong.value), "tokenizer_from_json")
