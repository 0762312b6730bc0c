# SPDX-License-Identifier: Apache-2.0
"""A model of English, character by character, which then writes. Counts of character n-grams are the baseline.

The text is Python's own manual, as `help("topics")` shows it: every Python has it, so that this needs no file.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter, defaultdict
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras.layers import Dense, Dropout, Embedding, Input
from matplotlib import rc_context
from matplotlib.figure import Figure

from gatewise import GRUWeights, Step
from gatewise.data.text import Vocabulary
from gatewise.keras import GRU  # instead of: from keras.layers import GRU
from study import GREY, INK, OTHER, OURS, STYLE, Table, begin, console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TEMPERATURES = (0.3, 0.7, 1.0)
PROMPT = "\n\nThe "
ORDERS = 7  # of the longest n-gram that is tried
WINDOW = 200  # characters that a training example holds


def read_parts(share: float = 0.1) -> tuple[str, str, str]:
    """Gives the text for training, for validation and for the test: whole topics, in which no paragraph repeats."""
    seen: set[str] = set()  # the manual says many things twice: training and test would share them
    texts = []
    for topic in sorted(topics):
        paragraphs = [part.strip("\n") for part in topics[topic].split("\n\n") if part.strip()]
        texts.append("".join(f"{part}\n\n" for part in dict.fromkeys(paragraphs) if part not in seen))
        seen.update(paragraphs)
    parts: tuple[list[str], ...] = ([], [], [])
    room = [math.inf, *[share * sum(map(len, texts))] * 2]
    for i in np.random.default_rng(0).permutation(len(texts)):
        place = next(place for place in (2, 1, 0) if len(texts[i]) <= room[place])
        room[place] -= len(texts[i])
        parts[place].append(texts[i])
    return "".join(parts[0]), "".join(parts[1]), "".join(parts[2])


def build(characters: int, units: int) -> Any:
    """Builds a model that says after each character how likely each of all characters is next, as logits."""
    return keras.Sequential(
        [
            Input((None,), dtype="int32"),
            Embedding(characters, 64),
            Dropout(0.1),
            GRU(units, return_sequences=True),
            Dropout(0.3),
            GRU(units, return_sequences=True),
            Dropout(0.3),
            Dense(characters),
        ]
    )


def train(tokens: NDArray[np.int32], valid: NDArray[np.int32], characters: int, units: int, epochs: int) -> Any:
    """Trains on windows that overlap by half, and keeps the weights that do best on the validation part."""
    keras.utils.set_random_seed(0)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, WINDOW + 1)[:: WINDOW // 2]
    model = build(characters, units)
    rate = keras.optimizers.schedules.CosineDecay(0.003, epochs * -(-len(windows) // 16))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate, clipnorm=1.0), loss=loss)
    best = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    x, y, held_out = windows[:, :-1], windows[:, 1:], (valid[None, :-1], valid[None, 1:])
    model.fit(x, y, 16, epochs, validation_data=held_out, callbacks=[best], verbose=2)
    return model


def measure(model: Any, tokens: NDArray[np.int32]) -> float:
    """Finds the bits per character that a text costs; the GRU reads all of it as one sequence."""
    return float(model.evaluate(tokens[None, :-1], tokens[None, 1:], verbose=0)) / math.log(2)


def measure_ngrams(train: Sequence[int], texts: Sequence[Sequence[int]], characters: int) -> list[list[float]]:
    """Finds the bits per character that texts cost by counts of n-grams, for each text and each n up to `ORDERS`.

    What follows a context is mixed with what follows the context that is one shorter, after Witten and Bell (IEEE
    Transactions on Information Theory 37, 1991): the more often a context went on in new ways, the less it counts.
    """
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for end in range(len(train)):
        for length in range(min(end + 1, ORDERS)):
            counts[tuple(train[end - length : end])][train[end]] += 1
    totals = {context: (followers.total(), len(followers)) for context, followers in counts.items()}
    found = []
    for text in texts:
        bits = np.zeros(ORDERS)
        for end in range(1, len(text)):
            chance = 1 / characters
            for length in range(ORDERS):
                context = tuple(text[end - length : end]) if length <= end else ()
                if length <= end and context in totals:
                    total, kinds = totals[context]
                    chance = (counts[context][text[end]] + kinds * chance) / (total + kinds)
                bits[length] -= math.log2(chance)
        found.append((bits / (len(text) - 1)).tolist())
    return found


class Writer:
    """Writes with a trained model, one step a character; what it has written so far is in the states of the GRUs."""

    def __init__(self, model: Any, vocabulary: Vocabulary) -> None:
        embedding, *grus, dense = [layer for layer in model.layers if layer.get_weights()]
        self.vocabulary = vocabulary
        self.table = embedding.get_weights()[0]
        self.steps = [Step(GRUWeights(*layer.get_weights())) for layer in grus]
        self.kernel, self.bias = dense.get_weights()

    def read(self, token: int, states: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Reads a character into the states, and gives the logits of the next one: (characters,)."""
        x = self.table[[token]]
        for i, step in enumerate(self.steps):
            x = states[i] = step(x, states[i])
        return (x @ self.kernel + self.bias)[0]

    def write(self, prompt: str, length: int, temperature: float, seed: int = 0) -> str:
        """Goes on from a prompt. A low temperature keeps to what is likely, 1 writes as often as the model believes."""
        random = np.random.default_rng(seed)
        states = [np.zeros((1, step.units), np.float32) for step in self.steps]
        tokens = self.vocabulary.encode([prompt])[0]
        for token in tokens:
            logits = self.read(token, states)
        for _ in range(length):
            chances = np.exp((logits[2:] - logits[2:].max()) / temperature)  # without padding and the unknown
            tokens.append(2 + int(random.choice(len(chances), p=chances / chances.sum())))
            logits = self.read(tokens[-1], states)
        return self.vocabulary.decode([tokens])[0]


