# SPDX-License-Identifier: Apache-2.0
"""Is a film review positive or negative? A GRU reads it word by word; a regression on words and pairs is the baseline.

Both learn and answer in the same ten folds, which the names of the files give. There are few reviews and many words:
what keeps the GRU from learning the reviews by heart is dropout, of whole words too.
"""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras.layers import (
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    Input,
    SpatialDropout1D,
)
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import gatewise
from gatewise.data.errors import FormatError
from gatewise.data.labels import Labels
from gatewise.data.preprocessing import Preprocessing
from gatewise.data.text import Vocabulary
from gatewise.keras import GRU  # instead of: from keras.layers import GRU
from study import GREY, INK, OTHER, OURS, PALE, STYLE, Table, begin, console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ARCHIVE = "movie_review_polarity.tar.gz"
REVIEW = re.compile(r"txt_sentoken/(\w+)/cv(\d)\d*_\w+\.txt")  # its opinion and its fold
WORDS, VOCABULARY = 800, 8000  # of a review, its last ones; of all reviews, the most frequent ones


class Reviews(NamedTuple):
    """Reviews, what they say and the folds they belong to, each as long as the others."""

    texts: list[str]
    opinions: list[str]
    folds: list[int]

    def take(self, kept: Sequence[bool]) -> Reviews:
        """Takes some of them."""
        return Reviews(*([one for one, keep in zip(row, kept, strict=True) if keep] for row in self))


def read_reviews(archive: Path) -> Reviews:
    """Reads the reviews from the archive as it is, without unpacking it."""
    found = []
    try:
        with tarfile.open(archive) as tar:
            for name, content in ((member.name, tar.extractfile(member)) for member in tar if member.isfile()):
                match = REVIEW.fullmatch(name)
                if match and content:
                    found.append((read_review(name, content.read()), match[1], int(match[2])))
    except (tarfile.TarError, EOFError) as error:
        raise FormatError(
            f"sentiment: {archive} cannot be read. Expected an archive *.tar.gz; received one where {error}. "
            "Get it again: it is empty or not whole."
        ) from error
    if not found:
        raise FormatError(
            f"sentiment: {archive} holds no reviews. Expected files such as txt_sentoken/pos/cv000_29590.txt; received "
            "none. Check which archive it is."
        )
    found.sort()
    return Reviews(*map(list, zip(*found, strict=True)))


