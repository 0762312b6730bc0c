# SPDX-License-Identifier: Apache-2.0
"""Zoneout of our layers (Krueger et al. 2016, arXiv 1606.01305): a fresh draw for every row, step and unit.

In training a unit keeps its state in a step with the probability that the layer says; else every unit keeps that part
of it, which is the expectation. The draws of a call are one byte for each number of the outputs.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from gatewise.options import fraction

# The arguments of our constructors, by the names of the engine's options
ARGUMENTS = {"zoneout_h": "zoneout", "zoneout_c": "zoneout_cell"}


def parts(layer: Any) -> dict[str, float]:
    """Returns what part of each state a step keeps, by the names of the engine's options."""
    return {option: getattr(layer, name, 0.0) for option, name in ARGUMENTS.items()}


def acts_on(layer: Any) -> bool:
    """Says whether a layer has zoneout: Keras's own path has none."""
    return any(parts(layer).values())


def draws(layer: Any, sequences: Any, training: bool) -> dict[str, Any]:
    """Draws for sequences (batch, timesteps, features) which units keep their states; nothing but in training.

    Returns:
        kept_h and kept_c, (batch, timesteps, units) bool, those that the layer has.
    """
    if not (training and acts_on(layer)):
        return {}
    shape = (*ops.shape(sequences)[:2], layer.units)
    return {
        option.replace("zoneout", "kept"): keras.random.uniform(shape, seed=layer.cell.seed_generator) < part
        for option, part in parts(layer).items()
        if part
    }


def take(layer: Any, where: str, kwargs: dict[str, Any]) -> None:
    """Takes the arguments of our own out of a constructor's, and notes them on the layer.

    Raises:
        TypeError: one is no number.
        ValueError: one is not from 0 to 1.
    """
    for name in layer.ZONEOUT:
        vars(layer)[name] = fraction(where, name, kwargs.pop(name, 0.0))


def config_of(layer: Any) -> dict[str, float]:
    """Returns what a layer's configuration holds besides stock's: what is there."""
    return {name: getattr(layer, name) for name in layer.ZONEOUT if getattr(layer, name)}
