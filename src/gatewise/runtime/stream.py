# SPDX-License-Identifier: Apache-2.0
"""A model step by step: its states stand here, never in the model."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise import _native
from gatewise.options import cut
from gatewise.runtime.graph import Value, needed
from gatewise.runtime.inputs import check_named, checked, named, rows_of
from gatewise.runtime.lowering import Lowered, StreamError, lower

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from gatewise.runtime.evaluation import Evaluation
    from gatewise.runtime.graph import Graph

    Array = npt.NDArray[Any]

ALIGNMENT = 64  # bytes


class Program(NamedTuple):
    """A lowered graph, ready to run, and how its states are called and laid out."""

    lowered: Lowered
    native: Any
    states: dict[str, int]  # by name, "gru/h", the width

    def run(self, where: str, frames: tuple[Array, ...], states: tuple[Array, ...], rows: Any) -> Any:
        """Runs it; its errors name a layer."""
        try:
            return self.native.run(frames, states, rows)
        except ValueError as error:
            raise named(where, error, self.lowered.layers) from None

    def arrays(self, capacity: int) -> tuple[Array, ...]:
        """Makes room for the states of so many rows: zeros, where a stream begins."""
        return tuple(_aligned_zeros(capacity, width) for width in self.states.values())


class Programs:
    """The programs of a graph: one for each set of inputs that do not advance, which all its streams run.

    So that a stream costs its states alone; a program holds the packed weights.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._lowered: dict[frozenset[str], Lowered] = {}
        self._made: dict[tuple[Any, ...], Program] = {}

    def lowered(self, context: Iterable[str] = ()) -> Lowered:
        """Lowers the graph, once.

        Raises:
            StreamError: it cannot stream.
        """
        names = frozenset(context)
        if names not in self._lowered:
            self._lowered[names] = lower(self.graph, names)
        return self._lowered[names]

    def program(self, context: Iterable[str] = (), given: Mapping[str, Array] | None = None) -> Program:
        """Makes the native program, once.

        Args:
            context: names of inputs that do not advance.
            given: the frames (batch, steps, width) of each value that does not advance.
        """
        lowered, frames = self.lowered(context), given or {}
        key = (frozenset(context), *((name, array.shape[2]) for name, array in frames.items()))
        if key not in self._made:
            self._made[key] = _program(lowered, frames)
        return self._made[key]


def _program(lowered: Lowered, given: Mapping[str, Array]) -> Program:
    inputs = [(frames.number, frames.width, frames.dtype) for frames in lowered.fed.values()]
    inputs += [(number, given[name].shape[2], str(given[name].dtype)) for name, number in lowered.given.items()]
    native = _native.Program(lowered.operations, inputs, [frames.number for frames in lowered.outputs.values()])
    states = {}
    for name, width in native.states:
        place, _, state = name.partition("/")
        states[f"{lowered.layers[int(place)]}/{state}"] = width
    return Program(lowered, native, states)


