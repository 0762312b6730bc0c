# SPDX-License-Identifier: Apache-2.0
"""Graphs built by hand, and files of them built without the code that writes files."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from gatewise.reference import operations as reference
from gatewise.runtime.file import fingerprint
from gatewise.runtime.graph import Graph, Node, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "gatewise"


def run(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Runs a graph by the specification; what an arithmetic fault gives, it gives."""
    with np.errstate(all="ignore"):
        return reference.run(graph, inputs)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def dense() -> Graph:
    """The smallest: a Dense layer."""
    node = Node("score", "dense", ("x",), ("y",), {}, {"kernel": "score/kernel", "bias": "score/bias"})
    tensors = {"score/kernel": draw(3, 2), "score/bias": draw(2)}
    return Graph({"x": Value((None, None, 3), "float32")}, (node,), {"y": "y"}, tensors)


def square() -> Graph:
    """A simple RNN and two Dense layers, whose tensors have the same shapes."""
    weights = {"kernel": "rnn/k", "recurrent_kernel": "rnn/r", "bias": "rnn/b"}
    nodes = (
        Node("rnn", "simple_rnn", ("x",), ("a",), {}, weights),
        Node("one", "dense", ("a",), ("b",), {}, {"kernel": "one/k", "bias": "one/b"}),
        Node("two", "dense", ("b",), ("y",), {}, {"kernel": "two/k", "bias": "two/b"}),
    )
    names = ["rnn/k", "rnn/r", "one/k", "two/k"]
    tensors = {name: draw(4, 4, seed=i) / 2 for i, name in enumerate(names)}
    tensors |= {f"{name}/b": draw(4, seed=i) for i, name in enumerate(["rnn", "one", "two"])}
    return Graph({"x": Value((None, None, 4), "float32")}, nodes, {"y": "y"}, tensors)


def several() -> Graph:
    """Ids, numbers and a mask in; numbers, ids and a mask out; shared weights, constants of each dtype, options."""
    gru = {"kernel": "shared/kernel", "recurrent_kernel": "shared/recurrent_kernel", "bias": "shared/bias"}
    lstm = {"kernel": "lstm/kernel", "recurrent_kernel": "lstm/recurrent_kernel"}
    sequences = {"return_sequences": True}
    nodes = (
        Node("words", "embedding", ("ids",), ("words",), {}, {"table": "wörter/table"}),
        Node("given", "not_equal", ("ids",), ("there",), {"value": 0}),
        Node("both", "all", ("there", "mask"), ("both",)),
        Node("on", "constant", (), ("on",), {}, {"value": "on"}),
        Node("first", "constant", (), ("first",), {}, {"value": "first"}),
        Node("encoder/gru", "gru", ("words", "both"), ("e", "h"), sequences | {"activation": "relu"}, gru),
        Node("decoder/gru", "gru", ("x", None, "h"), ("d",), sequences | {"go_backwards": True}, gru),
        Node("attend", "attention", ("d", "e", None, None, "both"), ("a",), {"heads": 2, "scale": 0.1, "causal": True}),
        Node("look", "conv1d", ("a",), ("c",), {"padding": "causal", "dilation": 2}, {"kernel": "look/kernel"}),
        Node("gate", "activation", ("c",), ("g",), {"function": "leaky_relu", "slope": 0.2}),
        Node("lstm", "lstm", ("g",), ("l", "lh", "lc"), {}, lstm),
        Node("join", "concatenate", ("l", "lc"), ("j",)),
        Node("score", "softmax", ("j",), ("y",)),
    )
    tensors = {
        "wörter/table": draw(9, 3),
        "shared/kernel": draw(3, 12),
        "shared/recurrent_kernel": draw(4, 12),
        "shared/bias": draw(2, 12),
        "look/kernel": draw(2, 4, 5),
        "lstm/kernel": draw(5, 8),
        "lstm/recurrent_kernel": draw(2, 8),
        "on": np.array([[True, False]]),
        "first": np.array([[2**53, -1, 0]], np.int64),
    }
    inputs = {
        "x": Value((None, None, 3), "float32"),
        "ids": Value((None, None), "int64"),
        "mask": Value((None, None), "bool"),
    }
    outputs = {"scores": "y", "both": "both", "first": "first", "on": "on", "again": "y"}
    kept: dict[str, Any] = {"ids": {"class_name": "gatewise>Vocabulary", "config": VOCABULARY}, "x": SOUND}
    return Graph(inputs, nodes, outputs, tensors, kept)


