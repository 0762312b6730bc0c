# SPDX-License-Identifier: Apache-2.0
"""Activations: as functions that layers are given, and as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_keras.errors import refused
from gatewise.runtime.doors.from_keras.row import Row, last_axis, passes, unsupported

if TYPE_CHECKING:
    from gatewise.runtime.doors.from_keras.calls import Call
    from gatewise.runtime.doors.from_keras.door import Door

# Keras's name, the function's name in a graph, and what Keras's own defaults are
FUNCTIONS: dict[str, dict[str, Any]] = {
    **{
        name: {}
        for name in (
            *("linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "relu6", "selu", "gelu", "silu", "hard_silu"),
            *("hard_tanh", "softplus", "softsign", "exponential", "mish", "log_sigmoid", "tanh_shrink", "sparse_plus"),
            *("sparse_sigmoid", "elu", "celu"),
        )
    },
    "leaky_relu": {"slope": 0.2},
    "soft_shrink": {"threshold": 0.5},
    "hard_shrink": {"threshold": 0.5},
    "squareplus": {"alpha": 4.0},
}
_OTHERS = ("softmax", "log_softmax", "glu")  # operations of their own, over the last axis


def name_of(door: Door, function: Any) -> str | None:
    """Returns Keras's name of an activation function, None for one that is not Keras's."""
    name = str(getattr(function, "__name__", ""))
    there = {id(getattr(module, name, None)) for module in (door.keras.activations, door.keras.ops)}
    return name if id(function) in there else None


def activated(door: Door, call: Call, function: Any, x: str, name: str) -> str:
    """Adds the activation that a layer was given.

    Args:
        door: the graph.
        call: of the layer.
        function: the activation: Keras's function, or a layer; None for none.
        x: what it is computed of.
        name: of the node.

    Returns:
        The value; x itself for "linear".

    Raises:
        KerasModelError: it is another.
    """
    if isinstance(function, door.keras.Layer):
        from gatewise.runtime.doors.from_keras.calls import Flow, bound

        return door.layer(bound(function, name, (Flow(x),), {}))[0].value
    if function is door.keras.ops.gelu:  # the one whose default is not that of the activation
        return apply(door, call, "gelu", x, name, approximate=True)
    known = "linear" if function is None else name_of(door, function)
    known = {"swish": "silu", "hard_swish": "hard_silu"}.get(known or "", known)
    if known == "linear":
        return x
    if known not in FUNCTIONS and known not in _OTHERS:
        found = getattr(function, "__name__", type(function).__name__)
        expected = f"one of {', '.join([*FUNCTIONS, *_OTHERS])}"
        raise refused(call.layer, call.name, "its activation is one that a graph has not", expected, str(found))
    return apply(door, call, str(known), x, name)


def apply(door: Door, call: Call, function: str, x: str, name: str, **options: Any) -> str:
    """Adds an activation by its name; options take the place of Keras's defaults."""
    if function in {"softmax", "log_softmax"}:
        return door.emit(call, name, function, [x])
    if function == "glu":
        return _glu(door, call, x, name)
    given = {**FUNCTIONS.get(function, {}), **options}
    return door.emit(call, name, "activation", [x], function=function, **given)


def _glu(door: Door, call: Call, x: str, name: str) -> str:
    width = door.shape(x)[-1]
    if width is None or width % 2:
        raise refused(call.layer, call.name, "glu halves the last axis", "an even width", str(width))
    gate = door.emit(call, f"{name}/gate", "slice", [x], axis=-1, start=width // 2)
    gate = door.emit(call, f"{name}/sigmoid", "activation", [gate], function="sigmoid")
    half = door.emit(call, f"{name}/half", "slice", [x], axis=-1, stop=width // 2)
    return door.emit(call, name, "multiply", [half, gate])


def _activation(door: Door, call: Call) -> str:
    return activated(door, call, call.layer.activation, call.x, call.name)


def relu(door: Door, call: Call, x: str, slope: Any, most: Any, threshold: Any) -> str:
    """Adds Keras's `relu` with its three parameters."""
    if float(threshold) < 0 and most is not None:
        raise unsupported(call, "threshold", "a number that is not negative, beside max_value", threshold)
    options: dict[str, Any] = {"slope": float(slope), "threshold": float(threshold)}
    if most is not None:
        options["most"] = float(most)
    return door.emit(call, call.name, "activation", [x], function="relu", **options)


def _relu(door: Door, call: Call) -> str:
    layer = call.layer
    return relu(door, call, call.x, layer.negative_slope, layer.max_value, layer.threshold)


def _leaky_relu(door: Door, call: Call) -> str:
    slope = float(call.layer.negative_slope)
    return door.emit(call, call.name, "activation", [call.x], function="leaky_relu", slope=slope)


def _elu(door: Door, call: Call) -> str:
    return door.emit(call, call.name, "activation", [call.x], function="elu", alpha=float(call.layer.alpha))


def _softmax(door: Door, call: Call) -> str:
    last_axis(door, call, call.layer.axis)
    if call.arguments.get("mask") is not None:
        cure = "Use Activation('softmax'), which passes masks on."
        problem = "Keras broadcasts the mask of the steps over the features"
        raise refused(call.layer, call.name, problem, "no mask", str(call.arguments["mask"]), cure)
    return door.emit(call, call.name, "softmax", [call.x])


def _prelu(door: Door, call: Call) -> str:
    alpha = door.read(call.layer.alpha, call.name)
    if alpha is None or alpha.size == alpha.shape[-1]:  # shared by all steps
        slope = None if alpha is None else alpha.reshape(-1)
        return door.emit(call, call.name, "prelu", [call.x], weights=door.weights(call.layer, call.name, slope=slope))
    minus = door.weights(call.layer, call.name, gain=np.full(1, -1, np.float32))
    negative = door.emit(call, f"{call.name}/minus", "affine", [call.x], weights=minus)
    below = door.emit(call, f"{call.name}/below", "activation", [negative], function="relu")
    sloped = door.emit(
        call, f"{call.name}/sloped", "multiply", [below, door.constant(call, f"{call.name}/alpha", alpha[None])]
    )
    above = door.emit(call, f"{call.name}/above", "activation", [call.x], function="relu")
    return door.emit(call, call.name, "subtract", [above, sloped])


ROWS = {
    "Activation": Row(_activation, passes),
    "ReLU": Row(_relu, passes),
    "LeakyReLU": Row(_leaky_relu, passes),
    "ELU": Row(_elu, passes),
    "PReLU": Row(_prelu, passes),
    "Softmax": Row(_softmax, passes),
}
