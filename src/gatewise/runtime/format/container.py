# SPDX-License-Identifier: Apache-2.0
"""The safetensors container: its header, read and written.

It is read here and not by the package safetensors, because a header may lie: lengths, types and places are checked
against the file's true length, and against the limits, before anything is made of them, members that stand twice are
refused, and what is wrong is named. The tensors are read, not mapped: a file that somebody shortens under a map ends
the process.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.options import cut
from gatewise.runtime.format import strict_json
from gatewise.runtime.format.limits import (
    AXES,
    FILE_BYTES,
    HEADER_BYTES,
    KEY,
    SIZE,
    TENSORS,
    array,
    at_most,
    members,
    name,
    whole,
    wrong,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "BOOL": np.dtype("|b1")}
NAMES = {"float32": "F32", "int64": "I64", "bool": "BOOL"}
_ALIGNED = 64  # begins the data


class Entry(NamedTuple):
    """A tensor in a header: its dtype as the header writes it, its shape, and where its bytes lie in the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """A header that is checked: the tensors by name, in the order of their bytes, and the document."""

    entries: dict[str, Entry]
    document: str

    @property
    def data_bytes(self) -> int:
        """How many bytes follow the header."""
        return max((entry.end for entry in self.entries.values()), default=0)


def header_length(where: str, first: bytes, file_bytes: int) -> int:
    """Reads the length of the header from the first 8 bytes.

    Raises:
        FormatError: the file is too long, or too short for what it says of itself.
    """
    at_most(where, "bytes", file_bytes, FILE_BYTES)
    if len(first) < 8:
        raise wrong(where, "this is no model", "a safetensors file", f"{len(first)} bytes")
    length = int.from_bytes(first, "little")
    if not 2 <= length <= file_bytes - 8:
        expected = f"a safetensors file, with a header of 2 to {max(file_bytes - 8, 2)} bytes"
        raise wrong(where, "this is no model, or the end is missing", expected, f"a length of {length}")
    at_most(where, "bytes in the header", length, HEADER_BYTES)
    return length


def read_header(where: str, raw: bytes, data_bytes: int) -> Header:
    """Reads and checks a header.

    Args:
        where: opens the messages.
        raw: its bytes.
        data_bytes: how many follow in the file.

    Raises:
        FormatError: it is no header of a model, or the tensors do not cover the data.
    """
    if raw[:1] != b"{":
        raise wrong(where, "this is no model", "a safetensors file, whose header begins with {", raw[:8])
    header = strict_json.parse(f"{where}: header", raw)
    if "__metadata__" not in header:
        expected = f"a safetensors file with the metadata key {KEY}"
        raise wrong(where, "this is no model", expected, "none", "Write it by gatewise.save.")
    metadata = members(f"{where}: __metadata__", header.pop("__metadata__"), [KEY])
    at_most(where, "tensors", len(header), TENSORS)
    entries = {one: _entry(f"{where}: tensor {cut(repr(one))}", one, what) for one, what in header.items()}
    entries = dict(sorted(entries.items(), key=lambda item: item[1].begin))
    end = 0
    for one, entry in entries.items():
        if entry.begin != end:
            what = "a hole before it" if entry.begin > end else "an overlap with the one before"
            raise wrong(f"{where}: tensor {cut(repr(one))}", "its bytes lie elsewhere", f"a begin at {end}", what)
        end = entry.end
    if end != data_bytes:
        raise wrong(where, "tensors do not cover the data", f"{end} bytes after the header", f"{data_bytes}")
    document = metadata[KEY]
    if type(document) is not str:
        raise wrong(f"{where}: __metadata__", f"{KEY} is no string", "JSON in a string", document)
    return Header(entries, document)


def _entry(where: str, own: str, value: Any) -> Entry:
    name(where, own)
    value = members(where, value, ["dtype", "shape", "data_offsets"])
    dtype = value["dtype"]
    if type(dtype) is not str or dtype not in DTYPES:
        raise wrong(where, "its dtype is unknown", f"one of {', '.join(DTYPES)}", dtype)
    shape = tuple(whole(f"{where}: shape", size, 1, SIZE) for size in array(f"{where}: shape", value["shape"], AXES, 1))
    offsets = array(f"{where}: data_offsets", value["data_offsets"], 2, 2)
    begin, end = (whole(f"{where}: data_offsets", offset, 0, FILE_BYTES) for offset in offsets)
    wanted = math.prod(shape) * DTYPES[dtype].itemsize
    if end - begin != wanted:
        raise wrong(where, "its bytes do not fit its shape", f"{wanted} bytes", f"{end - begin}")
    return Entry(dtype, shape, begin, end)


def placeholders(entries: Mapping[str, Entry]) -> dict[str, Array]:
    """Makes arrays of the shapes and dtypes of tensors that take no memory: what a graph is checked with."""
    return {
        one: np.broadcast_to(np.zeros((), DTYPES[entry.dtype].newbyteorder("=")), entry.shape)
        for one, entry in entries.items()
    }


def tensors(where: str, entries: Mapping[str, Entry], data: npt.NDArray[np.uint8]) -> dict[str, Array]:
    """Makes the tensors: views of the data, read-only; copies where one is not aligned.

    Raises:
        FormatError: a byte of a mask is neither 0 nor 1.
    """
    found = {}
    for one, entry in entries.items():
        flat, dtype = data[entry.begin : entry.end], DTYPES[entry.dtype]
        if dtype.kind == "b" and flat.max() > 1:
            raise wrong(f"{where}: tensor {cut(repr(one))}", "this is no mask", "bytes 0 and 1", f"{flat.max()}")
        if flat.ctypes.data % dtype.itemsize:
            flat = flat.copy()
        whole_array = flat.view(dtype).reshape(entry.shape)
        found[one] = whole_array.astype(dtype.newbyteorder("="), copy=False)  # a copy where bytes lie the other way
        found[one].flags.writeable = False
    return found


def header_of(document: str, arrays: Mapping[str, Array]) -> tuple[bytes, list[str]]:
    """Writes a header.

    Returns:
        The 8 bytes of its length and the header; and the names of the tensors in the order of their bytes.
    """
    order = sorted(arrays, key=lambda one: (-arrays[one].itemsize, one))
    header: dict[str, Any] = {"__metadata__": {KEY: document}}
    end = 0
    for one in order:
        begin, end = end, end + arrays[one].nbytes
        shape = list(arrays[one].shape)
        header[one] = {"dtype": NAMES[str(arrays[one].dtype)], "shape": shape, "data_offsets": [begin, end]}
    raw = strict_json.text_of("write: header", header).encode()
    raw += b" " * (-(8 + len(raw)) % _ALIGNED)
    return len(raw).to_bytes(8, "little") + raw, order


def bytes_of(tensor: Array) -> npt.NDArray[np.uint8]:
    """A tensor's bytes as the file has them: a view where memory has them so."""
    flat: Array = np.ascontiguousarray(tensor, DTYPES[NAMES[str(tensor.dtype)]]).reshape(-1)
    return flat.view(np.uint8)
