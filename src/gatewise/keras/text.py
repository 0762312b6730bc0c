# SPDX-License-Identifier: Apache-2.0
"""Raw text given to `fit`, `evaluate` or `predict` of a model with a GRU: the error gets the cure.

Keras fails on it before any layer is called, so no layer can say it. These three methods of `keras.Model` are therefore
wrapped: they do what they did, and only when they fail, on text, in a model that holds a layer of gatewise (or a
patched one) and nothing that could read text, the error that is raised says what to do.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import keras

from gatewise.keras.errors import TEXT_CURE, cause, describe, is_text
from gatewise.keras.patch import is_ours
from gatewise.options import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TEXT_READERS = (
    keras.layers.TextVectorization,
    keras.layers.StringLookup,
    keras.layers.Hashing,
    keras.layers.HashedCrossing,
)


def explain_raw_text() -> None:
    """Wraps the three methods of `keras.Model`, once."""
    for name in ("fit", "evaluate", "predict"):
        method = getattr(keras.Model, name)
        if not hasattr(method, "explains_raw_text"):
            setattr(keras.Model, name, _explaining(method))


def _explaining(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            x = args[0] if args else kwargs.get("x")
            if not is_text(x) or not _reads_numbers(self) or TEXT_CURE in str(error):
                raise
            raise ValueError(
                f"keras.Model.{method.__name__}: x is raw text. Expected numbers, (batch, timesteps) tokens for an "
                f"Embedding or (batch, timesteps, features) for a GRU; received {describe(x)}. "
                f"{TEXT_CURE}\nKeras said: {cut(str(error), 200)}"
            ) from cause(error)

    setattr(wrapper, "explains_raw_text", True)  # noqa: B010  # mypy knows no such attribute
    return wrapper


def _reads_numbers(model: Any) -> bool:
    """Says whether a model holds a GRU of ours, and nothing that reads text or could do so unknown to us."""
    layers = list(_layers(model))
    known = all(type(layer).__module__.startswith(("keras.", "gatewise.")) for layer in layers)
    return known and any(map(is_ours, layers)) and not any(isinstance(layer, _TEXT_READERS) for layer in layers)


def _layers(layer: Any) -> Iterator[Any]:
    yield layer
    inner = getattr(layer, "layers", None) or [getattr(layer, "forward_layer", None) or getattr(layer, "layer", None)]
    for part in inner:
        if part is not None:
            yield from _layers(part)
