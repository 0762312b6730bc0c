# SPDX-License-Identifier: Apache-2.0
"""A model's file: what is written is read again, by others too, and what is wrong with one is named."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import re
import signal
import stat
import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

import own_process
from format_page import PAGE, rewritten, section
from gatewise.data.audio import LogMel
from gatewise.data.labels import Labels
from gatewise.data.scaling import Scaler
from gatewise.data.series import SeasonalScaler, SeriesScaler, TimeSeries
from gatewise.data.text import Subwords, Tokenizer, Vocabulary
from gatewise.runtime.file import (
    FormatError,
    fingerprint,
    preprocessing_from_json,
    preprocessing_to_json,
    read,
    write,
)
from gatewise.runtime.format import strict_json
from gatewise.runtime.format.limits import JSON_CONTAINERS, JSON_VALUES, LIMITS, NODES
from gatewise.runtime.format.preprocessing import CONFIGS
from gatewise.runtime.graph import Graph, GraphError, Node, Value
from gatewise.runtime.model import Model
from gatewise.runtime.operations.features import FUNCTIONS
from hand_graphs import GRAPHS, KEY, arrays_of, dense, draw, joined, one, run, sampled, sealed, several, split, square

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = Value((None, None, 3), "float32")


def written(tmp_path: Path, graph: Graph, **options: Any) -> bytes:
    write(graph, tmp_path / "written", **options)
    return (tmp_path / "written").read_bytes()


def refused(tmp_path: Path, raw: bytes, **options: Any) -> str:
    """What the error says of a file of these bytes."""
    path = tmp_path / "refused"
    path.write_bytes(raw)
    with pytest.raises(FormatError) as caught:
        read(path, **options)
    assert str(caught.value).startswith(f"read: {path}: ")
    return str(caught.value).removeprefix(f"read: {path}: ")


def never(*_: Any) -> Any:
    pytest.fail("the sample ran")


# --- There and back ---


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("sample", [True, False])
def test_what_is_written_is_read_again(tmp_path: Path, name: str, sample: bool) -> None:
    graph = GRAPHS[name]()
    digits = write(graph, tmp_path / "model.safetensors", run=run if sample else None)
    again = read(tmp_path / "model.safetensors", run=run)
    assert (again.inputs, again.nodes, again.outputs) == (graph.inputs, graph.nodes, graph.outputs)
    assert list(again.inputs) == list(graph.inputs)
    assert list(again.outputs) == list(graph.outputs)
    assert again.preprocessing == graph.preprocessing
    assert again.tensors.keys() == graph.tensors.keys()
    for tensor, array in graph.tensors.items():
        assert again.tensors[tensor].dtype == array.dtype
        assert not again.tensors[tensor].flags.writeable
        np.testing.assert_array_equal(again.tensors[tensor], array, strict=True)
    assert fingerprint(again) == fingerprint(graph) == digits
    kinds = [{name: type(option) for name, option in node.options.items()} for node in graph.nodes]
    assert [{n: type(o) for n, o in node.options.items() if type(o) is not float} for node in again.nodes] == [
        {n: kind for n, kind in kinds_of.items() if n not in {"scale", "slope", "value"}} for kinds_of in kinds
    ]


@pytest.mark.parametrize("name", GRAPHS)
def test_the_package_safetensors_reads_what_is_written(tmp_path: Path, name: str) -> None:
    graph = GRAPHS[name]()
    header, document, data = split(written(tmp_path, graph, run=run))
    with safe_open(tmp_path / "written", "numpy") as file:
        assert file.metadata().keys() == {KEY}
        theirs = {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118  # it is no dict
    for tensor, array in arrays_of(header, data).items():
        np.testing.assert_array_equal(theirs[tensor], array, strict=True)
    (tmp_path / "theirs").write_bytes(save(theirs, {KEY: json.dumps(document)}))
    again = read(tmp_path / "theirs", run=run)  # theirs in another order, this JSON with spaces
    assert again.nodes == graph.nodes
    assert fingerprint(again) == document["fingerprint"]


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path, several(), run=run) == written(tmp_path, several(), run=run)
    graph = several()
    turned = dataclasses.replace(graph, tensors=dict(reversed(graph.tensors.items())))
    assert written(tmp_path, turned, run=run) == written(tmp_path, graph, run=run)


def test_arrays_in_another_order_of_memory_and_of_bytes_are_written_as_what_they_are(tmp_path: Path) -> None:
    graph = dense()
    kernel = graph.tensors["score/kernel"]
    odd = {"score/kernel": np.asfortranarray(kernel), "score/bias": draw(4)[::2]}
    write(dataclasses.replace(graph, tensors=odd), tmp_path / "odd")
    np.testing.assert_array_equal(read(tmp_path / "odd").tensors["score/kernel"], kernel)
    np.testing.assert_array_equal(read(tmp_path / "odd").tensors["score/bias"], odd["score/bias"])
    wide = dataclasses.replace(graph, tensors=graph.tensors | {"left": draw(2)})
    write(wide, tmp_path / "wide")
    assert "left" not in read(tmp_path / "wide").tensors  # no node names it
    assert fingerprint(wide) == fingerprint(graph)


def test_a_tensor_that_is_not_aligned_is_read(tmp_path: Path) -> None:
    graph = several()
    header, document, data = split(written(tmp_path, graph))
    arrays, begin, moved = arrays_of(header, data), 0, {}
    for name in sorted(arrays, key=lambda name: arrays[name].itemsize):  # a mask of two bytes first
        end = begin + arrays[name].nbytes
        moved[name] = header[name] | {"data_offsets": [begin, end]}
        begin = end
    (tmp_path / "odd").write_bytes(joined(moved, document, b"".join(arrays[name].tobytes() for name in moved)))
    for name, array in read(tmp_path / "odd").tensors.items():
        np.testing.assert_array_equal(array, graph.tensors[name], strict=True)
        assert array.flags.aligned


def test_a_name_means_nothing(tmp_path: Path) -> None:
    write(dense(), tmp_path / "model.safetensors")
    for name in ("model.txt", "model", "modèle 1.ü", ".hidden"):
        (tmp_path / "model.safetensors").rename(tmp_path / name)
        assert read(str(tmp_path / name)).nodes == dense().nodes
        (tmp_path / name).rename(tmp_path / "model.safetensors")


# --- The fingerprint ---


def test_the_fingerprint_is_that_of_the_page() -> None:
    graph = dense()
    node = graph.nodes[0]
    described = {
        "inputs": [{"name": "x", "shape": [None, None, 3], "dtype": "float32"}],
        "nodes": [dataclasses.asdict(node)],
        "outputs": [{"name": "y", "value": "y"}],
        "preprocessing": {},
        "tensors": {"score/kernel": ["F32", [3, 2]], "score/bias": ["F32", [2]]},
    }
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))  # RFC 8785 of ASCII without fractions
    bytes_of = graph.tensors["score/bias"].tobytes() + graph.tensors["score/kernel"].tobytes()
    assert fingerprint(graph) == hashlib.sha256(text.encode() + bytes_of).hexdigest()


@pytest.mark.parametrize(
    ("bits", "text"),
    [  # RFC 8785, appendix B
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_have_the_one_form_of_rfc_8785(bits: str, text: str) -> None:
    assert strict_json.canonical(struct.unpack(">d", bytes.fromhex(bits))[0]) == text


def test_members_and_strings_have_the_one_form_of_rfc_8785() -> None:
    members = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7}  # its section 3.2.3
    assert list(json.loads(strict_json.canonical(members)).values()) == [2, 4, 6, 7, 1, 5, 3]
    given = '{"s": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "l": [null, true, false]}'  # and 3.2.2
    expected = '{"l":[null,true,false],"s":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    assert strict_json.canonical(json.loads(given)) == expected


def test_a_fingerprint_sees_every_part(tmp_path: Path) -> None:
    graph = several()
    digits = fingerprint(graph)
    renamed = {"a" if name == "scores" else name: value for name, value in graph.outputs.items()}
    others = [
        dataclasses.replace(graph, preprocessing={}),
        dataclasses.replace(graph, outputs=renamed),
        dataclasses.replace(graph, outputs=dict(reversed(graph.outputs.items()))),
        dataclasses.replace(graph, inputs=dict(reversed(graph.inputs.items()))),
        dataclasses.replace(graph, inputs=graph.inputs | {"x": Value((None, 4, 3), "float32")}),
        *(
            dataclasses.replace(
                graph, nodes=tuple(dataclasses.replace(n, name="!") if n is node else n for n in graph.nodes)
            )
            for node in graph.nodes
        ),
    ]
    for name, array in graph.tensors.items():
        changed = array.copy()
        changed.reshape(-1).view(np.uint8)[0] ^= 1
        others.append(dataclasses.replace(graph, tensors=graph.tensors | {name: changed}))
    found = [fingerprint(other) for other in others]
    assert len({digits, *found}) == len(found) + 1
    assert "fingerprint" in refused(tmp_path, _with_fingerprint(written(tmp_path, graph), found[0]))


def _with_fingerprint(raw: bytes, digits: str) -> bytes:
    header, document, data = split(raw)
    return joined(header, document | {"fingerprint": digits}, data)


# --- The sample ---


def test_any_two_tensors_swapped_are_seen(tmp_path: Path) -> None:
    for graph in (square(), several()):
        header, document, data = split(written(tmp_path, graph, run=run))
        names = [name for name in header if name != "__metadata__"]
        arrays = arrays_of(header, data)
        for a, b in itertools.combinations(names, 2):
            if arrays[a].tobytes() == arrays[b].tobytes():
                continue  # two outputs of one value
            swapped = header | {a: header[b], b: header[a]}
            refused(tmp_path, joined(swapped, document, data), run=run)


def test_the_sample_sees_swapped_tensors_by_itself(tmp_path: Path) -> None:
    header, document, data = split(written(tmp_path, square(), run=run))
    arrays = arrays_of(header, data)
    swaps = [(a, b) for a, b in itertools.combinations(arrays, 2) if arrays[a].shape == arrays[b].shape]
    assert len(swaps) >= 9
    for a, b in swaps:
        raw = sealed(document, arrays | {a: arrays[b], b: arrays[a]})  # with the fingerprint that fits
        assert "sample" in refused(tmp_path, raw, run=run)
        assert read(tmp_path / "refused").nodes == square().nodes
        assert read(tmp_path / "refused", run=never, verify=False).nodes == square().nodes


@pytest.mark.parametrize(("by", "seen"), [(1e-6, False), (1e-3, True), (np.nan, True), (np.inf, True)])
def test_the_sample_allows_for_another_instruction_set_alone(tmp_path: Path, by: float, seen: bool) -> None:
    path = tmp_path / "model"
    write(square(), path, run=run)

    def nearly(graph: Graph, inputs: dict[str, Any]) -> dict[str, Any]:
        found = run(graph, inputs)["y"]
        found[-1, -1] += by * np.abs(found).max()
        return {"y": found}

    if seen:
        with pytest.raises(FormatError, match="sample: output 'y': the model does not compute what it was saved with"):
            read(path, run=nearly)
    else:
        assert read(path, run=nearly).nodes == square().nodes


def test_a_sample_that_is_not_finite_is_compared_where_it_is_not(tmp_path: Path) -> None:
    graph = one("divide", Value((None, 2), "float32"), {})
    node = dataclasses.replace(graph.nodes[0], inputs=("x", "x"))
    write(dataclasses.replace(graph, nodes=(node,)), tmp_path / "m", run=run, sample={"x": [[0.0, 1.0]]})
    assert read(tmp_path / "m", run=run).nodes == (node,)
    with pytest.raises(FormatError, match="NaN or infinity elsewhere"):
        read(tmp_path / "m", run=lambda *_: {"y": np.ones((1, 2))})


@pytest.mark.parametrize("name", GRAPHS)
def test_what_one_computed_another_verifies(tmp_path: Path, name: str) -> None:
    def native(graph: Graph, inputs: dict[str, Any]) -> dict[str, Any]:
        found = Model(graph).predict(inputs)
        return found if isinstance(found, dict) else dict.fromkeys(graph.outputs, found)

    graph = GRAPHS[name]()
    for writer, reader in itertools.product((run, native), repeat=2):
        write(graph, tmp_path / "m", run=writer)
        assert read(tmp_path / "m", run=reader).nodes == graph.nodes


def test_a_sample_can_be_given(tmp_path: Path) -> None:
    x = draw(1, 4, 3)
    header, document, data = split(written(tmp_path, dense(), run=run, sample={"x": x}))
    np.testing.assert_array_equal(arrays_of(header, data)[document["sample"]["inputs"]["x"]], x)
    with pytest.raises(FormatError, match="sample: inputs do not fit"):
        write(dense(), tmp_path / "m", run=run, sample={"z": x})
    with pytest.raises(FormatError, match="sample: input 'x': its shape does not fit"):
        write(dense(), tmp_path / "m", run=run, sample={"x": draw(1, 4, 5)})
    with pytest.raises(FormatError, match="sample: the model does not run"):
        write(several(), tmp_path / "m", run=lambda *_: 1 / 0)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "written"]


def test_a_sample_s_names_give_way_to_the_model_s(tmp_path: Path) -> None:
    graph = dense()
    node = dataclasses.replace(graph.nodes[0], weights={"kernel": "sample/inputs/0", "bias": "sample_/x"})
    tensors = {"sample/inputs/0": graph.tensors["score/kernel"], "sample_/x": graph.tensors["score/bias"]}
    graph = dataclasses.replace(graph, nodes=(node,), tensors=tensors)
    write(graph, tmp_path / "m", run=run)
    np.testing.assert_array_equal(read(tmp_path / "m", run=run).tensors["sample_/x"], tensors["sample_/x"])


@pytest.mark.parametrize(
    ("graph", "shape"),
    [
        (one("conv1d", NUMBERS, {}, {"kernel": draw(40, 3, 2)}), (2, 40, 3)),  # as long as the window
        (one("reshape", NUMBERS, {"shape": [4, 6]}), (2, 8, 3)),
        (one("conv1d", Value((None, 9, 3), "float32"), {}, {"kernel": draw(9, 3, 2)}), (2, 9, 3)),
        (one("embedding", Value((None, None), "int64"), {}, {"table": draw(1, 4)}), (2, 7)),
        (one("repeat", Value((None, 3), "float32"), {"times": 400_000}), (2, 3)),
        (one("repeat", Value((None, 3), "float32"), {"times": 1_000_000}), (1, 3)),  # two rows are too many
    ],
    ids=["window", "reshape", "fixed", "one id", "large", "larger"],
)
def test_a_sample_is_made_that_the_model_takes(tmp_path: Path, graph: Graph, shape: tuple[int, ...]) -> None:
    header, document, _ = split(written(tmp_path, graph, run=run))
    tensor = header[document["sample"]["inputs"]["x"]]
    assert tuple(tensor["shape"]) == (shape if shape[1:2] != (40,) else (2, 40, 3))
    assert read(tmp_path / "written", run=run).nodes == graph.nodes


LONG = 2**31 - 1


@pytest.mark.parametrize(
    ("graph", "shapes", "outputs"),
    [
        (one("repeat", Value((None, 3), "float32"), {"times": LONG}), (1, 3), (1, LONG, 3)),
        (one("upsample", NUMBERS, {"times": 2**22}), (1, 1, 3), (1, 2**22, 3)),
        (one("pad", NUMBERS, {"before": 2**30}), (1, 1, 3), (1, 2**30 + 1, 3)),
        (one("max_pool1d", NUMBERS, {"size": LONG, "padding": "same"}), (1, 5, 3), (1, 5, 3)),
        (one("average_pool1d", NUMBERS, {"size": LONG, "padding": "causal"}), (1, 5, 3), (1, 5, 3)),
        (
            one("conv1d", NUMBERS, {"dilation": LONG, "padding": "causal"}, {"kernel": draw(2, 3, 2)}),
            (1, 5, 3),
            (1, 5, 2),
        ),
        (one("dense", NUMBERS, {}, {"kernel": np.zeros((3, 3000), np.float32)}), (1, 2000, 3), (1, 2000, 3000)),
    ],
    ids=["repeat", "upsample", "pad", "max pool", "average pool", "dilation", "dense"],
)
def test_a_sample_that_would_take_too_much_is_refused_before_it_runs(
    tmp_path: Path, graph: Graph, shapes: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
    small = outputs if np.prod(outputs) < 2**24 else (1,)  # what stands there is not looked at before
    assert "sample: there are too many" in refused(
        tmp_path, sampled(graph, {"x": shapes}, {"y": small}), run=never, verify=True
    )


def test_work_is_bounded_too(tmp_path: Path) -> None:
    chain = [Node(f"m{i}", "matmul", (f"v{i}" if i else "x", "x"), (f"v{i + 1}",)) for i in range(10)]
    for products, allowed in [(9, True), (10, False)]:  # 600^3 multiplications each; the limit is 2^31
        nodes = tuple(chain[:products])
        graph = Graph({"x": Value((None, 600, 600), "float32")}, nodes, {"y": f"v{products}"}, {})
        raw = sampled(graph, {"x": (1, 600, 600)}, {"y": (1, 600, 600)})
        if allowed:
            (tmp_path / "m").write_bytes(raw)
            assert read(tmp_path / "m", verify=False).nodes == nodes
        else:
            assert "sample: there are too many multiplications" in refused(tmp_path, raw, run=never)


# --- What is wrong is named ---


def test_what_is_no_file_of_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")
    with pytest.raises(FormatError, match="this is no file"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="this is no file"):
        read(tmp_path / "pipe")
    with pytest.raises(FormatError, match="this is no file"):
        read("/dev/zero")
    theirs = save({"a": np.zeros(3, np.float32)})
    for raw, place in {
        b"": "received 0 bytes",
        b"{}": "received 2 bytes",
        b"\x02\0\0\0\0\0\0\0{}": "the metadata key gatewise",
        b"\x02\0\0\0\0\0\0\0[]": "whose header begins with {",
        b"\x02\0\0\0\0\0\0\0{": "the end is missing",
        b"\xff" * 64: "the end is missing",
        b"PK\x03\x04" + b"\0" * 100: "the end is missing",
        theirs: "the metadata key gatewise",
        save({"a": np.zeros(3, np.float32)}, {"format": "pt"}): "__metadata__: members do not fit",
        save({"a": np.zeros(3, np.float32)}, {KEY: ""}): "gatewise: this is no JSON",
        save({"a": np.zeros(3, np.float32)}, {KEY: "[]"}): "the version is missing",
    }.items():
        assert place in refused(tmp_path, raw), raw[:20]


def test_a_large_file_that_lies_of_itself_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    tracemalloc.start()
    try:
        for first, size in [(2**62, 2**40), (2**31, 2**32), (2**26, 2**31), (2**24, 2**31)]:
            path.write_bytes(first.to_bytes(8, "little") + b"{")
            os.truncate(path, size)
            with pytest.raises(FormatError):
                read(path)
            path.unlink()
        assert tracemalloc.get_traced_memory()[1] < 150e6  # a header of 16 MiB of zeros among them
    finally:
        tracemalloc.stop()


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    raw = written(tmp_path, dense(), run=run)
    for end in range(0, len(raw), 3):
        refused(tmp_path, raw[:end], run=never)
    assert "tensors do not cover the data" in refused(tmp_path, raw + b"\0")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, "tensor 'a': its dtype is unknown"),
        ({"a": {"dtype": [], "shape": [1], "data_offsets": [0, 8]}}, "tensor 'a': its dtype is unknown"),
        ({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, "tensor 'a': shape: this number does not fit"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, "tensor 'a': shape: this number does not fit"),
        ({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, "tensor 'a': shape: this number does not"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, "tensor 'a': shape: this number does not"),
        ({"a": {"dtype": "F32", "shape": [1] * 9, "data_offsets": [0, 4]}}, "tensor 'a': shape: there are too many"),
        ({"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, "tensor 'a': shape: elements are missing"),
        ({"a": {"dtype": "F32", "shape": [2**30] * 8, "data_offsets": [0, 4]}}, "tensor 'a': its bytes do not fit"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, "tensor 'a': data_offsets: elements are missing"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**53]}}, "header: this is no JSON"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "tensor 'a': members do not fit"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "b": 1}}, "tensor 'a': members do not fit"),
        ({"a": 1}, "tensor 'a': this is no object"),
        ({"": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "this is no name"),
        ({"a" * 257: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "this is no name"),
        ({"a\n": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "this is no name"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, "its bytes lie elsewhere"),  # an overlap
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [40, 48]}}, "its bytes lie elsewhere"),  # a hole
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [32, 40]}}, "tensors do not cover the data"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    header, document, data = split(written(tmp_path, dense()))
    assert place in refused(tmp_path, joined(header | change, document, data))


DROP = object()


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (["version"], DROP, "the version is missing"),
        (["version"], [1], "version: elements are missing"),
        (["version"], [1, 1], "a newer one. Expected 1.0 to 1.0; received 1.1. Update gatewise."),
        (["version"], [2, 0], "a newer one. Expected 1.0 to 1.0; received 2.0. Update gatewise."),
        (["version"], [0, 9], "an older one"),
        (["version"], ["1", 0], "version: this number does not fit"),
        (["fingerprint"], "0" * 63, "fingerprint: this is none"),
        (["fingerprint"], "G" * 64, "fingerprint: this is none"),
        (["more"], 1, "members do not fit"),
        (["nodes"], DROP, "members do not fit"),
        (["nodes"], [], "nodes: elements are missing"),
        (["nodes"], {}, "nodes: this is no array"),
        (["nodes", 0, "more"], 1, "nodes[0]: members do not fit"),
        (["nodes", 0, "operation"], "exec", "node 'score': operation 'exec' is unknown"),
        (["nodes", 0, "operation"], ["dense"], "nodes[0] 'score': operation: this is no name"),
        (["nodes", 0, "options"], {"axis": 1}, "node 'score': dense has no axis"),
        (["nodes", 0, "options"], [], "nodes[0] 'score': options: this is no object"),
        (["nodes", 0, "inputs"], ["y"], "node 'score' reads y, which nothing before it makes"),
        (["nodes", 0, "inputs"], [None], "input x is missing"),
        (["nodes", 0, "inputs"], [1], "nodes[0] 'score': inputs: this is no name"),
        (["nodes", 0, "inputs"], ["x"] * 300, "nodes[0] 'score': inputs: there are too many elements"),
        (["nodes", 0, "outputs"], ["x"], "the value 'x' stands for two"),
        (["nodes", 0, "weights", "kernel"], "none", "missing: none"),
        (["nodes", 0, "weights", "kernel"], DROP, "named by no node: score/kernel"),
        (["nodes", 0, "weights", "more"], "score/kernel", "dense has no more"),
        (["inputs", 0, "shape"], [None, 4], "the width of x is 4. Expected 3"),
        (["inputs", 0, "shape"], [None, -3], "inputs[0]: shape: this number does not fit"),
        (["inputs", 0, "shape"], [], "inputs[0]: shape: elements are missing"),
        (["inputs", 0, "dtype"], "float64", "inputs[0]: its dtype is unknown"),
        (["inputs", 0, "name"], "", "inputs[0]: this is no name"),
        (["outputs"], [], "outputs: elements are missing"),
        (["outputs"], [{"name": "y", "value": "y"}] * 2, "outputs: a name stands twice"),
        (["outputs", 0, "value"], "z", "output 'y' is the value 'z', which no node makes"),
        (["preprocessing"], [], "preprocessing: this is no object"),
        (["preprocessing"], {"x": {"class_name": "os>system", "config": {}}}, "class_name is unknown"),
        (["preprocessing"], {"x": {"class_name": "gatewise>Labels", "config": {}}}, "members do not fit"),
        (["sample"], {}, "sample: members do not fit"),
        (["sample", "inputs", "x"], "score/kernel", "sample: a tensor stands twice"),
        (["sample", "inputs", "x"], "none", "tensors do not fit"),
        (["sample", "inputs"], {}, "sample: inputs: members do not fit"),
        (["sample"], DROP, "named by no node: sample/inputs/0"),
    ],
)
def test_a_document_that_is_wrong_is_refused(tmp_path: Path, path: list[Any], value: Any, place: str) -> None:
    header, document, data = split(written(tmp_path, dense(), run=run))
    at = document
    for step in path[:-1]:
        at = at[step]
    if value is DROP:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    assert place in refused(tmp_path, joined(header, document, data), run=never)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"version": [1, 0], "version": [1, 0]}', "the member 'version' twice"),
        ('{"version": [1, NaN]}', "NaN, which is no number"),
        ('{"version": [1, -Infinity]}', "-Infinity, which is no number"),
        ('{"version": [1, 1e999]}', "the number 1e999, which is too large"),
        (f'{{"version": [1, {2**53}]}}', "which is too large"),
        (f'{{"version": [1, {"9" * 5000}]}}', "which is too large"),
        ('{"version": "\\ud800"}', "no UTF-8"),
        ('{"\\ud800": [1, 0]}', "no UTF-8"),
        ('{"version": [1, 0]', "as many brackets closed as opened"),
        ('{"version": [1, 0]} {}', "other text"),
        ('{"version": "\n"}', "other text"),
        ("[" * 100_000 + "]" * 100_000, "objects and arrays within each other"),
        ("[" + "{}," * JSON_CONTAINERS + "1]", "too many objects and arrays."),
        ("[" + "1," * JSON_VALUES + "1]", "too many members and elements"),
        ('"' + "[" * 1000 + '"', "the version is missing"),  # brackets in a string are none
        ('"\\"' + "[" * 1000 + '\\\\"', "the version is missing"),
    ],
    ids=range(16),
)
def test_json_that_is_none_or_too_much_is_refused(tmp_path: Path, text: str, place: str) -> None:
    header, _, data = split(written(tmp_path, dense()))
    assert place in refused(tmp_path, joined(header, text, data))


def test_a_header_with_members_twice_is_refused(tmp_path: Path) -> None:
    raw = written(tmp_path, dense())
    length = int.from_bytes(raw[:8], "little")
    text = raw[8 : 8 + length].decode().rstrip().removesuffix("}")
    twice = f'{text},"score/bias":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}'.encode()
    assert "'score/bias' twice" in refused(tmp_path, len(twice).to_bytes(8, "little") + twice + raw[8 + length :])


def test_a_mask_of_other_bytes_is_refused(tmp_path: Path) -> None:
    header, document, data = split(written(tmp_path, several()))
    begin = header["on"]["data_offsets"][0]
    wrong = joined(header, document, data[:begin] + b"\2" + data[begin + 1 :])
    assert "tensor 'on': this is no mask" in refused(tmp_path, wrong)


def test_a_model_that_a_file_cannot_hold_is_not_written(tmp_path: Path) -> None:
    graph = dense()
    chain = tuple(
        Node(f"n{i}", "activation", (f"v{i}" if i else "x",), (f"v{i + 1}",), {"function": "tanh"})
        for i in range(NODES + 1)
    )
    many = Graph({"x": NUMBERS}, chain, {"y": "v1"}, {})
    kept = {"x": {"class_name": "gatewise>Scaler", "config": {"method": "standard", "shift": [np.inf], "scale": [1]}}}
    for wrong, place in [
        (many, "nodes: there are too many elements"),
        (dataclasses.replace(graph, outputs={"y" * 300: "y"}), "this is no name"),
        (dataclasses.replace(graph, outputs={"\ud800": "y"}), "this cannot be written"),
        (dataclasses.replace(graph, preprocessing=kept), "this cannot be written"),
        (dataclasses.replace(graph, preprocessing={"x": Labels(["a"])}), "this cannot be written"),
        (one("embedding", Value((None,), "int64"), {}, {"table": np.zeros((0, 3), np.float32)}), "tensor 'table'"),
    ]:
        with pytest.raises(FormatError) as caught:
            write(wrong, tmp_path / "m")
        assert place in str(caught.value)
    constant = Node("c", "constant", (), ("y",), {}, {"value": "value"})
    wide = Graph({"x": NUMBERS}, (constant,), {"y": "y"}, {"value": np.zeros((1, 2))})
    with pytest.raises(FormatError, match="tensor 'value': its dtype"):
        write(wide, tmp_path / "m")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("operation", "value", "options", "tensors"),
    [
        ("reshape", NUMBERS, {"shape": [LONG] * 8}, {}),
        ("reshape", Value((None, 3), "float32"), {"shape": [1, 1, 1, 1, 1, 1, 1, 3, 1]}, {}),
        ("activation", NUMBERS, {"slope": 10**400}, {}),
        ("activation", NUMBERS, {"slope": float("nan")}, {}),
        ("activation", NUMBERS, {"slope": float("inf")}, {}),
        ("slice", NUMBERS, {"start": 10**400}, {}),
        ("expand", Value((None,) * 8, "float32"), {"axis": 1}, {}),
        ("pad", Value((None, LONG), "float32"), {"before": LONG}, {}),
        ("upsample", Value((None, LONG), "float32"), {"times": LONG}, {}),
        ("embedding", Value((None,) * 8, "int64"), {}, {"table": draw(2, 2)}),
        ("gru", NUMBERS, {}, {"kernel": draw(3, 3), "recurrent_kernel": np.float32(1)}),
        ("dense", NUMBERS, {}, {"kernel": np.float32(1)}),
        ("zero_masked", Value((None,), "float32"), {}, {}),
        ("lengths", NUMBERS, {}, {}),
        ("softmax", Value((), "float32"), {}, {}),
    ],
    ids=range(15),
)
def test_a_graph_refuses_absurd_shapes_and_options_itself(
    operation: str, value: Value, options: dict[str, Any], tensors: dict[str, Any]
) -> None:
    names = {"zero_masked": ("x", "m"), "lengths": ("l", "x")}.get(operation, ("x",))
    inputs = {"x": value, "m": Value((None, None), "bool"), "l": Value((None,), "float32")}
    node = Node("it", operation, names, ("y",), options, {name: name for name in tensors})
    with pytest.raises(GraphError):
        Graph(inputs, (node,), {"y": "y"}, tensors)


def test_reading_takes_at_most_twice_the_size_of_the_file(tmp_path: Path) -> None:
    graph = one("dense", Value((None, 1000), "float32"), {}, {"kernel": draw(1000, 2000)})
    write(graph, tmp_path / "m", run=run)
    size = (tmp_path / "m").stat().st_size
    read(tmp_path / "m")  # what is imported stays
    tracemalloc.start()
    try:
        read(tmp_path / "m")
        assert tracemalloc.get_traced_memory()[1] < 1.1 * size  # all but JSON once
    finally:
        tracemalloc.stop()


# --- Writing ---


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    write(dense(), tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    program = """
import errno, json, os, resource
import numpy as np
from gatewise.runtime.file import read, write
from gatewise.runtime.graph import Graph, Node, Value
node = Node("n", "dense", ("x",), ("y",), {}, {"kernel": "k"})
graph = Graph({"x": Value((None, 300), "float32")}, (node,), {"y": "y"}, {"k": np.ones((300, 300), np.float32)})
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    write(graph, "model")
except OSError as error:
    print(json.dumps([error.errno == errno.EFBIG, os.listdir(".")]))
