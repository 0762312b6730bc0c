# SPDX-License-Identifier: Apache-2.0
"""A trained model into a file, and out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.options import cut
from gatewise.runtime import file
from gatewise.runtime.graph import Graph
from gatewise.runtime.model import Model

if TYPE_CHECKING:
    import os


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Writes a trained model to a file, which `load` runs without a framework.

    The file holds the graph and its weights, what makes inputs of raw data, and a small input with its output; see
    docs/format.md. It is there in whole or not at all. The same model gives the same bytes.

    Args:
        model: a Keras model; a `Model` or a `Graph`. Of PyTorch's modules and ONNX files
            `gatewise.runtime.from_torch` and `from_onnx` make one.
        path: the file, replaced if it exists; ".safetensors" is its usual ending.

    Raises:
        TypeError: it is no model.
        ValueError: the model has a layer that a graph cannot hold; the message names it and its place.
        OSError: the system does not write; what was there stays.

    Example:
        >>> import tempfile
        >>> import gatewise, keras, numpy as np
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])
        >>> x = np.ones((1, 5, 3), np.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     gatewise.save(model, f"{folder}/model.safetensors")
        ...     loaded = gatewise.load(f"{folder}/model.safetensors")
        >>> bool(np.allclose(loaded.predict(x), model.predict(x, verbose=0), atol=1e-6))
        True
    """
    file.write(_graph_of(model), path, run=_run)


def load(path: str | os.PathLike[str], *, verify: bool = True) -> Model:
    """Reads a model from a file, whoever wrote it: nothing in it is executed.

    Args:
        path: the file.
        verify: whether the model runs the file's small input, and its output is compared with the file's.

    Returns:
        The model.

    Raises:
        gatewise.data.errors.FormatError: the file is no model, is damaged, of a newer version, or its model computes
            something else than it was saved with; the message names the place. It is a ValueError.
        OSError: the system does not read.
    """
    return Model(file.read(path, run=_run, verify=verify))


def _graph_of(model: Any) -> Graph:
    if isinstance(model, Graph):
        return model
    if isinstance(model, Model):
        return model.graph
    bases = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if "keras" in bases:
        from gatewise.runtime.doors.from_keras import from_keras

        return from_keras(model)
    if "torch" in bases:
        raise TypeError(
            "save: a module of PyTorch says not by itself what it takes. Expected a graph of it; received "
            f"{type(model).__name__}. Write gatewise.save(gatewise.runtime.from_torch(module, example_inputs), path)."
        )
    raise TypeError(
        f"save: model is no model. Expected a Keras model, a gatewise.runtime Model or Graph; received "
        f"{cut(type(model).__name__)}. Of an ONNX file gatewise.runtime.from_onnx makes one."
    )


def _run(graph: Graph, inputs: dict[str, Any]) -> dict[str, Any]:
    return Model(graph).run(inputs)
