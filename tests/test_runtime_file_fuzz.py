# SPDX-License-Identifier: Apache-2.0
"""Files that are damaged or made to harm: an error that is ours, or a model that runs, in bounded memory and time."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import random
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gatewise.runtime.file import FormatError, write
from gatewise.runtime.format.sample import check_limits
from gatewise.runtime.graph import Graph, GraphError, Node, Value
from gatewise.runtime.operations import OPERATIONS, Option
from gatewise.runtime.saving import load
from hand_graphs import GRAPHS, KEY, arrays_of, dense, joined, run, sealed, several, split, square

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 48e6  # for files of some kB: what the limits allow of JSON and samples
MOST_SECONDS = 3.0

# What stands where something else should
VALUES = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, -8, 8, 9, 255, 2**16, 2**20, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53),
    *(-(2**31), -(2**53), 2**64, 10**40, 0.5, -0.0, 1.0, 1e-320, 1e38, 1e39, 1e308, -1e308, "", "x", "y", "h", "both"),
    *("ids", "float32", "int64", "bool", "mask", "on", "first", "gru", "lstm", "reshape", "constant", "\0", "a" * 300),
    *(
        "\ud800",
        "é",
        [],
        {},
        [[]],
        [None],
        [1],
        [-1],
        [2**31 - 1] * 8,
        [1] * 9,
        {"a": 1},
        [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]],
    ),
    *({"name": "x", "shape": [None, None, 3], "dtype": "float32"}, {"class_name": "gatewise>Labels", "config": {}}),
)


def files(tmp_path: Path) -> list[bytes]:
    """Good files, with samples."""
    found = []
    for name, graph in GRAPHS.items():
        write(graph(), tmp_path / name, run=run)
        found.append((tmp_path / name).read_bytes())
    return found


def outcome(path: Path, raw: bytes) -> bool:
    """Reads a file and runs it on the engine; whether it is a model. Any other error than ours is raised."""
    path.write_bytes(raw)
    try:
        load(path)
    except FormatError as error:
        assert str(error).startswith(f"read: {path}: ")  # noqa: PT017  # of many, few fail
        return False
    return True


def mutated(draw: random.Random, raw: bytes) -> bytes:
    """A file with some of its bytes otherwise, most of them in its header."""
    changed = bytearray(raw)
    header = 8 + int.from_bytes(raw[:8], "little")
    for _ in range(draw.choice((1, 1, 1, 2, 5, 30))):
        end = draw.choice((8, header, header, header, len(changed)))
        at = draw.randrange(max(1, min(end, len(changed))))
        kind = draw.randrange(8)
        if kind < 3 and changed:
            changed[at % len(changed)] ^= 1 << draw.randrange(8)
        elif kind == 3 and changed:
            changed[at % len(changed)] = draw.choice(b'0123456789-.eE[]{}",: \\untf\x00\xff')
        elif kind == 4:
            del changed[at : at + draw.choice((1, 2, 8, 100))]
        elif kind == 5:
            changed[at:at] = draw.randbytes(draw.choice((1, 2, 8, 100)))
        elif kind == 6:
            begin = draw.randrange(len(changed) + 1)
            changed[at:at] = changed[begin : begin + draw.choice((1, 8, 100, 1000))]
        else:
            del changed[draw.randrange(len(changed) + 1) :]
    if draw.random() < 0.5 and len(changed) > 8:  # a length that fits: what comes behind it is seen
        grown = len(changed) - len(raw)
        changed[:8] = max(0, header - 8 + grown).to_bytes(8, "little")
    return bytes(changed)


@pytest.mark.parametrize("seeds", [range(1500), pytest.param(range(1500, 10_000), marks=pytest.mark.deep)], ids=str)
def test_a_file_with_other_bytes_is_refused_or_runs(tmp_path: Path, seeds: range) -> None:
    good, ran = files(tmp_path), 0
    for seed in seeds:
        draw = random.Random(seed)  # noqa: S311  # cases, no secrets
        ran += outcome(tmp_path / "mutated", mutated(draw, draw.choice(good)))
    assert ran < len(seeds) / 10  # most were changed where it counts


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container within a JSON value with each of its keys or places."""
    found: list[tuple[Any, Any]] = []
    steps = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        found += [(value, step), *places(value[step])]
    return found


def change(draw: random.Random, document: Any) -> None:
    """Changes a document at a place to what JSON can hold as well."""
    container, step = draw.choice(places(document))
    kind = draw.randrange(10)
    if kind < 5:
        container[step] = copy.deepcopy(draw.choice(VALUES))
    elif kind == 5:
        del container[step]
    elif kind == 6:
        other, there = draw.choice(places(document))
        container[step] = copy.deepcopy(other[there])
    elif kind == 7 and isinstance(container, list):
        container += container[step : step + 1] * draw.choice((1, 2, 300, 5000))
    elif kind == 8 and isinstance(container, dict):
        container[draw.choice([v for v in VALUES if isinstance(v, str)])] = container[step]
    elif isinstance(container, list):
        draw.shuffle(container)


