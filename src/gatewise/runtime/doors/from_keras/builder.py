# SPDX-License-Identifier: Apache-2.0
"""A graph while it is built: nodes, what is known of their values, tensors, each under a name of its own."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_keras.errors import refused
from gatewise.runtime.doors.from_keras.keeping import Kept, placed
from gatewise.runtime.graph import Graph, Node, Value
from gatewise.runtime.operations import OPERATIONS, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from gatewise.runtime.doors.from_keras.calls import Call

    Array = npt.NDArray[Any]

# What these make is of the dtype that they are given; the others but the embedding compute with numbers.
_MOVING = {
    *("reshape", "permute", "repeat", "slice", "take", "expand", "reverse", "fold", "unfold", "pad", "upsample"),
    *("concatenate", "lengths"),
}
_MASKS = {"all", "any", "not", "not_equal"}


class Builder:
    """Collects what a graph is made of.

    Keras tells less of an input than a graph: ids may come as float32, and numbers as int32. What reads an input, or
    what is moved from it, settles whether it holds ids (int64) or numbers (float32).
    """

    def __init__(self) -> None:
        self.inputs: dict[str, Value] = {}
        self.values: dict[str, tuple[Any, str]] = {}
        self.kept: list[Kept] = []
        self._nodes: dict[str, Node] = {}
        self._tensors: dict[str, Array] = {}
        self._known: dict[tuple[int, str], str] = {}  # a tensor by its layer and what it is there
        self._owners: list[Any] = []  # whose id() stands above: kept, so that no other gets it
        self._origins: dict[str, frozenset[str]] = {}  # the inputs that a value is moved from
        self._settled: dict[str, str] = {}
        self._rounded: dict[str, list[str]] = {}  # by dtype, what is not float32 in the model

    def add_input(self, name: str, shape: Sequence[int | None], dtype: str) -> str:
        """Adds an input; returns its value."""
        name = self._new(name, self.values)
        kind = "bool" if dtype == "bool" else "int64" if "int" in dtype else "float32"
        self.values[name] = ((None, *shape[1:]), kind)
        self._origins[name] = frozenset({name})
        if kind == "bool":
            self._settled[name] = kind
        self.inputs[name] = Value(*self.values[name])
        return name

    def shape(self, value: str) -> tuple[int | None, ...]:
        """Returns the shape of a value, batch first."""
        found: tuple[int | None, ...] = self.values[value][0]
        return found

    def rank(self, value: str) -> int:
        """Counts the axes of a value, the batch's included."""
        return len(self.shape(value))

    def dtype(self, value: str) -> str:
        """Returns the dtype of a value, as far as it is known yet."""
        return self.values[value][1]

    def origins(self, value: str) -> frozenset[str]:
        """Names the inputs that a value is moved from, and not computed."""
        return self._origins.get(value, frozenset())

    def made_by(self, value: str) -> Node | None:
        """Returns the node that makes a value; None for an input."""
        return next((node for node in self._nodes.values() if value in node.outputs), None)

    def emit(self, call: Call, name: str, operation: str, inputs: Sequence[str | None], **more: Any) -> str:
        """Adds a node and returns its first output; see `emit_all`."""
        return self.emit_all(call, name, operation, inputs, **more)[0]

    def emit_all(
        self,
        call: Call,
        name: str,
        operation: str,
        inputs: Sequence[str | None],
        *,
        outputs: int = 1,
        weights: dict[str, str] | None = None,
        **options: Any,
    ) -> tuple[str, ...]:
        """Adds a node.

        Args:
            call: what it is for.
            name: its name; a number follows where there is one of that name.
            operation: a row of `OPERATIONS`.
            inputs: the values that it reads.
            outputs: how many values it makes.
            weights: the names of its tensors.
            options: as its row says; those at their defaults are left out.

        Returns:
            The values that it makes.

        Raises:
            KerasModelError: what it is given does not fit.
        """
        row = OPERATIONS[operation]
        name = self._new(name, {**self._nodes, **self.values})
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        made = (name, *(f"{name}/{output}" for output in row.outputs[1:outputs]))
        self._read(call, operation, [value for value in inputs if value is not None])
        given = {key: value for key, value in options.items() if value != row.options[key].default}
        node = Node(name, operation, tuple(inputs), made, given, weights or {})
        try:
            for key, value in given.items():
                row.options[key].check(key, value)
            arrays = {key: self._tensors[tensor] for key, tensor in node.weights.items()}
            known = [None if value is None else self.values[value] for value in inputs]
            found = row.shapes(known, node.all_options, arrays)
        except Problem as problem:
            expected = f"what the operation {operation} of a graph takes"
            raise refused(call.layer, call.name, "it does not fit into a graph", expected, str(problem)) from None
        self.values |= dict(zip(made, found, strict=False))
        self._nodes[name] = node
        if operation in _MOVING:
            joined = [self.origins(value) for value in inputs if value is not None]
            self._origins[made[0]] = frozenset().union(*joined) if all(joined) else frozenset()
        return made

    def settle(self, call: Call, value: str, dtype: str) -> None:
        """Settles what the inputs hold that a value is moved from: ids, int64, or numbers, float32.

        Raises:
            KerasModelError: an input is read as both.
        """
        if self.dtype(value) == "bool":
            return
        origins = self.origins(value)
        for origin in origins:
            if self._settled.setdefault(origin, dtype) != dtype:
                raise refused(
                    call.layer,
                    call.name,
                    f"input {origin!r} is read as ids and as numbers",
                    "one of the two for each input",
                    f"{dtype} here, {self._settled[origin]} before",
                    "Give it to the model twice, as two inputs.",
                )
        for name, others in self._origins.items():
            if others & origins and self.dtype(name) != "bool":
                self.values[name] = (self.shape(name), dtype)
        for origin in origins:
            self.inputs[origin] = Value(*self.values[origin])

    def tensor(self, owner: Any, role: str, name: str, array: Array | None) -> str | None:
        """Adds an array and returns the name of its tensor; the same for the same role of the same owner.

        Args:
            owner: the layer or cell that it belongs to.
            role: what it is there.
            name: the first part of the tensor's name.
            array: the array, read by `read`; None where there is none.
        """
        if array is None:
            return None
        key = (id(owner), role)
        if key not in self._known:
            self._owners.append(owner)
            self._known[key] = self._new(f"{name}/{role}", self._tensors)
            self._tensors[self._known[key]] = np.ascontiguousarray(array)
        return self._known[key]

    def weights(self, owner: Any, name: str, **arrays: Array | None) -> dict[str, str]:
        """Adds the arrays that are there; returns the names of their tensors."""
        named = {role: self.tensor(owner, role, name, array) for role, array in arrays.items()}
        return {role: tensor for role, tensor in named.items() if tensor is not None}

    def rounded(self, dtype: str, name: str) -> None:
        """Notes what is of another dtype in the model than in the graph."""
        names = self._rounded.setdefault(dtype, [])
        if name not in names:
            names.append(name)

    def say_what_is_rounded(self) -> None:
        """Warns, once, if anything was of another dtype in the model."""
        if self._rounded:
            parts = [f"{dtype} in {names[0]} and {len(names) - 1} more" for dtype, names in self._rounded.items()]
            text = "; ".join(part.removesuffix(" and 0 more") for part in parts)
            warnings.warn(
                f"from_keras: a graph computes in float32, the model has {text}. Weights are converted to float32; "
                "outputs differ from the model's by its own rounding.",
                stacklevel=3,
            )

    def graph(self, outputs: dict[str, str]) -> Graph:
        """Makes the graph, without what no output rests on: masks that nobody asks for."""
        wanted, nodes = {*outputs.values()}, list[Node]()
        for node in reversed(self._nodes.values()):
            if wanted.intersection(node.outputs):
                nodes.append(node)
                wanted |= {value for value in node.inputs if value is not None}
        read = {tensor for node in nodes for tensor in node.weights.values()}
        tensors = {name: array for name, array in self._tensors.items() if name in read}
        return Graph(
            dict(self.inputs), tuple(reversed(nodes)), outputs, tensors, placed(self.kept, self.inputs, outputs)
        )

    def _read(self, call: Call, operation: str, inputs: Iterable[str]) -> None:
        if operation in _MOVING or operation in _MASKS:
            return
        for value in inputs:
            self.settle(call, value, "int64" if operation == "embedding" else "float32")

    @staticmethod
    def _new(name: str, there: Iterable[str]) -> str:
        taken, number, new = {*there}, 1, name
        while new in taken:
            number += 1
            new = f"{name}_{number}"
        return new
