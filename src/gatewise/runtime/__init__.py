# SPDX-License-Identifier: Apache-2.0
"""Trained models without a framework: a graph of plain data, its file, and what runs it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gatewise.runtime.graph import Graph as Graph
from gatewise.runtime.graph import GraphError as GraphError
from gatewise.runtime.graph import Node as Node
from gatewise.runtime.graph import Value as Value
from gatewise.runtime.lowering import StreamError as StreamError
from gatewise.runtime.model import Model as Model
from gatewise.runtime.saving import load as load
from gatewise.runtime.saving import save as save
from gatewise.runtime.session import Session as Session

if TYPE_CHECKING:
    from gatewise.runtime.doors.from_keras import from_keras as from_keras
    from gatewise.runtime.doors.from_onnx import from_onnx as from_onnx
    from gatewise.runtime.doors.from_torch import from_torch as from_torch

# The doors, each of which needs a library of its own
_DOORS = {"from_keras", "from_onnx", "from_torch"}


def __getattr__(name: str) -> Any:
    if name in _DOORS:
        return getattr(importlib.import_module(f"gatewise.runtime.doors.{name}"), name)
    message = f"module 'gatewise.runtime' has no attribute {name!r}"
    raise AttributeError(message)
