# SPDX-License-Identifier: Apache-2.0
"""Where does a surname come from? A GRU reads it letter by letter; a regression on letter n-grams is the baseline.

The names lie in one file for each language. A name that a file repeats counts once: otherwise the test part would hold
names that training had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras.layers import Add, Bidirectional, Dense, Dropout, Embedding, Input, SpatialDropout1D
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from gatewise.data.labels import Labels
from gatewise.data.preprocessing import Preprocessing, find_preprocessing
from gatewise.data.text import Vocabulary, read_lines
from gatewise.keras import GRU  # instead of: from keras.layers import GRU
from study import GREY, INK, OTHER, OURS, PALE, STYLE, Table, begin, console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZES = (1, 2, 3)  # letters in the pieces that a step reads: "e", "Le" and "^Le" at the second letter of Lee
FEWEST = 10  # names that a language has to have, so that both parts hold some of them
SEEDS = (0, 1, 2)
NEW = ("Yamashiro", "Krivoshein", "Papageorgiou", "O'Flaherty", "Bianchetti", "Vandenberghe")


def read_names(folder: Path) -> tuple[list[str], list[str]]:
    """Reads names and their languages: files LANGUAGE.txt of one name a line. Each name counts once for a language."""
    found = {path.stem: sorted(set(read_lines(path))) for path in sorted(folder.glob("*.txt"))}
    Labels().adapt(found)  # an error if there are fewer than two languages
    for language, names in found.items():
        if len(names) < FEWEST:
            message = (
                f"surnames: {language} has too few names. Expected at least {FEWEST} different ones, so that training "
                f"and test both hold some; received {len(names)}. Add names, or remove {language}.txt."
            )
            raise ValueError(message)
    pairs = [(name, language) for language, names in found.items() for name in names]
    return [name for name, _ in pairs], [language for _, language in pairs]


def spell(names: Sequence[str], size: int) -> list[str]:
    """Writes each name as the pieces that end at its letters, with blanks between: "^L Le ee" for size 2."""
    padded = ["^" * (size - 1) + name.replace(" ", "_") for name in names]
    return [" ".join(name[i : i + size] for i in range(len(name) - size + 1)) for name in padded]


def encode(vocabularies: Sequence[Vocabulary], names: Sequence[str]) -> list[Any]:
    """Numbers the pieces of names: for each size (names, letters) int32."""
    return [vocabulary(spell(names, size)) for vocabulary, size in zip(vocabularies, SIZES, strict=True)]


def build(vocabularies: Sequence[Vocabulary], languages: Labels, steps: int) -> Any:
    """Builds a model that reads a name in both directions; it keeps what its input and output mean in its file."""
    inputs = [Input((None,), dtype="int32") for _ in vocabularies]
    pieces = [Embedding(v.vocabulary_size(), 64, mask_zero=True)(x) for v, x in zip(vocabularies, inputs, strict=True)]
    x = SpatialDropout1D(0.5)(Add()(pieces))
    x = Bidirectional(GRU(128))(x)
    x = Preprocessing(vocabularies=list(vocabularies), languages=languages)(Dropout(0.5)(x))
    model = keras.Model(inputs, Dense(len(languages.names), activation="softmax")(x))
    rate = keras.optimizers.schedules.CosineDecay(0.003, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(names: Sequence[str], languages: Sequence[str], seed: int, epochs: int = 8, batch: int = 128) -> Any:
    """Trains the model on names and their languages."""
    keras.utils.set_random_seed(seed)
    vocabularies = [Vocabulary(standardize=None, max_tokens=4000).adapt(spell(names, size)) for size in SIZES]
    labels = Labels().adapt(languages)
    model = build(vocabularies, labels, epochs * -(-len(names) // batch))
    model.fit(encode(vocabularies, names), labels(languages), batch_size=batch, epochs=epochs, verbose=0)
    return model


def guess(model: Any, names: Sequence[str]) -> list[str]:
    """Says where names come from. The model may come from its file: all that is needed is inside."""
    kept = find_preprocessing(model)
    scores = model.predict(encode(kept["vocabularies"], names), batch_size=1024, verbose=0)
    found: list[str] = kept["languages"].decode(scores)
    return found


def train_baseline(names: Sequence[str], languages: Sequence[str]) -> Any:
    """Trains a logistic regression on how often pieces of one to four letters are in a name."""
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, lowercase=False)
    return make_pipeline(pieces, LogisticRegression(C=10, max_iter=500)).fit(names, languages)


def score(languages: Sequence[str], guessed: Sequence[str]) -> list[float]:
    """Compares: accuracy, macro-F1, then F1 of each language in the order of the alphabet; all of them 0 to 1."""
    each = f1_score(languages, guessed, average=None, labels=sorted(set(languages)), zero_division=0)
    return [float(np.mean(np.array(languages) == np.array(guessed))), float(each.mean()), *map(float, each)]


def make_tables(ours: Any, baseline: Any, names: Sequence[str], counts: Sequence[int]) -> list[Table]:
    """Tabulates scores, (seeds, 2 + languages) each."""
    rows = []
    for name, scores in (("GRU, letter by letter", ours), ("logistic regression on n-grams", baseline)):
        for i, metric in enumerate(("accuracy", "macro-F1")):
            each = " ".join(f"{100 * one:.1f}" for one in scores[:, i])
            mean, spread = 100 * scores[:, i].mean(), 100 * np.ptp(scores[:, i])
            rows.append((f"{name}: {metric}", f"{mean:.1f}", f"{spread:.1f}", each))
    columns = ("%", "mean", "highest minus lowest", "each split")
    means = zip(names, counts, ours[:, 2:].mean(0), baseline[:, 2:].mean(0), strict=True)
    languages = [(name, f"{n:,}", f"{100 * a:.0f}", f"{100 * b:.0f}") for name, n, a, b in means]
    title = "F1 of each language, %, mean over the splits"
    return [
        Table("Names that training did not have", columns, rows),
        Table(title, ("", "names", "GRU", "n-grams"), languages),
    ]


def draw(ours: Any, baseline: Any, names: Sequence[str], counts: Sequence[int]) -> Figure:
    """Draws F1 of each language for both models, the language with most names on top."""
    order = np.argsort(counts)
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 6), layout="constrained", dpi=120)
        axes = figure.subplots()
        for place, one in enumerate(order):
            pair = [100 * scores[:, 2 + one].mean() for scores in (ours, baseline)]
            axes.plot(pair, [place, place], color=PALE, linewidth=3, zorder=1)
            axes.scatter(pair[1], place, 44, OTHER, label="" if place else "logistic regression on n-grams")
            axes.scatter(pair[0], place, 44, OURS, label="" if place else "GRU, letter by letter")
        axes.set_yticks(range(len(order)), [f"{names[one]}  {counts[one]:,}" for one in order], color=INK)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("F1, %, mean over the splits", color=GREY)
        axes.grid(axis="x", color=PALE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, loc="lower right")
        axes.set_title("Where a surname comes from, and how many names there are", loc="left", color=INK)
    return figure


def main() -> None:
    """Splits 80/20 for each seed, trains both models, and reports."""
    study = begin("surnames", "Where does a surname come from?", data="surnames")
    names, languages = read_names(study.data / "surnames")
    if study.quick and len(names) > 3000:
        names, _, languages, _ = train_test_split(names, languages, train_size=3000, random_state=0, stratify=languages)
    ours, baseline = [], []
    for seed in SEEDS[:1] if study.quick else SEEDS:
        a, b, c, d = train_test_split(names, languages, test_size=0.2, random_state=seed, stratify=languages)
        model = train(a, c, seed)
        ours.append(score(d, guess(model, b)))
        baseline.append(score(d, train_baseline(a, c).predict(b)))
        console.print(f"split {seed}: GRU {ours[-1][0]:.1%} right, n-grams {baseline[-1][0]:.1%}")
    study.out.mkdir(parents=True, exist_ok=True)
    model.save(study.out / "surnames.keras")
    loaded = keras.saving.load_model(study.out / "surnames.keras")
    console.print("The saved model says:", ", ".join(map(" ".join, zip(NEW, guess(loaded, NEW), strict=True))))
    known, counts = np.unique(languages, return_counts=True)
    results: tuple[Any, ...] = (np.array(ours), np.array(baseline), known.tolist(), counts.tolist())
    facts = {"accuracy": [one[0] for one in ours], "macro_f1": [one[1] for one in ours], "languages": known.tolist()}
    facts |= {"baseline_accuracy": [one[0] for one in baseline], "baseline_macro_f1": [one[1] for one in baseline]}
    study.report(make_tables(*results), draw(*results), facts)


if __name__ == "__main__":
    main()
