# SPDX-License-Identifier: Apache-2.0
"""A graph of a Keras model, by its configuration and its weights: the model is never called.

Masks travel as in Keras, and stand in the graph as values. What only acts in training (dropout, noise, regularisation)
vanishes; nested models are flattened; layers that are called several times share their tensors.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gatewise.extras import KERAS, required_by
from gatewise.runtime.doors.from_keras import (
    activations,
    attention,
    features,
    merging,
    opening,
    operations,
    recurrent,
    time,
)
from gatewise.runtime.doors.from_keras.calls import Flow
from gatewise.runtime.doors.from_keras.door import Door
from gatewise.runtime.doors.from_keras.errors import KerasModelError, refused

if TYPE_CHECKING:
    from gatewise.runtime.graph import Graph

__all__ = ["LAYERS", "KerasModelError", "from_keras"]

LAYERS = {
    **activations.ROWS,
    **attention.ROWS,
    **features.ROWS,
    **merging.ROWS,
    **recurrent.ROWS,
    **time.ROWS,
}


def from_keras(model: Any) -> Graph:
    """Makes a graph of a Keras model.

    Args:
        model: a Sequential or a functional model, on any backend, of layers of Keras and of gatewise; or the path of a
            `.keras` file.

    Returns:
        The graph. Inputs and outputs have the model's names: of its input tensors; the keys of its outputs, or the
        names of the layers that make them, with a number behind one that is there already. Tensors are named by
        layer, "encoder/gru/kernel". What `gatewise.data.preprocessing.Preprocessing` keeps lies in `preprocessing`:
        what makes an input of raw data, under the input's name; what turns an output into names or units (Labels; a
        scaler in a layer that makes the output), under the output's; all else under its own. Half-precision and
        float64 weights are float32; a warning says so.

    Raises:
        ModuleNotFoundError: Keras, or its backend, is not installed.
        FileNotFoundError: there is no such file.
        KerasModelError: the model has a `call` of its own, or a layer or an option that a graph has not: the message
            names it, its class, its place, and what to do.

    Example:
        >>> import keras
        >>> layers = [keras.layers.GRU(4, name="reader"), keras.layers.Dense(2, name="score")]
        >>> graph = from_keras(keras.Sequential([keras.Input((None, 3), name="x"), *layers]))
        >>> [(node.name, node.operation) for node in graph.nodes]
        [('reader', 'gru'), ('score', 'dense')]
        >>> sorted(graph.tensors)[:3]
        ['reader/bias', 'reader/kernel', 'reader/recurrent_kernel']
        >>> graph.values["score"]
        Value(shape=(None, 2), dtype='float32')
    """
    with required_by("from_keras", *KERAS):
        import keras
    if isinstance(model, str | os.PathLike):
        model = opening.open_model(keras, model)
    if not isinstance(model, keras.Model):
        name = str(getattr(model, "name", ""))
        cure = "Give the model that holds it: keras.Sequential([keras.Input(shape), layer])."
        raise refused(model, name, "this is no model", "a keras.Model or the path of a .keras file", repr(model), cure)
    door = Door(keras, LAYERS, operations.OPERATIONS)
    door.require_model(model, model.name)
    flows = [
        _input(door, model, tensor, name) for tensor, name in zip(model.inputs, _input_names(door, model), strict=True)
    ]
    found = door.model(model, flows, "")
    outputs = {name: flow.value for name, flow in zip(_output_names(door, model), found, strict=True)}
    graph = door.graph(outputs)
    door.say_what_is_rounded()
    return graph


def _input(door: Door, model: Any, tensor: Any, name: str) -> Flow:
    dtype = str(tensor.dtype)
    if not any(kind in dtype for kind in ("float", "int", "bool")):
        expected, cure = "numbers, ids or masks", "Build it from the layer that makes ids of text on."
        raise refused(model, model.name, f"input {name!r} is no array of numbers", expected, dtype, cure)
    return Flow(door.add_input(name, tensor.shape, dtype))


def _input_names(door: Door, model: Any) -> list[str]:
    return _unique([_key(door.built_of(model, "input"), tensor) or str(tensor.name) for tensor in model.inputs])


def _output_names(door: Door, model: Any) -> list[str]:
    """Names the outputs: the keys that the model was built with, or the layers that make them."""
    built = door.built_of(model, "output")
    names = getattr(model, "output_names", None) or [model.layers[-1].name]
    return _unique([_key(built, tensor) or str(name) for tensor, name in zip(model.outputs, names, strict=True)])


def _key(structure: Any, tensor: Any) -> str | None:
    """The key of a dict of tensors under which one stands."""
    if not isinstance(structure, dict):
        return None
    return next((str(key) for key, value in structure.items() if value is tensor), None)


def _unique(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number, new = 1, name
        while new in found:
            number += 1
            new = f"{name}_{number}"
        found.append(new)
    return found
