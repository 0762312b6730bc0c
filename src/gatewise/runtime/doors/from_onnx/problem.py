# SPDX-License-Identifier: Apache-2.0
"""How this door says that it cannot read a file."""

from __future__ import annotations

from gatewise.runtime.graph import GraphError

WHERE = "from_onnx"


def problem(what: str, expected: str, received: str, cure: str, place: str = "") -> GraphError:
    """Makes the error, in the shape of all errors: where, what, expected, received, cure."""
    where = f"{WHERE}: {place}: " if place else f"{WHERE}: "
    return GraphError(f"{where}{what}. Expected {expected}; received {received.rstrip('.')}. {cure}".rstrip())