def read_review(name: str, content: bytes) -> str:
    """Decodes a review."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"sentiment: {name} is not in the encoding of the others. Expected UTF-8; received the byte "
            f"0x{content[error.start]:02x} at offset {error.start}. Convert that file."
        ) from error
    if not text.strip():
        raise FormatError(f"sentiment: {name} is empty. Expected a review; received blanks at most. Leave it out.")
    return text


def split(reviews: Reviews) -> list[tuple[Reviews, Reviews]]:
    """Gives, for each fold, the training part and the test part. Every opinion has to be in every training part."""
    parts = []
    for fold in sorted(set(reviews.folds)):
        train, test = (reviews.take([(one == fold) is inside for one in reviews.folds]) for inside in (False, True))
        Labels().adapt(train.opinions)(test.opinions)  # an error where training has one opinion, or lacks one
        parts.append((train, test))
    return parts


def build(vocabulary: Vocabulary, labels: Labels) -> Any:
    """Builds a model that reads a review both ways and keeps the mean and the peak of what it thought.

    It keeps what its input is made with, so that its file reads reviews as they are.
    """
    tokens = Input((None,), dtype="int32", name="review")
    x = Preprocessing(vocabulary=vocabulary, opinions=labels)(tokens)
    x = Embedding(vocabulary.vocabulary_size(), 32, mask_zero=True)(x)
    x = Dropout(0.3, noise_shape=(None, None, 1))(x)  # whole words
    x = SpatialDropout1D(0.3)(x)
    x = Bidirectional(GRU(32, return_sequences=True))(x)
    x = Concatenate()([GlobalAveragePooling1D()(x), keras.ops.max(x, axis=1)])
    return keras.Model(tokens, Dense(1, activation="sigmoid")(Dropout(0.5)(x)))


def answer(train: Reviews, test: Reviews, *, words: int, epochs: int, batch: int = 32) -> tuple[list[str], Any]:
    """Trains the GRU; gives its opinion on the test part, and the model."""
    keras.utils.set_random_seed(0)
    vocabulary = Vocabulary(
        max_tokens=VOCABULARY, standardize="lower", output_sequence_length=words, truncating="pre"
    ).adapt(train.texts)
    labels = Labels().adapt(train.opinions)
    model = build(vocabulary, labels)
    rate = keras.optimizers.schedules.CosineDecay(0.003, epochs * -(-len(train.texts) // batch))
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="binary_crossentropy")
    model.fit(vocabulary(train.texts), labels(train.opinions), batch_size=batch, epochs=epochs, verbose=0)
    scores = model.predict(vocabulary(test.texts), verbose=0)
    return labels.decode((scores[:, 0] > 0.5).astype(int)), model


def answer_by_words(train: Reviews, test: Reviews) -> list[str]:
    """Trains a logistic regression on words and pairs of neighbours, and gives its opinion on the test part."""
    counts = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", min_df=2, sublinear_tf=True)  # noqa: S106
    model = make_pipeline(counts, LogisticRegression(C=10, max_iter=500)).fit(train.texts, train.opinions)
    return list(model.predict(test.texts))


def tabulate(ours: Any, baseline: Any) -> Table:
    """Tabulates accuracy by fold, 0 to 1."""
    rows = []
    for name, scores in (("GRU, word by word", ours), ("logistic regression on words and pairs", baseline)):
        lowest, highest = (f"{100 * one:.1f}" for one in (scores.min(), scores.max()))
        rows.append((name, f"{100 * scores.mean():.1f}", f"{100 * scores.std(ddof=1):.1f}", lowest, highest))
    better = int((ours > baseline).sum())
    title = f"Accuracy, %, over {len(ours)} folds; the GRU is better in {better}"
    return Table(title, ("", "mean", "standard deviation", "worst fold", "best fold"), rows)


def draw(ours: Any, baseline: Any) -> Figure:
    """Draws accuracy by fold, 0 to 1, and the means."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4), layout="constrained", dpi=120)
        axes = figure.subplots()
        folds = np.arange(len(ours))
        axes.vlines(folds, 100 * ours, 100 * baseline, color=PALE, linewidth=3, zorder=1)
        for scores, colour, name in ((ours, OURS, "GRU"), (baseline, OTHER, "regression on words and pairs")):
            mean = 100 * scores.mean()
            axes.axhline(mean, color=colour, linewidth=1, linestyle=":")
            axes.scatter(folds, 100 * scores, 44, colour, label=f"{name}, mean {mean:.1f} %")
        axes.set_xticks(folds)
        axes.set_xlabel("fold that is tested", color=GREY)
        axes.set_ylabel("reviews judged right, %", color=GREY)
        axes.set_ylim(min(75.0, 100 * min(ours.min(), baseline.min()) - 2), 100)
        axes.legend(frameon=False, loc="upper center", ncols=2)
        axes.set_title("Is a film review positive or negative?", loc="left", color=INK)
    return figure


def main() -> None:
    """Trains and tests both models in every fold, and reports."""
    study = begin("sentiment", "Is a film review positive or negative?", data=ARCHIVE)
    reviews = read_reviews(study.data / ARCHIVE)
    settings = {"words": WORDS, "epochs": 10}
    if study.quick:  # the first twenty of each fold and opinion at most
        place = {key: iter(range(len(reviews.texts))) for key in zip(reviews.opinions, reviews.folds, strict=True)}
        counted = [next(place[key]) for key in zip(reviews.opinions, reviews.folds, strict=True)]
        reviews, settings = reviews.take([one < 20 for one in counted]), {"words": 100, "epochs": 8}
    parts = split(reviews)
    ours, baseline = [], []
    for fold, (train, test) in enumerate(parts[:2] if study.quick else parts):
        opinions, model = answer(train, test, **settings)
        for kept, given in ((ours, opinions), (baseline, answer_by_words(train, test))):
            kept.append(float(np.mean(np.array(given) == np.array(test.opinions))))
        console.print(f"fold {fold}: GRU {ours[-1]:.1%} right, regression on words and pairs {baseline[-1]:.1%}")
    study.out.mkdir(parents=True, exist_ok=True)
    model.save(study.out / "sentiment.keras")  # of the last fold
    gatewise.save(model, study.out / "sentiment.safetensors")
    results = np.array(ours), np.array(baseline)
    study.report([tabulate(*results)], draw(*results), {"accuracy": ours, "baseline_accuracy": baseline})


if __name__ == "__main__":
    main()
