# SPDX-License-Identifier: Apache-2.0
"""The nodes of a graph, as they are found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_torch.values import Size, Source, Tensor, same
from gatewise.runtime.graph import Graph, Node, Value, reading
from gatewise.runtime.operations import OPERATIONS, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

# What only brings values into place: nodes that are named after what they serve
_HELPERS = {
    *("permute", "reshape", "expand", "take", "slice", "reverse", "constant", "broadcast", "concatenate", "pad"),
    *("fold", "unfold", "upsample", "lengths"),
}


# What leaves no steps, or masks them
_END_STEPS = {"reduce", "take", "matmul", "multiply", "zero_masked", "lengths"}


def _is_over_all_steps(node: Node) -> bool:
    options = node.all_options
    if node.operation == "reduce":
        return bool(options["axis"] == 1 and options["function"] != "sum")
    return node.operation == "take" and options["axis"] == 1 and options["index"] < 0


@dataclass
class Builder:
    """Takes the nodes of a graph as they are found.

    Attributes:
        inputs: by name.
        hints: of the sizes that are open, those of the example.
        batches: sizes that torch.export took for several, and which are the batch: each of them, and what it is.
        here: the name of what is being read.
        is_module: whether that is the name of a module whose computation is the node.
        padded: values with steps behind the longest row, which PyTorch leaves out.
        notes: what there is to say of the graph.
    """

    inputs: dict[str, Value] = field(default_factory=dict)
    hints: dict[Any, int] = field(default_factory=dict)
    batches: dict[Any, Any] = field(default_factory=dict)
    here: str = ""
    is_module: bool = False
    padded: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)
    known: dict[str, Value] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    likes: list[Tensor] = field(default_factory=list)  # from which a batch, and steps, can be taken
    folds: list[tuple[Size, Tensor]] = field(default_factory=list)  # sizes of batches that hold steps, and whose
    _shared: dict[Any, tuple[str, Source]] = field(default_factory=dict)

    def give(self, name: str, value: Value) -> None:
        """Adds an input."""
        self.inputs[name] = self.known[name] = value
        self.names.add(name)

    def size(self, given: Any) -> Size:
        """Returns a size of torch.export's."""
        if isinstance(given, int):
            return given
        size = given.node.expr
        if size.is_number:
            return int(size)
        for symbol in size.free_symbols - self.hints.keys():
            self.hints[symbol] = 2
        if size.is_Symbol:
            self.hints[size] = given.node.hint
        return size.xreplace(self.batches)

    def hint(self, size: Size) -> int:
        """Returns the example's size."""
        return size if isinstance(size, int) else int(size.subs(self.hints))

    def emit(
        self,
        operation: str,
        inputs: Sequence[str | None],
        options: Mapping[str, Any] | None = None,
        weights: Mapping[str, tuple[Source, Array]] | None = None,
        *,
        outputs: int = 1,
        name: str = "",
    ) -> list[str]:
        """Adds a node.

        Args:
            operation: a row of the table.
            inputs: values; None where an optional one is not given.
            options: as the row says.
            weights: for each, how and of which objects it was made, so that it is kept once, and the array.
            outputs: how many of the row's outputs it makes.
            name: of the node; that of what is being read if empty.

        Returns:
            The values that it makes.

        Raises:
            Problem: they do not fit.
        """
        row = OPERATIONS[operation]
        name = self.new_name(name or self._name_here(operation))
        named = {key: self._tensor(f"{name}/{key}", *of) for key, of in (weights or {}).items()}
        arrays = {key: self.tensors[tensor] for key, tensor in named.items()}
        values = (name, *(self.new_name(f"{name}/{output}") for output in row.outputs[1:outputs]))
        given = tuple(inputs)
        while given and given[-1] is None:
            given = given[:-1]
        node = Node(name, operation, given, values, dict(options or {}), named)
        row.check_inputs([value is not None for value in given], outputs)
        found = row.shapes([None if value is None else self.known[value] for value in given], node.all_options, arrays)
        self.known |= {value: Value(*known) for value, known in zip(values, found, strict=False)}
        self.nodes.append(node)
        if self.padded and _is_over_all_steps(node) and self._is_padded(node.inputs[0]):
            self.notes.append(
                f"{self.here or 'forward'} computes over all steps of what was packed ({operation}), those behind the "
                "longest row included, which PyTorch leaves out. Give each batch as long as its longest row, or mask "
                "by the lengths."
            )
        return list(values)

    def _is_padded(self, value: str | None) -> bool:
        """Says whether a value has steps behind the longest row that no mask has made zeros since."""
        todo, seen = [value], set[str | None]()
        while todo:
            value = todo.pop()
            if value in self.padded:
                return True
            made = None if value is None or value in seen else self.maker(value)
            seen.add(value)
            if made is not None and made.operation not in _END_STEPS:
                todo += made.inputs
        return False

    def again(self, node: Node, source: str | None, options: Mapping[str, Any]) -> str:
        """Adds a node once more, on another value and with other options. Returns its first output."""
        name = self.new_name(node.name)
        other = replace(node, name=name, inputs=(source, *node.inputs[1:]), outputs=(name,))
        self.nodes.append(replace(other, options=dict(node.options) | dict(options)))
        self.known[name] = self.known[node.outputs[0]]
        return name

    def like(self, *sizes: Size) -> str:
        """Returns a value whose first axes have these sizes.

        Raises:
            Problem: there is none.
        """
        for tensor in self.likes:
            if len(tensor.sizes) >= len(sizes) and all(map(same, tensor.sizes, sizes)):
                return tensor.value
        raise Problem(
            f"it makes a tensor of the sizes {', '.join(map(str, sizes))}, as no value before it has. "
            "Make it from an input: x.new_zeros(len(x), units)"
        )

    def remember(self, tensor: Tensor) -> None:
        """Keeps a tensor that others may be made like."""
        if tensor.has_batch and tensor.sizes:
            self.likes.append(tensor)

    def new_name(self, wanted: str) -> str:
        """Returns a name that nothing has."""
        name, count = wanted, 1
        while name in self.names:
            name, count = f"{wanted}_{count}", count + 1
        self.names.add(name)
        return name

    def _name_here(self, operation: str) -> str:
        if self.is_module and operation not in _HELPERS:
            return self.here
        return f"{self.here}/{operation}" if self.here else operation

    def maker(self, value: str) -> Node | None:
        """Returns the node that makes a value; None for an input."""
        return next((node for node in reversed(self.nodes) if value in node.outputs), None)

    def _tensor(self, wanted: str, source: Source, array: Array) -> str:
        key = (wanted.rsplit("/", 1)[-1], array.shape, *(s if isinstance(s, str) else id(s) for s in source))
        if key not in self._shared:
            name = wanted
            while name in self.tensors:
                name += "_"
            self.tensors[name] = np.ascontiguousarray(array)
            self._shared[key] = name, source  # which stays alive: no other object gets its id
        return self._shared[key][0]

    def graph(self, outputs: Mapping[str, str]) -> Graph:
        """Makes the graph of what the outputs rest on."""
        wanted = set(outputs.values())
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if wanted & {*node.outputs}:
                kept.append(node)
                wanted |= {value for value in node.inputs if value is not None}
        nodes = [_without_unread(node, wanted) for node in kept[::-1]]
        named = {tensor for node in nodes for tensor in node.weights.values()}
        tensors = {name: array for name, array in self.tensors.items() if name in named}
        graph = Graph(inputs=self.inputs, nodes=tuple(nodes), outputs=dict(outputs), tensors=tensors)
        return _last_steps(graph)


