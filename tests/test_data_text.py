# SPDX-License-Identifier: Apache-2.0
"""Vocabularies of words, characters, bytes and subwords: beside `keras.layers.TextVectorization`, and back again."""

import json
import tarfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_case import assert_teaches, real_file
from gatewise.data.errors import FormatError
from gatewise.data.labels import Labels
from gatewise.data.text import (
    Subwords,
    Vocabulary,
    pad,
    pad_sequences,
    read_folders,
    read_lines,
    read_text,
)

TRAIN = ["A warm, warm film.", "a cold film", "Don't!"]

# --- Vocabulary ---


def reviews() -> list[str]:
    with tarfile.open(real_file("movie_review_polarity.tar.gz")) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".txt")][::10]
        texts = [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
    return [text.decode("ascii") for text in texts if text.isascii()]  # TextVectorization lowers ASCII alone


@pytest.mark.parametrize("options", [{}, {"max_tokens": 300, "output_sequence_length": 80}], ids=["all", "some"])
@pytest.mark.parametrize("split", ["whitespace", "character"])
def test_film_reviews_get_the_tokens_of_keras(split: str, options: dict[str, Any]) -> None:
    texts = reviews()
    assert len(texts) > 150
    standardize = "lower_and_strip_punctuation"
    theirs = keras.layers.TextVectorization(split=split, standardize=standardize, **options)
    theirs.adapt(texts[:100])
    ours = Vocabulary(split=split, standardize=standardize, **options).adapt(texts[:100])
    assert ours.get_vocabulary() == [str(token) for token in theirs.get_vocabulary()]
    assert ours.vocabulary_size() == theirs.vocabulary_size()
    assert (ours(texts) == 1).any() == (split == "whitespace"), "new words, but no new characters"
    np.testing.assert_array_equal(ours(texts[:40]), np.asarray(theirs(texts[:40])))


PLAIN = st.text(alphabet="aAbB.,!' \t\n-1", max_size=20)


@settings(max_examples=15)  # each makes a layer of Keras
@given(
    st.lists(PLAIN, min_size=1, max_size=5).filter(lambda texts: any(c.isalnum() for c in "".join(texts))),
    st.sampled_from(["lower_and_strip_punctuation", "lower", "strip_punctuation", None]),
    st.sampled_from(["whitespace", "character"]),
)
def test_every_way_to_standardize_is_that_of_keras(texts: list[str], standardize: str | None, split: str) -> None:
    theirs = keras.layers.TextVectorization(standardize=standardize, split=split)
    theirs.adapt(texts)
    ours = Vocabulary(standardize=standardize, split=split).adapt(texts)
    assert ours.get_vocabulary() == [str(token) for token in theirs.get_vocabulary()]
    np.testing.assert_array_equal(ours([*texts, "a b"]), np.asarray(theirs([*texts, "a b"])))


def test_words_outside_ascii_are_lowered() -> None:
    vocabulary = Vocabulary().adapt(["Éclair ÉCLAIR éclair"])
    assert vocabulary.get_vocabulary() == ["", "[UNK]", "éclair"]


def test_characters_keep_capitals_and_punctuation_unless_asked() -> None:
    vocabulary = Vocabulary(split="character").adapt(["O'Neil"])
    assert vocabulary.decode(vocabulary(["O'Neil", "Oleg"])) == ["O'Neil", "Ole[UNK]"]


@given(st.lists(st.text(max_size=10), min_size=1, max_size=4))
def test_bytes_bring_back_any_text(texts: list[str]) -> None:
    vocabulary = Vocabulary(split="byte")
    tokens, mask = vocabulary.encode_and_pad(texts)
    assert vocabulary.decode(tokens) == texts
    assert mask.sum(axis=1).tolist() == [len(text.encode()) for text in texts]
    assert vocabulary.vocabulary_size() == 258
    assert not (tokens == 1).any(), "no byte is unknown"
    np.testing.assert_array_equal(mask, tokens != 0)


def test_padding_is_0_and_unknown_is_1() -> None:
    vocabulary = Vocabulary(output_sequence_length=3, padding="pre", truncating="pre").adapt(TRAIN)
    tokens = vocabulary(["film", "never a warm film", ""])
    number = vocabulary.get_vocabulary().index
    assert tokens.tolist() == [[0, 0, number("film")], [number("a"), number("warm"), number("film")], [0, 0, 0]]
    assert vocabulary(["never"]).tolist() == [[0, 0, 1]]
    assert tokens.dtype == np.int32


@pytest.mark.parametrize(
    "options",
    [{}, {"max_tokens": 5, "standardize": "lower"}, {"split": "character", "padding": "pre"}, {"split": "byte"}],
    ids=str,
)
def test_a_vocabulary_is_the_same_after_json_and_file(options: dict[str, Any], tmp_path: Path) -> None:
    vocabulary = Vocabulary(**options).adapt(TRAIN)
    vocabulary.save(tmp_path / "vocabulary.json")
    for copy in (Vocabulary.from_json(vocabulary.to_json()), Vocabulary.load(tmp_path / "vocabulary.json")):
        assert copy == vocabulary
        np.testing.assert_array_equal(copy(TRAIN), vocabulary(TRAIN))
    assert json.loads((tmp_path / "vocabulary.json").read_text())["class_name"] == "gatewise>Vocabulary"


def test_a_vocabulary_can_be_given() -> None:
    plain = Vocabulary(vocabulary=["film", "warm"])
    assert plain == Vocabulary(vocabulary=["", "[UNK]", "film", "warm"])
    assert plain(["warm film"]).tolist() == [[3, 2]]


# --- Subwords ---


@given(st.lists(st.text(max_size=12), min_size=1, max_size=3))
@settings(max_examples=30)
def test_subwords_bring_back_any_text(texts: list[str]) -> None:
    pytest.importorskip("tokenizers")
    subwords = Subwords(max_tokens=300).adapt(TRAIN)
    assert subwords.decode(subwords(texts)) == texts
    assert subwords.vocabulary_size() <= 300
    assert not (subwords(texts) == 1).any()


def test_names_of_special_tokens_in_a_text_are_text() -> None:
    pytest.importorskip("tokenizers")
    subwords = Subwords(max_tokens=300).adapt([*TRAIN, "[PAD] [UNK]"])
    for encoder in (subwords, Subwords.from_json(subwords.to_json())):
        tokens = encoder(["a [PAD] film [UNK]"])
        assert encoder.decode(tokens) == ["a [PAD] film [UNK]"]
        assert tokens.min() > 1


def test_subwords_are_the_same_after_json() -> None:
    pytest.importorskip("tokenizers")
    subwords = Subwords(max_tokens=300, output_sequence_length=6, padding="pre").adapt(TRAIN)
    copy = Subwords.from_json(subwords.to_json())
    assert copy == subwords
    np.testing.assert_array_equal(copy(TRAIN), subwords(TRAIN))
    assert copy.get_vocabulary()[:2] == ["", "[UNK]"]


def test_a_tokenizer_of_somebody_else_leaves_0_to_padding(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {"film": 0, "warm": 1, "<unk>": 2}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_padding(length=9)
    made.enable_truncation(1)
    made.save(str(tmp_path / "tokenizer.json"))
    subwords = Subwords.from_file(tmp_path / "tokenizer.json")
    assert subwords(["warm film", "film"]).tolist() == [[2, 1], [1, 0]]
    assert subwords.get_vocabulary() == ["", "film", "warm", "<unk>"]
    assert subwords.decode([[2, 1], [1, 0]]) == ["warm film", "film"]
    assert Subwords.from_json(subwords.to_json())(["warm"]).tolist() == [[2]]


# --- Padding ---


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(1, 8)),
    st.sampled_from(["pre", "post"]),
    st.sampled_from(["pre", "post"]),
)
def test_padding_is_that_of_keras_and_the_mask_counts(
    sequences: list[list[int]], maxlen: int | None, padding: str, truncating: str
) -> None:
    tokens, mask = pad(sequences, maxlen, padding, truncating)
    if maxlen is None and not any(sequences):
        assert tokens.shape == (len(sequences), 1), "a GRU needs at least one step"
    else:
        expected = keras.utils.pad_sequences(sequences, maxlen=maxlen, padding=padding, truncating=truncating)
        np.testing.assert_array_equal(tokens, expected)
    for row, sequence in zip(mask, sequences, strict=True):
        real = min(len(sequence), len(row))
        assert row.tolist() == ([True] * real + [False] * (len(row) - real))[:: 1 if padding == "post" else -1]


