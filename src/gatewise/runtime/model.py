# SPDX-License-Identifier: Apache-2.0
"""A trained model that runs with NumPy alone: whole sequences here, streams in `stream.py` and `pool.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from gatewise.options import cut
from gatewise.runtime.evaluation import Evaluation
from gatewise.runtime.format.document import fingerprint
from gatewise.runtime.graph import Graph, Value, needed
from gatewise.runtime.inputs import is_series, shape_text
from gatewise.runtime.pool import StreamPool
from gatewise.runtime.progress import check_verbose, shown
from gatewise.runtime.raw import Keeper, Prepared, decoded
from gatewise.runtime.samples import SampleStream, sample_stream
from gatewise.runtime.stream import Programs, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

ROWS_AT_ONCE = 256  # where progress is shown and nobody says how many; any number gives the same bits


class Model:
    """A trained model, made by `gatewise.load`, or of a `Graph`. It holds no state: streams do.

    It may be used from many threads at once. A row's results are the same bits in any batch and for any number of
    threads.

    Args:
        graph: what it computes. Its arrays must not change afterwards.

    Example:
        >>> import numpy as np
        >>> from gatewise.runtime import Graph, Model, Node, Value
        >>> rng = np.random.default_rng(0)
        >>> tensors = {"kernel": rng.normal(size=(3, 12)), "recurrent_kernel": rng.normal(size=(4, 12))}
        >>> tensors = {name: array.astype(np.float32) for name, array in tensors.items()}
        >>> nodes = (Node("gru", "gru", ("x",), ("y",), {}, {name: name for name in tensors}),)
        >>> model = Model(Graph({"x": Value((None, None, 3), "float32")}, nodes, {"y": "y"}, tensors))
        >>> x = rng.normal(size=(2, 7, 3))
        >>> y = model.predict(x)
        >>> y.shape
        (2, 4)
        >>> stream = model.stream(batch=2)
        >>> for t in range(7):
        ...     now = stream.step(x[:, t])
        >>> bool((now == y).all())
        True
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._evaluation = Evaluation(graph)
        self._programs = Programs(graph)
        self._keeper = Keeper(graph)

    @property
    def graph(self) -> Graph:
        """What it computes."""
        return self._graph

    @property
    def fingerprint(self) -> str:
        """What tells this model from any other: a digest of its graph and its weights."""
        return fingerprint(self._graph)

    @property
    def inputs(self) -> dict[str, Value]:
        """By name, shape (batch first, None for any size) and dtype."""
        return dict(self._graph.inputs)

    @property
    def outputs(self) -> dict[str, Value]:
        """Likewise."""
        return {name: self._graph.values[value] for name, value in self._graph.outputs.items()}

    @property
    def states(self) -> dict[str, Value]:
        """Likewise, what a stream of it keeps.

        Raises:
            StreamError: it cannot stream.
        """
        return {name: Value((None, array.shape[1]), "float32") for name, array in self.stream().state.items()}

    @property
    def labels(self) -> dict[str, list[str]]:
        """By name of an output, the names of its classes, in the order of their scores; empty if it keeps none."""
        return {name: list(labels.names) for name, labels in self._keeper.labels.items()}

    def predict(self, x: Any, batch_size: int | None = None, *, raw: bool = False, verbose: Any = "auto") -> Any:
        """Runs whole sequences.

        Where the model keeps what its inputs were made with, it reads raw data: text; sound, as paths of WAV files or
        as samples; a `TimeSeries`, of which it takes as many of the last steps as it reads; with `raw` any table.

        Args:
            x: an array, or a list, for the one input; a dict of such by input name, or a tuple in the inputs' order,
                for several. Raw text is a list of strings. Raw sound is a path, a list of paths, (samples,) or
                (batch, samples), or a list of arrays of different length, which are filled up at the end with what the
                model's mask leaves out. A `TimeSeries`, or a list of such, is a row each; what it lacks goes to the
                model's mask.
            batch_size: rows that run at once; None: all.
            raw: whether numbers are in the units of the data, and to be scaled: by themselves they do not tell.
            verbose: "auto" shows on a terminal how far it is, after a second; 1 in any case, 0 never.

        Returns:
            An array for the one output; a dict by output name for several. Where an input was raw, what the model keeps
            the scaling of is in the units of the data. `decode` names classes.

        Raises:
            TypeError: an input does not hold numbers of its kind, or is raw and the model keeps nothing that reads it.
            ValueError: an input is missing, unknown or of the wrong shape, an id is out of range, a file is no sound.
        """
        check_verbose("predict", verbose)
        if type(raw) is not bool:
            raise TypeError(f"predict: raw is {cut(repr(raw))}. Expected True or False. Pass one of the two.")
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise ValueError(
                f"predict: batch_size is {cut(repr(batch_size))}. Expected a whole number from 1, or None. Leave it "
                "out for all rows at once."
            )
        given, was_raw, series = self._prepared("predict", x, raw=raw, verbose=verbose)
        found = self._run_rows(given, len(next(iter(given.values()))), batch_size, verbose)
        found = self._keeper.restore(found, series) if was_raw else found
        return found if len(found) > 1 else next(iter(found.values()))

    def given(self, x: Any, where: str = "predict") -> dict[str, Array]:
        """Makes the arrays of the inputs, as `predict` does.

        Args:
            x: what `predict` takes.
            where: opens the errors.

        Returns:
            By input name, arrays of the inputs' dtypes and shapes, for `run`.

        Raises:
            TypeError: an input does not hold numbers of its kind, or is raw and the model keeps nothing that reads it.
            ValueError: an input is missing, unknown or of the wrong shape.
        """
        return self._prepared(where, x, raw=False, verbose=0).arrays

    def decode(self, found: Any) -> Any:
        """Names the classes that `predict` found.

        Args:
            found: what it gave: an array of scores (batch, ..., classes), or a dict of such.

        Returns:
            The name of the class with the highest score, a list (batch), or lists within lists where there are steps;
            of a dict a dict, of the outputs whose classes have names.

        Raises:
            ValueError: the model keeps no names, for no output of a dict, or the scores are not those of its classes.
        """
        kept = self._keeper.labels
        if not (kept.keys() & found.keys() if isinstance(found, dict) else len(kept) == 1):
            expected = f"a dict of outputs with {', '.join(kept)}" if kept else "a model with Labels"
            received = cut(", ".join(map(str, found)) or "none", 200) if kept and isinstance(found, dict) else "none"
            cure = "Give what predict gave." if kept else "Put Preprocessing(labels=labels) into it before it is saved."
            raise ValueError(f"decode: whose names is not clear. Expected {expected}; received {received}. {cure}")
        if isinstance(found, dict):
            return {name: decoded(labels, found[name]) for name, labels in kept.items() if name in found}
        return decoded(next(iter(kept.values())), found)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs whole sequences at once, as they are.

        Args:
            inputs: by name, arrays of the inputs' dtypes and shapes.

        Returns:
            By name, the outputs.

        Raises:
            ValueError: sizes do not fit each other, or an id is out of range.
        """
        found = self._evaluation.run(self._graph.nodes, inputs, {*self._graph.outputs.values()})
        return {name: found[value] for name, value in self._graph.outputs.items()}

    @overload
    def stream(
        self,
        batch: int = ...,
        *,
        context: Mapping[str, Any] | None = ...,
        initial_state: Mapping[str, Any] | None = ...,
        raw: Literal[False] = ...,
    ) -> Stream: ...
    @overload
    def stream(
        self,
        batch: int = ...,
        *,
        context: Mapping[str, Any] | None = ...,
        initial_state: Mapping[str, Any] | None = ...,
        raw: Literal[True],
    ) -> SampleStream: ...
    def stream(
        self,
        batch: int = 1,
        *,
        context: Mapping[str, Any] | None = None,
        initial_state: Mapping[str, Any] | None = None,
        raw: bool = False,
    ) -> Stream | SampleStream:
        """Begins to read step by step.

        Args:
            batch: rows that go on together.
            context: inputs that do not advance, by name, (batch, ...): an encoder's outputs, a speaker's vector.
            initial_state: inputs that recurrent layers begin in, by name, (batch, units), or (batch, layers, units)
                where PyTorch's modules have (layers, batch, units); those left out are zeros. The stream keeps them
                from then on.
            raw: whether it takes sound, samples in pieces of any length, in the place of frames.

        Returns:
            A stream, at its beginning.

        Raises:
            StreamError: the model cannot stream; it names the layer. Or, with `raw`, it does not read sound.
            TypeError: the context or the initial state is no dict, or holds something else than numbers.
            ValueError: a context is missing, unknown or of the wrong shape.
        """
        if type(raw) is not bool:
            raise TypeError(f"stream: raw is {cut(repr(raw))}. Expected True or False. Pass one of the two.")
        known, begin = ({} if given is None else given for given in (context, initial_state))
        cure = self._if_sound("These are frames: for samples, make the stream by model.stream(raw=True).")
        stream = Stream(self._programs, self._evaluation, batch, known, begin, None if raw else cure)
        return sample_stream(stream, self._keeper) if raw else stream

    def stream_pool(self, capacity: int) -> StreamPool:
        """Makes room for many streams that come and go.

        A pool takes frames, of sound, too: keep a `LogMel.stream()` for each stream, and push its samples there.

        Args:
            capacity: how many may be open at once.

        Returns:
            The pool, with none open.

        Raises:
            StreamError: the model cannot stream, or not without a context.
            ValueError: the capacity is no whole number from 1.
            MemoryError: there is no memory for so many.
        """
        cure = self._if_sound(
            "A pool takes frames: push the samples of each stream into a LogMel.stream() of its own, and scale what "
            "comes as in training."
        )
        return StreamPool(self._programs, self.fingerprint, capacity, cure)

    def _if_sound(self, cure: str) -> str | None:
        """A cure for who gives samples, if the model reads sound."""
        return cure if any(self._keeper.kind(name) == "LogMel" for name in self._graph.inputs) else None

    def part(self, *, inputs: Iterable[str], outputs: Iterable[str]) -> Model:
        """Cuts out a part, by the names of inputs, outputs or values of the graph.

        Args:
            inputs: values that are given to it.
            outputs: values that it gives.

        Returns:
            A model of its own, of the same arrays.

        Raises:
            ValueError: a name is unknown, or what is asked for rests on an input that is not among them.
        """
        graph, asked = self._graph, [*outputs]
        begin, end = ([graph.outputs.get(name, name) for name in names] for names in (inputs, asked))
        for name in [*begin, *end]:
            if name not in graph.values:
                raise ValueError(
                    f"part: value {cut(repr(name))} is unknown. Expected one of {cut(', '.join(graph.values), 200)}. "
                    "model.summary() has the names of layers."
                )
        nodes = needed(graph, end, begin.__contains__)
        made = {value for node in nodes for value in node.outputs}
        missing = [v for node in nodes for v in node.inputs if v is not None and v not in made and v not in begin]
        if missing:
            raise ValueError(
                f"part: outputs rest on {cut(', '.join(dict.fromkeys(missing)), 200)} too. Expected all that they need "
                "in inputs; received others. Add these to inputs."
            )
        used = {tensor for node in nodes for tensor in node.weights.values()}
        names = [name for name in asked if name in graph.outputs]
        return Model(
            Graph(
                inputs={name: graph.values[name] for name in begin},
                nodes=tuple(nodes),
                outputs={name: graph.outputs.get(name, name) for name in asked},
                tensors={name: array for name, array in graph.tensors.items() if name in used},
                preprocessing={name: one for name, one in graph.preprocessing.items() if name in {*begin, *names}},
            )
        )

    def summary(self) -> str:
        """Describes the model: a line for each layer, with its outputs' shape and its number of weights."""
        graph = self._graph
        rows = [("layer", "operation", "output", "weights")]
        rows += [(name, "input", shape_text(value), "") for name, value in graph.inputs.items()]
        for node in graph.nodes:
            weights = sum(graph.tensors[tensor].size for tensor in node.weights.values())
            rows.append(
                (
                    node.name,
                    node.operation,
                    shape_text(graph.values[node.outputs[0]]),
                    f"{weights:,}" if weights else "",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [
            f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:{widths[2]}}  {row[3]:>9}".rstrip() for row in rows
        ]
        total = sum(array.size for array in graph.tensors.values())
        return "\n".join([*lines, f"{total:,} weights, {sum(a.nbytes for a in graph.tensors.values()):,} bytes"])

    def _prepared(self, where: str, x: Any, *, raw: bool, verbose: Any) -> Prepared:
        prepared = self._keeper.prepare(where, self._named(where, x), raw=raw, verbose=verbose)
        if len({len(array) for array in prepared.arrays.values()}) > 1:
            sizes = ", ".join(f"{name} {len(array)}" for name, array in prepared.arrays.items())
            raise ValueError(
                f"{where}: inputs have different batches. Expected as many rows; received {sizes}. Give a row of "
                "each input to each."
            )
        return prepared

    def _run_rows(
        self, given: Mapping[str, Array], count: int, batch_size: int | None, verbose: Any
    ) -> dict[str, Array]:
        size = batch_size or (ROWS_AT_ONCE if check_verbose("predict", verbose) else max(1, count))
        begins = range(0, max(1, count), size)
        taken = shown("predict", "rows", begins, [min(size, count - begin) for begin in begins], verbose)
        parts = [self.run({name: array[begin : begin + size] for name, array in given.items()}) for begin in taken]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts[1:] else parts[0]

    def _named(self, where: str, x: Any) -> dict[str, Any]:
        names = [*self._graph.inputs]
        if isinstance(x, dict):
            given = x
        elif len(names) == 1:
            given = {names[0]: x}
        elif isinstance(x, tuple) and len(x) == len(names):
            given = dict(zip(names, x, strict=True))
        elif is_series(x) and len(read := [name for name in names if name not in self._keeper.masks]) == 1:
            given = {read[0]: x}
        else:
            raise ValueError(
                f"{where}: x is not clear. Expected a dict with {', '.join(names)}; received {type(x).__name__}. "
                "Give each array its input's name."
            )
        if {*given, *self._keeper.may_be_missing(given)} != {*names}:
            received = cut(", ".join(map(str, given)), 200)
            raise ValueError(
                f"{where}: the inputs do not fit. Expected {', '.join(names)}; received {received}. Give each array "
                "its input's name."
            )
        return given