def _without_unread(node: Node, wanted: set[str]) -> Node:
    """Leaves out the last outputs of a node that nobody reads; of a recurrent one the sequence, too."""
    outputs = list(node.outputs)
    if "return_sequences" in node.options and outputs[0] not in wanted:
        node = replace(node, options=dict(node.options) | {"return_sequences": False})
    while len(outputs) > 1 and outputs[-1] not in wanted:
        outputs.pop()
    return replace(node, outputs=tuple(outputs))


def _last_steps(graph: Graph) -> Graph:
    """Lets a recurrent node of which only the last step is read return that alone, which streams."""
    readers, gone, nodes = reading(graph), dict[str, str](), []
    for given in graph.nodes:
        node = replace(given, inputs=tuple(None if name is None else gone.get(name, name) for name in given.inputs))
        if node.name in gone:
            continue
        read = readers[node.outputs[0]]
        if _returns_all(node) and node.outputs[0] not in graph.outputs.values() and read and all(map(_is_last, read)):
            gone |= {reader.name: node.outputs[0] for reader in read}
        last = bool({reader.name for reader in read} & {*gone})
        nodes.append(replace(node, options=dict(node.options) | {"return_sequences": False}) if last else node)
    outputs = {name: gone.get(value, value) for name, value in graph.outputs.items()}
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def _returns_all(node: Node) -> bool:
    masked = len(node.inputs) > 1 and node.inputs[1] is not None
    return bool(node.options.get("return_sequences") and not node.options.get("go_backwards") and not masked)


def _is_last(node: Node) -> bool:
    return node.operation == "take" and node.all_options == {"axis": 1, "index": -1}
