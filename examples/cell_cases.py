# SPDX-License-Identifier: Apache-2.0
"""The tasks of `compare_cells.py`: three real data sets, and two made ones that ask for a long memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

import long_memory
from recordings import TEST_TAKES
from recordings import read as read_recordings
from series_cases import CASES, scaler_of
from series_cases import read as read_series
from spoken_digits import LOG_MEL
from surnames import read_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HELD = 0.1  # of the made sequences, those that judge
MADE: dict[str, Any] = {"ways": ("units",), "cells": ("GRU", "LSTM", "SimpleRNN")}  # of comparing on the made tasks
LONG_RATE = 3e-3  # of learning, for the made tasks: with less, little comes out of the budget


class Task(NamedTuple):
    """A task.

    Attributes:
        name: as the tables call it.
        data: what `gatewise.compare` reads.
        options: and how.
        share: of the budget of a task, what it gets: more rows, and longer ones, take longer.
    """

    name: str
    data: tuple[Any, ...]
    options: dict[str, Any]
    share: float = 1.0


def temperatures(folder: Path) -> Task:
    """Tomorrow's minimum from the last 60 days, in degrees from what is usual on that day; judged by 1987 and 1988."""
    case = CASES[0]
    series = read_series(case, folder).before(case.test)
    scaler = scaler_of(case, series.before(case.validation))
    scaled = scaler.scale(series)
    usual = scaler.inverse(np.zeros((len(series), 1)), series.times)
    degrees = (series.values - usual)[:, 0].astype(np.float32)
    views = np.lib.stride_tricks.sliding_window_view
    x, y = views(scaled.values[:, 0], case.history)[:-1].astype(np.float32), degrees[case.history :]
    measured = views(series.mask[:, 0], case.history + 1).all(axis=1)  # a step is missing in some windows
    judged = series.times[case.history :] >= np.datetime64(case.validation)
    train, held = measured & ~judged, measured & judged
    return Task("temperatures, RMSE in °C", (x[train], y[train], x[held], y[held]), {"task": "numbers"})


def surnames(folder: Path) -> Task:
    """Which of the languages does a name come from? Letter by letter."""
    names, languages = read_names(folder / "surnames")
    letters = {letter: number for number, letter in enumerate(sorted(set("".join(names))), 1)}
    x = keras.utils.pad_sequences([[letters[letter] for letter in name] for name in names], padding="post")
    return Task("surnames, accuracy", (x, np.array(languages)), {}, share=1.8)


def digits(folder: Path) -> Task:
    """Which digit is said? From log-mel frames of the training takes."""
    recordings = read_recordings(folder)
    recordings = recordings.where(recordings.take >= TEST_TAKES)
    frames = [LOG_MEL(sound) for sound in recordings.sounds]
    x = keras.utils.pad_sequences(frames, maxlen=50, dtype="float32", padding="post", truncating="post")
    return Task("spoken digits, accuracy", (x, recordings.digit), {"mask_value": 0.0})


def adding(length: int, share: float, count: int) -> Task:
    """The adding problem of so many steps."""
    x, y = long_memory.adding(count, length, np.random.default_rng(length))
    held = round(HELD * count)
    data = (x[held:], y[held:], x[:held], y[:held])
    return Task(f"adding, {length} steps, RMSE", data, {**MADE, "learning_rate": LONG_RATE}, share)


def copying(lag: int, share: float, count: int) -> Task:
    """The copying task: only the ten answers at the end count, so that a guess is right one time in eight."""
    x, y = long_memory.copying(count, lag, np.random.default_rng(lag))
    y, held = y[:, -long_memory.REMEMBERED :] - long_memory.FIRST, round(HELD * count)
    data = (x[held:], y[held:], x[:held], y[:held])
    return Task(f"copying, lag {lag}, accuracy", data, {**MADE, "build": answer_at_the_end}, share)


def answer_at_the_end(layer: Any, units: int) -> Any:
    """Builds a model that names ten symbols in its last ten steps."""
    ids = keras.Input((None,), dtype="int32")
    states = layer(units, return_sequences=True)(keras.layers.Embedding(long_memory.FIRST + 8, 16)(ids))
    last = states[:, -long_memory.REMEMBERED :]
    model = keras.Model(ids, keras.layers.Dense(long_memory.SYMBOLS, activation="softmax")(last))
    optimizer = keras.optimizers.Adam(LONG_RATE, clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def tasks(folder: Path, *, quick: bool) -> list[Callable[[], Task]]:
    """Gives what makes each task, one after the other, since the long ones are large."""
    count = 300 if quick else 20_000
    lengths, lags = ({20: 1.0}, {10: 1.0}) if quick else ({100: 1.4, 200: 1.9}, {10: 1.0, 20: 1.1, 50: 1.4})
    real = [partial(one, folder) for one in (temperatures, surnames, digits)]
    made = [partial(adding, length, share, count) for length, share in lengths.items()]
    return [*real, *made, *(partial(copying, lag, share, count) for lag, share in lags.items())]
