# SPDX-License-Identifier: Apache-2.0
"""Spoken digits: from recordings to log-mel frames to the digit, by GRU layers that read from both ends.

Run `python examples/spoken_digits.py --data FOLDER`; docs/spoken_digits.md says what FOLDER holds, and what came out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gatewise.data.audio import LogMel, read_wav, write_wav
from gatewise.data.preprocessing import Preprocessing, find_preprocessing
from gatewise.data.series import Scaler
from gatewise.keras import GRU
from recordings import RATE, TEST_TAKES, Recordings, read
from study import GREY, INK, OTHER, OURS, STYLE, Table, begin

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DIGITS, SEEDS = 10, (1, 2, 3)
COPIES, EPOCHS, BATCH = 2, 10, 64
LOG_MEL = LogMel(RATE, frame_step=RATE // 50)  # 40 bands of 25 ms, each 20 ms


def vary(sound: NDArray[Any], random: np.random.Generator) -> NDArray[np.float64]:
    """Makes another recording of one: faster or slower, so also higher or lower, louder or softer, with some noise."""
    places = np.arange(0, len(sound) - 1, random.uniform(0.9, 1.1))
    varied = np.interp(places, np.arange(len(sound)), sound) * 10 ** random.uniform(-0.5, 0.2)
    return np.clip(varied + 10 ** random.uniform(-4, -2.5) * random.normal(size=len(varied)), -1, 1)


def fill_up(frames: list[NDArray[Any]], scaler: Scaler) -> NDArray[np.float32]:
    """Scales the frames, and cuts them or fills them up to one second, with zeros that `Masking` leaves out."""
    scaled = [scaler(one) for one in frames]
    return keras.utils.pad_sequences(scaled, maxlen=50, dtype="float32", padding="post", truncating="post")


def build(scaler: Scaler, steps: int) -> keras.Model:
    """Builds the model; it keeps with it what its input is made with."""
    model = keras.Sequential(
        [
            keras.Input((None, LOG_MEL.bands)),
            Preprocessing(log_mel=LOG_MEL, scaler=scaler),
            layers.Masking(),
            layers.Bidirectional(GRU(64, return_sequences=True)),
            layers.Dropout(0.3),
            layers.Bidirectional(GRU(64)),
            layers.Dropout(0.3),
            layers.Dense(DIGITS, activation="softmax"),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(training: Recordings, seed: int, quick: bool) -> keras.Model:
    """Trains a model on the recordings and on variations of them."""
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    copies, epochs = (1, 4) if quick else (COPIES, EPOCHS)
    sounds = [*training.sounds, *(vary(sound, random) for _ in range(copies) for sound in training.sounds)]
    frames = [LOG_MEL(sound) for sound in sounds]
    scaler = Scaler().adapt(np.concatenate(frames))
    model = build(scaler, steps=epochs * len(frames) // BATCH)
    model.fit(fill_up(frames, scaler), np.tile(training.digit, 1 + copies), BATCH, epochs, verbose=0)
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
    frames = np.concatenate([stream.push(samples[i : i + 160]) for i in range(0, len(samples), 160)])
    same = np.array_equal(frames, log_mel(samples))
    return [str(len(frames)), "the same bits" if same else "others", str(recognise(model, [samples])[0])]


def draw(confusion: NDArray[np.int64], rows: list[tuple[str, list[float], float]]) -> Figure:
    """Draws what was heard for what was said, and the accuracy on each split."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
        left.imshow(np.sqrt(confusion), cmap="GnBu", vmax=1.5 * np.sqrt(confusion.max()))
        for (said, heard), count in np.ndenumerate(confusion):
            left.text(heard, said, str(count or ""), ha="center", va="center", color=INK, fontsize=8)
        left.set(xticks=range(DIGITS), yticks=range(DIGITS), xlabel="heard", ylabel="said")
        left.set_title("Official test takes, all seeds", fontsize=10, loc="left")
        places = np.arange(len(rows))[::-1]
        right.barh(places + 0.2, [np.mean(row[1]) for row in rows], 0.36, color=OURS, label="GRU")
        right.barh(places - 0.2, [row[2] for row in rows], 0.36, color=OTHER, label="SVM on mean and spread")
        right.set_yticks(places, [row[0] for row in rows], color=INK)
        right.set(xlim=(0, 1))
        right.xaxis.set_major_formatter("{x:.0%}")
        right.set_title("Recognised correctly", fontsize=10, loc="left")
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False, labelcolor=GREY)
    return figure


def main() -> None:
    """Trains, judges, and reads a recording as a stream."""
    study = begin("spoken_digits", "Spoken digits, by GRU layers over log-mel frames")
    recordings = read(study.data)
    if study.quick:
        recordings = recordings.where(recordings.take % TEST_TAKES == 0)
    splits = {"official test takes": recordings.take < TEST_TAKES}
    for speaker in np.unique(recordings.speaker)[: 0 if study.quick else None]:
        splits[f"new speaker: {speaker}"] = recordings.speaker == speaker
    study.out.mkdir(parents=True, exist_ok=True)
    model_file = study.out / "spoken_digits.keras"
    confusion, rows, stream = np.zeros((DIGITS, DIGITS), int), [], []
    for split, held in splits.items():
        training, test = recordings.where(~held), recordings.where(held)
        right = []
        for seed in SEEDS[: 1 if study.quick or rows else None]:
            model = train(training, seed, study.quick)
            heard = recognise(model, test.sounds)
            right.append(float((heard == test.digit).mean()))
            if not rows:
                np.add.at(confusion, (test.digit, heard), 1)
                model.save(model_file)
        rows.append((split, right, judge_baseline(training, test)))
        stream = stream or [str(test.digit[0]), *read_as_stream(model_file, test.sounds[0])]
    cells = [[s, f"{np.mean(r):.1%}", f"{min(r):.1%} to {max(r):.1%}" * (len(r) > 1), f"{b:.1%}"] for s, r, b in rows]
    tables = [
        Table("Recognised correctly", ["test part", "GRU", "its seeds", "SVM on mean and spread"], cells),
        Table("One WAV file, 20 ms at a time", ["said", "frames", "as of the whole", "heard"], [stream]),
    ]
    study.report(tables, draw(confusion, rows), {"splits": rows, "stream": stream})


if __name__ == "__main__":
    main()
