# SPDX-License-Identifier: Apache-2.0
"""The studies of text: in small they learn made data and write everything; bad data gives a clear error, no file."""

import importlib
import importlib.util
import io
import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gatewise.data.errors import FormatError
from study_case import EXAMPLES, check_raw, run_study

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tensorflow", "sklearn")),
    reason="the studies need the extras tensorflow and studies: pip install '.[tensorflow,studies]'",
)

ARCHIVE = "movie_review_polarity.tar.gz"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a study, as its own folder would."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def make_names(folder: Path) -> None:
    """Writes three languages of 250 made-up names each; every language has endings of its own."""
    random = np.random.default_rng(0)
    endings = {"Highland": ["mac", "loch"], "Lowland": ["beek", "ström"], "Island": ["nui", "loa"]}
    folder.mkdir()
    for language, own in endings.items():
        begin = ["".join(random.choice(list("abdeiklmnorstu"), 5)).title() for _ in range(250)]
        names = [first + own[i % 2] for i, first in enumerate(begin)]
        (folder / f"{language}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    """Writes files by name into an archive."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def make_reviews(count: int = 20) -> dict[str, bytes]:
    """Makes reviews of both opinions in ten folds, `count` in each: one word in six says what the author thinks."""
    random = np.random.default_rng(0)
    opinions = {"pos": ["lovely", "splendid", "moving"], "neg": ["dull", "stale", "tiresome"]}
    files = {"poldata.README": b"made up"}
    for opinion, own in opinions.items():
        for i in range(10 * count):
            words = [f"thing{number}" for number in random.integers(0, 60, 50)] + list(random.choice(own, 10))
            text = " ".join(random.permutation(words))
            files[f"txt_sentoken/{opinion}/cv{i % 10}{i // 10:02d}_{i}.txt"] = text.encode()
    return files


def test_surnames_learns_made_languages_and_its_saved_model_answers(tmp_path: Path) -> None:
    make_names(tmp_path / "surnames")
    printed, facts, _ = run_study("surnames", tmp_path, "--data", tmp_path)
    assert min(facts["accuracy"]) > 0.8, "one in three is chance"
    assert min(facts["macro_f1"]) > 0.8
    assert min(facts["baseline_accuracy"]) > 0.8
    assert re.search(r"The saved model says: Yamashiro (High|Low|Is)land", printed)
    assert (tmp_path / "surnames.keras").exists()


def test_sentiment_learns_made_reviews(tmp_path: Path) -> None:
    write_archive(tmp_path / ARCHIVE, make_reviews())
    _, facts, _ = run_study("sentiment", tmp_path, "--data", tmp_path)
    assert len(facts["accuracy"]) == len(facts["baseline_accuracy"]) == 2
    assert min(facts["accuracy"]) > 0.8, "half is chance"
    assert min(facts["baseline_accuracy"]) > 0.8
    check_raw("sentiment", tmp_path, ["a lovely thing3, splendid", "thing7 thing9 dull dull", "thing1"], "vocabulary")


def test_writer_learns_more_than_how_frequent_characters_are_and_writes(tmp_path: Path) -> None:
    printed, facts, _ = run_study("writer", tmp_path)
    assert facts["bits"] < facts["ngrams"][0] - 0.5
    assert len(facts["written"]) == 3
    assert all(text.startswith("\n\nThe ") and len(text) == 606 for text in facts["written"].values())
    assert all(text.strip()[:40] in printed for text in facts["written"].values())


def test_a_name_that_a_file_repeats_counts_once(tmp_path: Path, load: Callable[[str], ModuleType]) -> None:
    make_names(tmp_path / "surnames")
    names, languages = load("surnames").read_names(tmp_path / "surnames")
    again = tmp_path / "surnames" / "Island.txt"
    again.write_text(again.read_text(encoding="utf-8") * 5, encoding="utf-8")
    assert load("surnames").read_names(tmp_path / "surnames") == (names, languages)


def test_pieces_of_names_end_at_each_letter(load: Callable[[str], ModuleType]) -> None:
    assert load("surnames").spell(["Lee", "de A"], 2) == ["^L Le ee", "^d de e_ _A"]
    assert load("surnames").spell(["Lee"], 1) == ["L e e"]


BAD_NAMES: dict[str, tuple[Callable[[Path], object], type[ValueError], str]] = {
    "an empty file": (lambda folder: (folder / "Island.txt").write_bytes(b""), FormatError, r"Island\.txt is empty"),
    "blank lines": (lambda folder: (folder / "Island.txt").write_bytes(b"\n \n"), FormatError, r"holds no text"),
    "one class": (
        lambda folder: [(folder / f"{language}land.txt").unlink() for language in ("Is", "Low")],
        ValueError,
        "at least two",
    ),
    "a class that a part would lack": (
        lambda folder: (folder / "Island.txt").write_text("Loa\n" * 50, encoding="utf-8"),
        ValueError,
        r"Island has too few names.* received 1",
    ),
    "mixed encodings": (
        lambda folder: (folder / "Island.txt").write_bytes("Møller\n".encode() + "Møller\n".encode("latin-1")),
        FormatError,
        r"Island\.txt .* in line 2\. .*mixes encodings",
    ),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_bad_names_give_a_clear_error_and_no_file(
    case: str, tmp_path: Path, load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, error, message = BAD_NAMES[case]
    make_names(tmp_path / "surnames")
    spoil(tmp_path / "surnames")
    monkeypatch.setattr(sys, "argv", ["surnames.py", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(error, match=message):
        load("surnames").main()
    assert not (tmp_path / "out").exists()


FIRST = "txt_sentoken/pos/cv000_0.txt"
BAD_REVIEWS: dict[str, tuple[dict[str, bytes], type[ValueError], str]] = {
    "no review": ({"README": b"nothing else"}, FormatError, "holds no reviews"),
    "an empty review": ({FIRST: b" \n"}, FormatError, r"cv000_0\.txt is empty"),
    "mixed encodings": ({FIRST: "un chef-d'œuvre, très bien".encode("cp1252")}, FormatError, r"cv000_0\.txt.* 0x9c"),
    "one class": (
        {name: text for name, text in make_reviews(1).items() if "/pos/" in name},
        ValueError,
        "too few classes|at least two",
    ),
    "a class that one fold alone has": (
        {"txt_sentoken/mixed/cv000_0.txt": b"so so"},
        ValueError,
        r"classes that training did not have\. .*'mixed'",
    ),
}


@pytest.mark.parametrize("case", BAD_REVIEWS)
def test_bad_reviews_give_a_clear_error_and_no_file(
    case: str, tmp_path: Path, load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, error, message = BAD_REVIEWS[case]
    write_archive(tmp_path / ARCHIVE, files if case in {"no review", "one class"} else make_reviews(1) | files)
    monkeypatch.setattr(sys, "argv", ["sentiment.py", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(error, match=message):
        load("sentiment").main()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", [0, 0.5])
def test_an_archive_that_is_empty_or_not_whole_is_named(
    kept: float, tmp_path: Path, load: Callable[[str], ModuleType]
) -> None:
    archive = tmp_path / ARCHIVE
    write_archive(archive, make_reviews(3))
    archive.write_bytes(archive.read_bytes()[: int(kept * archive.stat().st_size)])
    with pytest.raises(FormatError, match=rf"{ARCHIVE} cannot be read"):
        load("sentiment").read_reviews(archive)


def test_folds_of_reviews_follow_their_names(tmp_path: Path, load: Callable[[str], ModuleType]) -> None:
    write_archive(tmp_path / ARCHIVE, make_reviews(2))
    sentiment = load("sentiment")
    parts = sentiment.split(sentiment.read_reviews(tmp_path / ARCHIVE))
    assert len(parts) == 10
    assert [set(test.folds) for _, test in parts] == [{fold} for fold in range(10)]
    assert all((len(train.texts), len(test.texts)) == (36, 4) for train, test in parts)


def test_parts_of_the_manual_share_no_paragraph(load: Callable[[str], ModuleType]) -> None:
    parts = [set(text.split("\n\n")) - {""} for text in load("writer").read_parts()]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    sizes = [sum(map(len, part)) for part in parts]
    assert 0.05 < sizes[1] / sum(sizes) < 0.11
    assert 0.05 < sizes[2] / sum(sizes) < 0.11


def test_writing_step_by_step_reads_as_the_model_does(load: Callable[[str], ModuleType]) -> None:
    writer = load("writer")
    vocabulary = writer.Vocabulary(split="character").adapt(["a tale of two cities"])
    model = writer.build(vocabulary.vocabulary_size(), 16)
    tokens = vocabulary.encode(["of two tales"])[0]
    steps = writer.Writer(model, vocabulary)
    states = [np.zeros((1, 16), np.float32)] * 2
    logits = np.array([steps.read(token, states) for token in tokens])
    expected = model.predict(np.array([tokens], np.int32), verbose=0)[0]
    bound = 64 * 16 * np.finfo(np.float32).eps  # each logit sums 16 products of values below 1, twice over 64
    assert np.abs(logits - expected).max() < bound, np.abs(logits - expected).max()


def test_chances_of_ngrams_sum_to_one(load: Callable[[str], ModuleType]) -> None:
    text, prefix, characters = [2, 3, 2, 4, 2, 3, 2, 2], [2, 3, 2], 6
    found = load("writer").measure_ngrams(text, [prefix, *([*prefix, one] for one in range(characters))], characters)
    bits = np.array(found) * np.array([len(prefix) - 1, *[len(prefix)] * characters])[:, None]
    np.testing.assert_allclose(np.exp2(bits[0] - bits[1:]).sum(0), 1, rtol=1e-12)


def test_ngrams_find_a_text_that_repeats_itself_cheap(load: Callable[[str], ModuleType]) -> None:
    bits = load("writer").measure_ngrams([2, 3, 4] * 200, [[2, 3, 4] * 20], 5)[0]
    assert bits[0] > 1.5
    assert max(bits[1:]) < 0.1
