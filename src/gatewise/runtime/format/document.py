# SPDX-License-Identifier: Apache-2.0
"""The JSON of a graph: from it and back, and its fingerprint."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.options import cut
from gatewise.runtime.format import limits, strict_json
from gatewise.runtime.format.container import NAMES, bytes_of, placeholders
from gatewise.runtime.format.limits import array, members, name, whole, wrong
from gatewise.runtime.graph import DTYPES, Graph, GraphError, Node, Value
from gatewise.runtime.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from gatewise.runtime.format.container import Entry

    Array = npt.NDArray[Any]

_MEMBERS = ("version", "fingerprint", "inputs", "nodes", "outputs", "preprocessing")
_HEX = set("0123456789abcdef")


class SampleNames(NamedTuple):
    """The names of a sample's tensors, by input and by output."""

    inputs: dict[str, str]
    outputs: dict[str, str]

    @property
    def tensors(self) -> list[str]:
        """All of them."""
        return [*self.inputs.values(), *self.outputs.values()]


class Document(NamedTuple):
    """What the JSON of a file says; the graph's tensors have shapes and dtypes alone."""

    graph: Graph
    fingerprint: str
    sample: SampleNames | None


def used_tensors(graph: Graph) -> dict[str, Array]:
    """The tensors that nodes name, by name: a file holds no others."""
    used = dict.fromkeys(tensor for node in graph.nodes for tensor in node.weights.values())
    return {one: graph.tensors[one] for one in used}


def parts_of(graph: Graph) -> dict[str, Any]:
    """The members of a document that a fingerprint covers."""
    return {
        "inputs": [
            {"name": one, "shape": list(value.shape), "dtype": value.dtype} for one, value in graph.inputs.items()
        ],
        "nodes": [
            {
                "name": node.name,
                "operation": node.operation,
                "inputs": list(node.inputs),
                "outputs": list(node.outputs),
                "options": dict(node.options),
                "weights": dict(node.weights),
            }
            for node in graph.nodes
        ],
        "outputs": [{"name": one, "value": value} for one, value in graph.outputs.items()],
        "preprocessing": dict(graph.preprocessing),
    }


def fingerprint(graph: Graph) -> str:
    """Computes what tells a model apart: 64 hexadecimal digits.

    It covers inputs, nodes, outputs, preprocessing, and the names, dtypes, shapes and bytes of the tensors that nodes
    name; nothing of a file. A model has the same one before it is saved and after it is loaded.

    Args:
        graph: the model.

    Returns:
        The SHA-256 that docs/format.md describes.

    Raises:
        FormatError: JSON cannot hold an option or the preprocessing.

    Example:
        >>> import numpy as np
        >>> graph = Graph(
        ...     {"x": Value((None, 3), "float32")},
        ...     (Node("score", "dense", ("x",), ("y",), {}, {"kernel": "score/kernel"}),),
        ...     {"y": "y"},
        ...     {"score/kernel": np.ones((3, 2), np.float32)},
        ... )
        >>> fingerprint(graph)[:16]
        'ffa5e985b7efac7f'
    """
    parts, tensors = parts_of(graph), used_tensors(graph)
    strict_json.text_of("fingerprint", parts)
    described = {one: [NAMES[str(tensor.dtype)], list(tensor.shape)] for one, tensor in tensors.items()}
    found = hashlib.sha256(strict_json.canonical(parts | {"tensors": described}).encode())
    for one in strict_json.sorted_names(tensors):
        found.update(bytes_of(tensors[one]).data)
    return found.hexdigest()


def text_of(graph: Graph, found: str, sample: SampleNames | None) -> str:
    """Writes the JSON of a graph with its fingerprint and the names of its sample."""
    document = {"version": list(limits.VERSION), "fingerprint": found, **parts_of(graph)}
    if sample is not None:
        document["sample"] = sample._asdict()
    return strict_json.text_of("write: document", document)


def read(where: str, text: str, entries: Mapping[str, Entry]) -> Document:
    """Reads and checks the JSON of a graph, against the tensors that the header has.

    Raises:
        FormatError: it is none, of a newer version, or beyond the limits.
    """
    document = strict_json.parse(where, text)
    _check_version(where, document)
    members(where, document, _MEMBERS, ["sample"])
    digits = document["fingerprint"]
    if type(digits) is not str or len(digits) != 64 or not _HEX.issuperset(digits):
        raise wrong(f"{where}: fingerprint", "this is none", "64 digits of 0-9a-f", digits)
    inputs = dict(_named(where, "inputs", document["inputs"], limits.INPUTS, _input))
    outputs = dict(_named(where, "outputs", document["outputs"], limits.OUTPUTS, _output))
    listed = array(f"{where}: nodes", document["nodes"], limits.NODES, 1)
    nodes = tuple(_node(f"{where}: nodes[{i}]", node) for i, node in enumerate(listed))
    preprocessing = _preprocessing(f"{where}: preprocessing", document["preprocessing"])
    sample = _sample(f"{where}: sample", document["sample"], inputs, outputs) if "sample" in document else None
    of_sample = sample.tensors if sample else []
    used = {tensor for node in nodes for tensor in node.weights.values()}
    _check_tensors(where, entries, used, of_sample)
    arrays = placeholders({one: entry for one, entry in entries.items() if one in used})
    try:
        graph = Graph(inputs, nodes, outputs, arrays, preprocessing)
    except GraphError as error:
        raise wrong(
            f"{where}: graph", "this is no model", "operations as docs/format.md has them", str(error)
        ) from None
    return Document(graph, digits, sample)


