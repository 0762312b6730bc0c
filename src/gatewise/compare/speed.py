# SPDX-License-Identifier: Apache-2.0
"""What a cell takes where it is used: a step of a stream, and memory, by the runtime that needs no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from gatewise.compare.clock import Clock
    from gatewise.compare.data import Data

_ROUNDS, _STEPS = 5, 100


class OneStep(NamedTuple):
    """What a step takes.

    Attributes:
        seconds: of a step of one row, the least of five means over 100 steps; None if it cannot be measured.
        bytes: of the weights and of a row's states; None likewise.
        reason: why it cannot.
    """

    seconds: float | None
    bytes: int | None
    reason: str | None = None


def one_step(model: Any, data: Data, clock: Clock) -> OneStep:
    """Measures a step of a Keras model; its weights do not matter."""
    from gatewise.runtime import GraphError, Model, StreamError
    from gatewise.runtime.doors.from_keras import KerasModelError, from_keras

    try:
        runtime = Model(from_keras(model))
        stream = runtime.stream()
    except (KerasModelError, GraphError, StreamError) as error:
        return OneStep(None, None, str(error))
    steps = np.ascontiguousarray(data.x[0][:, None])  # (timesteps, batch = 1, ...)
    rounds = []
    for _ in range(_ROUNDS):
        begun = clock.wall()
        for i in range(_STEPS):
            stream.step(steps[i % len(steps)])
        rounds.append((clock.wall() - begun) / _STEPS)
    tensors = runtime.graph.tensors.values()
    held = sum(tensor.nbytes for tensor in tensors) + sum(state.nbytes for state in stream.state.values())
    return OneStep(min(rounds), held)
