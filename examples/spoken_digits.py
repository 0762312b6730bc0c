# SPDX-License-Identifier: Apache-2.0
"""Spoken digits: from recordings to log-mel frames to the digit, by GRU layers that read from both ends, or forward.

The one answers when the recording has ended; the other, which is causal, at every step, and runs as a stream.

Run `python examples/spoken_digits.py --data FOLDER`; docs/spoken_digits.md says what FOLDER holds, and what came out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from keras import layers
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import decisions
import gatewise
from decisions import THRESHOLDS, Heard, end_of_word
from gatewise.data.audio import LogMel, read_wav, write_wav
from gatewise.data.preprocessing import Preprocessing, find_preprocessing
from gatewise.data.series import Scaler
from gatewise.keras import GRU
from recordings import RATE, TEST_TAKES, Recordings, read
from study import GREY, INK, OTHER, OURS, STYLE, THIRD, Table, begin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gatewise.runtime import Model

DIGITS, SEEDS = 10, (1, 2, 3)
COPIES, EPOCHS, BATCH = 2, 10, 64
LOG_MEL = LogMel(RATE, frame_step=RATE // 50)  # 40 bands of 25 ms, each 20 ms
PIECE = RATE // 50  # samples that a stream takes at once


def vary(sound: NDArray[Any], random: np.random.Generator) -> NDArray[np.float64]:
    """Makes another recording of one: faster or slower, so also higher or lower, louder or softer, with some noise."""
    places = np.arange(0, len(sound) - 1, random.uniform(0.9, 1.1))
    varied = np.interp(places, np.arange(len(sound)), sound) * 10 ** random.uniform(-0.5, 0.2)
    return np.clip(varied + 10 ** random.uniform(-4, -2.5) * random.normal(size=len(varied)), -1, 1)


def fill_up(frames: list[NDArray[Any]], scaler: Scaler) -> NDArray[np.float32]:
    """Scales the frames, and cuts them or fills them up to one second, with zeros that `Masking` leaves out."""
    scaled = [scaler(one) for one in frames]
    return keras.utils.pad_sequences(scaled, maxlen=50, dtype="float32", padding="post", truncating="post")


def build(scaler: Scaler, steps: int, *, causal: bool) -> keras.Model:
    """Builds a model; it keeps with it what its input is made with. A causal one answers at every step."""
    if causal:  # as wide as both directions together
        readers = [GRU(128, return_sequences=True), GRU(128, return_sequences=True)]
    else:
        readers = [layers.Bidirectional(GRU(64, return_sequences=True)), layers.Bidirectional(GRU(64))]
    model = keras.Sequential(
        [
            keras.Input((None, LOG_MEL.bands), name="frames"),
            Preprocessing(log_mel=LOG_MEL, scaler=scaler),
            layers.Masking(),
            readers[0],
            layers.Dropout(0.3),
            readers[1],
            layers.Dropout(0.3),
            layers.Dense(DIGITS, activation="softmax"),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(training: Recordings, seed: int, quick: bool, *, causal: bool = False) -> keras.Model:
    """Trains a model on the recordings and on variations of them; a causal one to name the digit at every step."""
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    copies, epochs = (1, 4) if quick else (COPIES, EPOCHS)
    sounds = [*training.sounds, *(vary(sound, random) for _ in range(copies) for sound in training.sounds)]
    frames = [LOG_MEL(sound) for sound in sounds]
    scaler = Scaler().adapt(np.concatenate(frames))
    x, y = fill_up(frames, scaler), np.tile(training.digit, 1 + copies)
    model = build(scaler, steps=epochs * len(x) // BATCH, causal=causal)
    model.fit(x, np.repeat(y[:, None], x.shape[1], axis=1) if causal else y, BATCH, epochs, verbose=0)
    return model


def recognise(model: keras.Model, sounds: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Gives the digit that each recording sounds most like."""
    frames = fill_up([LOG_MEL(sound) for sound in sounds], find_preprocessing(model)["scaler"])
    return np.asarray(model.predict(frames, batch_size=256, verbose=0).argmax(axis=1))


