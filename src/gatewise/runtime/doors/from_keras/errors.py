# SPDX-License-Identifier: Apache-2.0
"""The error of a model that a graph cannot hold: it names the layer, its class, its place, and what to do."""

from __future__ import annotations

from typing import Any

from gatewise.options import cut

REPLACE = "Replace it by layers that it has, or cut the model before it and compute the rest yourself."


class KerasModelError(ValueError):
    """A Keras model holds what a graph has not; the message names the layer, its class, its place, and what to do."""


def what(layer: Any, place: str) -> str:
    """Names a layer or an operation with its class and its place.

    Args:
        layer: of Keras, or of the user.
        place: the names of the models that it stands in and its own, with "/" between them.

    Returns:
        A part of a sentence.
    """
    return f"{cut(place)!r} ({type(layer).__name__})"


def refused(layer: Any, place: str, problem: str, expected: str, received: str, cure: str = REPLACE) -> KerasModelError:
    """Makes the error.

    Args:
        layer: what cannot be held.
        place: see `what`.
        problem: what is wrong, a clause.
        expected: what a graph has.
        received: what there is.
        cure: what to do, a sentence.

    Returns:
        The error, to be raised.
    """
    return KerasModelError(
        f"from_keras: {what(layer, place)}: {problem}. Expected {expected}; received {cut(received, 120)}. {cure}"
    )
