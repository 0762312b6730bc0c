# SPDX-License-Identifier: Apache-2.0
"""`inspect`: what the gates of a trained model do, and what its predictions rest on.

Gates come from the formulas of `gatewise.reference`, in float64, on the data that is given; attributions from the
gradients of the framework that the model is of. NumPy and safetensors are enough for the figures; pictures and the
HTML report need matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewise.inspect.attribution import Attribution as Attribution
    from gatewise.inspect.attribution import AttributionError as AttributionError
    from gatewise.inspect.attribution import attribute as attribute
    from gatewise.inspect.findings import Tolerances as Tolerances
    from gatewise.inspect.inspection import Inspection as Inspection
    from gatewise.inspect.layer import Layer as Layer

# What is loaded when it is used: most programs inspect nothing
_LAZY = {
    "Attribution": "attribution",
    "AttributionError": "attribution",
    "attribute": "attribution",
    "Inspection": "inspection",
    "Layer": "layer",
    "Tolerances": "findings",
}


def inspect(
    model: Any,
    x: Any,
    *,
    features: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    tolerances: Tolerances | None = None,
) -> Inspection:
    """Looks inside the recurrent layers of a trained model while it reads some data.

    Args:
        model: a `gatewise.runtime` Model or Graph; the path of a model's file, of a `.keras` or an `.onnx` file; a
            Keras model; a `torch.nn.Module`. What a prediction rests on needs gradients: give one of the last two.
        x: what `Model.predict` takes, (batch, timesteps, features) or (batch, timesteps) ids: an array for the one
            input, a dict by input name for several. A module of PyTorch takes what its `forward` takes. Masked steps
            are not looked at. All values of all gates are kept in float64: some hundred sequences are enough.
        features: what the last axis of an input means, for findings and pictures: names for the one input, or a dict
            of such by input name.
        tolerances: what counts as dead, equal and saturated.

    Returns:
        What was found: `layers` by name, each with its gates, horizons and units; `findings` in sentences. Print it
        for a table; `save("report.html")` makes a page of it.

    Raises:
        TypeError: model is none, or x does not hold numbers.
        ValueError: the model has no recurrent layer, or x does not fit it.
        NotImplementedError: the model has a cell that inspection does not know.

    Example:
        >>> import gatewise, numpy as np
        >>> from gatewise.runtime import Graph, Node, Value
        >>> kernel, recurrent = np.zeros((1, 6), np.float32), np.zeros((2, 6), np.float32)
        >>> kernel[0, 4:] = 1, 2  # of both candidates
        >>> bias = np.zeros((2, 6), np.float32)
        >>> bias[0, 0] = 2.944439  # of unit 0's update gate, which is 0.95 then; that of unit 1 is one half
        >>> tensors = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}
        >>> nodes = (Node("gru", "gru", ("x",), ("y",), {}, {name: name for name in tensors}),)
        >>> graph = Graph({"x": Value((None, None, 1), "float32")}, nodes, {"y": "y"}, tensors)
        >>> found = gatewise.inspect(graph, np.random.default_rng(0).normal(size=(4, 20, 1)))
        >>> found.layers["gru"].half_lives.round(1).tolist()  # ln(1/2) / ln(0.95) steps, and 1
        [13.5, 1.0]
    """
    from gatewise.inspect.inspection import look

    return look(model, x, features=features, tolerances=tolerances)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"gatewise.inspect.{_LAZY[name]}"), name)
    message = f"module 'gatewise.inspect' has no attribute {name!r}"
    raise AttributeError(message)
