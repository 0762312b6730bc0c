# SPDX-License-Identifier: Apache-2.0
"""Many streams that come and go, stepped together: their states stand side by side and advance in place."""

from __future__ import annotations

import struct
import threading
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.options import cut
from gatewise.runtime.lowering import StreamError
from gatewise.runtime.stream import Programs, fed_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Ids = npt.NDArray[np.int64]

# Of a snapshot: what it is, its version, the model's fingerprint, and a checksum of what follows
MAGIC, VERSION = b"gwstream", 1
HEADER = struct.Struct("<8sI32sI")


class StreamPool:
    """Room for many streams of a model, each known by an id; see `Model.stream_pool`.

    A stream's outputs are the same bits whoever its neighbours are. Calls may come from many threads; two that name
    the same stream wait for each other. Memory is taken once, when the pool is made.

    Attributes:
        capacity: how many streams may be open at once.
        block: steps that each stream takes at once, as `Stream.block`.

    Example:
        >>> import numpy as np
        >>> from gatewise.runtime import Graph, Model, Node, Value
        >>> weights = {"kernel": np.ones((1, 4), np.float32), "recurrent_kernel": np.ones((4, 4), np.float32)}
        >>> nodes = (Node("rnn", "simple_rnn", ("x",), ("y",), {}, {name: name for name in weights}),)
        >>> pool = Model(Graph({"x": Value((None, None, 1), "float32")}, nodes, {"y": "y"}, weights)).stream_pool(1000)
        >>> first, second = pool.open(), pool.open()
        >>> pool.step([second], [[0.5]]).shape
        (1, 4)
        >>> pool.close(first)
        >>> len(pool)
        1
    """

    def __init__(self, programs: Programs, fingerprint: str, capacity: int, cure: str | None = None) -> None:
        if type(capacity) is not int or capacity < 1:
            raise ValueError(
                f"stream_pool: capacity is {cut(repr(capacity))}. Expected a whole number from 1. Say how many may "
                "be open at once."
            )
        lowered = programs.lowered()
        if lowered.given:
            raise StreamError(
                f"stream_pool: the model reads {next(iter(lowered.given))!r}, which does not advance. Expected inputs "
                "that do; received one for each stream. Use model.stream(context=...)."
            )
        self.capacity, self.block = capacity, lowered.block
        self._program = programs.program()
        self._states = self._program.arrays(capacity)
        self._cure = cure
        self._fingerprint = bytes.fromhex(fingerprint)
        self._fed = lowered.chunks
        self._outputs = lowered.outputs
        self._ids: Ids = np.full(capacity, -1, np.int64)  # of the stream in each row; -1: none
        self._opened: Ids = np.zeros(capacity, np.int64)  # how often each row was, so that no id comes twice
        self._free = list(range(capacity - 1, -1, -1))
        self._busy = np.zeros(capacity, np.bool_)
        self._seen: Ids = np.zeros(capacity, np.int64)
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """How many streams are open."""
        return self.capacity - len(self._free)

    @property
    def ids(self) -> Ids:
        """The ids of the open streams."""
        with self._changed:
            return self._ids[self._ids >= 0]

    def open(self) -> int:
        """Opens a stream, at its beginning: all its states are zeros.

        Returns:
            Its id, which no other stream of this pool has, has had or will have.

        Raises:
            RuntimeError: as many as the capacity are open.
        """
        with self._changed:
            if not self._free:
                raise RuntimeError(
                    f"stream_pool: no room. Expected at most {self.capacity} open streams; received one more. Close "
                    "some, or make a larger pool."
                )
            row = self._free.pop()
            for state in self._states:
                state[row] = 0
            self._ids[row] = row + self.capacity * self._opened[row]
            self._opened[row] += 1
            return int(self._ids[row])

    def close(self, ids: npt.ArrayLike) -> None:
        """Closes streams.

        Args:
            ids: one, or several.

        Raises:
            KeyError: one is not open. None is closed.
            ValueError: one is named twice. None is closed.
        """
        with self._rows("close", ids) as rows, self._changed:
            self._ids[rows] = -1
            self._free.extend(rows.tolist())

    def reset(self, ids: npt.ArrayLike) -> None:
        """Takes streams back to their beginning.

        Args:
            ids: one, or several.

        Raises:
            KeyError: one is not open.
            ValueError: one is named twice.
        """
        with self._rows("reset", ids) as rows:
            for state in self._states:
                state[rows] = 0

    def fork(self, stream: int) -> int:
        """Opens a stream that stands where another one does.

        Args:
            stream: the other's id.

        Returns:
            The new one's id.

        Raises:
            KeyError: it is not open.
            RuntimeError: as many as the capacity are open.
        """
        made = self.open()
        try:
            with self._rows("fork", stream) as rows, self._rows("fork", made) as to:
                for state in self._states:
                    state[to] = state[rows]
        except BaseException:
            self.close(made)
            raise
        return made

    def step(self, ids: npt.ArrayLike, x: Any) -> Any:
        """Takes a step of some of the streams.

        Args:
            ids: (n,), the streams, in any order.
            x: (n, features), the next step of each; where `block` is not 1, (n, block, features). Of ids and masks
                (n,), or (n, block). For several inputs a dict of such, by name.

        Returns:
            (n, width), or (n, block / its stride, width) where a block makes several; a dict by name for several
            outputs.

        Raises:
            TypeError: ids are no whole numbers, or x does not hold numbers of its kind.
            KeyError: a stream is not open. None has advanced.
            ValueError: a stream is named twice, x has the wrong shape, or an id of an Embedding is out of range. None
                has advanced.
        """
        given = x if isinstance(x, dict) or len(self._fed) != 1 else {next(iter(self._fed)): x}
        if self.block == 1 and isinstance(given, dict):
            given = {name: np.asarray(array)[:, None] if np.ndim(array) else array for name, array in given.items()}
        with self._rows("step", ids) as rows:
            frames = fed_frames("step", self._fed, given, len(rows), self._cure)
            length = next(iter(frames.values())).shape[1]
            if length != self.block:
                raise ValueError(
                    f"step: {length} steps were given. Expected {self.block} of each stream. Give these at once."
                )
            found = self._program.run("step", tuple(frames.values()), self._states, rows)
        arrays = {n: a[:, 0] if a.shape[1] == 1 else a for n, a in zip(self._outputs, found, strict=True)}
        return arrays if len(arrays) > 1 else next(iter(arrays.values()))

    def snapshot(self, stream: int) -> bytes:
        """Writes down where a stream stands.

        `HEADER`, then the numbers of each state, little endian, in the program's order.

        Args:
            stream: its id.

        Returns:
            Bytes for `restore`, of this pool or of another one of the same model, in any process and on any CPU.

        Raises:
            KeyError: it is not open.
        """
        with self._rows("snapshot", stream) as rows:
            widths = self._program.states.values()
            states = [array[rows[0], :width] for array, width in zip(self._states, widths, strict=True)]
            numbers = np.concatenate([*states, np.empty(0, np.float32)]).astype("<f4").tobytes()
        return HEADER.pack(MAGIC, VERSION, self._fingerprint, zlib.crc32(numbers)) + numbers

    def restore(self, snapshot: bytes) -> int:
        """Opens a stream where another one stood.

        Args:
            snapshot: what `snapshot` gave.

        Returns:
            The new stream's id.

        Raises:
            TypeError: it is not bytes.
            ValueError: it is no snapshot, of another version or of another model.
            RuntimeError: as many as the capacity are open.
        """
        states = self._read(snapshot)
        made = self.open()
        with self._rows("restore", made) as rows:
            for array, state in zip(self._states, states, strict=True):
                array[rows[0], : len(state)] = state
        return made

    def _read(self, snapshot: bytes) -> list[Array]:
        if not isinstance(snapshot, bytes | bytearray | memoryview):
            raise TypeError(
                f"restore: snapshot is {type(snapshot).__name__}. Expected the bytes that snapshot gave. Give these."
            )
        widths = [*self._program.states.values()]
        raw, whole = bytes(snapshot), HEADER.size + 4 * sum(widths)
        magic, version, model, check = HEADER.unpack(raw[: HEADER.size].ljust(HEADER.size, b"\0"))
        if magic != MAGIC:
            raise ValueError(
                f"restore: these bytes are no snapshot. Expected what snapshot gave; received {cut(repr(raw[:8]))} "
                "first. Give that."
            )
        if version != VERSION:
            raise ValueError(
                f"restore: the snapshot is of version {version}. Expected {VERSION}. Take it again, by this gatewise."
            )
        if model != self._fingerprint:
            raise ValueError(
                "restore: the snapshot is of another model. Expected the fingerprint "
                f"{self._fingerprint.hex()[:12]}...; received {model.hex()[:12]}.... Restore it in a pool of the "
                "model that it was taken of."
            )
        if len(raw) != whole or zlib.crc32(raw[HEADER.size :]) != check:
            raise ValueError(
                f"restore: the snapshot is damaged. Expected {whole} bytes as they were; received {len(raw)}. Take "
                "it again, or from where it was kept."
            )
        numbers = np.frombuffer(raw, "<f4", offset=HEADER.size)
        return np.split(numbers, np.cumsum(widths)[:-1])

    @contextmanager
    def _rows(self, where: str, ids: npt.ArrayLike) -> Iterator[Ids]:
        """Finds the rows of open streams and keeps all other calls from them meanwhile."""
        wanted = np.atleast_1d(np.asarray(ids))
        if wanted.dtype.kind not in "iu" and wanted.size:
            raise TypeError(
                f"{where}: ids are of {wanted.dtype}. Expected whole numbers, as open gives them. Give these."
            )
        if wanted.ndim != 1:
            raise ValueError(f"{where}: ids have the shape {wanted.shape}. Expected (n,). Give one axis of ids.")
        wanted = wanted.astype(np.int64, copy=False)
        rows = np.ascontiguousarray(wanted % self.capacity)
        with self._changed:
            while True:
                closed = self._ids[rows] != wanted
                if closed.any():
                    raise KeyError(
                        f"{where}: stream {wanted[closed][0]} is not open. Expected ids of open streams, as pool.ids "
                        "has them. Open one."
                    )
                self._require_different(where, wanted, rows)
                if not self._busy[rows].any():
                    break
                self._changed.wait()
            self._busy[rows] = True
        try:
            yield rows
        finally:
            with self._changed:
                self._busy[rows] = False
                self._changed.notify_all()

    def _require_different(self, where: str, wanted: Ids, rows: Ids) -> None:
        order = np.arange(len(rows))
        self._seen[rows] = order
        twice = self._seen[rows] != order
        if twice.any():
            raise ValueError(
                f"{where}: stream {wanted[twice][0]} is named twice. Expected different ids. Give its steps in calls "
                "one after the other."
            )
