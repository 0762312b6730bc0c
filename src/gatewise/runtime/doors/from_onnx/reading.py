# SPDX-License-Identifier: Apache-2.0
"""A file becomes a graph: node by node, constants computed at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.options import cut
from gatewise.runtime.doors.from_onnx import (
    cutting,
    elementwise,
    features,
    folding,
    layout,
    moving,
    recurrent,
    sizes,
    source,
    time,
)
from gatewise.runtime.doors.from_onnx.builder import Builder
from gatewise.runtime.doors.from_onnx.node import Read
from gatewise.runtime.doors.from_onnx.problem import problem
from gatewise.runtime.doors.from_onnx.values import BATCH, Size, Sizes, Tensor, sizes_or_array

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewise.runtime.graph import Graph

HANDLERS: dict[str, Callable[[Read], list[Any]]] = {
    **recurrent.HANDLERS,
    **features.HANDLERS,
    **elementwise.HANDLERS,
    **time.HANDLERS,
    **moving.HANDLERS,
    **cutting.HANDLERS,
    **sizes.HANDLERS,
}

_DTYPES = {1: "float32", 10: "float32", 11: "float32", 16: "float32", 6: "int64", 7: "int64", 9: "bool"}
_LOOPS = {"If", "Loop", "Scan", "SequenceMap"}


class Port(NamedTuple):
    """An input or an output as the file has it.

    Attributes:
        shape: in the file's order; a name or None where a size is not fixed.
        type: as onnxruntime writes it, "tensor(float)".
        batch_axis: the axis that comes first in the graph.
    """

    shape: tuple[int | str | None, ...]
    type: str
    batch_axis: int


class OnnxGraph(NamedTuple):
    """A graph, and how the file has its inputs and outputs."""

    graph: Graph
    inputs: dict[str, Port]
    outputs: dict[str, Port]


def from_onnx(source: Any, *, batch_axes: Mapping[str, int] | None = None) -> Graph:
    """Reads an ONNX model.

    Args:
        source: a path, the bytes of a file, or an `onnx.ModelProto`.
        batch_axes: by name of an input, which of its axes in the file is the batch, where that cannot be seen: an
            input that reaches no recurrent node has it first.

    Returns:
        The graph. Its inputs and outputs have the file's names, and their axes in the file's order but for the batch,
        which comes first.

    Raises:
        ModuleNotFoundError: the package onnx is not installed.
        OSError: the file cannot be read.
        TypeError: source is something else.
        GraphError: it is no ONNX model, its opset is out of range, or it holds what is not known, which is named.

    Example:
        >>> import numpy as np
        >>> from onnx import TensorProto, helper, numpy_helper
        >>> arrays = {"W": np.ones((1, 12, 3), np.float32), "R": np.ones((1, 12, 4), np.float32)}
        >>> layer = helper.make_node("GRU", ["x", "W", "R"], ["", "h"], name="layer", hidden_size=4)
        >>> x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["steps", "batch", 3])
        >>> h = helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, "batch", 4])
        >>> weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        >>> graph = from_onnx(helper.make_model(helper.make_graph([layer], "example", [x], [h], weights)))
        >>> graph.inputs["x"].shape, graph.nodes[0].operation
        ((None, None, 3), 'gru_reset_before')
    """
    return read_onnx(source, batch_axes=batch_axes).graph


def read_onnx(source: Any, *, batch_axes: Mapping[str, int] | None = None) -> OnnxGraph:
    """Reads an ONNX model, and tells how the file has its inputs and outputs.

    Args, Raises: as of `from_onnx`.

    Returns:
        The graph, and by name the inputs and outputs as the file has them.
    """
    return _Reading(source, batch_axes or {}).result()


class _Reading:
    def __init__(self, given: Any, chosen: Mapping[str, int]) -> None:
        model = source.loaded(given)
        self.graph, self.opset, self.builder = model.graph, source.opset_of(model), Builder()
        self.readers = source.readers(self.graph)
        self.values: dict[str, Any] = {}
        for tensor in self.graph.initializer:
            self.values[tensor.name] = source.array(tensor)
        if len(self.graph.sparse_initializer):
            raise problem("the file holds sparse tensors", "dense ones", "sparse ones", "Export them as dense.")
        self.inputs = self._take_inputs(model, chosen)
        for node in self.graph.node:
            if node.op_type in _LOOPS:
                raise problem(
                    "the type of node is not supported",
                    "GRU, LSTM and RNN nodes and ordinary ones around them",
                    f"{node.op_type}, a graph inside the graph",
                    "Export the model from recurrent layers that its exporter knows: of Keras on TensorFlow LSTM, of "
                    "PyTorch all.",
                    f"node {cut(node.name)!r}",
                )
        for node in self.graph.node:
            self._take(node)

    def _take_inputs(self, model: Any, chosen: Mapping[str, int]) -> dict[str, Port]:
        given = {each.name: each for each in source.inputs_of(self.graph)}
        unknown = [name for name in chosen if name not in given]
        if unknown:
            raise problem(
                "batch_axes names an unknown input",
                f"some of {', '.join(given)}",
                cut(", ".join(unknown)),
                "Rename it.",
            )
        axes, ports = source.batch_axes(model, chosen), {}
        batches: set[int] = set()
        for name, each in given.items():
            sizes, dtype = source.dimensions(each), _DTYPES.get(each.type.tensor_type.elem_type)
            place = f"input {cut(name)!r}"
            if sizes is None or dtype is None:
                raise problem(
                    "its type is not supported",
                    "a tensor of floats, int32, int64 or bool, with a shape",
                    _type(each) + (" without a shape" if sizes is None else ""),
                    "Export the model with such inputs.",
                    place,
                )
            axis = axes[name]
            if not 0 <= axis < len(sizes):
                what = "it has no axis for the batch" if not sizes else "batch_axes is out of range"
                raise problem(what, f"an axis below {len(sizes)}", str(axis), "Export the model with a batch.", place)
            rows = sizes[axis]
            if isinstance(rows, int):
                batches.add(rows)
            others = [i for i in range(len(sizes)) if i != axis]
            ours = (BATCH, *(_size(name, i, sizes[i]) for i in others))
            self.builder.add_input(name, dtype, ours)
            layouts: list[tuple[int, ...]] = [(0,)] * len(sizes)
            for place_of_ours, i in enumerate(others, 1):
                layouts[i] = (place_of_ours,)
            self.values[name] = Tensor(name, tuple(layouts))
            ports[name] = Port(tuple(sizes), _type(each), axis)
        if len(batches) == 1:
            (self.builder.batch,) = batches
        return ports

    def _take(self, node: Any) -> None:
        """Reads a node of the file."""
        name = node.name or next((name for name in node.output if name), node.op_type)
        attributes = source.attributes(node)
        given = [self._value(name, input_name) for input_name in node.input]
        reading = Read(
            node.op_type, name, self.opset, attributes, given, node.input, node.output, self.readers, self.builder
        )
        known = node.domain in {"", "ai.onnx"} and (node.op_type in HANDLERS or node.op_type in {"Constant", "Range"})
        if not known and not folding.folds(node, given):
            where = f" of the domain {cut(node.domain)}" if node.domain not in {"", "ai.onnx"} else ""
            raise reading.fail(
                "the type of node is not supported",
                "one of those that exporters write around GRU, LSTM and RNN nodes",
                node.op_type + where,
                "Leave that part out of the file, or run it before or after the model.",
            )
        found = self._made(node, reading)
        for output, value in zip(node.output, found, strict=False):
            if output:
                whole = isinstance(value, Sizes)  # an array, once all of them are known
                self.values[output] = sizes_or_array(value.elements, scalar=value.scalar) if whole else value

    def _made(self, node: Any, reading: Read) -> list[Any]:
        if node.op_type == "Constant":
            value = folding.constant(source.attributes(node))
            if value is None:
                raise reading.fail(
                    "the kind of constant is not supported", "numbers", "another", "Export it as numbers."
                )
            return [value]
        if node.op_type == "Range":
            counted = folding.range_of(reading.given)
            if counted is None:
                raise reading.fail("it counts to a size that is not known", "constants", "a size")
            return [counted]
        if not folding.folds(node, reading.given):
            return HANDLERS[node.op_type](reading)
        try:
            return list(folding.folded(node, reading.given, self.opset))
        except ValueError as error:
            raise reading.fail("it cannot be computed", "constants that fit", str(error), "Export it again.") from error

    def _value(self, node: str, name: str) -> Any:
        if not name:
            return None
        if name not in self.values:
            raise problem(
                f"it reads {cut(name)!r}, which nothing makes",
                "what is there",
                "nothing",
                "Export the model again.",
                f"node {cut(node)!r}",
            )
        value = self.values[name]
        if value is None:
            raise problem(
                f"it reads {cut(name)!r}, which is not made here",
                "another value",
                "nothing",
                "Simplify the model there.",
                f"node {cut(node)!r}",
            )
        return value

    def result(self) -> OnnxGraph:
        """The graph of the outputs."""
        outputs, ports = {}, {}
        for each in self.graph.output:
            if each.name not in self.values:
                raise problem(
                    "an output is never made", "a node that makes it", cut(each.name), "Export the model again."
                )
            value, name = self.values[each.name], f"output {cut(each.name)!r}"
            reading = Read(name, each.name, self.opset, {}, [value], [each.name], [each.name], {}, self.builder)
            t = _folded_batch(reading, reading.settled(value, name))
            batch = layout.batch_axis(t)
            outputs[each.name] = layout.in_order(reading, t).value
            ports[each.name] = Port(tuple(source.dimensions(each) or ()), _type(each), batch or 0)
        if not outputs:
            raise problem("the model has no outputs", "one at least", "none", "Export the model again.")
        return OnnxGraph(self.builder.graph(outputs), self.inputs, ports)


def _folded_batch(node: Read, t: Tensor) -> Tensor:
    """A value whose first axis is rows and steps in one, (batch * steps, ...), as one of ours."""
    if not t.axes or t.axes[0] != (0, 1):
        return t
    (value,) = node.emit("fold", (t.value,), part="fold")
    return Tensor(value, ((0,), *(tuple(a - 1 for a in group) for group in t.axes[1:])))


def _size(name: str, axis: int, size: int | str | None) -> Size:
    if isinstance(size, int):
        return Size(size)
    return Size(1, (f"{size!r}" if size else f"{name}:{axis}",))


def _type(given: Any) -> str:
    """A type as onnxruntime writes it."""
    from onnx import helper

    if not given.type.HasField("tensor_type"):
        return str(given.type.WhichOneof("value"))
    kind = given.type.tensor_type.elem_type
    if kind not in helper.get_all_tensor_dtypes():
        return f"tensor({kind})"
    names = {0: "undefined", 1: "float", 10: "float16", 11: "double", 16: "bfloat16", 9: "bool"}
    return f"tensor({names.get(kind) or helper.tensor_dtype_to_np_dtype(kind)})"