SOUND = [
    {
        "class_name": "gatewise>LogMel",
        "config": {
            "rate": 8000,
            "bands": 3,
            "frame_length": 200,
            "frame_step": 80,
            "low": 20.0,
            "high": 4000.0,
            "floor": 1e-10,
        },
    },
    {
        "class_name": "gatewise>Scaler",
        "config": {"method": "standard", "shift": [-9.0, -8.5, -8.0], "scale": [2.0, 2.5, 3.0]},
    },
]
VOCABULARY = {
    "split": "whitespace",
    "max_tokens": None,
    "standardize": "auto",
    "output_sequence_length": 7,
    "padding": "post",
    "truncating": "pre",
    "vocabulary": ["a", "warm", "film", "é", "\U0001f600"],
}


def one(operation: str, value: Value, options: dict[str, Any], tensors: dict[str, Any] | None = None) -> Graph:
    """A graph of one operation."""
    tensors = tensors or {}
    node = Node("it", operation, ("x",), ("y",), options, {name: name for name in tensors})
    return Graph({"x": value}, (node,), {"y": "y"}, tensors)


GRAPHS = {"dense": dense, "square": square, "several": several}


def split(raw: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """A file's header, the document in it, and its data."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    return header, json.loads(header["__metadata__"][KEY]), raw[8 + length :]


def joined(header: dict[str, Any], document: Any, data: bytes) -> bytes:
    """A file of these."""
    text = document if isinstance(document, str) else json.dumps(document)
    raw = json.dumps(header | {"__metadata__": {KEY: text}}).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def arrays_of(header: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The tensors of a file."""
    kinds = {"F32": "<f4", "I64": "<i8", "BOOL": "?"}
    return {
        name: np.frombuffer(data[slice(*what["data_offsets"])], kinds[what["dtype"]]).reshape(what["shape"])
        for name, what in header.items()
        if name != "__metadata__"
    }


def graph_of(document: Any, arrays: dict[str, Any]) -> Graph:
    """The graph of a document, as it stands there."""
    nodes = tuple(
        Node(n["name"], n["operation"], tuple(n["inputs"]), tuple(n["outputs"]), n["options"], n["weights"])
        for n in document["nodes"]
    )
    inputs = {i["name"]: Value(tuple(i["shape"]), i["dtype"]) for i in document["inputs"]}
    outputs = {o["name"]: o["value"] for o in document["outputs"]}
    return Graph(inputs, nodes, outputs, arrays, document["preprocessing"])


def sealed(document: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """A file by the package safetensors, with the fingerprint that fits where there is one."""
    wrong = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)
    with contextlib.suppress(*wrong):  # what the graph does not take has none
        document = document | {"fingerprint": fingerprint(graph_of(document, arrays))}
    return save(arrays, {KEY: json.dumps(document)})


def sampled(graph: Graph, shapes: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]) -> bytes:
    """A file whose sample has these shapes, of zeros."""
    document = {
        "version": [1, 0],
        "fingerprint": "0" * 64,
        "inputs": [{"name": n, "shape": list(v.shape), "dtype": v.dtype} for n, v in graph.inputs.items()],
        "nodes": [
            {
                "name": n.name,
                "operation": n.operation,
                "inputs": list(n.inputs),
                "outputs": list(n.outputs),
                "options": dict(n.options),
                "weights": dict(n.weights),
            }
            for n in graph.nodes
        ],
        "outputs": [{"name": n, "value": v} for n, v in graph.outputs.items()],
        "preprocessing": {},
        "sample": {"inputs": {n: f"in/{n}" for n in shapes}, "outputs": {n: f"out/{n}" for n in outputs}},
    }
    arrays = {f"in/{n}": np.zeros(shape, graph.inputs[n].dtype) for n, shape in shapes.items()}
    arrays |= {f"out/{n}": np.zeros(shape, np.float32) for n, shape in outputs.items()}
    return sealed(document, arrays | dict(graph.tensors))