def draw(bits: float, ngrams: Sequence[float], written: dict[float, str]) -> Figure:
    """Draws what a character costs, and the beginning of what was written."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 6), layout="constrained", dpi=120)
        axes, page = figure.subplots(1, 2, width_ratios=(2, 3))
        axes.plot(range(1, ORDERS + 1), ngrams, "o-", color=OTHER, label="counts of n-grams")
        axes.axhline(bits, color=OURS, linewidth=2, label=f"GRU: {bits:.2f}")
        axes.set_xlabel("n, the characters of an n-gram", color=GREY)
        axes.set_ylabel("bits for each character of the test part", color=GREY)
        axes.set_ylim(0, None)
        axes.legend(frameon=False)
        axes.set_title("Fewer bits: less surprised", loc="left", color=INK)
        page.set_axis_off()
        page.set_title("What it writes", loc="left", color=INK)
        for i, (temperature, text) in enumerate(written.items()):
            lines = [part for line in text.strip().split("\n") for part in textwrap.wrap(line, 76) or [""]]
            top = 0.99 - i / len(written)
            style: dict[str, Any] = {"transform": page.transAxes, "va": "top", "parse_math": False, "in_layout": False}
            page.text(0, top, f"temperature {temperature}", color=OURS, **style)
            style |= {"family": "DejaVu Sans Mono", "fontsize": 9}
            page.text(0, top - 0.05, "\n".join(lines[:9]), color=INK, **style)
    return figure


def main() -> None:
    """Trains, measures on held-out text, writes, and reports."""
    study = begin("writer", "A model of English, character by character, which then writes")
    texts = read_parts()
    settings = {"units": 256, "epochs": 10}
    if study.quick:
        texts, settings = (texts[0][:40_000], texts[1][:3_000], texts[2][:3_000]), {"units": 96, "epochs": 6}
    vocabulary = Vocabulary(split="character").adapt(texts[:1])
    tokens = [np.array(one, np.int32) for one in vocabulary.encode(texts)]
    characters = vocabulary.vocabulary_size()
    model = train(tokens[0], tokens[1], characters, **settings)
    bits = measure(model, tokens[2])
    valid, test = measure_ngrams(tokens[0].tolist(), [one.tolist() for one in tokens[1:]], characters)
    best = int(np.argmin(valid))
    costs = {"GRU": bits, f"counts of n-grams up to {best + 1} characters": test[best]}
    costs[f"every one of {characters} characters alike"] = math.log2(characters)
    writer = Writer(model, vocabulary)
    written = {one: writer.write(PROMPT, 600, one) for one in TEMPERATURES}
    for temperature, text in written.items():
        console.print(f"temperature {temperature}:", f"{text.strip()}\n", sep="\n", markup=False)
    title = f"Bits for each of the {len(tokens[2]):,} characters of the test part"
    facts = {"bits": bits, "ngrams": test, "best_order": best + 1, "written": written}
    table = Table(title, ("", "bits"), [(name, f"{cost:.3f}") for name, cost in costs.items()])
    study.report([table], draw(bits, test, written), facts)


if __name__ == "__main__":
    main()