def test_pad_sequences_is_that_of_keras() -> None:
    assert pad_sequences is keras.utils.pad_sequences


# --- Files ---


def test_a_text_file_is_read_with_any_line_end_and_mark(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\n\r\n b \r")
    assert read_text(path) == "café\n\n b \n"
    assert read_lines(path) == ["café", "b"]
    path.write_bytes("Größe\n".encode("utf-16"))
    assert read_text(path, "utf-16") == "Größe\n"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["empty", "0 bytes"]),
        (b"caf\xc3\xa9\nna\xefve\n", ["utf-8", "0xef", "offset 8", "line 2", "mixes encodings"]),
        (b"plain\nna\xefve\n", ["0xef", "line 2", "encoding='cp1252'"]),
        ("ä".encode("utf-16"), ["pass encoding='utf-16'"]),
    ],
    ids=["empty", "mixed", "latin-1", "utf-16"],
)
def test_a_text_file_that_cannot_be_read_is_named(content: bytes, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_text(path)
    assert_teaches(str(caught.value), str(path), *parts)


def test_a_file_of_blank_lines_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n \n")
    with pytest.raises(FormatError) as caught:
        read_lines(tmp_path / "text.txt")
    assert_teaches(str(caught.value), "blank lines")


def test_folders_give_texts_and_labels(tmp_path: Path) -> None:
    for name, text in (("pos/b", "good"), ("pos/a", "fine"), ("neg/c", "dull")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(text)
    assert read_folders(tmp_path) == (["dull", "fine", "good"], ["neg", "pos", "pos"])
    (tmp_path / "neg" / "c.txt").unlink()
    with pytest.raises(FormatError) as empty:
        read_folders(tmp_path)
    assert_teaches(str(empty.value), "'neg'")
    (tmp_path / "neg").rmdir()
    with pytest.raises(ValueError, match="too few classes") as one:
        read_folders(tmp_path)
    assert_teaches(str(one.value), "'pos'")


def test_surnames_survive_characters_and_bytes() -> None:
    path = real_file("surnames")
    names = [name for file in sorted(path.glob("*.txt")) for name in read_lines(file)[:50]]
    assert len(names) > 500
    for vocabulary in (Vocabulary(split="character").adapt(names), Vocabulary(split="byte")):
        assert vocabulary.decode(vocabulary(names)) == names


# --- Mistakes ---


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Vocabulary(split="word"), ["split", "'word'"]),
        (lambda: Vocabulary(standardize="upper"), ["standardize", "'upper'"]),
        (lambda: Vocabulary(max_tokens=2), ["max_tokens", "received 2"]),
        (lambda: Vocabulary(split="byte", max_tokens=50), ["max_tokens", "'byte'"]),
        (lambda: Vocabulary(output_sequence_length=0), ["output_sequence_length", "received 0"]),
        (lambda: Vocabulary(padding="left"), ["padding", "'left'"]),
        (lambda: Vocabulary(vocabulary=["a", "b", "a"]), ["'a'"]),
        (lambda: Vocabulary(vocabulary=["a", ""]), ["''"]),
        (lambda: Vocabulary().adapt("a film"), ["texts is one string", "[text]"]),
        (lambda: Vocabulary().adapt([]), ["adapt", "0 texts"]),
        (lambda: Vocabulary().adapt(["...", ""]), ["adapt", "2 texts"]),
        (lambda: Vocabulary().adapt(["a", b"b"]), ["texts[1]", "bytes", "decode"]),
        (lambda: Vocabulary()(["a film"]), ["adapt"]),
        (lambda: Vocabulary().adapt(TRAIN)([1.5]), ["texts[0]", "float"]),
        (lambda: Vocabulary().adapt(TRAIN).decode([[99]]), ["99"]),
        (lambda: Vocabulary().adapt(TRAIN).decode([2, 3]), ["[tokens]"]),
        (lambda: Vocabulary.from_json("{"), ["no JSON"]),
        (lambda: Vocabulary.from_json(Labels(["a", "b"]).to_json()), ["gatewise>Labels"]),
        (lambda: Vocabulary.from_json('{"class_name": "gatewise>Vocabulary", "config": {"x": 1}}'), ["'x'"]),
        (lambda: Subwords(max_tokens=100), ["max_tokens", "received 100"]),
        (lambda: Subwords()(["a"]), ["adapt"]),
        (lambda: Subwords().adapt([""]), ["1 texts"]),
        (lambda: Subwords(tokenizer="{}"), ["tokenizer"]),
        (lambda: pad([[1]], maxlen=0), ["maxlen", "received 0"]),
        (lambda: Labels().adapt(["pos", "pos"]), ["too few classes", "'pos'"]),
        (lambda: Labels().adapt([]), ["none"]),
        (lambda: Labels().adapt("pos"), ["one string"]),
        (lambda: Labels(["a", "a"]), ["'a'"]),
        (lambda: Labels(["neg", "pos"])(["pos", "maybe"]), ["'maybe'", "'neg', 'pos'"]),
        (lambda: Labels(["neg", "pos"]).decode([2]), ["0 to 1", "2 to 2"]),
        (lambda: Labels(["neg", "pos"]).decode([[0.2]]), ["classes=2", "(1, 1)"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(make: Any, parts: list[str]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert_teaches(str(caught.value), *parts)


def test_labels_are_numbers_in_sorted_order_and_back() -> None:
    labels = Labels().adapt(["b", "c", "a", "b"])
    numbers = labels(["c", "a", "b"])
    assert numbers.tolist() == [2, 0, 1]
    assert labels.decode(numbers) == labels.decode(np.eye(3)[numbers]) == ["c", "a", "b"]
    assert Labels.from_json(labels.to_json()) == labels
