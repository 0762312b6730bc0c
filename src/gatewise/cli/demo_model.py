# SPDX-License-Identifier: Apache-2.0
"""The demo's Keras model: two stacked GRU layers, trained, timed, read out, saved and loaded again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

UNITS = 64
BATCH = 32
LEARNING_RATE = 0.005  # falls to zero along half a cosine

Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Training:
    """What a call of `train` saw: the loss of each epoch, on both parts, and its wall-clock seconds."""

    loss: list[float]
    validation_loss: list[float]
    seconds: list[float]


def build(gru: Any, training: Arrays, epochs: int, seed: int) -> Any:
    """Builds and compiles the model.

    Args:
        gru: the layer class, `gatewise.keras.GRU` or `keras.layers.GRU`.
        training: inputs (n, timesteps, features) and targets (n, horizon), for their shapes.
        epochs: how long the learning rate takes to fall to zero.
        seed: of the initial weights.
    """
    inputs, targets = training
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input(inputs.shape[1:]),
            gru(UNITS, return_sequences=True),
            gru(UNITS),
            keras.layers.Dense(targets.shape[1]),
        ]
    )
    steps = epochs * -(-len(inputs) // BATCH)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)), "mse")
    return model


def train(
    model: Any,
    training: Arrays,
    validation: Arrays,
    epochs: int,
    seed: int,
    on_epoch: Callable[[int], None] | None = None,
) -> Training:
    """Fits the model and looks at the clock after each epoch.

    Args:
        model: compiled.
        training: inputs (n, timesteps, features) and targets (n, horizon), float32.
        validation: the same of the validation part.
        epochs: how often the training part is read.
        seed: of the order of the batches.
        on_epoch: called with the number of finished epochs; it replaces the progress bar of Keras.
    """
    keras.utils.set_random_seed(seed)
    marks: list[float] = []

    def mark(epoch: int, logs: Any = None) -> None:  # noqa: ARG001 - Keras gives both by name
        marks.append(time.perf_counter())
        if on_epoch is not None:
            on_epoch(epoch + 1)

    begin = time.perf_counter()
    history = model.fit(
        *training,
        validation_data=validation,
        batch_size=BATCH,
        epochs=epochs,
        verbose=1 if on_epoch is None else 0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=mark)],
    ).history
    seconds = [after - before for before, after in zip([begin, *marks], marks, strict=False)]
    return Training(history["loss"], history["val_loss"], seconds)


def predict(model: Any, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The model's answers to inputs (n, timesteps, features): (n, horizon) float32."""
    answers: NDArray[np.float32] = model.predict(inputs, batch_size=256, verbose=0)
    return answers


def read_states(gru: Any, model: Any, inputs: NDArray[np.float32]) -> Arrays:
    """Reads out what the upper GRU layer of a trained model thinks while it reads.

    Args:
        gru: the layer class to read with.
        model: what `build` returned.
        inputs: (n, timesteps, features) float32.

    Returns:
        The hidden states at every step (n, timesteps, UNITS) and the last state (n, UNITS), float32.
    """
    lower, trained = model.layers[0], model.layers[1]
    between = lower(inputs)
    upper = gru(UNITS, return_sequences=True, return_state=True)
    upper.build(tuple(between.shape))
    upper.set_weights(trained.get_weights())
    sequences, state = upper(between)
    return keras.ops.convert_to_numpy(sequences), keras.ops.convert_to_numpy(state)


def save_and_load(model: Any, path: Path) -> Any:
    """Saves the model as one `.keras` file and returns what that file holds."""
    model.save(path)
    return keras.saving.load_model(path)