def judge_baseline(training: Recordings, test: Recordings) -> float:
    """Finds the accuracy of a support vector machine that knows mean and spread of each band, and no order in time."""

    def describe(recordings: Recordings) -> NDArray[np.float32]:
        frames = [LOG_MEL(sound) for sound in recordings.sounds]
        return np.stack([np.concatenate([one.mean(axis=0), one.std(axis=0)]) for one in frames])

    machine = make_pipeline(StandardScaler(), SVC(C=10)).fit(describe(training), training.digit)
    return float(machine.score(describe(test), test.digit))


def read_as_stream(model_file: Path, sound: NDArray[Any]) -> list[str]:
    """Reads a WAV file 20 ms at a time, with nothing but the saved model: how many frames, which bits, what digit."""
    model = keras.saving.load_model(model_file)
    log_mel = find_preprocessing(model)["log_mel"]
    write_wav(model_file.with_suffix(".wav"), sound, RATE)
    samples = read_wav(model_file.with_suffix(".wav"), log_mel.rate)
    stream = log_mel.stream()
    frames = np.concatenate([stream.push(samples[i : i + PIECE]) for i in range(0, len(samples), PIECE)])
    same = np.array_equal(frames, log_mel(samples))
    return [str(len(frames)), "the same bits" if same else "others", str(recognise(model, [samples])[0])]


def listen(model: Model, sound: NDArray[Any], digit: int) -> tuple[Heard, bool]:
    """Gives a recording to a stream, 20 ms at a time.

    Returns what it heard, and whether its last answer has the bits of the whole recording's.
    """
    stream = model.stream(raw=True)
    scores = np.concatenate([stream.run(sound[i : i + PIECE])[0] for i in range(0, len(sound), PIECE)])
    same = np.array_equal(model.predict(sound)[0, -1], scores[-1])
    known = (LOG_MEL.frame_length + LOG_MEL.frame_step * np.arange(len(scores))) / RATE
    return Heard(scores, known, end_of_word(sound, RATE), len(sound) / RATE, int(digit)), same


class Split(NamedTuple):
    """How a test part went.

    Attributes:
        name: of the part.
        both: accuracy of the models that read from both ends, by seed.
        forward: accuracy of the causal ones, likewise, after the last step.
        baseline: that of the support vector machine.
        confusion: (said, heard), how often the models that read from both ends heard what, all seeds.
        heard: what the streams of the causal ones heard, all seeds.
        same: whether each of these ended with the bits of the whole.
    """

    name: str
    both: list[float]
    forward: list[float]
    baseline: float
    confusion: NDArray[np.int64]
    heard: list[Heard]
    same: list[bool]


def draw(splits: list[Split], curves: dict[str, list[decisions.Judged]]) -> Figure:
    """Draws what was heard for what was said, the accuracy on each split, and decisions on the way."""
    confusion = splits[0].confusion
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 8.2), layout="constrained")
        (left, right), below = figure.subplots(2, 2, width_ratios=[1, 1.1])
        left.imshow(np.sqrt(confusion), cmap="GnBu", vmax=1.5 * np.sqrt(confusion.max()))
        for (said, heard), count in np.ndenumerate(confusion):
            left.text(heard, said, str(count or ""), ha="center", va="center", color=INK, fontsize=8)
        left.set(xticks=range(DIGITS), yticks=range(DIGITS), xlabel="heard", ylabel="said")
        left.set_title("From both ends, official test takes, all seeds", fontsize=10, loc="left")
        places = np.arange(len(splits))[::-1]
        ways = {
            "GRU from both ends": (OURS, [np.mean(split.both) for split in splits]),
            "GRU forward": (THIRD, [np.mean(split.forward) for split in splits]),
            "SVM on mean and spread": (OTHER, [split.baseline for split in splits]),
        }
        for number, (name, (colour, accuracy)) in enumerate(ways.items()):
            right.barh(places + 0.27 * (1 - number), accuracy, 0.25, color=colour, label=name)
        right.set_yticks(places, [split.name for split in splits], color=INK)
        right.set(xlim=(0, 1))
        right.xaxis.set_major_formatter("{x:.0%}")
        right.set_title("Recognised correctly", fontsize=10, loc="left")
        right.legend(
            loc="upper center", bbox_to_anchor=(0.4, -0.1), ncols=3, frameon=False, labelcolor=GREY, fontsize=8
        )
        decisions.draw(*below, curves)
    return figure


