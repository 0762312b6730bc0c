# SPDX-License-Identifier: Apache-2.0
"""A trained model as plain data: operations in order, the values between them, and the arrays they compute with.

A model of Keras, of PyTorch or of an ONNX file becomes a graph once, at the door; running, saving, compressing and
exporting read nothing else. Masks are values like others: which layer passes its mask on is the business of the door.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.options import cut
from gatewise.runtime.operations import MOST, OPERATIONS, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

# A value's shape, batch first; None stands for any size.
Shape = tuple[int | None, ...]

DTYPES = ("float32", "int64", "bool")  # of values: numbers, ids, masks
MOST_AXES = 8  # of a value, the batch's included


class Value(NamedTuple):
    """What is known of a value before anything runs."""

    shape: Shape
    dtype: str


@dataclass(frozen=True)
class Node:
    """An operation at its place.

    Attributes:
        name: the layer's, unique in the graph; "/" stands between a model and its layer.
        operation: a row of `OPERATIONS`.
        inputs: the values it reads; None where an optional one is not given.
        outputs: the values it makes, unique in the graph.
        options: as its row says: plain JSON.
        weights: for each of the row's weights that is there, the name of its tensor; several nodes may name one.
    """

    name: str
    operation: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_options(self) -> dict[str, Any]:
        """The options, those that the node does not name at their defaults."""
        return {
            name: self.options.get(name, option.default) for name, option in OPERATIONS[self.operation].options.items()
        }


class GraphError(ValueError):
    """A graph that is none: it says of which node, what was expected, what was found."""


@dataclass(frozen=True)
class Graph:
    """A trained model.

    Attributes:
        inputs: by name, the values that are given.
        nodes: in an order in which each reads only what is there.
        outputs: by name, the values that are asked for.
        tensors: by name, C-contiguous; float32 but for constants of ids and masks.
        preprocessing: by name of an input, what turns raw text, sound or tables into it; see `gatewise.data`.
        values: what is known of every value; found, not given.

    Raises:
        GraphError: an operation is unknown, a value is missing or made twice, shapes do not fit.

    Example:
        >>> import numpy as np
        >>> graph = Graph(
        ...     inputs={"x": Value((None, None, 3), "float32")},
        ...     nodes=(Node("score", "dense", ("x",), ("y",), {}, {"kernel": "score/kernel"}),),
        ...     outputs={"y": "y"},
        ...     tensors={"score/kernel": np.ones((3, 2), np.float32)},
        ... )
        >>> graph.values["y"]
        Value(shape=(None, None, 2), dtype='float32')
    """

    inputs: Mapping[str, Value]
    nodes: tuple[Node, ...]
    outputs: Mapping[str, str]
    tensors: Mapping[str, Array]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    values: dict[str, Value] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = dict(self.inputs)
        for name, (shape, _) in values.items():
            _check_shape(f"input {cut(repr(name))}", shape)
        _require_new("graph", "name", [node.name for node in self.nodes], ())
        for node in self.nodes:
            found = _checked(node, values, self.tensors)
            _require_new(node.name, "value", node.outputs, values)
            values |= dict(zip(node.outputs, found, strict=True))
        for name, value in self.outputs.items():
            if value not in values:
                raise GraphError(
                    f"output {cut(name)!r} is the value {cut(value)!r}, which no node makes. Expected one of "
                    f"{cut(', '.join(values), 200)}. Name another."
                )
        object.__setattr__(self, "values", values)


def _checked(node: Node, values: Mapping[str, Value], tensors: Mapping[str, Array]) -> list[Value]:
    """Checks a node against its row. Returns what it makes."""
    where = f"node {cut(node.name)!r}"
    row = OPERATIONS.get(node.operation)
    if row is None:
        raise GraphError(
            f"{where}: operation {cut(node.operation)!r} is unknown. Expected one of {', '.join(OPERATIONS)}. Write "
            "it with these."
        )
    unknown = {*node.options} - {*row.options} | {*node.weights} - {*row.all_weights}
    if unknown:
        known = ", ".join([*row.options, *row.all_weights])
        raise GraphError(
            f"{where}: {node.operation} has no {cut(', '.join(sorted(unknown)))}. Expected {known or 'none'}. Leave "
            "it out."
        )
    missing = [name for name in row.required_weights if name not in node.weights]
    absent = [tensor for tensor in node.weights.values() if tensor not in tensors]
    if missing or absent:
        raise GraphError(
            f"{where}: weights are missing: {cut(', '.join(missing + absent))}. Expected each in weights and its "
            "tensor in tensors. Add them."
        )
    unmade = [name for name in node.inputs if name is not None and name not in values]
    if unmade:
        raise GraphError(
            f"{where} reads {cut(', '.join(unmade))}, which nothing before it makes. Expected inputs of the graph and "
            "outputs of nodes before. Put the nodes in order."
        )
    try:
        row.check_inputs([name is not None for name in node.inputs], len(node.outputs))
        for name, value in node.options.items():
            row.options[name].check(name, value)
        of_weights = {name: tensors[tensor] for name, tensor in node.weights.items()}
        given = [None if name is None else values[name] for name in node.inputs]
        found = row.shapes(given, node.all_options, of_weights)
    except Problem as problem:
        raise GraphError(f"{where} ({node.operation}): {problem} Mend the node.") from None
    for shape, _ in found[: len(node.outputs)]:
        _check_shape(f"{where} ({node.operation})", shape)
    return [Value(*value) for value in found[: len(node.outputs)]]


def _check_shape(where: str, shape: Shape) -> None:
    if not 1 <= len(shape) <= MOST_AXES or any(size is not None and not 0 <= size <= MOST for size in shape):
        raise GraphError(
            f"{where}: a value has the shape {cut(str(shape))}. Expected 1 to {MOST_AXES} axes, each of at most "
            f"{MOST}. Make it smaller."
        )


def _require_new(where: str, what: str, names: Iterable[str], there: Container[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen or name in there:
            raise GraphError(
                f"{where}: the {what} {cut(name)!r} stands for two. Expected a name of its own. Rename one."
            )
        seen.add(name)


def reading(graph: Graph) -> dict[str, list[Node]]:
    """Lists for each value the nodes that read it."""
    readers: dict[str, list[Node]] = {value: [] for value in graph.values}
    for node in graph.nodes:
        for value in {*node.inputs} - {None}:
            readers[value].append(node)  # type: ignore[index]  # not None
    return readers


def needed(graph: Graph, outputs: Iterable[str], given: Callable[[str], bool]) -> list[Node]:
    """Lists the nodes, in order, that the values `outputs` rest on, up to values that are given."""
    wanted, kept = {*outputs}, []
    for node in reversed(graph.nodes):
        if any(value in wanted and not given(value) for value in node.outputs):
            kept.append(node)
            wanted |= {value for value in node.inputs if value is not None}
    return kept[::-1]
