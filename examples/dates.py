# SPDX-License-Identifier: Apache-2.0
"""Translation with encoder, attention and decoder: dates as 47 languages write them, to ISO dates, by characters.

The encoder reads "1. listopada 2003." from both sides, the decoder writes "2003-10-01", and at each character the
attention shows it the places of the text that matter now. Nobody tells the model the language.
"""

import re
from datetime import date
from itertools import pairwise, product
from typing import Any, NamedTuple

import keras
import numpy as np
from babel import Locale
from babel.dates import format_date, format_skeleton
from keras.layers import Activation, Attention, Bidirectional, Concatenate, Dense, Embedding, Input
from matplotlib import rc_context
from matplotlib.figure import Figure

import gatewise
from gatewise.data.preprocessing import Preprocessing
from gatewise.data.text import Vocabulary
from gatewise.keras import GRU
from study import GREY, INK, OTHER, OURS, PALE, STYLE, Study, Table, begin

LANGUAGES = (
    "en de nl sv da nb is fr es it pt ro ca pl cs sk hr sl sr bg ru uk lt lv et fi hu tr az id vi sw el he ar fa hi bn "
    "ta te th ka hy am zh ja ko"
)
FORMATS, SKELETONS = ("full", "long", "medium"), ("yMMMEd", "yMMMMEEEEd")
DAYS = range(date(1900, 1, 1).toordinal(), date(2100, 1, 1).toordinal())
START = ">"  # what the decoder reads before its first character
SHOWN = (("de", "full", 10), ("el", "yMMMEd", 5), ("hr", "long", 10), ("pl", "long", 11))  # form and month, to be drawn


class Pairs(NamedTuple):
    """Dates in writing."""

    texts: list[str]  # as a language writes it
    isos: list[str]  # as ISO 8601 writes it, behind START
    languages: list[str]  # which language


def write(day: date, language: str, form: str) -> str:
    """Writes a date as a language does, by CLDR's patterns."""
    return format_date(day, form, language) if form in FORMATS else format_skeleton(form, day, locale=language)


def make_pairs(days: list[date], languages: list[str], rng: np.random.Generator) -> Pairs:
    """Writes each date in each of the languages, in a random form."""
    both = [(day, language) for day in days for language in languages]
    texts = [write(day, language, rng.choice(FORMATS + SKELETONS)) for day, language in both]
    return Pairs(texts, [START + day.isoformat() for day, _ in both], [language for _, language in both])


def build(written: Vocabulary, iso: Vocabulary, units: int) -> tuple[keras.Model, keras.Model]:
    """Builds two models of the same layers: one to train, and one that translates alone, and shows where it looked.

    What docs/dates.md asks the first for by name, where no framework is, has a name here.
    """
    read, embed = Embedding(written.vocabulary_size(), 64, mask_zero=True), Embedding(iso.vocabulary_size(), 32)
    encoder = Bidirectional(GRU(units, return_sequences=True, return_state=True), name="encoder")
    remember, decoder = Dense(2 * units), GRU(2 * units, return_sequences=True, return_state=True)
    attention, join = Attention(use_scale=True), Concatenate()
    answer = Dense(iso.vocabulary_size(), activation="softmax", name="answer")

    source = Input((None,), dtype="int32", name="source")
    encoded, forward, backward = encoder(read(Preprocessing(written=written, iso=iso)(source)))
    state = Activation("tanh", name="state")(remember(join([forward, backward])))
    mask = keras.ops.not_equal(source, 0)

    def decode(characters: Any, state: Any) -> tuple[Any, Any, Any]:
        outputs, state = decoder(embed(characters), initial_state=state)
        context, looked = attention([outputs, encoded], mask=[None, mask], return_attention_scores=True)
        return answer(join([outputs, context])), looked, state

    # In training: the true characters before the ones to be written
    previous = Input((None,), dtype="int32", name="previous")
    trained = keras.Model([source, previous], decode(previous, state)[0])
    character, steps = keras.ops.full_like(source[:, :1], iso.encode([START])[0][0]), []  # when it translates: its own
    for _ in "2003-10-01":
        scores, looked, state = decode(character, state)
        character = keras.ops.argmax(scores, axis=-1)
        steps.append((character, looked))
    return trained, keras.Model(source, [keras.ops.concatenate(each, axis=1) for each in zip(*steps, strict=True)])


