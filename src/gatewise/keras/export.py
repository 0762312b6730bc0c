# SPDX-License-Identifier: Apache-2.0
"""A `tf.function` that was called before it is given to `keras.export.ExportArchive`: it is traced again, portably.

What an exporter traces holds Keras's own operations, see `fallback.py`. A function traced before holds the engine's,
and Keras would write it as it is. Its method `add_endpoint` is therefore wrapped.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import keras

from gatewise.fallback import portable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def retrace_for_export() -> None:
    """Wraps `keras.export.ExportArchive.add_endpoint`, once."""
    archive = keras.export.ExportArchive
    if keras.backend.backend() == "tensorflow" and not hasattr(archive.add_endpoint, "retraces"):
        archive.add_endpoint = _retracing(archive.add_endpoint)


def _retracing(add_endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(add_endpoint)
    def wrapper(self: Any, name: str, fn: Any, *args: Any, **kwargs: Any) -> Any:
        return add_endpoint(self, name, _portable(fn), *args, **kwargs)

    setattr(wrapper, "retraces", True)  # noqa: B010  # mypy knows no such attribute
    return wrapper


def _portable(function: Any) -> Any:
    """Returns a `tf.function` that holds none of the engine's operations; anything without them as it is."""
    traces: list[Any] = getattr(function, "_list_all_concrete_functions", list)()
    if not any(operation.startswith("Gatewise") for trace in traces for operation in _operations(trace)):
        return function
    # TensorFlow has no public way to trace a function once more with the same options.
    again = function._clone(None)  # noqa: SLF001
    with portable():
        for trace in traces:
            args, kwargs = trace.structured_input_signature
            again.get_concrete_function(*args, **kwargs)
    return again


def _operations(trace: Any) -> Iterator[str]:
    """Yields the names of the operations in a traced function and in the functions that it calls."""
    graph = trace.graph.as_graph_def()
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        yield from (node.op for node in nodes)
