# SPDX-License-Identifier: Apache-2.0
"""When Keras's own path runs instead of the engine, and how the user learns of it: never silently."""

from __future__ import annotations

import inspect
import re
from typing import Any, cast

import keras

from gatewise.fallback import PORTABLE, Obstacle, is_portable, warn_once
from gatewise.keras.engine import leaves_device_open, operations
from gatewise.keras.errors import class_name
from gatewise.keras.kinds import ENGINE_CELLS, KINDS, cells_of
from gatewise.native import ACTIVATIONS

_DTYPES = ("float32", "float16", "bfloat16")  # half precision is computed in float32
# The engine's name of each activation function that it has.
ACTIVATION_NAMES: dict[Any, str] = {
    getattr(module, name): name
    for module in (keras.activations, keras.ops)
    for name in ACTIVATIONS
    if hasattr(module, name)
}
# Who traces a model in order to write it to a file.
_EXPORTERS = re.compile(
    r"keras\.src\.(backend\.\w+\.)?export\b"
    r"|tensorflow\.(python\.saved_model|lite)\.|tf2onnx\."
    r"|jax\.experimental\.jax2tf|jax\._src\.export\.|jax2onnx\."
    r"|torch\.(export|onnx)\.|litert_torch\.|openvino\."
)
_KEY = "_gatewise_fallback_reason"


class FallbackReason:
    """The attribute `fallback_reason` of a layer: why Keras's own path ran in its latest call or trace, else None.

    Before the first call it is why the engine can never run the layer as it is configured.
    """

    def __get__(self, layer: Any, owner: type | None = None) -> str | None:
        if layer is None:
            return None
        return cast("str | None", vars(layer)[_KEY] if _KEY in vars(layer) else settled_reason(layer))

    def __set__(self, layer: Any, why: str | None) -> None:
        vars(layer)[_KEY] = why


def settled_reason(layer: Any) -> str | None:
    """Says why a recurrent layer can never run on the engine as it is configured; None if it can."""
    found = settled_obstacle(layer)
    return None if found is None else found.reason


def settled_obstacle(layer: Any) -> Obstacle | None:
    """Says why the engine can never run a recurrent layer as it is configured, and what to change; None if it can."""
    if operations is None:
        why = f"the engine is not connected to the Keras backend {keras.backend.backend()}"
        return Obstacle(why, "Set KERAS_BACKEND to tensorflow, jax or torch.")
    unavailable = operations.available()
    if unavailable is not None:
        return Obstacle(f"the engine is not available: {unavailable}", "See what gatewise.info() says of the build.")
    found = (_cells_obstacle(layer, cell) for cell in cells_of(layer))
    return next((obstacle for obstacle in found if obstacle is not None), None)


def _cells_obstacle(layer: Any, cell: Any) -> Obstacle | None:
    if type(cell) not in ENGINE_CELLS:
        known = ", ".join(f"keras.layers.{kind.cell.__name__}" for kind in KINDS)
        why = f"the engine has no cell {type(cell).__name__}, only {known}"
        return Obstacle(why, "Use keras.layers.GRUCell if it serves as well.")
    for argument, function in activations_of(cell).items():
        if function not in ACTIVATION_NAMES:
            name = getattr(function, "__name__", type(function).__name__)
            why = f"the engine has no {argument} {name!r}, only {', '.join(ACTIVATIONS)}"
            return Obstacle(why, "Choose one of those.")
    if cell.compute_dtype not in _DTYPES:
        why = f"the engine computes in float32, and the layer asks for {cell.compute_dtype}"
        return Obstacle(why, "Give the layer dtype='float32'.")
    if cell.compute_dtype != layer.compute_dtype:
        why = f"the layer computes in {layer.compute_dtype} and its cell in {cell.compute_dtype}"
        return Obstacle(why, "Give both the same dtype.")
    if cell.activity_regularizer is not None:
        why = "the cell has an activity_regularizer, which asks for every step"
        return Obstacle(why, "Give it to the layer, if the outputs alone shall count.")
    return None


def activations_of(cell: Any) -> dict[str, Any]:
    """Returns the functions of a cell by the names of their arguments; a simple cell has no gates."""
    return {name: getattr(cell, name) for name in ("activation", "recurrent_activation") if hasattr(cell, name)}


def present_obstacle() -> Obstacle | None:
    """Says what keeps the engine from running any layer in this process as it is now: a GPU that the backend has."""
    why = None if operations is None else operations.obstacle(keras.ops.zeros(()))
    return None if why is None else Obstacle(why, "Run on the CPU.")


def conditions() -> tuple[str, ...]:
    """Lists where Keras's own path runs in calls of a layer that has no obstacle, each a clause behind "unless"."""
    if operations is None:
        return ()
    device = ("it is placed on another device than the CPU",) if leaves_device_open() else ()
    return *device, *operations.CONDITIONS, "the model is traced for export", "it is called inside gatewise.portable()"


def reason(layer: Any, x: Any) -> str | None:
    """Says why Keras's own path runs in a layer's call or trace, None if the engine does; warns once a reason.

    There is no warning where stock operations were asked for: in a `portable` block, and of an exporter.
    """
    if is_portable():
        return PORTABLE
    why = settled_reason(layer) or _passing_reason(x)
    if why is not None and not _exporting():
        warn_once(why, f"{class_name(layer)}: Keras's own path")
    return why


def _passing_reason(x: Any) -> str | None:
    """Says why the engine cannot run at this place, on this input."""
    if operations is None:
        return None
    obstacle = operations.obstacle(x)
    if obstacle is None and _exporting():
        return "the model is traced for export, and what is exported shall run without gatewise"
    return obstacle


def _exporting() -> bool:
    """Says whether the code running now is traced by an exporter.

    An exporter traces a function like anybody else and leaves no mark on it: only the stack can tell. It is read while
    tracing, never in a step.
    """
    if operations is None or not operations.tracing():
        return False
    frame = inspect.currentframe()
    while frame is not None:
        if _EXPORTERS.match(str(frame.f_globals.get("__name__", ""))):
            return True
        frame = frame.f_back
    return False
