# SPDX-License-Identifier: Apache-2.0
"""`explain`: which recurrent layers of a model run on the engine, which do not, and what to change.

The layers' own code decides where they run (`gatewise/keras/fallback.py`, `gatewise/torch/reasons.py`); this asks it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from gatewise.explain.explanation import Explanation, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Explanation", "Row", "explain"]


def explain(model: Any) -> Explanation:
    """Says of every recurrent layer of a model whether it runs natively; if not, why, and what to change.

    Layers inside others are found at any depth: in nested models, in `Bidirectional` and `TimeDistributed`, in
    attributes, lists and dictionaries of a model of your own. What a function hides, as that of a `Lambda`, is not. No
    layer is called. Masks, initial states, dropout and packed sequences run natively; what depends on the call stands
    behind "unless".

    Args:
        model: a Keras model or layer, or a `torch.nn.Module`.

    Returns:
        A row for each recurrent layer. Print it for a table.

    Raises:
        TypeError: model is neither.

    Example:
        >>> import gatewise, keras
        >>> model = keras.Sequential([keras.layers.GRU(8, return_sequences=True), keras.layers.LSTM(8)])
        >>> rows = gatewise.explain(model).rows
        >>> [(row.layer, row.native) for row in rows]
        [('keras.layers.GRU', False), ('keras.layers.LSTM', False)]
        >>> print(rows[0].cure)
        Call gatewise.patch_keras(), or gatewise.keras.convert(model) for this model alone.
        >>> gatewise.explain(gatewise.keras.convert(model)).rows[0].native
        True
    """
    if not (_is_of_keras(model) or _is_of_torch(model)):
        raise TypeError(
            "gatewise.explain: model has the wrong type. Expected a model or layer of Keras 3, or a torch.nn.Module; "
            f"received {_described(model)}. {_cure(model)}"
        )
    return Explanation(tuple(_rows(model, "", set())))


def _rows(part: Any, path: str, seen: set[int]) -> Iterator[Row]:
    """Yields the rows of a part of a model: its own if it is recurrent, else those of what is inside it."""
    if id(part) in seen:  # a shared layer stands in the table once
        return
    seen.add(id(part))
    framework = _framework(part)
    row = framework.row(part, path or (part.name if _is_of_keras(part) else type(part).__name__))
    if row is not None:
        yield row
        return
    separator = "/" if _is_of_keras(part) else "."
    for name, inner in framework.parts(part):
        yield from _rows(inner, f"{path}{separator}{name}" if path else name, seen)


def _framework(part: Any) -> Any:
    """Returns the module that knows the layers of a part's framework: on PyTorch, a layer of Keras is of both."""
    if _is_of_keras(part):
        from gatewise.explain import keras

        return keras
    from gatewise.explain import torch

    return torch


def _is_of_keras(part: Any) -> bool:
    return _is_a(part, "keras", "Layer")


def _is_of_torch(part: Any) -> bool:
    return _is_a(part, "torch.nn", "Module")


def _is_a(part: Any, module: str, name: str) -> bool:
    """Says whether a part is of a framework's class; whoever has one has imported the framework."""
    cls = getattr(sys.modules.get(module), name, None)
    return cls is not None and isinstance(part, cls)


def _described(model: Any) -> str:
    if isinstance(model, type):
        return f"the class {model.__name__}"
    cls = type(model)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def _cure(model: Any) -> str:
    root = type(model).__module__.partition(".")[0]
    if root == "tf_keras" or (root == "keras" and not hasattr(sys.modules["keras"], "Layer")):
        return "That is Keras 2, which stays as it is: unset TF_USE_LEGACY_KERAS, and make the model with Keras 3."
    if isinstance(model, type):
        return "Make an instance of it."
    return "Load a file first: keras.saving.load_model(path). The command gatewise check does it for you."
