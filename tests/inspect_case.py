# SPDX-License-Identifier: Apache-2.0
"""Graphs with something planted in them, for the tests on inspection, and gates computed by a loop of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.graph import Graph, Node, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

GATES = {"gru": 3, "gru_reset_before": 3, "lstm": 4, "simple_rnn": 1}


def weights(operation: str, features: int, units: int, seed: int = 0, scale: float = 0.6) -> dict[str, Any]:
    """Draws the arrays of a layer: kernel (F, GU), recurrent_kernel (U, GU), bias."""
    random, columns = np.random.default_rng(seed), GATES[operation] * units
    bias = (2, columns) if operation == "gru" else (columns,)
    shapes = {"kernel": (features, columns), "recurrent_kernel": (units, columns), "bias": bias}
    return {name: (scale * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def layer_graph(
    operation: str, tensors: Mapping[str, Any], *, masked: bool = False, read: Any = None, **options: Any
) -> Graph:
    """A recurrent layer, and a Dense layer behind it: `read` is its kernel, (U, outputs), random by default."""
    features, units = len(tensors["kernel"]), len(tensors["recurrent_kernel"])
    read = np.random.default_rng(9).normal(size=(units, 2)) if read is None else read
    inputs = {"x": Value((None, None, features), "float32")}
    inputs |= {"mask": Value((None, None), "bool")} if masked else {}
    nodes = (
        Node("reader", operation, (*inputs,), ("h",), options, {name: name for name in tensors}),
        Node("score", "dense", ("h",), ("y",), {}, {"kernel": "read"}),
    )
    return Graph(inputs, nodes, {"y": "y"}, {**tensors, "read": np.asarray(read, np.float32)})


def data(*shape: int, seed: int = 1) -> np.ndarray:
    """Draws sequences."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_gates(operation: str, tensors: Mapping[str, Any], row: np.ndarray) -> dict[str, np.ndarray]:
    """Computes gates and states of a row (T, F), unit by unit and step by step, from the textbook's formulas."""
    kernel, recurrent = (tensors[name].astype(np.float64) for name in ("kernel", "recurrent_kernel"))
    bias, units = tensors["bias"].astype(np.float64), len(recurrent)
    b, c = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    found: dict[str, list[Any]] = {}

    def column(gate: int, unit: int, x: np.ndarray, h: np.ndarray) -> tuple[float, float]:
        """What the input and the state bring to a gate of a unit."""
        place = gate * units + unit
        return sum(x[i] * kernel[i, place] for i in range(len(x))) + b[place], sum(
            h[i] * recurrent[i, place] for i in range(units)
        ) + c[place]

    def all_units(gate: int, x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = np.array([column(gate, unit, x, h) for unit in range(units)])
        return both[:, 0], both[:, 1]

    h, cell = np.zeros(units), np.zeros(units)
    for x in row.astype(np.float64):
        sums = [all_units(gate, x, h) for gate in range(GATES[operation])]
        if operation in {"gru", "gru_reset_before"}:
            z, r = (_sigmoid(sums[gate][0] + sums[gate][1]) for gate in (0, 1))
            back = r * sums[2][1] if operation == "gru" else all_units(2, x, r * h)[1]
            h_tilde = np.tanh(sums[2][0] + back)
            h = z * h + (1 - z) * h_tilde
            now = {"update": z, "reset": r, "candidate": h_tilde, "h": h}
        elif operation == "lstm":
            i, f, o = (_sigmoid(sums[gate][0] + sums[gate][1]) for gate in (0, 1, 3))
            g = np.tanh(sums[2][0] + sums[2][1])
            cell = f * cell + i * g
            h = o * np.tanh(cell)
            now = {"input": i, "forget": f, "candidate": g, "output": o, "h": h, "c": cell}
        else:
            h = np.tanh(sums[0][0] + sums[0][1])
            now = {"h": h}
        for name, value in now.items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}
