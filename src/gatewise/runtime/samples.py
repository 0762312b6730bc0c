# SPDX-License-Identifier: Apache-2.0
"""A model with an audio front end in a stream of samples: those that fill no frame yet are part of the state."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.options import cut
from gatewise.runtime.graph import Value
from gatewise.runtime.inputs import array_of, check_named, checked, rows_of, told
from gatewise.runtime.lowering import StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from gatewise.data.audio.log_mel import LogMel
    from gatewise.data.scaling import Scaler
    from gatewise.runtime.raw import Keeper
    from gatewise.runtime.stream import Stream

    Array = npt.NDArray[Any]


def sample_stream(stream: Stream, keeper: Keeper) -> SampleStream:
    """Puts what a model keeps before a stream of it.

    Raises:
        StreamError: the model does not read sound, or something beside it.
    """
    name, *others = stream.inputs
    if keeper.kind(name) != "LogMel" or others:
        received = ", ".join(f"{one!r}, with {keeper.kind(one) or 'nothing kept'}" for one in stream.inputs)
        raise StreamError(
            "stream: the model does not read sound alone. Expected one input, for which it keeps a LogMel, with "
            f"raw=True; received {received}. Text and tables do not stream raw: leave raw=True out, and give ids or "
            "scaled numbers."
        )
    log_mel, *scaler = keeper.parts(name)
    width = stream.inputs[name].shape[-1]
    if width != log_mel.bands:
        raise StreamError(
            f"stream: input {name!r} has the wrong width. Expected the LogMel's bands={log_mel.bands}; received "
            f"{width}. Keep the LogMel that the model was trained with."
        )
    if scaler:
        scaler[0](np.zeros((0, log_mel.bands)))  # says if it has learned nothing, before anything waits
    return SampleStream(stream, name, log_mel, scaler[0] if scaler else None)


class SampleStream:
    """Rows of sound that go through a model together, samples at a time; see `Model.stream`.

    Pieces of any length give the bits of the whole recording. Each frame goes into the model as soon as it is complete;
    where the model has strides along time, as soon as a block of frames is. Calls from several threads wait for each
    other.

    Attributes:
        batch: how many rows.
        rate: samples a second.

    Example:
        >>> import numpy as np
        >>> from gatewise.data.audio import LogMel
        >>> from gatewise.runtime import Graph, Model, Node, Value
        >>> from gatewise.runtime.file import preprocessing_to_json
        >>> weights = {"kernel": np.ones((40, 4), np.float32), "recurrent_kernel": np.ones((4, 4), np.float32)}
        >>> nodes = (Node("rnn", "simple_rnn", ("x",), ("y",), {}, {name: name for name in weights}),)
        >>> kept = {"x": preprocessing_to_json(LogMel(rate=8000))}
        >>> model = Model(Graph({"x": Value((None, None, 40), "float32")}, nodes, {"y": "y"}, weights, kept))
        >>> stream = model.stream(raw=True)  # a frame is 200 samples, the next begins 80 later
        >>> [stream.run(np.zeros(100)).shape for _ in range(4)]
        [(1, 0, 4), (1, 1, 4), (1, 1, 4), (1, 1, 4)]
    """

    def __init__(self, stream: Stream, name: str, log_mel: LogMel, scaler: Scaler | None) -> None:
        from gatewise.data.audio.stream import LogMelStream

        self._stream, self._name, self._scaler = stream, name, scaler
        self._rows = [LogMelStream(log_mel, stream.block) for _ in range(stream.batch)]
        self._lock = threading.Lock()
        self.batch, self.rate = stream.batch, log_mel.rate

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it gives."""
        return self._stream.outputs

    def run(self, samples: Any) -> Any:
        """Takes the next samples.

        Args:
            samples: (batch, samples), or (samples,) of the one row: int16, or floating point from -1 to 1; any number.

        Returns:
            (batch, frames / their stride, width), what the frames give that are complete now: none most of the time, if
            pieces are short. Of a model that returns its last output alone there is one for each frame too: the last
            is what `predict` gives for all samples so far. Rows that were reset apart may complete fewer: behind them
            stands NaN, or False. A dict by name for several outputs.

        Raises:
            TypeError: the samples are neither int16 nor floating point.
            ValueError: they have the wrong shape, are not finite, or too large to be scaled. Nothing has advanced.
        """
        found = self._advance("run", samples)
        return found if len(found) > 1 else next(iter(found.values()))

    def step(self, samples: Any) -> Any:
        """Takes the next samples, and gives the newest output alone.

        Args:
            samples: as for `run`.

        Returns:
            (batch, width), what the last frame gives that is complete now, NaN or False in a row without; None where no
            row has one. A dict by name for several outputs.

        Raises:
            TypeError: the samples are neither int16 nor floating point.
            ValueError: they have the wrong shape, are not finite, or too large to be scaled. Nothing has advanced.
        """
        found = self._advance("step", samples, last=True)
        if not all(array.shape[1] for array in found.values()):
            return None
        newest = {name: array[:, 0] for name, array in found.items()}
        return newest if len(newest) > 1 else next(iter(newest.values()))

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Goes back to the beginning: the next sample is the first.

        Args:
            rows: those that go back; None: all.

        Raises:
            IndexError: there is no such row.
            TypeError: rows is no choice of rows.
        """
        picked = rows_of("reset", rows, self.batch)
        with self._lock:
            self._stream.reset(picked)
            for row in picked:
                self._rows[row].reset()

    @property
    def state(self) -> dict[str, Array]:
        """The states, by layer and name: a copy, to be kept, and set again later.

        Those of the model are (batch, width) float32; what waits to fill a frame stands under the input's name:
        "x/samples", (batch, room) float64, and "x/waiting", (batch, 1) int64, how many of these there are, or, below 0,
        how many of the next are left out, where frames do not touch.
        """
        with self._lock:
            samples = np.zeros((self.batch, self._rows[0].room))
            waiting = np.zeros((self.batch, 1), np.int64)
            for row, one in enumerate(self._rows):
                rest, skip = one.state
                samples[row, : len(rest)] = rest
                waiting[row] = len(rest) - skip
            return {**self._stream.state, f"{self._name}/samples": samples, f"{self._name}/waiting": waiting}

    @state.setter
    def state(self, given: Mapping[str, npt.ArrayLike]) -> None:
        names = [f"{self._name}/{what}" for what in ("samples", "waiting")]
        check_named("state", given, "Give what state gave.")
        missing = [name for name in names if name not in given]
        if missing:
            raise ValueError(
                f"stream: the states do not fit. Expected {', '.join(names)}; received no {missing[0]}. Give what "
                "state gave."
            )
        samples = np.asarray(given[names[0]])
        room = self._rows[0].room
        if samples.dtype != np.float64 or samples.shape != (self.batch, room):
            raise ValueError(
                f"stream: {names[0]} does not fit. Expected ({self.batch}, {room}) float64; received {samples.shape} "
                f"{samples.dtype}. Give what state gave."
            )
        waiting = checked(f"stream: {names[1]}", Value((self.batch, 1), "int64"), given[names[1]])[:, 0].tolist()
        states = [(row[: max(0, count)], max(0, -count)) for row, count in zip(samples, waiting, strict=True)]
        if max(waiting) > room:
            raise ValueError(
                f"stream: {names[1]} is too large. Expected at most {room}; received {max(waiting)}. Give what state "
                "gave."
            )
        with self._lock:
            before = [one.state for one in self._rows]
            try:
                for one, state in zip(self._rows, states, strict=True):
                    one.state = state
                self._stream.state = {name: array for name, array in given.items() if name not in names}
            except BaseException:
                for one, state in zip(self._rows, before, strict=True):
                    one.state = state
                raise

    def _advance(self, where: str, samples: Any, *, last: bool = False) -> dict[str, Array]:
        """Takes samples; gives what the frames make, or the last of them alone."""
        pieces = self._checked(where, samples)
        with self._lock:
            waiting, states = [one.state for one in self._rows], None
            try:
                frames = [self._frames(where, row, piece) for row, piece in enumerate(pieces)]
                counts = np.array([len(one) for one in frames])
                several = {*counts.tolist()} - {0}
                states = self._stream.state if len(several) > 1 else None  # the first call may run and the next not
                groups = {}
                for count in several:
                    rows = np.flatnonzero(counts == count)
                    groups[count] = rows, self._stream.run_rows(np.stack([frames[row] for row in rows]), rows)
                return {name: self._joined(name, groups, last=last) for name in self.outputs}
            except BaseException:
                for one, state in zip(self._rows, waiting, strict=True):
                    one.state = state
                if states is not None:
                    self._stream.state = states
                raise

    def _frames(self, where: str, row: int, piece: Array) -> Array:
        """The frames that are complete now, scaled."""
        frames, scaler = self._rows[row].push(piece), self._scaler
        return frames if scaler is None else told(f"{where}: row {row}", lambda: scaler(frames))

    def _joined(self, name: str, groups: dict[int, tuple[Array, dict[str, Array]]], *, last: bool) -> Array:
        """The outputs of rows with as many frames each in one array."""
        found = [(rows, arrays[name][:, -1:] if last else arrays[name]) for rows, arrays in groups.values()]
        if len(found) == 1 and len(found[0][0]) == self.batch:
            return found[0][1]
        width, dtype = self._stream.frame_of(name)
        longest = max((array.shape[1] for _, array in found), default=0)
        joined = np.full((self.batch, longest, width), False if dtype == "bool" else np.nan, dtype)
        for rows, array in found:
            joined[rows, : array.shape[1]] = array
        return joined

    def _checked(self, where: str, samples: Any) -> list[Array]:
        from gatewise.data.audio.wav import check_samples

        array = samples if isinstance(samples, np.ma.MaskedArray) else array_of(f"{where}: samples", samples)
        array = array[None] if array.ndim == 1 and self.batch == 1 else array
        if array.ndim != 2 or len(array) != self.batch:
            one = " or (samples,)" if self.batch == 1 else ""
            raise ValueError(
                f"{where}: samples have the wrong shape. Expected ({self.batch}, samples){one}; received "
                f"{cut(str(array.shape))}. A stream of frames is made without raw=True."
            )
        return [check_samples(where, row) for row in array]
