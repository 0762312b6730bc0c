# SPDX-License-Identifier: Apache-2.0
"""A trained model that runs with NumPy alone: whole sequences here, streams in `stream.py` and `pool.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.options import cut
from gatewise.runtime.evaluation import Evaluation
from gatewise.runtime.format.document import fingerprint
from gatewise.runtime.format.preprocessing import preprocessing_from_json
from gatewise.runtime.graph import Graph, Value, needed
from gatewise.runtime.inputs import checked, is_raw, shape_text
from gatewise.runtime.pool import StreamPool
from gatewise.runtime.stream import Programs, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]


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

    def predict(self, x: Any, batch_size: int | None = None) -> Any:
        """Runs whole sequences.

        Args:
            x: an array, or a list, for the one input; a dict of such by input name, or a tuple in the inputs' order,
                for several. Where the model keeps what reads raw text, a list of strings.
            batch_size: rows that run at once; None: all.

        Returns:
            An array for the one output; a dict by output name for several.

        Raises:
            TypeError: an input does not hold numbers of its kind.
            ValueError: an input is missing, unknown or of the wrong shape, or an id is out of range.
        """
        given = self.given(x)
        rows = {len(array) for array in given.values()}
        if len(rows) > 1:
            sizes = ", ".join(f"{name} {len(array)}" for name, array in given.items())
            raise ValueError(f"predict: inputs have different batches. Expected as many rows; received {sizes}.")
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise ValueError(
                f"predict: batch_size is {cut(repr(batch_size))}. Expected a whole number from 1, or None."
            )
        count = rows.pop()
        size = batch_size or max(1, count)
        parts = [
            self.run({name: array[begin : begin + size] for name, array in given.items()})
            for begin in range(0, max(1, count), size)
        ]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts[1:] else parts[0]
        return found if len(found) > 1 else next(iter(found.values()))

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

    def stream(
        self,
        batch: int = 1,
        *,
        context: Mapping[str, Any] | None = None,
        initial_state: Mapping[str, Any] | None = None,
    ) -> Stream:
        """Begins to read step by step.

        Args:
            batch: rows that go on together.
            context: inputs that do not advance, by name, (batch, ...): an encoder's outputs, a speaker's vector.
            initial_state: inputs that a recurrent layer begins in, by name, (batch, units); those left out are zeros.

        Returns:
            A stream, at its beginning.

        Raises:
            StreamError: the model cannot stream; it names the layer.
            ValueError: a context is missing, unknown or of the wrong shape.
        """
        return Stream(self._programs, self._evaluation, batch, context or {}, initial_state or {})

    def stream_pool(self, capacity: int) -> StreamPool:
        """Makes room for many streams that come and go.

        Args:
            capacity: how many may be open at once.

        Returns:
            The pool, with none open.

        Raises:
            StreamError: the model cannot stream, or not without a context.
            ValueError: the capacity is no whole number from 1.
            MemoryError: there is no memory for so many.
        """
        return StreamPool(self._programs, self.fingerprint, capacity)

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
        graph = self._graph
        begin, end = ([graph.outputs.get(name, name) for name in names] for names in (inputs, outputs))
        for name in [*begin, *end]:
            if name not in graph.values:
                raise ValueError(
                    f"part: value {cut(repr(name))} is unknown. Expected one of {cut(', '.join(graph.values), 200)}."
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
        return Model(
            Graph(
                inputs={name: graph.values[name] for name in begin},
                nodes=tuple(nodes),
                outputs={name: graph.outputs.get(name, name) for name in outputs},
                tensors={name: array for name, array in graph.tensors.items() if name in used},
                preprocessing={name: one for name, one in graph.preprocessing.items() if name in begin},
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

    def given(self, x: Any, where: str = "predict") -> dict[str, Array]:
        """Makes the arrays of the inputs.

        Args:
            x: what `predict` takes.
            where: opens the errors.

        Returns:
            By input name, arrays of the inputs' dtypes and shapes.

        Raises:
            TypeError: an input does not hold numbers of its kind.
            ValueError: an input is missing, unknown or of the wrong shape.
        """
        names = [*self._graph.inputs]
        if isinstance(x, dict):
            given = x
        elif len(names) == 1:
            given = {names[0]: x}
        elif isinstance(x, tuple) and len(x) == len(names):
            given = dict(zip(names, x, strict=True))
        else:
            raise ValueError(
                f"{where}: x is not clear. Expected a dict with {', '.join(names)}; received {type(x).__name__}."
            )
        if {*given} != {*names}:
            received = cut(", ".join(map(str, given)), 200)
            raise ValueError(f"{where}: the inputs do not fit. Expected {', '.join(names)}; received {received}.")
        return {
            name: checked(f"{where}: {name}", self._graph.inputs[name], self._prepared(name, given[name], where))
            for name in names
        }

    def _prepared(self, name: str, given: Any, where: str) -> Any:
        """Makes an input of raw text; what is numbers is the input already."""
        if not is_raw(given):
            return given
        if name not in self._graph.preprocessing:
            value = self._graph.inputs[name]
            raise TypeError(
                f"{where}: {name} is raw. Expected {value.dtype} {shape_text(value)}; received text, and the "
                "model keeps nothing that reads it. Convert it first, or put gatewise.data.preprocessing.Preprocessing "
                "into the model before it is saved."
            )
        return preprocessing_from_json(self._graph.preprocessing[name])(given)
