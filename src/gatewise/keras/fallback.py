# SPDX-License-Identifier: Apache-2.0
"""When Keras's own path runs instead of the engine, and how the user learns of it: never silently."""

from __future__ import annotations

import inspect
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import keras

from gatewise.native import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

if keras.backend.backend() == "tensorflow":
    from gatewise.ops import tensorflow as engine

_DTYPES = ("float32", "float16", "bfloat16")  # half precision is computed in float32
# The engine's name of each activation function that it has.
ACTIVATION_NAMES: dict[Any, str] = {
    getattr(module, name): name
    for module in (keras.activations, keras.ops)
    for name in ACTIVATIONS
    if hasattr(module, name)
}
# Who traces a model in order to write it to a file.
_EXPORTERS = ("keras.src.export.", "tensorflow.python.saved_model.", "tensorflow.lite.", "tf2onnx.")

_portable: ContextVar[bool] = ContextVar("portable", default=False)
_warned: set[str] = set()


class FallbackWarning(UserWarning):
    """Says, once for each reason, that a layer runs Keras's own path; `layer.fallback_reason` holds the reason."""


@contextmanager
def portable() -> Iterator[None]:
    """Runs Keras's own path in every layer called or traced inside: the result holds stock operations alone.

    What Keras and TensorFlow trace for export is recognised without it. It is for what cannot be: a `tf.function` of
    your own that you save later, second derivatives, a comparison.

    Example:
        >>> import keras, numpy as np
        >>> from gatewise.keras import GRU, portable
        >>> layer = GRU(2)
        >>> with portable():
        ...     _ = layer(np.zeros((1, 3, 4), "float32"))
        >>> layer.fallback_reason
        'gatewise.keras.portable() is active'
    """
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def settled_reason(layer: Any) -> str | None:
    """Says why a layer can never run on the engine as it is configured; None if it can."""
    if keras.backend.backend() != "tensorflow":
        return f"the engine is not yet connected to the Keras backend {keras.backend.backend()}, only to tensorflow"
    unavailable = engine.available()
    if unavailable is not None:
        return f"the engine is not available: {unavailable}"
    for argument in ("activation", "recurrent_activation"):
        function = getattr(layer, argument)
        if function not in ACTIVATION_NAMES:
            name = getattr(function, "__name__", type(function).__name__)
            return f"the engine has no {argument} {name!r}, only {', '.join(ACTIVATIONS)}"
    if layer.compute_dtype not in _DTYPES:
        return f"the engine computes in float32, and the layer asks for {layer.compute_dtype}"
    return None


def reason(layer: Any) -> str | None:
    """Says why Keras's own path runs in a layer's call or trace, None if the engine does; warns once a reason."""
    if _portable.get():
        return "gatewise.keras.portable() is active"  # no warning: it was asked for
    why = settled_reason(layer) or engine.obstacle()
    if why is None and engine.tracing() and _exporting():
        why = "the model is traced for export, and what is exported shall run without gatewise"
    if why is not None and why not in _warned:
        _warned.add(why)
        warnings.warn(
            f"gatewise.keras.{type(layer).__name__}: Keras's own path runs, because {why}.",
            FallbackWarning,
            stacklevel=2,
        )
    return why


def _exporting() -> bool:
    """Says whether an exporter is among the callers.

    An exporter traces a `tf.function` like anybody else and leaves no mark on the graph: only the stack can tell. It is
    read while tracing, never in a step.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_EXPORTERS):
            return True
        frame = frame.f_back
    return False
