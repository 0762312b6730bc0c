# SPDX-License-Identifier: Apache-2.0
"""Runs a graph over whole sequences: what computes runs natively, an operation a call; what moves numbers is NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise import _native
from gatewise.runtime.inputs import named
from gatewise.runtime.lowering import CELLS, MERGES, operation_of
from gatewise.runtime.moving import MOVES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from gatewise.runtime.graph import Graph, Node

    Array = npt.NDArray[Any]


class Evaluation:
    """A graph that is ready to run. It may run from many threads at once, and a row's bits are its own alone."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._programs: dict[tuple[Any, ...], Any] = {}

    def run(self, nodes: Sequence[Node], values: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
        """Runs some of the nodes, in order.

        Args:
            nodes: those that make what is wanted from what is given.
            values: what is given, by the value's name: float32, int64 or bool.
            wanted: names of values.

        Returns:
            What is wanted, by name.

        Raises:
            ValueError: a size does not fit, or an id is out of range; it names the layer.
            MemoryError: there is no memory for a value.
        """
        known: dict[str, Array] = dict(values)
        last_reader = {value: node.name for node in nodes for value in node.inputs if value is not None}
        kept = {*wanted}
        for node in nodes:
            given = [None if name is None else known[name] for name in node.inputs]
            known |= dict(zip(node.outputs, self._results(node, given), strict=False))
            for value in {*node.inputs} - kept - {None}:  # so that memory holds only what is still read
                if last_reader[value] == node.name:  # type: ignore[index]  # not None
                    known.pop(value, None)  # type: ignore[arg-type]  # not None
        return {name: known[name] for name in kept}

    def _results(self, node: Node, given: list[Array | None]) -> Sequence[Array]:
        if node.operation == "constant":
            return [self._graph.tensors[node.weights["value"]]]
        if node.operation in MOVES:
            return [MOVES[node.operation]([array for array in given if array is not None], node.all_options)]
        if node.operation in MERGES:
            given = [*np.broadcast_arrays(*given)]  # type: ignore[arg-type]  # all are there
        into, back = FRAMING.get(node.operation, (_pointwise, _pointwise_back))
        frames = into(node, given)
        try:
            found = self._program(node, frames).run(tuple(f for f in frames if f is not None), None, None)
        except ValueError as error:
            raise named("predict", error, [node.name]) from None
        return back(node, given, found)

    def _program(self, node: Node, frames: list[Array | None]) -> Any:
        """A program of one operation, made once for each width of what it reads."""
        key = (node.name, *(None if array is None else array.shape[2] for array in frames))
        program = self._programs.get(key)
        if program is None:
            numbers = tuple(-1 if array is None else i for i, array in enumerate(frames))
            made = tuple(len(frames) + i for i in range(len(node.outputs)))
            inputs = [(i, a.shape[2], str(a.dtype)) for i, a in enumerate(frames) if a is not None]
            framed = {"axis": 1} if node.operation == "reduce" else {}
            program = _native.Program([operation_of(self._graph, node, numbers, made, **framed)], inputs, list(made))
            self._programs[key] = program
        return program


# A value as frames (B, T, width), and results brought back from there


def _framed(array: Array | None) -> Array | None:
    """A float's last axis are its features; an id, a mask or a number for each row has none."""
    if array is None:
        return None
    has_features = array.dtype == np.float32 and array.ndim > 1
    width = array.shape[-1] if has_features else 1
    leading = array.shape[:-1] if has_features else array.shape
    return np.ascontiguousarray(array).reshape(len(array), math.prod(leading[1:]), width)


def _pointwise(_node: Node, given: list[Array | None]) -> list[Array | None]:
    return [*map(_framed, given)]


def _pointwise_back(_node: Node, given: list[Array | None], found: Sequence[Array]) -> list[Array]:
    first = given[0]
    assert first is not None  # noqa: S101  # each of these operations has a first input
    leading = first.shape[:-1] if first.dtype == np.float32 and first.ndim > 1 else first.shape
    scalar = first.dtype == np.float32 and first.ndim == 1
    return [a.reshape(leading if scalar or a.dtype == np.bool_ else (*leading, a.shape[2])) for a in found]


def _as_they_are(_node: Node, _given: list[Array | None], found: Sequence[Array]) -> Sequence[Array]:
    return found


def _recurrent(_node: Node, given: list[Array | None]) -> list[Array | None]:
    x, *rest = given
    assert x is not None  # noqa: S101  # required
    return [np.ascontiguousarray(x), *[_state_or_mask(array, len(x)) for array in rest]]


def _state_or_mask(array: Array | None, batch: int) -> Array | None:
    if array is None:
        return None
    if len(array) == 1:  # a state of one row stands for all
        array = np.broadcast_to(array, (batch, *array.shape[1:]))
    return np.ascontiguousarray(array[:, None] if array.dtype == np.float32 else array[:, :, None])


def _recurrent_back(node: Node, _given: list[Array | None], found: Sequence[Array]) -> list[Array]:
    outputs, *states = found
    return [outputs if node.all_options["return_sequences"] else outputs[:, -1], *(state[:, 0] for state in states)]


def _reduced(node: Node, given: list[Array | None]) -> list[Array | None]:
    """The axis in the place of time."""
    x, mask = [*given, None][:2]
    assert x is not None  # noqa: S101  # required
    moved = np.moveaxis(x, node.all_options["axis"], 1)
    frames = np.ascontiguousarray(moved).reshape(*moved.shape[:2], math.prod(moved.shape[2:]))
    return [frames, None if mask is None else np.ascontiguousarray(mask[:, :, None])]


def _reduced_back(node: Node, given: list[Array | None], found: Sequence[Array]) -> list[Array]:
    shape: list[int] = list(given[0].shape)  # type: ignore[union-attr]  # required
    axis = node.all_options["axis"] % len(shape)
    shape[axis : axis + 1] = [1] if node.all_options["keepdims"] else []
    return [found[0].reshape(shape)]


def _matrices(_node: Node, given: list[Array | None]) -> list[Array | None]:
    a, b = given
    assert a is not None and b is not None  # noqa: S101, PT018  # required
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    wide = [np.broadcast_to(array, (*leading, *array.shape[-2:])) for array in (a, b)]
    return [np.ascontiguousarray(array).reshape(-1, *array.shape[-2:]) for array in wide]


def _matrices_back(_node: Node, given: list[Array | None], found: Sequence[Array]) -> list[Array]:
    a, b = given
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[union-attr]  # required
    return [found[0].reshape(*leading, *found[0].shape[1:])]


def _sequences(_node: Node, given: list[Array | None]) -> list[Array | None]:
    return [a if a is None else np.ascontiguousarray(a if a.dtype == np.float32 else a[:, :, None]) for a in given]


def _attention_back(node: Node, _given: list[Array | None], found: Sequence[Array]) -> list[Array]:
    """The weights come as frames (B, query's steps, heads x value's steps)."""
    y, *weights = found
    heads = node.all_options.get("heads", 1)
    return [y, *(w.reshape(*w.shape[:2], heads, -1).transpose(0, 2, 1, 3) for w in weights)]


FRAMING: dict[str, tuple[Callable[..., list[Array | None]], Callable[..., Sequence[Array]]]] = {
    **dict.fromkeys(CELLS, (_recurrent, _recurrent_back)),
    **dict.fromkeys(("conv1d", "max_pool1d", "average_pool1d"), (_sequences, _as_they_are)),
    **dict.fromkeys(("attention", "additive_attention"), (_sequences, _attention_back)),
    "reduce": (_reduced, _reduced_back),
    "matmul": (_matrices, _matrices_back),
}