@pytest.mark.parametrize("seeds", [range(300), pytest.param(range(300, 1000), marks=pytest.mark.deep)], ids=str)
def test_a_file_whose_json_says_otherwise_takes_bounded_memory_and_time(tmp_path: Path, seeds: range) -> None:
    good, ran = [split(raw) for raw in files(tmp_path)], 0
    tracemalloc.start()
    try:
        for seed in seeds:
            draw = random.Random(seed)  # noqa: S311  # cases, no secrets
            header, document, data = copy.deepcopy(draw.choice(good))
            for _ in range(draw.choice((1, 1, 2, 4))):
                if places(document):
                    change(draw, document)
            if isinstance(document, dict) and draw.random() < 0.7:  # with the fingerprint that fits
                raw = sealed(document, arrays_of(header, data))
            else:
                raw = joined(header, document, data)
            tracemalloc.reset_peak()
            before, begin = tracemalloc.get_traced_memory()[0], time.process_time()
            ran += outcome(tmp_path / "mutated", raw)
            assert time.process_time() - begin < MOST_SECONDS, seed
            assert tracemalloc.get_traced_memory()[1] - before < MOST_BYTES, seed
    finally:
        tracemalloc.stop()
    assert len(seeds) / 50 < ran < len(seeds) / 2


@pytest.mark.parametrize("option", [2**31 - 1, 1 - 2**31, 2**22, 0, True], ids=str)
def test_no_option_makes_a_sample_that_takes_much(tmp_path: Path, option: Any) -> None:
    header, document, data = split(_written(tmp_path, several()))
    for operation, row in OPERATIONS.items():
        for name in row.options:
            changed = copy.deepcopy(document)
            for node in changed["nodes"]:
                if node["operation"] in {"activation", "softmax", "concatenate"}:
                    node["operation"], node["options"] = operation, {name: option}
            tracemalloc.start()
            try:
                outcome(tmp_path / "mutated", sealed(changed, arrays_of(header, data)))
                assert tracemalloc.get_traced_memory()[1] < 2 * MOST_BYTES, (operation, name)
            finally:
                tracemalloc.stop()


def odd_value(draw: random.Random) -> Value:
    sizes = (None, None, 0, 1, 2, 3, 4, 2**16, 2**31 - 1)
    shape = tuple(draw.choice(sizes) for _ in range(draw.choice((0, 1, 2, 2, 3, 3, 3, 4, 8, 9))))
    return Value(shape, draw.choice(("float32", "float32", "int64", "bool")))


def odd_option(draw: random.Random, option: Option) -> Any:
    number = draw.choice((0, 1, -1, 2, 3, 7, -8, 8, 2**16, 2**31 - 1, 1 - 2**31, 2**63, 10**400))
    kinds = {
        bool: draw.random() < 0.5,
        int: number,
        float: draw.choice((number, 0.5, -1e30, float("inf"), float("nan"))),
        str: draw.choice((*option.names, "odd")),
        list: [draw.choice((-1, 0, 1, 2, 3, 2**31 - 1, 10**400)) for _ in range(draw.randrange(10))],
    }
    return kinds[option.kind] if draw.random() < 0.95 else kinds[draw.choice([*kinds])]


# What fits, often enough: three features, three units
SHAPES = {
    "layer_norm_gru kernel": (3, 9),
    "layer_norm_gru bias": (9,),
    "layer_norm_gru gain": (9,),
    "layer_norm_gru recurrent_gain": (9,),
    "layer_norm_gru_reset_before kernel": (3, 9),
    "layer_norm_gru_reset_before bias": (9,),
    "layer_norm_gru_reset_before gain": (9,),
    "layer_norm_gru_reset_before recurrent_gain": (9,),
    "layer_norm_lstm kernel": (3, 12),
    "layer_norm_lstm bias": (12,),
    "layer_norm_lstm gain": (12,),
    "layer_norm_lstm recurrent_gain": (12,),
    **{f"{cell} kernel": (3, width) for cell, width in {"gru": 9, "gru_reset_before": 9, "lstm": 12}.items()},
    **{f"{cell} bias": shape for cell, shape in {"gru": (2, 9), "gru_reset_before": (9,), "lstm": (12,)}.items()},
    "conv1d kernel": (2, 3, 4),
    "conv1d bias": (4,),
    "constant value": (1, 3),
    "kernel": (3, 3),
    "table": (3, 3),
}
OTHERS = [(), (1,), (3,), (3, 3), (3, 9), (2, 9), (1, 3), (3, 12), (2, 3, 4), (1, 2, 3, 4), (0, 3), (0,)]
USUAL = {
    "x": Value((None, None, 3), "float32"),
    "h": Value((None, 3), "float32"),
    "ids": Value((None, None), "int64"),
    "mask": Value((None, None), "bool"),
    "n": Value((None,), "int64"),
    "square": Value((None, 3, 3), "float32"),
}
FITTING = {
    "mask": "mask",
    "masks": "mask",
    "query_mask": "mask",
    "ids": "ids",
    "lengths": "n",
    "h": "h",
    "c": "h",
    "b": "square",
}