"""
    assert own_process.run(program, tmp_path) == [True, ["model"]]
    assert (tmp_path / "model").read_bytes() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it may come while a file is opened
def test_an_interrupt_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    class Interrupt(Exception):  # noqa: N818  # as KeyboardInterrupt, which would end the tests if it came late
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupt

    large = one("dense", Value((None, 1000), "float32"), {}, {"kernel": draw(1000, 1000)})
    path, interrupted = tmp_path / "model", 0
    was = signal.signal(signal.SIGALRM, interrupt)
    try:
        for trial in range(24):
            write(dense(), path)
            before = path.read_bytes()
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0004 * (trial + 1))
                write(large, path)
            except Interrupt:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert path.read_bytes() == before or read(path).nodes == large.nodes
            assert [*tmp_path.iterdir()] == [path]
    finally:
        signal.signal(signal.SIGALRM, was)
    assert interrupted


def test_a_file_has_the_mode_of_any_new_one_and_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write(dense(), tmp_path / "model")
    mode = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == mode
    (tmp_path / "link").symlink_to("model")
    write(square(), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "model").nodes == square().nodes
    with pytest.raises(FileNotFoundError):
        write(dense(), tmp_path / "no" / "folder")


# --- Preprocessing ---


def kept() -> dict[str, Any]:
    texts = ["a warm film", "a cold, cold film é"]
    tokenizer = Tokenizer(num_words=5, oov_token="?")  # noqa: S106  # no password
    tokenizer.fit_on_texts(texts)
    return {
        "Labels": Labels(["neg", "pos"]),
        "LogMel": LogMel(rate=8000, bands=20),
        "Scaler": Scaler().adapt(np.random.default_rng(0).normal(size=(9, 3))),
        "SeasonalScaler": SeasonalScaler(["day_of_week"], 1, root=True).adapt(
            TimeSeries([[1.0], [2.0], [0.0], [4.0], [3.0]], np.arange("2024-01-01", "2024-01-06", dtype="M8[D]"))
        ),
        "SeriesScaler": SeriesScaler("minmax").adapt([TimeSeries([[1.0], [2.0]], [0, 1], name="a")]),
        "Subwords": Subwords(max_tokens=270).adapt(texts),
        "Tokenizer": tokenizer,
        "Vocabulary": Vocabulary(output_sequence_length=4).adapt(texts),
    }


def test_each_class_goes_through_a_file(tmp_path: Path) -> None:
    everything = kept()
    assert everything.keys() == CONFIGS.keys()
    described = {name: preprocessing_to_json(one) for name, one in everything.items()}
    write(dataclasses.replace(dense(), preprocessing=described), tmp_path / "m")
    for name, found in read(tmp_path / "m").preprocessing.items():
        again = preprocessing_from_json(found)
        assert type(again) is type(everything[name])
        assert again.get_config() == everything[name].get_config()
        assert again.get_config().keys() == {*CONFIGS[name]}


def test_what_has_learned_nothing_goes_too() -> None:
    scalers = Scaler("minmax"), SeasonalScaler(), SeriesScaler()
    for one_kept in (Labels(), *scalers, Subwords(), Tokenizer(), Vocabulary(split="byte")):
        again = preprocessing_from_json(preprocessing_to_json(one_kept))
        assert again.get_config() == one_kept.get_config()


def test_what_is_no_preprocessing_is_not_described() -> None:
    for wrong in (3, "text", object(), Tokenizer(analyzer=str.split), type("Labels", (), {})()):
        with pytest.raises(TypeError, match="preprocessing"):
            preprocessing_to_json(wrong)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Labels", {"names": ["a", "a"]}),
        ("Labels", {"names": ["a"] * 100_000}),
        ("Labels", {"names": 3}),
        ("Labels", {"more": 3}),
        ("LogMel", {"rate": 2**31}),
        ("LogMel", {"bands": 2**20}),
        ("LogMel", {"bands": 10**15}),
        ("LogMel", {"frame_length": 2**20, "bands": 2}),
        ("LogMel", {"frame_length": -1}),
        ("LogMel", {"bands": True}),
        ("LogMel", {"floor": -1.0}),
        ("LogMel", {"low": "0"}),
        ("Scaler", {"shift": [[1.0]]}),
        ("Scaler", {"shift": [[1.0], 2.0]}),
        ("Scaler", {"shift": {}}),
        ("Scaler", {"scale": [0.0, 1.0, 1.0]}),
        ("Scaler", {"method": "eval"}),
        ("Scaler", {"method": []}),
        ("SeasonalScaler", {"parts": []}),
        ("SeasonalScaler", {"parts": ["lunch"]}),
        ("SeasonalScaler", {"parts": ["day_of_week", "day_of_week"]}),
        ("SeasonalScaler", {"waves": 2}),
        ("SeasonalScaler", {"waves": 10**9, "usual": None, "scaler": None}),
        ("SeasonalScaler", {"root": 1}),
        ("SeasonalScaler", {"calendar": "no"}),
        ("SeasonalScaler", {"usual": None}),
        ("SeasonalScaler", {"usual": [[1.0, 2.0]]}),
        ("SeasonalScaler", {"usual": [[1.0, 2.0, "a"]]}),
        ("SeasonalScaler", {"usual": [[1.0, 2.0, 3.0]] * 2}),
        ("SeasonalScaler", {"scaler": {"method": "standard", "shift": None, "scale": None}}),
        ("SeasonalScaler", {"scaler": {"code": "1"}}),
        ("SeasonalScaler", {"scaler": None}),
        ("SeriesScaler", {"scalers": {"a": 3}}),
        ("SeriesScaler", {"scalers": {"a": {"code": "1"}}}),
        ("SeriesScaler", {"scalers": ["a"]}),
        ("Subwords", {"tokenizer": "{}"}),
        ("Subwords", {"tokenizer": '{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}'}),
        ("Subwords", {"tokenizer": "[" * 100_000}),
        ("Subwords", {"max_tokens": 1}),
        ("Tokenizer", {"word_index": "[" * 100_000}),
        ("Tokenizer", {"word_index": '{"a": "b"}'}),
        ("Tokenizer", {"word_index": '{"a": 1e999}'}),
        ("Tokenizer", {"index_word": '{"a": "b"}'}),
        ("Tokenizer", {"index_word": "[]"}),
        ("Tokenizer", {"word_counts": 3}),
        ("Tokenizer", {"lower": "no"}),
        ("Tokenizer", {"split": ""}),
        ("Tokenizer", {"num_words": 10**15}),
        ("Tokenizer", {"analyzer": "print"}),
        ("Vocabulary", {"output_sequence_length": 2**40}),
        ("Vocabulary", {"vocabulary": ["a", "a"]}),
        ("Vocabulary", {"vocabulary": [1]}),
        ("Vocabulary", {"vocabulary": {"a": 1}}),
        ("Vocabulary", {"padding": "none"}),
        ("Vocabulary", {"padding": []}),
    ],
)
def test_preprocessing_that_is_wrong_is_refused(name: str, change: dict[str, Any]) -> None:
    described = preprocessing_to_json(kept()[name])
    with pytest.raises(FormatError, match="preprocessing"):
        preprocessing_from_json(described | {"config": described["config"] | change})


def sound() -> list[Any]:
    return preprocessing_to_json([kept()["LogMel"], Scaler().adapt(np.random.default_rng(0).normal(size=(9, 20)))])


def test_a_chain_goes_through_a_file(tmp_path: Path) -> None:
    described = {"x": sound(), "y": preprocessing_to_json(kept()["Labels"])}
    write(dataclasses.replace(dense(), preprocessing=described), tmp_path / "m")
    found = read(tmp_path / "m").preprocessing
    assert found == described
    log_mel, scaler = preprocessing_from_json(found["x"])
    assert (log_mel.bands, scaler.get_config()) == (20, described["x"][1]["config"])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda chain: chain[:1], "elements are missing"),
        (lambda chain: [*chain, chain[1]], "too many elements"),
        (lambda chain: chain[::-1], "this is no chain"),
        (lambda chain: [chain[1]] * 2, "this is no chain"),
        (lambda chain: [chain[0], preprocessing_to_json(Labels(["a", "b"]))], "this is no chain"),
        (lambda chain: [chain[0], chain], r"\[1\]: this is no object"),
        (lambda chain: [chain[0], preprocessing_to_json(Scaler("standard", [1.0], [1.0]))], "do not fit each other"),
        (
            lambda chain: [{**chain[0], "config": {**chain[0]["config"], "bands": 2**20}}, chain[1]],
            r"\[0\].*LogMel: bands",
        ),
    ],
    ids=range(8),
)
def test_a_chain_that_is_none_is_refused(tmp_path: Path, change: Any, what: str) -> None:
    header, document, data = split(written(tmp_path, dense(), run=run))
    document["preprocessing"] = {"x": change(sound())}
    assert re.search(what, refused(tmp_path, joined(header, document, data), run=never))


def test_no_more_is_kept_than_can_be_checked_in_time(tmp_path: Path) -> None:
    labels = preprocessing_to_json(kept()["Labels"])
    most = {"x": sound(), **{f"{i}": labels for i in range(62)}}
    write(dataclasses.replace(dense(), preprocessing=most), tmp_path / "m")
    with pytest.raises(FormatError, match="too many parts"):
        write(dataclasses.replace(dense(), preprocessing=most | {"more": labels}), tmp_path / "m")


def test_nothing_is_imported_by_name() -> None:
    for name in ("Saved", "TextEncoder", "PACKAGE", "gatewise>Saved", "gatewise>os", "os>system", 3, None):
        with pytest.raises(FormatError):
            preprocessing_from_json({"class_name": name, "config": {}})


# --- The page ---


def test_the_page_has_the_operations_and_their_options() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "TO WRITE" not in rewritten(page), "say what it computes: python tests/format_page.py writes the rest"
    assert rewritten(page) == page, "run python tests/format_page.py"
    assert [row[0].strip("`") for row in section(page, "functions")] == list(FUNCTIONS)


def test_the_page_has_the_limits_and_the_preprocessing() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert {what: int(limit) for what, limit in section(page, "limits")} == LIMITS
    rows = section(page, "preprocessing")
    found = {name.strip("`"): tuple(one.strip("`") for one in names.split(", ")) for name, names, _ in rows}
    assert found == {f"gatewise>{name}": names for name, names in CONFIGS.items()}
