# SPDX-License-Identifier: Apache-2.0
"""An ONNX file, read and checked: what stands in it, and which axis of each input is the batch."""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.extras import require
from gatewise.options import cut
from gatewise.runtime.doors.from_onnx.problem import WHERE, problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

OLDEST = 7  # opset; the newest is the one that the onnx package knows
_MOST_CHECKED = 2**31 - 1  # bytes of a model that the onnx package checks in memory
_SMALL = 1024  # numbers of a tensor that may be a shape
_RECURRENT = {"GRU", "LSTM", "RNN"}
_STANDARD = {"", "ai.onnx"}


def loaded(source: Any) -> Any:
    """Reads a model.

    Args:
        source: a path, the bytes of a file, or an `onnx.ModelProto`.

    Returns:
        An `onnx.ModelProto` of an opset that is known, valid, functions of its own inlined.

    Raises:
        ModuleNotFoundError: the package onnx is not installed.
        OSError: there is no such file, or it cannot be read.
        TypeError: source is something else.
        GraphError: it is no ONNX model, or of an unknown opset.
    """
    require(WHERE, "onnx", "onnx")
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        if isinstance(source, bytes | bytearray | memoryview):
            model = onnx.load_model_from_string(bytes(source))
        elif isinstance(source, str | os.PathLike):
            model = onnx.load(os.fspath(source))
        elif isinstance(source, onnx.ModelProto):
            model = source
        else:
            raise TypeError(
                f"{WHERE}: source has the wrong type. Expected a path, bytes or an onnx.ModelProto; received "
                f"{type(source).__name__}. Pass the file."
            )
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise _invalid(error) from error
    if not all(isinstance(name, str) for name in _names(model.graph)):  # else bytes
        raise _invalid(ValueError("a name is no UTF-8"))
    opset = _opset(model)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise problem(
            "the opset is out of range",
            f"{OLDEST} to {newest}, which the onnx package here knows",
            str(opset),
            "Export the model with another opset, or install a newer onnx.",
        )
    try:
        if model.ByteSize() <= _MOST_CHECKED:
            onnx.checker.check_model(_with_shapes(model))
        if len(model.functions):
            from onnx.inliner import inline_local_functions

            model = inline_local_functions(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise _invalid(error) from error
    return model


def _names(graph: Any) -> Iterator[Any]:
    """The names that a graph holds."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for each in (*graph.input, *graph.output, *graph.initializer):
        yield each.name
    for each in (*graph.input, *graph.output):
        yield from (d.dim_param for d in each.type.tensor_type.shape.dim)


def _with_shapes(model: Any) -> Any:
    """The model, or a copy in which every output has a shape: who checks wants one, who runs does not."""
    silent = [i for i, output in enumerate(model.graph.output) if dimensions(output) is None]
    if not silent:
        return model
    copied = type(model)()
    copied.CopyFrom(model)
    for i in silent:
        if copied.graph.output[i].type.HasField("tensor_type"):
            copied.graph.output[i].type.tensor_type.shape.SetInParent()
    return copied


def _invalid(error: Exception) -> Exception:
    return problem(
        "the file is no valid ONNX model",
        "a whole file as an exporter writes it",
        cut(str(error), 200) or type(error).__name__,
        "Export or copy the model again.",
    )


def _opset(model: Any) -> int:
    """The version of ONNX's own operators."""
    for opset in model.opset_import:
        if opset.domain in _STANDARD:
            return int(opset.version)
    raise _invalid(ValueError("it names no opset"))


def opset_of(model: Any) -> int:
    """The version of ONNX's own operators that a checked model is written in."""
    return _opset(model)


def array(tensor: Any) -> Array:
    """A tensor of the file.

    Raises:
        GraphError: its data are not there.
    """
    from onnx import numpy_helper

    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise problem(
            f"the tensor {cut(tensor.name)!r} cannot be read",
            "its numbers inside the file, or beside it where the path is given",
            cut(str(error), 200),
            "Export or copy the model again, with all of its files.",
        ) from error


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node: numbers, lists, text, arrays."""
    from onnx import AttributeProto, helper

    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            found[attribute.name] = array(attribute.t)
            continue
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif attribute.type == AttributeProto.STRINGS:
            value = [text.decode("utf-8", "replace") for text in value]
        elif attribute.type in {AttributeProto.INTS, AttributeProto.FLOATS}:
            value = list(value)
        found[attribute.name] = value
    return found


def readers(graph: Any) -> Counter[str]:
    """How many nodes, and outputs of the graph, read each value."""
    count = Counter(name for node in graph.node for name in node.input if name)
    count.update(output.name for output in graph.output)
    return count


# --- Inputs ---


def inputs_of(graph: Any) -> list[Any]:
    """What is given when the model runs: old files list their weights among the inputs."""
    weights = {tensor.name for tensor in graph.initializer}
    return [given for given in graph.input if given.name not in weights]


def dimensions(given: Any) -> list[int | str | None] | None:
    """Sizes of an input or an output, names where they are not fixed, None where the file is silent."""
    if not given.type.HasField("tensor_type") or not given.type.tensor_type.HasField("shape"):
        return None
    return [
        int(d.dim_value) if d.HasField("dim_value") else str(d.dim_param) or None if d.HasField("dim_param") else None
        for d in given.type.tensor_type.shape.dim
    ]


def batch_axes(model: Any, chosen: Mapping[str, int]) -> dict[str, int]:
    """Finds which axis of each input is the batch: ONNX's recurrent nodes say it, of what reaches them.

    Each axis of an input gets a name of its own, and onnx's shape inference carries the names through the graph. An
    input that reaches none has it where an axis is called as the batch of one that does, or first.

    Args:
        model: a checked `onnx.ModelProto`.
        chosen: by name of an input, the axis that the caller knows.
    """
    inputs = {given.name: dimensions(given) for given in inputs_of(model.graph)}
    found = _seen_by_recurrent_nodes(model, inputs) | dict(chosen)
    names = set()
    for given, axis in found.items():
        sizes = inputs.get(given) or []
        names |= {size for size in sizes[axis : axis + 1] if isinstance(size, str)}
    for given, known in inputs.items():
        if given not in found:
            found[given] = next((axis for axis, size in enumerate(known or ()) if size in names), 0)
    return found


def _seen_by_recurrent_nodes(model: Any, inputs: Mapping[str, list[int | str | None] | None]) -> dict[str, int]:
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(_with_named_axes(model, inputs), data_prop=True).graph
    except (ValueError, RuntimeError, onnx.shape_inference.InferenceError):
        return {}
    shapes = {value.name: dimensions(value) for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    found: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type not in _RECURRENT or node.domain not in _STANDARD:
            continue
        layout = next((a.i for a in node.attribute if a.name == "layout"), 0)
        for i, axis in ((0, 1 - layout), (4, 0), (5, 1 - layout), (6, 1 - layout)):
            sizes = shapes.get(node.input[i]) if i < len(node.input) else None
            name = sizes[axis] if sizes and axis < len(sizes) else None
            given, _, place = str(name).rpartition("\n")
            if given in inputs:
                found.setdefault(given, int(place))
    return found


def _with_named_axes(model: Any, inputs: Mapping[str, Any]) -> Any:
    """A copy of a model without its weights, each axis of its inputs called by the input and a number."""
    import onnx

    named = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    named.graph.name = "axes"
    named.graph.node.extend(model.graph.node)
    named.graph.input.extend(model.graph.input)
    named.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:  # of weights the sizes will do
        small = math.prod(tensor.dims) <= _SMALL
        kept = tensor if small else onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        named.graph.initializer.append(kept)
    for given in named.graph.input:
        if inputs.get(given.name):
            for axis, d in enumerate(given.type.tensor_type.shape.dim):
                d.dim_param = f"{given.name}\n{axis}"
    for output in named.graph.output:  # what the exporter says would win over the names
        output.type.tensor_type.ClearField("shape")
    return named
