# SPDX-License-Identifier: Apache-2.0
"""A model's file: written in whole or not at all, and read without trust. docs/format.md says what stands in it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.data.errors import FormatError
from gatewise.options import cut
from gatewise.runtime.format import container, document, limits, preprocessing
from gatewise.runtime.format import sample as samples
from gatewise.runtime.format.document import fingerprint
from gatewise.runtime.format.limits import wrong
from gatewise.runtime.format.preprocessing import preprocessing_from_json, preprocessing_to_json
from gatewise.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from gatewise.runtime.format.sample import Run
    from gatewise.runtime.graph import Graph, Value

__all__ = ["FormatError", "fingerprint", "preprocessing_from_json", "preprocessing_to_json", "read", "write"]


class _Checked(NamedTuple):
    """What a header says, when all of it is checked, and nothing of the data is read."""

    header: container.Header
    document: document.Document
    sample_values: dict[str, Value]  # none without a sample


def write(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    run: Run | None = None,
    sample: Mapping[str, npt.ArrayLike] | None = None,
) -> str:
    """Writes a model to a file, which is there in whole or not at all; the same model gives the same bytes.

    Args:
        graph: the model; tensors that no node names are left out.
        path: the file, replaced if it exists. Its ending means nothing; ".safetensors" is usual.
        run: takes the graph and its inputs, by name, and gives its outputs, by name: what the sample's outputs are
            computed by. Without it the file has no sample, and `read` cannot see whether the model computes the same.
        sample: by name of an input, an array; without it, a small one is made.

    Returns:
        The model's fingerprint.

    Raises:
        FormatError: the model is beyond the limits of docs/format.md, JSON cannot hold a part of it, or the sample does
            not run.
        OSError: the system does not write: the disk is full, the folder is missing. What was there stays.

    Example:
        >>> import tempfile
        >>> from gatewise.runtime.graph import Graph, Node, Value
        >>> graph = Graph(
        ...     {"x": Value((None, 3), "float32")},
        ...     (Node("score", "dense", ("x",), ("y",), {}, {"kernel": "score/kernel"}),),
        ...     {"y": "y"},
        ...     {"score/kernel": np.ones((3, 2), np.float32)},
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = write(graph, f"{folder}/model.safetensors")
        ...     again = read(f"{folder}/model.safetensors")
        >>> again.nodes == graph.nodes, fingerprint(again) == written
        (True, True)
    """
    where = f"write: {os.fspath(path)}"
    tensors = document.used_tensors(graph)
    for name, tensor in tensors.items():
        if str(tensor.dtype) not in container.NAMES:
            expected = f"one of {', '.join(container.NAMES)}"
            raise wrong(f"{where}: tensor {cut(repr(name))}", "its dtype", expected, str(tensor.dtype), "Convert it.")
    digits, names = fingerprint(graph), None
    if run is not None:
        inputs, outputs = _sample(f"{where}: sample", graph, sample, run)
        names, of_sample = _named(tensors, inputs, outputs)
        tensors |= of_sample
    head, order = container.header_of(document.text_of(graph, digits, names), tensors)
    data_bytes = sum(tensor.nbytes for tensor in tensors.values())
    container.header_length(where, head[:8], len(head) + data_bytes)
    _checked(where, head[8:], data_bytes)  # what is written can be read
    write_whole(Path(path), [head, *(container.bytes_of(tensors[name]).data for name in order)])
    return digits


def read(path: str | os.PathLike[str], *, run: Run | None = None, verify: bool = True) -> Graph:
    """Reads a model from a file. Whatever stands in it, nothing of it is executed.

    Everything that a file says is checked against docs/format.md and the file's true length before the tensors are
    read. These are read once, into one array; JSON comes on top.

    Args:
        path: the file.
        run: as for `write`: what the sample is run by. Without it, or without a sample, nothing runs.
        verify: whether the sample is run, and its outputs compared.

    Returns:
        The model. Its tensors cannot be written to, and its preprocessing is JSON that `preprocessing_from_json` takes.

    Raises:
        FormatError: the file is no model, is damaged, beyond the limits or of a newer version, or its model does not
            compute what it was saved with; the message names the place.
        OSError: the system does not read; FileNotFoundError: there is no such file.

    Example:
        >>> read("model.safetensors")
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'model.safetensors'
    """
    where, path = f"read: {os.fspath(path)}", Path(path)
    if path.exists() and not path.is_file():  # to open a pipe would wait
        raise wrong(where, "this is no file", "a file", "a folder, pipe or device", "Check the path.")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = container.header_length(where, file.read(8), size)
        data_bytes = size - 8 - length
        raw = file.read(length)
        if len(raw) < length:
            raise wrong(where, "the end is missing", f"{length} bytes of header", f"{len(raw)}")
        checked = _checked(where, raw, data_bytes)
        data = np.empty(data_bytes, np.uint8)
        if file.readinto(data.data) < data_bytes:
            raise wrong(where, "the end is missing", f"{data_bytes} bytes of data", "fewer")
    arrays = container.tensors(where, checked.header.entries, data)
    found = checked.document
    graph = dataclasses.replace(found.graph, tensors={name: arrays[name] for name in found.graph.tensors})
    if fingerprint(graph) != found.fingerprint:
        raise wrong(where, "the fingerprint is that of another model", found.fingerprint, fingerprint(graph))
    if found.sample is not None and run is not None and verify:
        inputs = {name: arrays[tensor] for name, tensor in found.sample.inputs.items()}
        stored = {name: arrays[tensor] for name, tensor in found.sample.outputs.items()}
        where = f"{where}: sample"
        samples.compare(where, samples.run_it(where, graph, checked.sample_values, inputs, run), stored)
    return graph


def _checked(where: str, raw: bytes, data_bytes: int) -> _Checked:
    """Checks a header and the document in it, as a reader does before it takes the tensors."""
    header = container.read_header(where, raw, data_bytes)
    found = document.read(f"{where}: {limits.KEY}", header.document, header.entries)
    preprocessing.check_all(where, found.graph.preprocessing)
    if found.sample is None:
        return _Checked(header, found, {})
    here = f"{where}: sample"
    entries = {name: header.entries[tensor] for name, tensor in found.sample.inputs.items()}
    values = samples.check_limits(here, found.graph, {name: entry.shape for name, entry in entries.items()})
    of_outputs = {value: header.entries[found.sample.outputs[name]] for name, value in found.graph.outputs.items()}
    of_inputs = {name: entries[name] for name in found.graph.inputs}
    for name, entry in [*of_inputs.items(), *of_outputs.items()]:
        expected = (container.NAMES[values[name].dtype], values[name].shape)
        if (entry.dtype, entry.shape) != expected:
            raise wrong(f"{here}: {cut(repr(name))}", "its tensor does not fit", str(expected), str(entry[:2]))
    return _Checked(header, found, values)


def _sample(
    where: str, graph: Graph, given: Mapping[str, npt.ArrayLike] | None, run: Run
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Brings a sample's inputs, and computes its outputs."""
    if given is None:
        inputs = samples.make(graph)
    elif given.keys() == graph.inputs.keys():
        inputs = {name: np.asarray(given[name], value.dtype) for name, value in graph.inputs.items()}
    else:
        cure = "Give an array for each input."
        raise wrong(where, "inputs do not fit", ", ".join(graph.inputs), ", ".join(given) or "none", cure)
    values = samples.check_limits(where, graph, {name: array.shape for name, array in inputs.items()})
    return inputs, samples.run_it(where, graph, values, inputs, run)


def _named(
    taken: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> tuple[document.SampleNames, dict[str, Any]]:
    """Gives the sample's tensors names that no other has."""
    begin = "sample"
    while any(name.startswith(f"{begin}/") for name in taken):
        begin += "_"
    names = document.SampleNames(
        {name: f"{begin}/inputs/{i}" for i, name in enumerate(inputs)},
        {name: f"{begin}/outputs/{i}" for i, name in enumerate(outputs)},
    )
    arrays = {names.inputs[name]: array for name, array in inputs.items()}
    return names, arrays | {names.outputs[name]: array for name, array in outputs.items()}
