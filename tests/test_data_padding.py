# SPDX-License-Identifier: Apache-2.0
"""Text and tokens of another kind than asked for: no number is cut off, no character is lost, without a word."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_case import assert_teaches
from gatewise.data.errors import FormatError
from gatewise.data.labels import Labels
from gatewise.data.scaling import Scaler
from gatewise.data.text import Subwords, Tokenizer, Vocabulary, pad, read_text, text_to_word_sequence

SURROGATE = "a\ud800b"  # half of a character, as a wrong decoder leaves it


@pytest.mark.parametrize(
    ("sequences", "tokens"),
    [
        ([[2**31 - 1], [-(2**31)]], [[2**31 - 1], [-(2**31)]]),
        ([np.array([7, 8], np.uint8), (1,)], [[7, 8], [1, 0]]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (([1, number] for number in (5, 6)), [[1, 5], [1, 6]]),
        ([[], []], [[0], [0]]),
        ([range(3)], [[0, 1, 2]]),
        ([np.array([2**40 % 7], np.int64)], [[2**40 % 7]]),
    ],
)
def test_whole_numbers_are_padded(sequences: Any, tokens: list[list[int]]) -> None:
    padded = pad(sequences)
    assert padded.tokens.tolist() == tokens
    assert padded.tokens.dtype == np.int32


@pytest.mark.parametrize(
    ("sequences", "parts"),
    [
        ([[1], [1.7]], ["sequences[1]", "[1.7]", "dtype='float32'"]),
        ([np.array([1.0, 2.0])], ["sequences[0]", "float64"]),
        ([[float("nan")]], ["sequences[0]", "nan"]),
        (["123"], ["sequences[0]", "'123'", "Vocabulary"]),
        (["a film"], ["sequences[0]", "'a film'", "Vocabulary"]),
        ("a film", ["sequences is one string", "'a film'", "Vocabulary"]),
        ([["1", "2"]], ["sequences[0]", "['1', '2']"]),
        ([[None]], ["sequences[0]", "None"]),
        ([[True, False]], ["sequences[0]", "True"]),
        ([1, 2], ["sequences[0]", "int 1"]),
        (5, ["sequences is no list", "int 5"]),
        ({"a": [1]}, ["sequences[0]", "'a'"]),
        ([{1: 2}], ["sequences[0]", "{1: 2}"]),
        ([[[1, 2]]], ["sequences[0]", "wrong rank", "(1, 2)"]),
        ([[1, [2]]], ["sequences[0]", "wrong rank", "[1, [2]]"]),
        (np.zeros((2, 3, 4), np.int32), ["sequences[0]", "(3, 4)"]),
        ([[2**31]], ["sequences[0]", "too large", str(2**31)]),
        ([np.array([2**40])], ["sequences[0]", "too large", str(2**40)]),
        ([np.array([2**63], np.uint64)], ["too large"]),
        ([[2**70]], ["too large", str(2**70)]),
        ([[-(2**31) - 1]], ["too large"]),
        ([np.ma.masked_array([1, 2], [False, True])], ["sequences[0]", "masked"]),
    ],
    ids=repr,
)
def test_what_is_no_token_is_named_with_its_row(sequences: Any, parts: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        pad(sequences)
    assert_teaches(str(caught.value), "pad:", *parts)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Vocabulary(split="byte")(["a", SURROGATE]), ["texts[1]", "U+D800 at 1", "errors='replace'"]),
        (lambda: Vocabulary(split="byte").encode([SURROGATE]), ["Vocabulary", "texts[0]", "U+D800"]),
        (lambda: Subwords(max_tokens=300).adapt([SURROGATE]), ["Subwords.adapt", "texts[0]", "U+D800"]),
        (lambda: Subwords(max_tokens=300).adapt(["ab"])(["ab", "\udfff"]), ["Subwords", "texts[1]", "U+DFFF at 0"]),
        (lambda: pad([[1]], maxlen=2.5), ["maxlen", "2.5"]),  # type: ignore[arg-type]
        (lambda: Vocabulary(output_sequence_length="9"), ["output_sequence_length", "'9'"]),  # type: ignore[arg-type]
        (lambda: Vocabulary(max_tokens=1e4), ["max_tokens", "10000.0"]),  # type: ignore[arg-type]
        (lambda: Vocabulary(vocabulary="abc"), ["vocabulary", "one string", "'abc'"]),
        (lambda: Vocabulary(vocabulary=["a", None]), ["vocabulary", "texts[1]", "NoneType"]),  # type: ignore[list-item]
        (lambda: Vocabulary(split=["byte"]), ["split", "['byte']"]),  # type: ignore[arg-type]
        (lambda: pad([[1]], padding=np.zeros(2)), ["padding is unknown"]),  # type: ignore[arg-type]
        (lambda: Vocabulary.from_json(5), ["no JSON", "5"]),  # type: ignore[arg-type]
        (lambda: Subwords(tokenizer=5), ["no tokenizer", "5"]),  # type: ignore[arg-type]
        (lambda: Tokenizer().fit_on_texts(None), ["fit_on_texts", "None"]),  # type: ignore[arg-type]
        (lambda: Tokenizer().fit_on_texts([[1, 2]]), ["fit_on_texts", "[1, 2]"]),  # type: ignore[list-item]
        (lambda: Tokenizer().texts_to_sequences(5), ["texts_to_sequences", "no list", "int 5"]),  # type: ignore[arg-type]
        (lambda: text_to_word_sequence(5), ["text_to_word_sequence", "int 5"]),  # type: ignore[arg-type]
        (lambda: read_text(__file__, None), ["encoding is no name", "None"]),  # type: ignore[arg-type]
        (lambda: Vocabulary().adapt(5), ["texts is no list", "int 5"]),  # type: ignore[arg-type]
        (lambda: Subwords(max_tokens=300.0), ["max_tokens", "300.0"]),  # type: ignore[arg-type]
        (lambda: Vocabulary().adapt(["a b"]).decode([[2, [3]]]), ["wrong shape or type", "object"]),  # type: ignore[list-item]
        (lambda: Vocabulary().adapt(["a b"]).decode(5), ["[tokens]"]),
        (lambda: Vocabulary().adapt(["a b"]).decode(np.ma.masked_array([[2, 3]], [[0, 1]])), ["masked", "filled(0)"]),
        (lambda: read_text(__file__, "utf-9"), ["encoding is unknown", "'utf-9'"]),
        (lambda: read_text(__file__, "rot13"), ["encoding is unknown", "'rot13'"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(make: Any, parts: list[str]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert_teaches(str(caught.value), *parts)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_names_of_a_table_are_neither_texts_nor_labels(library: str) -> None:
    table = pytest.importorskip(library).DataFrame({"text": ["a film", "a book"], "label": ["x", "y"]})
    assert Vocabulary().adapt(table["text"]).vocabulary_size() == 5
    assert Labels().adapt(table["label"]).names == ["x", "y"]
    for call in (Vocabulary().adapt, Subwords(max_tokens=270).adapt, Labels().adapt, Labels(["x", "y"]), pad):
        with pytest.raises(TypeError) as caught:
            call(table)
        assert_teaches(str(caught.value), "is a table", "one of its columns")


def test_a_lone_surrogate_is_a_character_where_nothing_is_written_as_bytes() -> None:
    vocabulary = Vocabulary(split="character").adapt([SURROGATE])
    assert vocabulary.decode(vocabulary([SURROGATE])) == [SURROGATE]
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_text_of_two_bytes_a_letter_is_not_read_as_letters_and_zeros(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("film".encode("utf-16-le"))
    with pytest.raises(FormatError) as caught:
        read_text(path)
    assert_teaches(str(caught.value), str(path), "zero bytes", "utf-16-le")
    assert read_text(path, "utf-16-le") == "film"


def test_a_mark_that_an_editor_put_before_json_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "scaler.json"
    scaler = Scaler().adapt([[1.0], [3.0]])
    path.write_bytes(b"\xef\xbb\xbf" + scaler.to_json().encode())
    assert Scaler.load(path) == scaler