class Stream:
    """Rows that go through a model together, a step or a chunk of steps at a time; see `Model.stream`.

    A chunk of any size gives the bits of the whole sequence. A model that returns its last output alone gives, after
    each step or chunk, what `predict` gives for all steps so far. Calls from several threads wait for each other.

    Attributes:
        batch: how many rows.
        block: steps that are taken at once: 1, or the product of the strides along time.
    """

    def __init__(
        self,
        programs: Programs,
        evaluation: Evaluation,
        batch: int,
        context: Mapping[str, Any],
        initial_state: Mapping[str, Any],
        cure: str | None = None,
    ) -> None:
        if type(batch) is not int or batch < 1:
            raise ValueError(
                f"stream: batch is {cut(repr(batch))}. Expected a whole number from 1. Say how many rows go on."
            )
        for what, arrays in (("context", context), ("initial_state", initial_state)):
            check_named(what, arrays, "Leave it out if there is none.")
        graph, lowered = programs.graph, programs.lowered(context)
        values = _begin(graph, evaluation, lowered, batch, context, initial_state)
        self._given = tuple(_frames(values[name]) for name in lowered.given)
        self._program = programs.program(context, dict(zip(lowered.given, self._given, strict=True)))
        self._run = self._program.native.run
        self._states = self._program.arrays(batch)
        self._starts = {
            i: values[lowered.starts[name]]
            for i, (name, _) in enumerate(self._program.native.states)
            if lowered.starts.get(name) in values
        }
        self._lock, self._cure = threading.Lock(), cure
        self.batch, self.block = batch, lowered.block
        self._fed = lowered.chunks
        self._outputs = lowered.outputs
        first = next(iter(self._fed), None)
        self._one = (batch, self._fed[first].shape[-1]) if first and self._is_plain() else None
        self.reset()

    def _is_plain(self) -> bool:
        """Whether a step is one array of numbers in, one out."""
        (fed, *more), (frames, *others) = self._fed.values(), self._outputs.values()
        return not more and not others and fed.dtype == "float32" and self.block == frames.period == 1

    @property
    def inputs(self) -> dict[str, Value]:
        """By name, shape and dtype of what `run` takes: (batch, steps, features), of ids and masks (batch, steps)."""
        return dict(self._fed)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it gives; states that the model gives out are in `state`."""
        return tuple(self._outputs)

    def step(self, x: Any) -> Any:
        """Takes one step, or one block of steps.

        Args:
            x: (batch, features), the next step; where `block` is not 1, (batch, block, features). Of ids and masks
                (batch,), or (batch, block). For several inputs a dict of such, by name.

        Returns:
            (batch, width), or (batch, block / its stride, width) where a block makes several; a dict by name for
            several outputs.

        Raises:
            TypeError: x does not hold numbers of its kind.
            ValueError: x has the wrong shape, or an id is out of range. Nothing has advanced.
        """
        if type(x) is np.ndarray and x.shape == self._one and x.dtype == np.float32 and x.flags.c_contiguous:
            with self._lock:
                now: Array = self._run((x[:, None], *self._given), self._states, None)[0]
            return now[:, 0]
        given = x if isinstance(x, dict) or len(self._fed) != 1 else {next(iter(self._fed)): x}
        if self.block == 1 and isinstance(given, dict):
            given = {name: _with_time(array) for name, array in given.items()}
        found = self._advance("step", given, self.block)
        return _named({name: a[:, 0] if a.shape[1] == 1 else a for name, a in found.items()})

    def run(self, chunk: Any, *, every_step: bool = False) -> Any:
        """Takes a chunk of steps.

        Args:
            chunk: (batch, steps, features), of ids and masks (batch, steps); a dict of such for several inputs. The
                number of steps is a multiple of `block`.
            every_step: for a model that returns its last output alone: give one for every step.

        Returns:
            (batch, steps / its stride, width); of a model that returns its last output alone (batch, width); a dict
            by name for several outputs.

        Raises:
            TypeError: the chunk does not hold numbers of its kind.
            ValueError: it has the wrong shape, or an id is out of range. Nothing has advanced.
        """
        given = chunk if isinstance(chunk, dict) or len(self._fed) != 1 else {next(iter(self._fed)): chunk}
        found = self._advance("run", given, None)
        whole = {name: every_step or not frames.last for name, frames in self._outputs.items()}
        if not all(whole.values()) and any(not a.shape[1] for a in found.values()):
            raise ValueError(
                "run: chunk has no steps. Expected one or more, for there to be a last output; received 0. Leave "
                "the call out, or say every_step=True."
            )
        return _named({name: array if whole[name] else array[:, -1] for name, array in found.items()})

    def run_rows(self, frames: Array, rows: npt.NDArray[np.int64]) -> dict[str, Array]:
        """Takes a chunk of frames of some of the rows, for its one input; what goes before a stream calls it.

        Args:
            frames: (n, steps, features) float32, of a multiple of `block` steps.
            rows: (n,), which.

        Returns:
            By name, (n, steps / its stride, width).
        """
        given = (array if len(array) == 1 else array[rows] for array in self._given)
        with self._lock:
            every = len(rows) == self.batch
            found = self._program.run("run", (frames, *given), self._states, None if every else rows)
        return dict(zip(self._outputs, found, strict=True))

    def frame_of(self, output: str) -> tuple[int, str]:
        """Numbers of a frame of an output, and their dtype."""
        frames = self._outputs[output]
        return frames.width, frames.dtype

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Goes back to the beginning.

        Args:
            rows: those that go back; None: all.

        Raises:
            IndexError: there is no such row.
            TypeError: rows is no choice of rows.
        """
        picked = rows_of("reset", rows, self.batch)
        with self._lock:
            for i, state in enumerate(self._states):
                width = self._program.native.states[i][1]
                state[picked] = 0
                if i in self._starts:
                    state[picked, :width] = self._starts[i][picked]

    @property
    def state(self) -> dict[str, Array]:
        """The states, by layer and name, (batch, width) each: a copy, to be kept, and set again later.

        They are what the next valid step goes on from: zeros where a start has come behind the last valid step, while
        a state that the model gives out itself is that of the last valid step until the next one.
        """
        with self._lock:
            return {
                name: array[:, :width].copy()
                for (name, width), array in zip(self._program.states.items(), self._states, strict=True)
            }

    @state.setter
    def state(self, given: Mapping[str, npt.ArrayLike]) -> None:
        widths = self._program.states
        check_named("state", given, "Give what state gave.")
        if {*given} != {*widths}:
            received = cut(", ".join(map(str, given)) or "none", 200)
            raise ValueError(
                f"stream: the states do not fit. Expected {', '.join(widths)}; received {received}. Give what state "
                "gave."
            )
        arrays = {n: checked(f"stream: {n}", Value((self.batch, w), "float32"), given[n]) for n, w in widths.items()}
        with self._lock:
            for state, (name, width) in zip(self._states, widths.items(), strict=True):
                state[:, :width] = arrays[name]

    def _advance(self, where: str, given: Any, steps: int | None) -> dict[str, Array]:
        frames = fed_frames(where, self._fed, given, self.batch, self._cure)
        length = next(iter(frames.values())).shape[1]
        if length % self.block or steps not in {None, length}:
            what = f"a multiple of {self.block}" if steps is None else str(steps)
            raise ValueError(
                f"{where}: {length} steps were given. Expected {what}, as the model takes blocks of them. Keep the "
                "rest until there are more."
            )
        with self._lock:
            found = self._program.run(where, (*frames.values(), *self._given), self._states, None)
        return dict(zip(self._outputs, found, strict=True))


