# SPDX-License-Identifier: Apache-2.0
"""A machine with six sensors, five ways to break it, and two simple ways to watch it, for `anomalies.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import Ridge

from gatewise.data.series import window_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

SENSORS = ("speed", "current", "temperature", "flow", "vibration x", "vibration y")
FAULTS = ("spike", "drift", "stuck", "changed correlation", "changed frequency")
LAGS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)  # steps before, that the linear estimate reads


def vary_slowly(steps: int, random: np.random.Generator) -> Array:
    """Makes what an operator does: from time to time another level from 0 to 1, which the machine reaches slowly."""
    ends = np.cumsum(random.integers(20, 100, size=steps // 20 + 1))
    wanted = random.uniform(size=len(ends))[np.searchsorted(ends, np.arange(steps), side="right")]
    level = np.empty(steps)
    now = wanted[0]
    for step in range(steps):
        now += (wanted[step] - now) / 10
        level[step] = now
    return level


def run_machine(steps: int, seed: int, faster: Array | float = 1.0) -> Array:
    """Makes the values of the sensors, (steps, sensors).

    Args:
        steps: how many.
        seed: of the operator and of the noise.
        faster: by how much the vibration is faster than it should be, at each step.
    """
    random = np.random.default_rng(seed)
    load, speed = 0.2 + 0.8 * vary_slowly(steps, random), 0.3 + 0.7 * vary_slowly(steps, random)
    phase = 2 * np.pi * np.cumsum((0.03 + 0.07 * speed) * faster)
    current = speed * (0.2 + load)
    temperature = np.empty(steps)
    now = 0.5
    for step in range(steps):  # heated by the current, cooled by the fan, which turns with the machine
        now += (current[step] ** 2 - now * (0.3 + speed[step])) / 40
        temperature[step] = now
    swing = 0.3 + speed**2
    vibration = swing * np.sin(phase), swing * (0.5 + 0.5 * load) * np.sin(phase + 1.2)
    values = np.stack([speed, current, temperature, speed * np.sqrt(load), *vibration], axis=1)
    return values + random.normal(size=values.shape) * [0.02, 0.02, 0.01, 0.02, 0.08, 0.08]


def break_machine(kind: str, steps: int, seed: int) -> tuple[Array, NDArray[np.bool_]]:
    """Makes the values of a machine with one kind of fault, and tells at which steps it has one."""
    random = np.random.default_rng(seed)
    values = run_machine(steps, seed)
    spread, broken = values.std(axis=0), np.zeros(steps, bool)
    length = {"spike": 2, "drift": 150}.get(kind, 100)
    for begin_ in range(300, steps - 300, 300):
        place = slice(begin_ + int(random.integers(100)), None)
        place = slice(place.start, place.start + length)
        broken[place] = True
        sensor = int(random.integers(len(SENSORS) if kind in {"spike", "stuck"} else 4))
        piece = values[place, sensor]
        if kind == "spike":
            piece += random.choice([-1, 1]) * random.uniform(2, 4) * spread[sensor]
        elif kind == "drift":
            piece += random.choice([-1, 1]) * np.linspace(0, 2, length) * spread[sensor]
        elif kind == "stuck":
            piece[:] = piece[0]
        elif kind == "changed correlation":  # it falls where it should rise
            piece[:] = 2 * piece[0] - piece
    if kind == "changed frequency":
        values[:, 4:] = run_machine(steps, seed, faster=1 + 0.4 * broken)[:, 4:]
    return values, broken


def fit_lines(training: Array) -> Callable[[Array], Array]:
    """Fits a linear estimate of each sensor from the others, now and some steps before; gives its errors."""

    def look_back(scaled: Array, sensor: int) -> Array:
        others = np.pad(np.delete(scaled, sensor, axis=1), ((LAGS[-1], 0), (0, 0)))
        return np.concatenate([others[LAGS[-1] - lag : len(others) - lag] for lag in LAGS], axis=1)

    lines = [Ridge().fit(look_back(training, i), training[:, i]) for i in range(len(SENSORS))]

    def find(scaled: Array) -> Array:
        return np.stack([line.predict(look_back(scaled, i)) - scaled[:, i] for i, line in enumerate(lines)], axis=1)

    return find


def rolling_z_score(scaled: Array, length: int = 50) -> Array:
    """Tells how many standard deviations each value is off the mean of the steps before it, (steps, sensors)."""
    before = window_view(scaled, length)[:-1]
    z = (scaled[length:] - before.mean(axis=1)) / np.maximum(before.std(axis=1), 1e-3)
    return np.concatenate([np.zeros((length, len(SENSORS))), z])