def odd_graph(draw: random.Random) -> Graph:
    """A graph whose names all fit, of anything; half of it of what fits."""
    inputs = USUAL | {f"i{i}": odd_value(draw) for i in range(draw.randrange(3))}
    there, nodes, tensors = [*inputs], [], {}
    kinds = ("float32", "float32", "float32", "int64", "bool")
    for i in range(draw.randrange(1, 5)):
        operation = draw.choice([*OPERATIONS])
        folded = nodes[-1].inputs[0] if nodes and nodes[-1].operation == "fold" and draw.random() < 0.5 else None
        operation = "unfold" if folded else operation
        row, sane = OPERATIONS[operation], draw.random() < 0.7
        chance = 0.2 if sane else 0.6
        options = {name: odd_option(draw, one) for name, one in row.options.items() if draw.random() < chance}
        weights, given = {}, []
        for name in row.weights:
            short = name.rstrip("?")
            shape = SHAPES.get(f"{operation} {short}", SHAPES.get(short.removeprefix("recurrent_"), (3,)))
            if short == "recurrent_kernel":
                shape = SHAPES.get(f"{operation} kernel", (3, 3))
            if sane or draw.random() < 0.9:
                weights[short] = f"n{i}/{short}"
                array = np.zeros(shape if sane else draw.choice(OTHERS), "float32" if sane else draw.choice(kinds))
                tensors[weights[short]] = array
        for name in row.inputs:
            fitting = FITTING.get(name.rstrip("?*"), draw.choice((*there, "x", "x", "x")))
            optional = name.endswith("?") and draw.random() < 0.5
            given.append(None if optional else fitting if sane else draw.choice([*there, None]))
        given = [nodes[-1].outputs[0], folded] if folded else given
        given += [draw.choice(there) for _ in range(0 if sane else draw.choice((0, 0, 0, 1, 3)))]
        outputs = tuple(f"v{i}/{place}" for place in range(len(row.outputs)))
        nodes.append(Node(f"n{i}", operation, tuple(given), outputs, options, weights))
        there += outputs
    return Graph(inputs, tuple(nodes), {name: name for name in there}, tensors)


def test_a_graph_of_anything_is_refused_by_its_own_error_or_has_the_shapes_that_it_says() -> None:
    seen: set[str] = set()
    for seed in range(8000):
        draw = random.Random(seed)  # noqa: S311  # cases, no secrets
        try:
            graph = odd_graph(draw)
        except GraphError:
            continue
        shapes = {name: tuple(size or 3 for size in value.shape) for name, value in graph.inputs.items()}
        with contextlib.suppress(FormatError):
            values = check_limits("here", graph, shapes)
            inputs = {name: np.ones(shapes[name], graph.inputs[name].dtype) for name in shapes}
            if sum(math.prod(value.shape) for value in values.values()) < 100_000:
                try:
                    found = run(graph, inputs)
                except ValueError:
                    continue  # batches that do not fit each other, an id that is none
                shapes_found = {name: np.shape(array) for name, array in found.items()}
                assert shapes_found == {name: value.shape for name, value in values.items()}
                seen |= {node.operation for node in graph.nodes}
    assert seen == OPERATIONS.keys()


def _written(tmp_path: Path, graph: Any) -> bytes:
    write(graph, tmp_path / "written", run=run)
    return (tmp_path / "written").read_bytes()


def test_nodes_in_a_circle_are_refused(tmp_path: Path) -> None:
    header, document, data = split(_written(tmp_path, square()))
    nodes = document["nodes"]
    nodes[0]["inputs"] = [nodes[-1]["outputs"][0]]
    assert not outcome(tmp_path / "m", joined(header, document, data))
    for node in nodes:
        node["inputs"] = list(node["outputs"])
    assert not outcome(tmp_path / "m", joined(header, document, data))


@pytest.mark.parametrize(
    "text", ["[", '{"a":', "[[],", '"\\"', '"', "\\", "{}", '{"a":[', "\x00", "\ufeff"], ids=range(10)
)
def test_long_runs_of_anything_are_refused_in_bounded_memory_and_time(tmp_path: Path, text: str) -> None:
    header, _, data = split(_written(tmp_path, dense()))
    raw = joined(header, text * (2_000_000 // len(text)), data)
    inner = json.dumps({"__metadata__": {KEY: "{}"}})[:-1].encode() + b"," + text.encode() * (2_000_000 // len(text))
    begin = time.process_time()
    tracemalloc.start()
    try:
        assert not outcome(tmp_path / "m", raw)
        assert not outcome(tmp_path / "m", len(inner).to_bytes(8, "little") + inner)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < MOST_SECONDS
