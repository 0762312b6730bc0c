# SPDX-License-Identifier: Apache-2.0
"""Graphs with something planted in them, for the tests on inspection, and gates computed by a loop of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.graph import Graph, Node, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GATES = {
    "gru": 3,
    "gru_reset_before": 3,
    "lstm": 4,
    "simple_rnn": 1,
    "layer_norm_gru": 3,
    "layer_norm_gru_reset_before": 3,
    "layer_norm_lstm": 4,
}
KEEPS = {operation: None if operation == "simple_rnn" else 1 if "lstm" in operation else 0 for operation in GATES}


def weights(operation: str, features: int, units: int, seed: int = 0, scale: float = 0.6) -> dict[str, Any]:
    """Draws the arrays of a layer: kernel (F, GU), recurrent_kernel (U, GU), bias; gains and the like."""
    random, columns = np.random.default_rng(seed), GATES[operation] * units
    bias = (2, columns) if operation == "gru" else (columns,)
    shapes = {"kernel": (features, columns), "recurrent_kernel": (units, columns), "bias": bias}
    if operation.startswith("layer_norm"):
        shapes |= {"gain": (columns,), "recurrent_gain": (columns,)}
    if operation == "layer_norm_lstm":
        shapes |= {"state_gain": (units,), "state_bias": (units,)}
    return {name: (scale * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def nothing(operation: str, features: int, units: int) -> dict[str, Any]:
    """Zeros for all of those: no gate reads anything."""
    return {name: np.zeros_like(array) for name, array in weights(operation, features, units).items()}


def set_bias(tensors: dict[str, Any], gate: int, unit: int | slice, value: float) -> None:
    """Sets the bias of a gate, that of the inputs."""
    units = len(tensors["recurrent_kernel"])
    tensors["bias"].reshape(-1, tensors["bias"].shape[-1])[0, gate * units :][:units][unit] = value


def layer_graph(
    operation: str,
    tensors: Mapping[str, Any],
    *,
    masked: bool = False,
    started: bool = False,
    read: Any = None,
    **options: Any,
) -> Graph:
    """A recurrent layer, and a Dense layer behind it: `read` is its kernel, (U, outputs), random by default.

    With `masked` it has an input for the mask, with `started` one for its starts.
    """
    features, units = len(tensors["kernel"]), len(tensors["recurrent_kernel"])
    read = np.random.default_rng(9).normal(size=(units, 2)) if read is None else read
    inputs = {"x": Value((None, None, features), "float32")}
    inputs |= {"mask": Value((None, None), "bool")} if masked else {}
    reads = ["x", "mask" if masked else None]
    if started:
        inputs["starts"] = Value((None, None), "bool")
        reads += [None] * (2 if "lstm" in operation else 1) + ["starts"]
    nodes = (
        Node("reader", operation, tuple(reads), ("h",), options, {name: name for name in tensors}),
        Node("score", "dense", ("h",), ("y",), {}, {"kernel": "read"}),
    )
    return Graph(inputs, nodes, {"y": "y"}, {**tensors, "read": np.asarray(read, np.float32)})


def data(*shape: int, seed: int = 1) -> np.ndarray:
    """Draws sequences."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _normal(a: np.ndarray) -> np.ndarray:
    """Layer normalisation of numbers, from the textbook; 0.001 is Keras's epsilon."""
    mean = sum(a) / len(a)
    variance = sum((each - mean) ** 2 for each in a) / len(a)
    return np.array([(each - mean) / (variance + 1e-3) ** 0.5 for each in a])


def slow_gates(
    operation: str,
    tensors: Mapping[str, Any],
    row: np.ndarray,
    *,
    zoneout: tuple[float, float] = (0, 0),
    starts: Sequence[bool] = (),
    initial: tuple[Any, Any] | None = None,
    dropped: int | None = None,
    activation: Any = np.tanh,
) -> dict[str, np.ndarray]:
    """Computes gates and states of a row (T, F), unit by unit and step by step, from the textbook's formulas.

    Args:
        operation: the cell.
        tensors: its arrays.
        row: (T, F), as it is read.
        zoneout: the parts of h and c that a step keeps.
        starts: of each step, whether it begins with zeros.
        initial: h and c before the first step; or None for zeros.
        dropped: a unit that holds nothing: its h and c are set to zero wherever they are read.
        activation: the candidate's, and that of c.
    """
    all_of = {name: np.asarray(array, np.float64) for name, array in tensors.items()}
    kernel, recurrent, bias = (all_of[name] for name in ("kernel", "recurrent_kernel", "bias"))
    units, normalises, kind = len(recurrent), "gain" in all_of, operation.removeprefix("layer_norm_")
    b, c = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    found: dict[str, list[Any]] = {}

    def both(gate: int, x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the input and the state bring to a gate, of all units."""
        places = range(gate * units, (gate + 1) * units)
        of_x = np.array([sum(x[i] * kernel[i, place] for i in range(len(x))) for place in places])
        of_h = np.array([sum(h[i] * recurrent[i, place] for i in range(units)) for place in places])
        here = slice(places.start, places.stop)
        if normalises:
            of_x, of_h = all_of["gain"][here] * _normal(of_x), all_of["recurrent_gain"][here] * _normal(of_h)
        return of_x + b[here], of_h + c[here]

    h, cell = np.zeros((2, units)) if initial is None else initial
    for t, x in enumerate(row.astype(np.float64)):
        if len(starts) and starts[t]:
            h, cell = np.zeros((2, units))
        if dropped is not None:
            h, cell = (np.where(np.arange(units) == dropped, 0, state) for state in (h, cell))
        h_prev, cell_prev = h, cell
        sums = [both(gate, x, h) for gate in range(GATES[operation])]
        if kind in {"gru", "gru_reset_before"}:
            z, r = (_sigmoid(sums[gate][0] + sums[gate][1]) for gate in (0, 1))
            back = r * sums[2][1] if kind == "gru" else both(2, x, r * h)[1]
            h_tilde = activation(sums[2][0] + back)
            h = z * h + (1 - z) * h_tilde
            now = {"update": z, "reset": r, "candidate": h_tilde}
        elif kind == "lstm":
            i, f, o = (_sigmoid(sums[gate][0] + sums[gate][1]) for gate in (0, 1, 3))
            g = activation(sums[2][0] + sums[2][1])
            cell = f * cell + i * g
            seen = cell if dropped is None else np.where(np.arange(units) == dropped, 0, cell)
            h = o * activation(all_of["state_gain"] * _normal(seen) + all_of["state_bias"] if normalises else seen)
            now = {"input": i, "forget": f, "candidate": g, "output": o}
        else:
            h = activation(sums[0][0] + sums[0][1])
            now = {}
        h = zoneout[0] * h_prev + (1 - zoneout[0]) * h
        cell = zoneout[1] * cell_prev + (1 - zoneout[1]) * cell
        for name, value in {**now, "h": h, **({"c": cell} if kind == "lstm" else {})}.items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}
