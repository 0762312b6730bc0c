# SPDX-License-Identifier: Apache-2.0
"""The graph as it grows: nodes, tensors, and what is known of each value, sizes with names for those that are not."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_onnx.values import BATCH, Size
from gatewise.runtime.graph import Graph, Node, Value, needed
from gatewise.runtime.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_OF_AXIS = {"slice", "pad", "concatenate"}  # change the size of their axis
_OF_STEPS = {"conv1d", "max_pool1d", "average_pool1d"}  # may change that of axis 1
_MERGES = {"add", "subtract", "multiply", "divide", "average", "maximum", "minimum"}


class Builder:
    """Makes a graph node by node.

    Attributes:
        inputs: the graph's, by name.
        known: shape and dtype of each value.
        sizes: of each value's axes, batch first.
        made: the place of the node that makes a value.
        nodes: so far.
        batch: how many rows the file says that there are; None where it does not.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, Value] = {}
        self.known: dict[str, Value] = {}
        self.sizes: dict[str, tuple[Size, ...]] = {}
        self.made: dict[str, int] = {}
        self.nodes: list[Node] = []
        self.tensors: dict[str, Array] = {}
        self.batch: int | None = None
        self._tensor_names: dict[Hashable, str] = {}
        self._names: set[str] = set()
        self._fresh = itertools.count()

    def unique(self, name: str) -> str:
        """A name like this one that nothing else has."""
        found, n = name, 1
        while found in self._names:
            n += 1
            found = f"{name}_{n}"
        self._names.add(found)
        return found

    def fresh(self) -> Size:
        """A size that is equal to no other."""
        return Size(1, (f"size{next(self._fresh)}",))

    def add_input(self, name: str, dtype: str, sizes: tuple[Size, ...]) -> None:
        """Adds an input of the graph, batch first."""
        self._names.add(name)
        shape = tuple(size.fixed for size in sizes)
        self.inputs[name] = self.known[name] = Value(shape, dtype)
        self.sizes[name] = sizes

    def tensor(self, key: Hashable, name: str, array: Array) -> str:
        """Keeps an array, once for each key. Returns the name that it has."""
        if key not in self._tensor_names:
            kept = self._tensor_names[key] = self.unique(name)
            self.tensors[kept] = np.ascontiguousarray(array)
        return self._tensor_names[key]

    def emit(
        self,
        name: str,
        operation: str,
        inputs: Sequence[str | None],
        options: Mapping[str, Any] | None = None,
        weights: Mapping[str, str] | None = None,
        *,
        outputs: Sequence[str] = (),
        sizes: tuple[Size, ...] | None = None,
    ) -> tuple[str, ...]:
        """Adds a node.

        Args:
            name: like that of the node that it stands for.
            operation: as of `Node`.
            inputs: as of `Node`.
            options: as of `Node`.
            weights: names of tensors that are kept.
            outputs: what its values are to be called; without, one value with the node's name.
            sizes: of the first output; without, they are found.

        Returns:
            The names of its values.

        Raises:
            Problem: it does not fit.
        """
        options, weights = dict(options or {}), dict(weights or {})
        row = OPERATIONS[operation]
        given = [None if value is None else self.known[value] for value in inputs]
        defaults = {option: each.default for option, each in row.options.items()}
        for option, value in options.items():
            row.options[option].check(option, value)
        arrays = {weight: self.tensors[tensor] for weight, tensor in weights.items()}
        found = row.shapes(given, defaults | options, arrays)
        name = self.unique(name)
        values = tuple(self.unique(value) for value in outputs) if outputs else (self.unique(f"{name}:0"),)
        self.nodes.append(Node(name, operation, tuple(inputs), values, options, weights))
        for i, (value, known) in enumerate(zip(values, found, strict=False)):
            self.known[value] = Value(*known)
            self.made[value] = len(self.nodes) - 1
            of_inputs = [self.sizes[each] for each in inputs if each is not None]
            guessed = sizes if sizes is not None and i == 0 else _sizes(operation, of_inputs, defaults | options)
            self.sizes[value] = self._agreed(known[0], guessed)
        return values

    def maker(self, value: str) -> Node | None:
        """The node that makes a value; None of an input."""
        return self.nodes[self.made[value]] if value in self.made else None

    def replace(self, value: str, node: Node) -> None:
        """Puts another node in the place of the one that makes a value; it makes the same."""
        self.nodes[self.made[value]] = node

    def graph(self, outputs: Mapping[str, str]) -> Graph:
        """The graph of what the outputs rest on."""
        whole = Graph(self.inputs, tuple(self.nodes), outputs, self.tensors)
        nodes = tuple(needed(whole, outputs.values(), lambda _: False))
        named = {tensor for node in nodes for tensor in node.weights.values()}
        return Graph(self.inputs, nodes, outputs, {name: a for name, a in self.tensors.items() if name in named})

    def _agreed(self, shape: tuple[int | None, ...], guessed: tuple[Size | None, ...]) -> tuple[Size, ...]:
        """Sizes as they are known, else as guessed, else new."""
        padded = [*guessed, *[None] * len(shape)][: len(shape)]
        found = [Size(n) if n is not None else g or self.fresh() for n, g in zip(shape, padded, strict=True)]
        return (BATCH, *found[1:]) if shape and shape[0] is None else tuple(found)


def _sizes(operation: str, given: list[tuple[Size, ...]], options: Mapping[str, Any]) -> tuple[Size | None, ...]:
    """The sizes of what an operation makes, where they are those of what it reads; None where they are others."""
    if not given:
        return ()
    first: list[Size | None] = [*given[0]]
    axis = options.get("axis", 0) % max(1, len(first) + (operation == "expand"))
    if operation == "permute":
        first[1:] = [first[a] for a in options["axes"]]
    elif operation == "expand":
        first.insert(axis, None)
    elif operation == "take" or (operation == "reduce" and not options["keepdims"]):
        del first[axis]
    elif operation in _OF_AXIS:
        first[axis] = None
    elif operation in _OF_STEPS and (options["strides"] != 1 or options["padding"] == "valid"):
        first[1] = None
    elif operation == "matmul":
        first[-1] = given[1][-1]
    elif operation in _MERGES:
        first = [next((size for size in sizes if size.fixed != 1), sizes[0]) for sizes in zip(*given, strict=True)]
    elif operation in {"reshape", "repeat"}:
        del first[1:]
    return tuple(first)
