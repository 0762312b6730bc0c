# SPDX-License-Identifier: Apache-2.0
"""What there is to inspect: a graph of whatever model is given, the model itself if it has gradients, and the data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.inspect.arguments import texts
from gatewise.options import cut, one_of
from gatewise.runtime.graph import Graph
from gatewise.runtime.model import Model
from gatewise.runtime.saving import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from gatewise.runtime.graph import Value


class Opened(NamedTuple):
    """A model, ready to look at."""

    model: Model
    source: Any  # the Keras model or the module of PyTorch; None of a file or a graph
    framework: str | None  # "keras", "torch" or None
    given: Any  # the data as it came
    inputs: dict[str, npt.NDArray[Any]]  # the data by input


def opened(model: Any, x: Any) -> Opened:
    """Opens a model, whatever it is.

    Raises:
        TypeError: it is no model, or x does not hold numbers.
        ValueError: x does not fit it.
    """
    framework = framework_of(model)
    found = Model(_graph(model, framework, x))
    plain = _plain(x) if framework == "torch" else x
    inputs = found.given(plain, "inspect")
    if not all(map(len, inputs.values())):
        raise ValueError("inspect: the data has no rows. Expected some; received none. Give what the model reads.")
    return Opened(found, model if framework else None, framework, x, inputs)


def framework_of(model: Any) -> str | None:
    """Says of which framework a model is; a Keras model is one of Keras on PyTorch too."""
    bases = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    return "keras" if "keras" in bases else "torch" if "torch" in bases else None


def _graph(model: Any, framework: str | None, x: Any) -> Graph:
    if framework == "keras":
        from gatewise.runtime.doors.from_keras import from_keras

        return from_keras(model)
    if framework == "torch":
        from gatewise.runtime.doors.from_torch import from_torch

        if not isinstance(x, dict | tuple | np.ndarray) and not hasattr(x, "detach"):
            raise TypeError(
                "inspect: x is none of what forward takes. Expected a tensor or an array, a tuple of arguments or a "
                f"dict by parameter; received {cut(type(x).__name__)}. Make it a tensor: torch.tensor(x)."
            )
        return from_torch(model, x)
    if isinstance(model, Graph):
        return model
    if isinstance(model, Model):
        return model.graph
    if isinstance(model, str | os.PathLike):
        return _from_file(Path(model))
    raise TypeError(
        "inspect: model is no model. Expected a Keras model, a torch.nn.Module, a gatewise.runtime Model or Graph, or "
        f"the path of a file; received {cut(type(model).__name__)}. Give one of these."
    )


def _from_file(path: Path) -> Graph:
    if not path.exists():
        raise FileNotFoundError(
            f"inspect: there is no file {cut(str(path), 200)}. Expected a model's; received none. Check the path."
        )
    if path.suffix == ".keras":
        from gatewise.runtime.doors.from_keras import from_keras

        return from_keras(path)
    if path.suffix == ".onnx":
        from gatewise.runtime.doors.from_onnx import from_onnx

        return from_onnx(path)
    return load(path).graph


def _plain(x: Any) -> Any:
    """Turns tensors of PyTorch, alone or in a tuple or a dict, into arrays."""
    if isinstance(x, dict):
        return {name: _plain(value) for name, value in x.items()}
    if isinstance(x, tuple):
        return tuple(_plain(value) for value in x)
    return x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)


def named_features(graph: Graph, features: Mapping[str, Sequence[str]] | Sequence[str] | None) -> dict[str, list[str]]:
    """Checks the names of features, and brings them to a dict by input.

    Raises:
        TypeError: features are no texts.
        ValueError: an input is unknown, or has not as many features.
    """
    if features is None:
        return {}
    if isinstance(features, Mapping):
        by_input = dict(features)
    else:
        if len(graph.inputs) != 1 or isinstance(features, str):
            raise ValueError(
                f"inspect: features are not clear. Expected a dict with names for {', '.join(graph.inputs)}; received "
                f"{cut(repr(features))}. Name the input that they belong to."
            )
        by_input = {next(iter(graph.inputs)): features}
    found = {}
    for name, given in by_input.items():
        one_of("inspect", "an input of features", name, graph.inputs)
        names = texts("inspect", f"features of {name!r}", given)
        if _width(graph.inputs[name]) != len(names):
            expected = ", ".join(f"{one} {_width(value) or 'none'}" for one, value in graph.inputs.items())
            raise ValueError(
                f"inspect: features of {name!r} do not fit. Expected as many names as an input has features: "
                f"{expected}; received {len(names)}. Check the last axis."
            )
        found[name] = names
    return found


def _width(value: Value) -> int | None:
    """How many features an input has; ids and masks have none."""
    return value.shape[-1] if len(value.shape) > 1 and value.dtype == "float32" else None
