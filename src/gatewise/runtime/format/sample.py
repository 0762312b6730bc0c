# SPDX-License-Identifier: Apache-2.0
"""A small input of a model with its output: made, bounded before it runs, and compared."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.data.errors import FormatError
from gatewise.options import cut
from gatewise.runtime.format.limits import SAMPLE_NUMBERS, SAMPLE_WORK, at_most, wrong
from gatewise.runtime.graph import Graph, GraphError, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from gatewise.runtime.graph import Node

    Array = npt.NDArray[Any]
    Sizes = tuple[int, ...]
    Run = Callable[[Graph, dict[str, Array]], Mapping[str, npt.ArrayLike]]

# How far an output may be from the stored one: other instruction sets add in another order
RELATIVE, ABSOLUTE = 1e-4, 1e-6
_LENGTHS = (7, 8, 6, 5, *range(9, 65), 96, 128, 192, 256, 512, 1024, 2048, 4096, 4, 3, 2, 1)
_WINDOWS = {"conv1d", "max_pool1d", "average_pool1d"}
_CURE = "Give write another sample, or none."


def check_limits(where: str, graph: Graph, shapes: Mapping[str, Sizes]) -> dict[str, Value]:
    """Finds the shape of every value for a sample, and bounds what running it takes.

    Args:
        where: opens the messages.
        graph: the model; of its tensors the shapes alone are read.
        shapes: of the sample's inputs, by name.

    Returns:
        What is known of every value, without a None.

    Raises:
        FormatError: a shape does not fit its input, an axis stays unknown, or there is too much to do.
    """
    for name, (shape, _) in graph.inputs.items():
        given = shapes[name]
        if len(given) != len(shape) or any(want not in {None, size} for want, size in zip(shape, given, strict=True)):
            raise wrong(f"{where}: input {cut(repr(name))}", "its shape does not fit", str(shape), str(given))
    batches = {shapes[name][0] for name in graph.inputs}
    if len(batches) > 1:
        raise wrong(where, "inputs have different batches", "as many rows in each", str(sorted(batches)), _CURE)
    inputs = {name: Value(shapes[name], dtype) for name, (_, dtype) in graph.inputs.items()}
    try:
        values = Graph(inputs, graph.nodes, graph.outputs, graph.tensors).values
    except GraphError as error:
        raise wrong(where, "the model does not take it", "an input that the model takes", str(error), _CURE) from None
    for name, (shape, _) in values.items():
        if None in shape:
            raise wrong(where, f"the shape of {cut(repr(name))} stays unknown", "sizes", str(shape), _CURE)
    numbers = sum(_size(value.shape) for value in values.values())
    numbers += sum(_padding(node, values, graph.tensors) for node in graph.nodes)
    at_most(where, "numbers", numbers, SAMPLE_NUMBERS)
    at_most(where, "multiplications", sum(_work(node, values, graph.tensors) for node in graph.nodes), SAMPLE_WORK)
    return values


def make(graph: Graph) -> dict[str, Array]:
    """Makes an input of a model: the same one for the same graph.

    Args:
        graph: the model.

    Returns:
        By name, arrays of two rows and 7 steps where these fit; numbers from -2 to 2, ids that every Embedding has,
        masks with holes. One step of each is padding: all zeros.

    Raises:
        FormatError: no length that is tried fits.
    """
    error: FormatError | None = None
    fixed = [shape[0] for shape, _ in graph.inputs.values() if shape[0] is not None]
    for batch in fixed[:1] or (2, 1):
        for length in _LENGTHS:
            shapes = {
                name: (batch, *(size or length for size in shape[1:])) for name, (shape, _) in graph.inputs.items()
            }
            try:
                values = check_limits("write: sample", graph, shapes)
            except FormatError as problem:
                error = error or problem
                continue
            if all(0 not in value.shape for value in values.values()):
                return _filled(graph, shapes)
    raise error or wrong("write: sample", "a value is always empty", "a length that leaves some", "none", _CURE)


def _filled(graph: Graph, shapes: Mapping[str, Sizes]) -> dict[str, Array]:
    tables = [len(graph.tensors[node.weights["table"]]) for node in graph.nodes if node.operation == "embedding"]
    ids, draw = min([*tables, 10]), random.Random(0)  # noqa: S311  # whose numbers stay the same in every Python
    kinds: dict[str, Callable[[], Any]] = {
        "float32": lambda: 4 * draw.random() - 2,
        "int64": lambda: int(ids * draw.random()),
        "bool": lambda: draw.random() < 0.8,
    }
    arrays = {
        name: np.array([kinds[dtype]() for _ in range(_size(shapes[name]))], dtype).reshape(shapes[name])
        for name, (_, dtype) in graph.inputs.items()
    }
    for i, array in enumerate(arrays.values()):
        if array.ndim > 1 and array.shape[1] > 1:
            array[-1, -1 - i % array.shape[1]] = 0  # elsewhere in each, since what joins them looks at both
    return arrays


def run_it(where: str, graph: Graph, values: Mapping[str, Value], inputs: dict[str, Array], run: Run) -> dict[str, Any]:
    """Runs a sample.

    Args:
        where: opens the messages.
        graph: the model.
        values: what `check_limits` found.
        inputs: the sample's.
        run: takes the model and the inputs; gives outputs by name.

    Returns:
        By name, arrays of the dtypes of the outputs.

    Raises:
        FormatError: the model does not run, or gives something else than its outputs.
    """
    try:
        found = run(graph, inputs)
    except Exception as error:  # whatever a model that is wrong runs into
        what = f"{type(error).__name__}: {error}"
        raise wrong(where, "the model does not run", "outputs", what) from error
    outputs = {}
    for name, value in graph.outputs.items():
        expected = values[value]
        if name not in found or np.shape(found[name]) != expected.shape:
            received = str(np.shape(found[name])) if name in found else "none"
            raise wrong(f"{where}: output {cut(repr(name))}", "its shape does not fit", str(expected.shape), received)
        outputs[name] = np.asarray(found[name]).astype(expected.dtype)
    return outputs


def compare(where: str, found: Mapping[str, Array], stored: Mapping[str, Array]) -> None:
    """Compares outputs with the stored ones.

    Raises:
        FormatError: one is further away than docs/format.md allows.
    """
    for name, expected in stored.items():
        here = f"{where}: output {cut(repr(name))}"
        if expected.dtype.kind != "f":
            if not np.array_equal(found[name], expected):
                raise wrong(here, "the model does not compute what it was saved with", "equal ids or masks", "others")
            continue
        finite = np.isfinite(expected)
        allowed = RELATIVE * float(np.abs(expected[finite]).max(initial=0)) + ABSOLUTE
        same = np.array_equal(found[name][~finite], expected[~finite], equal_nan=True)
        with np.errstate(invalid="ignore", over="ignore"):  # infinity, where it should not be
            distance = float(np.abs(found[name][finite].astype(np.float64) - expected[finite]).max(initial=0))
        if not same or not distance <= allowed:
            what = "the model does not compute what it was saved with"
            received = f"{distance:.3g}" if same else "NaN or infinity elsewhere"
            raise wrong(here, what, f"at most {allowed:.3g} from the stored output", received)


def _size(shape: Iterable[Any]) -> int:
    return math.prod(shape)


def _padding(node: Node, values: Mapping[str, Value], tensors: Mapping[str, Array]) -> int:
    """Numbers that an operation makes besides its outputs."""
    options = node.all_options
    if node.operation in _WINDOWS:  # padding, or the tail that a stream keeps
        batch, _, channels = _shape(node, values, 0)
        size = len(tensors[node.weights["kernel"]]) if node.operation == "conv1d" else options["size"]
        return int(batch * channels * (size - 1) * options.get("dilation", 1))
    if node.operation == "additive_attention":
        return _size((*_shape(node, values, 0), _shape(node, values, 1)[1]))
    return 0


def _work(node: Node, values: Mapping[str, Value], tensors: Mapping[str, Array]) -> int:
    """What an operation multiplies, or moves; docs/format.md has the table."""
    weights = {name: tensors[tensor] for name, tensor in node.weights.items()}
    outputs = sum(_size(values[name].shape) for name in node.outputs)
    operation = node.operation
    if "recurrent_kernel" in weights:
        batch, steps, _ = _shape(node, values, 0)
        return int(batch * steps * (weights["kernel"].size + weights["recurrent_kernel"].size))
    if operation in {"attention", "additive_attention"}:
        (batch, queries, width), (_, steps, own) = _shape(node, values, 0), _shape(node, values, 1)
        return int(batch * queries * steps * (width + own))
    factors: dict[str, Callable[[], int]] = {  # for each number of the output
        "dense": lambda: len(weights["kernel"]),
        "conv1d": lambda: weights["kernel"].shape[0] * weights["kernel"].shape[1],
        "max_pool1d": lambda: int(node.all_options["size"]),
        "average_pool1d": lambda: int(node.all_options["size"]),
        "matmul": lambda: int(_shape(node, values, 0)[-1]),
    }
    return outputs * factors.get(operation, lambda: 1)()


def _shape(node: Node, values: Mapping[str, Value], place: int) -> Any:
    return values[node.inputs[place]].shape  # type: ignore[index]  # never one that is optional