def fed_frames(
    where: str, fed: Mapping[str, Value], given: Any, batch: int, cure: str | None = None
) -> dict[str, Array]:
    """Checks what comes with every step. Returns frames (batch, steps, width), of as many steps each.

    `cure` is what to do about a wrong shape; None: what the shapes say.
    """
    if not isinstance(given, dict) or {*given} != {*fed}:
        received = cut(", ".join(map(str, given)), 200) if isinstance(given, dict) else type(given).__name__
        raise ValueError(
            f"{where}: the inputs do not fit. Expected a dict with {', '.join(fed)}; received {received}. Give these "
            "with each step; what is given once, states and contexts, goes into model.stream()."
        )
    frames = {}
    for name, (shape, dtype) in fed.items():
        frames[name] = _frames(checked(f"{where}: {name}", Value((batch, None, *shape[2:]), dtype), given[name], cure))
    if len({array.shape[1] for array in frames.values()}) > 1:
        sizes = ", ".join(f"{name} {array.shape[1]}" for name, array in frames.items())
        raise ValueError(
            f"{where}: inputs have different lengths. Expected as many steps; received {sizes}. Cut them alike."
        )
    return frames


def _begin(
    graph: Graph,
    evaluation: Evaluation,
    lowered: Lowered,
    batch: int,
    context: Mapping[str, Any],
    initial_state: Mapping[str, Any],
) -> dict[str, Array]:
    """Finds all values that do not advance, and the states to begin in."""
    known = {}
    for what, given in (("context", context), ("initial_state", initial_state)):
        for name, array in given.items():
            if name not in graph.inputs or name in lowered.fed:
                others = ", ".join(name for name in graph.inputs if name not in lowered.fed) or "none"
                raise ValueError(
                    f"stream: {what} {cut(repr(name))} is unknown. Expected one of {others}. "
                    "What comes with each step goes into step and run."
                )
            shape, dtype = graph.inputs[name]
            known[name] = checked(f"stream: {what} {name}", Value((batch, *shape[1:]), dtype), array)
    for name in lowered.states - {*known}:
        shape = graph.inputs[name].shape[1:]
        if None not in shape:
            known[name] = np.zeros((batch, *shape), np.float32)  # type: ignore[arg-type]  # None was looked for
    starts = {*lowered.starts.values()} - ({*graph.inputs} - {*known})  # inputs that nobody gives are zeros
    wanted = {*lowered.given} | starts
    nodes = needed(graph, wanted, known.__contains__)
    missing = [name for node in nodes for name in node.inputs if name in graph.inputs and name not in known]
    missing += [name for name in lowered.given if name in graph.inputs and name not in known]
    if missing:
        raise StreamError(
            f"stream: input {missing[0]!r} does not advance with time. Expected it in context; received none. Write "
            f"model.stream(context={{{missing[0]!r}: array}})."
        )
    return evaluation.run(nodes, known, wanted)


def _frames(array: Array) -> Array:
    """A value as (batch, steps, width): of what has no time one step, of ids and masks width 1."""
    if array.dtype == np.float32:
        return array if array.ndim == 3 else np.ascontiguousarray(array.reshape(len(array), 1, -1))
    return np.ascontiguousarray(array.reshape(len(array), -1, 1))


def _with_time(array: Any) -> Any:
    """A step as a chunk of one."""
    return np.asarray(array)[:, None] if np.ndim(array) else array


def _named(found: dict[str, Array]) -> Any:
    return found if len(found) > 1 else next(iter(found.values()))


def _aligned_zeros(rows: int, width: int) -> Array:
    stride = -(-max(1, width) // 16) * 16
    memory = np.zeros(rows * stride * 4 + ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    return memory[begin : begin + rows * stride * 4].view(np.float32).reshape(rows, stride)