def tabulate(splits: list[Split]) -> list[Table]:
    """Tabulates the accuracy on each split, and how many streams ended with the bits of the whole."""

    def seeds(right: list[float]) -> list[str]:
        return [f"{np.mean(right):.1%}", f"{min(right):.1%} to {max(right):.1%}" * (len(right) > 1)]

    cells = [[s.name, *seeds(s.both), *seeds(s.forward), f"{s.baseline:.1%}"] for s in splits]
    same = [[split.name, f"{len(split.heard):,}", f"{sum(split.same):,}"] for split in splits]
    ways = ["GRU from both ends", "its seeds", "GRU forward", "its seeds", "SVM on mean and spread"]
    return [
        Table("Recognised correctly", ["test part", *ways], cells),
        Table("Streams of the causal model", ["test part", "recordings", "ended with the bits of the whole"], same),
    ]


def run_split(
    name: str, training: Recordings, test: Recordings, seeds: Sequence[int], files: Path, quick: bool
) -> Split:
    """Trains and judges all ways on one test part; the last seed's models stay in files, .keras and .safetensors."""
    split = Split(name, [], [], judge_baseline(training, test), np.zeros((DIGITS, DIGITS), int), [], [])
    for seed in seeds:
        model = train(training, seed, quick)
        answers = recognise(model, test.sounds)
        split.both.append(float((answers == test.digit).mean()))
        np.add.at(split.confusion, (test.digit, answers), 1)
        model.save(files.with_suffix(".keras"))
        gatewise.save(train(training, seed, quick, causal=True), files.with_suffix(".safetensors"))
        causal = gatewise.load(files.with_suffix(".safetensors"))
        heard, same = zip(*map(partial(listen, causal), test.sounds, test.digit), strict=True)
        split.forward.append(float(np.mean([one.scores[-1].argmax() == one.truth for one in heard])))
        split.heard.extend(heard)
        split.same.extend(same)
    return split


def main() -> None:
    """Trains, judges, and reads recordings as streams."""
    study = begin("spoken_digits", "Spoken digits, by GRU layers over log-mel frames")
    recordings = read(study.data)
    if study.quick:
        recordings = recordings.where(recordings.take % TEST_TAKES == 0)
    study.out.mkdir(parents=True, exist_ok=True)
    official, files = recordings.take < TEST_TAKES, study.out / "spoken_digits"
    test, seeds = recordings.where(official), SEEDS[: 1 if study.quick else None]
    splits = [run_split("official test takes", recordings.where(~official), test, seeds, files, study.quick)]
    for speaker in np.unique(recordings.speaker)[: 0 if study.quick else None]:
        left_out, files_of = recordings.speaker == speaker, study.out / "spoken_digits_new_speaker"
        parts = recordings.where(~left_out), recordings.where(left_out)
        splits.append(run_split(f"new speaker: {speaker}", *parts, SEEDS[:1], files_of, study.quick))
    line = [str(test.digit[0]), *read_as_stream(files.with_suffix(".keras"), test.sounds[0])]
    heard = {splits[0].name: splits[0].heard, "new speakers": [one for split in splits[1:] for one in split.heard]}
    curves = {part: [decisions.judge(them, at) for at in THRESHOLDS] for part, them in heard.items() if them}
    rest = [Table("One WAV file, 20 ms at a time", ["said", "frames", "as of the whole", "heard"], [line])]
    tables = [*tabulate(splits), *decisions.tabulate(curves), *rest]
    facts = {split.name: split._asdict() for split in splits}
    for one in facts.values():
        del one["confusion"], one["heard"]
    facts = {"splits": facts, "decisions": {part: [row._asdict() for row in curve] for part, curve in curves.items()}}
    study.report(tables, draw(splits, curves), {**facts, "stream": line})


if __name__ == "__main__":
    main()
