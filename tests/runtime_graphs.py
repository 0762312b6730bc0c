# SPDX-License-Identifier: Apache-2.0
"""Graphs built by hand, whose weights are drawn at the scale that layers have when trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewise.cells import Cell
from gatewise.operands import facts
from gatewise.runtime import Graph, Node, Value

FEATURES = 5


class Builder:
    """A graph in the making: each call adds a node and names its first output after it."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.tensors: dict[str, Any] = {}

    def draw(self, *shape: int) -> Any:
        fan_in = shape[-2] if len(shape) > 1 else 4
        return self.rng.normal(scale=fan_in**-0.5, size=shape).astype(np.float32)

    def input(self, name: str, *shape: int | None, dtype: str = "float32") -> str:
        self.inputs[name] = Value((None, *shape), dtype)
        return name

    def add(
        self, name: str, operation: str, inputs: list[str | None], weights: dict[str, Any] | None = None, **options: Any
    ) -> str:
        tensors = {role: f"{name}/{role}" for role in weights or {}}
        self.tensors |= {tensors[role]: array for role, array in (weights or {}).items()}
        outputs = (name, *(f"{name}:{state}" for state in self.states_of(operation)))
        self.nodes.append(Node(name, operation, tuple(inputs), outputs, options, tensors))
        return name

    def states_of(self, operation: str) -> tuple[str, ...]:
        return next((cell.row.states for cell in Cell if cell.name.lower() == operation), ())

    def cell(self, name: str, cell: Cell, x: str, mask: str | None, features: int, units: int, **options: Any) -> str:
        wide = len(cell.row.gates) * units
        bias = self.draw(2, wide) if facts(cell).recurrent_bias else self.draw(wide)
        weights = {
            "kernel": self.draw(features, wide),
            "recurrent_kernel": self.draw(units, wide),
            "bias": bias,
        }
        given = [x, mask, *(options.pop(name, None) for name in (*cell.row.states, "starts"))]
        while given[-1] is None and len(given) > 2:
            given.pop()
        return self.add(name, cell.name.lower(), given, weights, **options)

    def dense(self, name: str, x: str, features: int, units: int) -> str:
        return self.add(name, "dense", [x], {"kernel": self.draw(features, units), "bias": self.draw(units)})

    def graph(self, **outputs: str) -> Graph:
        return Graph(self.inputs, tuple(self.nodes), outputs, self.tensors)


def recogniser(cell: Cell, *, mask: bool = False, starts: bool = False, **zoneout: float) -> Graph:
    """A stack with a causal convolution, a normalisation and a softmax for each step."""
    b = Builder(int(cell))
    x = b.input("x", None, FEATURES)
    valid = b.input("valid", None, dtype="bool") if mask else None
    conv = b.add(
        "conv", "conv1d", [x], {"kernel": b.draw(3, FEATURES, 7), "bias": b.draw(7)}, padding="causal", dilation=2
    )
    relu = b.add("relu", "activation", [conv], function="relu")
    begins = b.input("begins", None, dtype="bool") if starts else None
    zoneout |= {"starts": begins}
    first = b.cell("first", cell, relu, valid, 7, 9, return_sequences=True, **zoneout)
    norm = b.add("norm", "layer_normalization", [first], {"gain": b.draw(9), "offset": b.draw(9)})
    second = b.cell("second", cell, norm, valid, 9, 17, return_sequences=True, **zoneout)
    both = b.add("both", "concatenate", [norm, second], axis=-1)
    return b.graph(y=b.add("softmax", "softmax", [b.dense("scores", both, 26, 4)]))


def classifier(cell: Cell, *, mask: bool = False, starts: bool = False) -> Graph:
    """The last output of a layer, and a score of it."""
    b = Builder(10 + int(cell))
    x = b.input("x", None, FEATURES)
    valid = b.input("valid", None, dtype="bool") if mask else None
    begins = b.input("begins", None, dtype="bool") if starts else None
    last = b.cell("last", cell, x, valid, FEATURES, 33, starts=begins)
    return b.graph(y=b.add("sigmoid", "activation", [b.dense("score", last, 33, 3)], function="sigmoid"))


def joined() -> Graph:
    """Two layers' last outputs, of which some features are joined."""
    b = Builder(19)
    x = b.input("x", None, FEATURES)
    one, two = (b.cell(name, Cell.GRU, x, None, FEATURES, 6) for name in ("one", "two"))
    some = b.add("some", "slice", [two], axis=1, start=1, stop=5)
    return b.graph(y=b.dense("score", b.add("both", "concatenate", [one, some], axis=1), 10, 3))


def strided() -> Graph:
    """Two convolutions that take steps together, four in all."""
    b = Builder(20)
    x = b.input("x", None, FEATURES)
    one = b.add("one", "conv1d", [x], {"kernel": b.draw(3, FEATURES, 6)}, padding="causal", strides=2)
    two = b.add("two", "max_pool1d", [one], size=2, strides=2, padding="valid")
    return b.graph(y=b.cell("gru", Cell.GRU, two, None, 6, 8, return_sequences=True))


def tagger() -> Graph:
    """Ids, whose mask goes along."""
    b = Builder(21)
    ids = b.input("ids", None, dtype="int64")
    mask = b.add("mask", "not_equal", [ids])
    table = b.add("embedding", "embedding", [ids], {"table": b.draw(11, 6)})
    lstm = b.cell("lstm", Cell.LSTM, table, mask, 6, 8, return_sequences=True)
    return b.graph(y=b.dense("tags", lstm, 8, 3))


def decoder() -> Graph:
    """A decoder that attends to what an encoder gave, and begins in its state."""
    b = Builder(22)
    source = b.input("source", None, FEATURES)
    encoded = b.cell("encoder", Cell.GRU, source, None, FEATURES, 8, return_sequences=True)
    target = b.input("target", None, 6)
    decoded = b.cell("decoder", Cell.GRU, target, None, 6, 8, return_sequences=True, h="encoder:h")
    found = b.add("attention", "attention", [decoded, encoded], scale=0.5)
    return b.graph(y=b.dense("next", b.add("both", "concatenate", [decoded, found], axis=-1), 16, 6))


def both_directions() -> Graph:
    """What cannot stream."""
    b = Builder(23)
    x = b.input("x", None, FEATURES)
    there = b.cell("there", Cell.GRU, x, None, FEATURES, 6, return_sequences=True)
    back = b.cell("back", Cell.GRU, x, None, FEATURES, 6, return_sequences=True, go_backwards=True)
    turned = b.add("turned", "reverse", [back], axis=1)
    return b.graph(y=b.add("both", "concatenate", [there, turned], axis=-1))