def _check_version(where: str, document: Any) -> None:
    if type(document) is not dict or "version" not in document:
        raise wrong(where, "the version is missing", "an object with version", document)
    where = f"{where}: version"
    found = array(where, document["version"], 2, 2)
    major, minor = (whole(where, number, 0, limits.SIZE) for number in found)
    known = f"{limits.VERSION[0]}.{limits.VERSION[1]}"
    if major == limits.VERSION[0] and minor <= limits.VERSION[1]:
        return
    newer = (major, minor) > limits.VERSION
    cure = "Update gatewise." if newer else "Write the file again, or use the gatewise that wrote it."
    what = f"the file is of a version that this gatewise does not read, {'a newer' if newer else 'an older'} one"
    raise wrong(where, what, f"{limits.VERSION[0]}.0 to {known}", f"{major}.{minor}", cure)


def _named(where: str, what: str, value: Any, most: int, read_one: Any) -> list[tuple[str, Any]]:
    found = [read_one(f"{where}: {what}[{i}]", one) for i, one in enumerate(array(f"{where}: {what}", value, most, 1))]
    if len(dict(found)) < len(found):
        raise wrong(f"{where}: {what}", "a name stands twice", "each once", f"{[one for one, _ in found]}")
    return found


def _input(where: str, value: Any) -> tuple[str, Value]:
    value = members(where, value, ["name", "shape", "dtype"])
    dtype = value["dtype"]
    if type(dtype) is not str or dtype not in DTYPES:
        raise wrong(where, "its dtype is unknown", f"one of {', '.join(DTYPES)}", dtype)
    sizes = array(f"{where}: shape", value["shape"], limits.AXES, 1)
    shape = tuple(None if size is None else whole(f"{where}: shape", size, 1, limits.SIZE) for size in sizes)
    return name(where, value["name"]), Value(shape, dtype)


def _output(where: str, value: Any) -> tuple[str, str]:
    value = members(where, value, ["name", "value"])
    return name(where, value["name"]), name(where, value["value"])


def _node(where: str, value: Any) -> Node:
    value = members(where, value, ["name", "operation", "inputs", "outputs", "options", "weights"])
    own = name(where, value["name"])
    where = f"{where} {cut(repr(own))}"
    inputs = array(f"{where}: inputs", value["inputs"], limits.NODE_INPUTS)
    outputs = array(f"{where}: outputs", value["outputs"], limits.NODE_INPUTS, 1)
    for what in ("options", "weights"):
        if type(value[what]) is not dict:
            raise wrong(f"{where}: {what}", "this is no object", "an object", value[what])
    operation = name(f"{where}: operation", value["operation"])
    return Node(
        own,
        operation,
        tuple(None if one is None else name(f"{where}: inputs", one) for one in inputs),
        tuple(name(f"{where}: outputs", one) for one in outputs),
        {option: _option(operation, option, given) for option, given in value["options"].items()},
        {weight: name(f"{where}: weights", tensor) for weight, tensor in value["weights"].items()},
    )


def _option(operation: str, option: str, value: Any) -> Any:
    """Brings a number that is written as a whole one to the kind of its option; the graph checks the rest."""
    row = OPERATIONS[operation].options.get(option) if operation in OPERATIONS else None
    return float(value) if row is not None and row.kind is float and type(value) is int else value


def _preprocessing(where: str, value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise wrong(where, "this is no object", "an object", value)
    return {name(where, one): kept for one, kept in value.items()}


def _sample(where: str, value: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> SampleNames:
    value = members(where, value, ["inputs", "outputs"])
    found = []
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        given = members(f"{where}: {what}", value[what], list(names))
        found.append({one: name(f"{where}: {what}", given[one]) for one in names})
    return SampleNames(*found)


def _check_tensors(where: str, entries: Mapping[str, Entry], used: set[str], of_sample: list[str]) -> None:
    both, twice = used & {*of_sample}, len({*of_sample}) < len(of_sample)
    if both or twice:
        raise wrong(f"{where}: sample", "a tensor stands twice", "tensors of its own", ", ".join(sorted(both)) or "one")
    known = used | {*of_sample}
    if known != entries.keys():
        missing, odd = sorted(known - entries.keys()), sorted(entries.keys() - known)
        what = f"missing: {', '.join(missing[:3])}" if missing else f"named by no node: {', '.join(odd[:3])}"
        raise wrong(where, "tensors do not fit", "those that nodes and sample name, and no others", what)