def train(model: keras.Model, training: Any, validation: Any, epochs: int) -> None:
    """Trains; the learning rate falls to nothing along half a cosine."""
    rate = keras.optimizers.schedules.CosineDecay(0.003, epochs * (len(training[1]) // 64))
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*training, validation_data=validation, batch_size=64, epochs=epochs, verbose=2)


def month_names(languages: list[str]) -> dict[str, int]:
    """Looks up in CLDR what the months are called; where languages disagree, the first one counts."""
    names: dict[str, int] = {}
    for language, context, width in product(languages, ("format", "stand-alone"), ("wide", "abbreviated")):
        for month, name in Locale(language).months[context][width].items():
            names.setdefault(name.strip(".").lower(), month)
    return names


def read_by_rules(text: str, names: dict[str, int]) -> str:
    """Reads a date by hand-made rules, the baseline: a month's name, a year of four digits, and what is left."""
    text = text.lower().replace("\u200f", "")
    found = [(len(name), text.rfind(name), name) for name in names if name in text]
    whole = [one for one in found if re.search(rf"(?<!\w){re.escape(one[2])}(?!\w)", text)]
    name = max(whole or found, default=(0, 0, ""))[2]
    numbers = re.findall(r"\d+", text.replace(name, " ") if name else text)
    years = [number for number in numbers if len(number) == 4]
    rest = [int(number) for number in numbers if len(number) < 4]
    if not years or not rest or not (name or len(rest) > 1):
        return ""
    month, day = (names[name], rest[-1]) if name else rest[-2:] if numbers[0] == years[0] else rest[:-3:-1]
    return f"{years[0]}-{month:02}-{day:02}"


def read_all_by_rules(test: Pairs, languages: list[str]) -> dict[str, list[str]]:
    """Reads by rules twice: with the names of all languages together, and told which language it is."""
    together, own = month_names(languages), {language: month_names([language]) for language in languages}
    return {
        "rules, language not told": [read_by_rules(text, together) for text in test.texts],
        "rules, language told": [
            read_by_rules(text, own[of]) for text, of in zip(test.texts, test.languages, strict=True)
        ],
    }


def draw(languages: list[str], exact: dict[str, Any], maps: list[tuple[str, str, str, Any]]) -> Figure:
    """Draws where the decoder looks, and how many dates are exact in each language."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 9), layout="constrained")
        grid = figure.add_gridspec(3, 2, height_ratios=(1, 1, 0.8))
        for place, ((language, *_), (text, truth, iso, looked)) in enumerate(zip(SHOWN, maps, strict=True)):
            axes = figure.add_subplot(grid[place // 2, place % 2])
            axes.imshow(looked[:, : len(text)], cmap="GnBu", vmin=0, vmax=1, aspect="auto")
            axes.set_xticks(range(len(text)), list(text), fontsize=11)
            axes.set_yticks(range(len(iso)), list(iso), fontsize=11)
            axes.tick_params(length=0, labelcolor=INK)
            title = f"Where the decoder looks: {Locale(language).english_name}{'' if iso == truth else ' (misread)'}"
            axes.set_title(title, loc="left", color=INK)
        axes = figure.add_subplot(grid[2, :])
        for (name, values), colour, size in zip(exact.items(), (OTHER, OURS), (7, 5), strict=True):
            axes.plot(languages, values, "o", color=colour, markersize=size, label=name, clip_on=False)
        axes.tick_params(axis="x", labelsize=9)
        axes.set(ylim=(min(90, min(map(min, exact.values())) - 2), 100.5), xlim=(-0.7, len(languages) - 0.3))
        axes.grid(axis="y", color=PALE)
        axes.legend(frameon=False, labelcolor=GREY, loc="lower right")
        axes.set_title("Held-out dates that are exact, %, by language", loc="left", color=INK)
    return figure


def tabulate(languages: list[str], exact: dict[str, Any], by_language: dict[str, Any]) -> list[Table]:
    """Makes the tables: overall, and by language with an example."""
    overall = [[name, f"{hits.mean():.2f} ({hits.min():.2f} to {hits.max():.2f})"] for name, hits in exact.items()]
    hits = zip(*([f"{hit:.1f}" for hit in values] for values in by_language.values()), strict=True)
    examples = [(Locale(language).english_name, write(date(2003, 10, 1), language, "full")) for language in languages]
    rows = [[*example, *row] for example, row in zip(examples, hits, strict=True)]
    return [
        Table("Exact on held-out dates, % (mean and range of the seeds)", ("", "exact"), overall),
        Table("Exact by language, %", ("language", "1 October 2003 in full", *by_language), rows),
    ]


def run(study: Study) -> None:
    """Makes the dates, trains with several seeds, and reports."""
    languages = ["en", "de", "el"] if study.quick else LANGUAGES.split()
    sizes, units, epochs, seeds = ((400, 20, 60), 64, 8, 1) if study.quick else ((1000, 40, 200), 96, 3, 3)
    rng = np.random.default_rng(0)
    drawn = rng.choice(DAYS, sum(sizes), replace=False)
    days = [date.fromordinal(int(number)) for number in drawn]  # a day belongs to one part, in all languages
    parts = [make_pairs(days[a:b], languages, rng) for a, b in pairwise(np.cumsum((0, *sizes)))]
    written = Vocabulary(split="character").adapt(parts[0].texts)
    iso = Vocabulary(split="character").adapt(parts[0].isos)
    sets = [((written(part.texts), iso(part.isos)[:, :-1]), iso(part.isos)[:, 1:]) for part in parts]
    test, truth = parts[2], [text[1:] for text in parts[2].isos]
    print(f"{len(parts[0].texts):,} written dates to train on, {len(test.texts):,} of other days to test.")
    names, together = {language: month_names([language]) for language in languages}, month_names(languages)
    told = [read_by_rules(text, names[of]) for text, of in zip(test.texts, test.languages, strict=True)]
    untold = [read_by_rules(text, together) for text in test.texts]
    right = {"rules, language told": [np.equal(told, truth)], "rules": [np.equal(untold, truth)], "GRU": []}
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        trained, translator = build(written, iso, units)
        train(trained, *sets[:2], epochs)
        characters, _ = translator.predict(sets[2][0][0], batch_size=512, verbose=0)
        right["GRU"].append(np.equal(iso.decode(characters), truth))
    held_out = {day.month: day for day in days[-sizes[2] :]}  # one for each month
    shown = [write(held_out[month], language, form) for language, form, month in SHOWN]
    characters, looked = translator.predict(written(shown), verbose=0)
    exact = {name: 100 * np.mean(hits, axis=1) for name, hits in right.items()}
    of = [np.equal(test.languages, language) for language in languages]
    by = {name: [100 * np.mean(np.array(hits)[:, one]) for one in of] for name, hits in right.items()}
    true = [held_out[month].isoformat() for *_, month in SHOWN]
    maps = zip(shown, true, iso.decode(characters), looked, strict=True)
    facts = {name: {"exact": list(exact[name]), **dict(zip(languages, by[name], strict=True))} for name in exact}
    picture = draw(languages, {name: by[name] for name in ("rules", "GRU")}, list(maps))
    study.report(tabulate(languages, exact, by), picture, facts)
    translator.save(study.out / "dates.keras")  # with the vocabularies inside
    gatewise.save(trained, study.out / "dates.safetensors")  # likewise


if __name__ == "__main__":
    run(begin("dates", "Dates as 47 languages write them, to ISO dates, by an encoder, attention and a decoder"))
