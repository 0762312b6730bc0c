# SPDX-License-Identifier: Apache-2.0
"""The recurrent layers of a Keras model, and where each runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras import layers

from gatewise.explain.explanation import Row, without_zoneout
from gatewise.fallback import Obstacle
from gatewise.keras import fallback
from gatewise.keras.errors import class_name
from gatewise.keras.kinds import CELLS, LAYERS
from gatewise.keras.native import Native
from gatewise.keras.patch import follows, is_patched
from gatewise.keras.zoneout import acts_on

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVES = "A GRU in its place would, if it serves as well."


def parts(layer: Any) -> Iterator[tuple[str, Any]]:
    """Yields the layers right inside one, or the module of PyTorch that one wraps, with their names."""
    if isinstance(layer, layers.TorchModuleWrapper):
        yield "module", layer.module
        return
    # Keras has no public way down that reaches the attributes of a user's models.
    for part in layer._flatten_layers(include_self=False, recursive=False):  # noqa: SLF001
        yield part.name, part


def row(layer: Any, path: str) -> Row | None:
    """Explains a recurrent layer, or a cell without one, which stands at `path`; returns None for any other layer."""
    if not isinstance(layer, (layers.RNN, layers.StackedRNNCells, *CELLS)):
        return None
    found = _obstacle(layer)
    if found is None:
        note = without_zoneout("Keras") if acts_on(layer) else None
        return Row(path, class_name(layer), native=True, unless=tuple(_unless(layer)), note=note)
    return Row(path, class_name(layer), native=False, reason=found.reason, cure=found.cure)


def _obstacle(layer: Any) -> Obstacle | None:
    if not isinstance(layer, layers.RNN):
        why = "stock: a cell that your own code calls step by step runs as Keras has it"
        return Obstacle(why, "Let keras.layers.RNN(cell) run it over the sequence.")
    if not isinstance(layer, LAYERS) and type(layer) is not layers.RNN:
        return Obstacle(f"stock: gatewise has no {type(layer).__name__}", _SERVES)
    return fallback.settled_obstacle(layer) or fallback.present_obstacle() or _unpatched(layer)


def _unpatched(layer: Any) -> Obstacle | None:
    if isinstance(layer, Native) or (is_patched() and follows(layer)):
        return None
    alone = ", or gatewise.keras.convert(model) for this model alone" if type(layer) in LAYERS else ""
    return Obstacle("it is Keras's own, and the patch is off", f"Call gatewise.patch_keras(){alone}.")


def _unless(layer: Any) -> Iterator[str]:
    if layer.fallback_reason is not None:
        yield f"it is called as it was last: {layer.fallback_reason}"
    for method in ("call", "inner_loop"):
        owner = next(cls for cls in type(layer).__mro__ if method in vars(cls))
        if owner.__module__.partition(".")[0] not in {"gatewise", "keras"}:
            yield f"{owner.__name__}.{method} does not call the one that it replaces"
    yield from fallback.conditions()
