# SPDX-License-Identifier: Apache-2.0
"""Inputs that are states: what a module takes as h0 and gives back as hn, for a stream to keep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.cells import Cell
from gatewise.runtime.graph import reading
from gatewise.runtime.moving import MOVES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewise.runtime.graph import Graph

_CELLS = {cell.name.lower() for cell in Cell}
_FIRST_STATE = 2  # among the inputs of a cell, behind x and mask


def state_inputs(graph: Graph) -> set[str]:
    """Finds the inputs of numbers that layers begin in and that nothing else reads, moved at most."""
    readers, found = reading(graph), set()
    for name, (_, dtype) in graph.inputs.items():
        waiting, begins, only = [name], False, dtype == "float32"
        while waiting and only:
            value = waiting.pop()
            for node in readers[value]:
                if node.operation in _CELLS:
                    only &= value not in node.inputs[:_FIRST_STATE]
                    begins = True
                else:
                    only &= node.operation in MOVES
                    waiting += node.outputs
        if only and begins:
            found.add(name)
    return found


class GivenBack(NamedTuple):
    """Where a graph gives its states back.

    Attributes:
        outputs: by the name of an input, that of an output which gives it back in the same form.
        layers: names of the layers that begin in what is given.
    """

    outputs: dict[str, str]
    layers: set[str]


def given_back(graph: Graph, states: Iterable[str]) -> GivenBack:
    """Finds the states that an output gives back in the form in which they are given.

    Numbered places are moved through the graph, where every layer ends in the states that it begins in: as long as
    no step is taken, what goes in comes out.
    """
    begin, values, layers = 0, dict[str, Any](), set[str]()
    for name in states:
        shape = graph.inputs[name].shape[1:]
        if None in shape:
            continue
        size = math.prod(shape)  # type: ignore[arg-type]  # None was looked for
        values[name] = np.arange(begin, begin + size).reshape(1, *shape)
        begin += size
    given = dict(values)
    for node in graph.nodes:
        if node.operation in _CELLS:
            pairs = [*zip(node.inputs[_FIRST_STATE:], node.outputs[1:], strict=False)]
            values |= {after: values[one] for one, after in pairs if one is not None and one in values}
            states_of = Cell[node.operation.upper()].row.states
            layers |= {node.name} if len([one for one, _ in pairs if one in values]) == len(states_of) else set()
        elif node.operation in MOVES and all(one in values for one in node.inputs):
            moved = [values[one] for one in node.inputs if one is not None]
            values[node.outputs[0]] = MOVES[node.operation](moved, node.all_options)
    out = {name: values[value] for name, value in graph.outputs.items() if value in values}
    pairs_of = ((name, other) for name, array in given.items() for other in out if np.array_equal(array, out[other]))
    return GivenBack(dict(pairs_of), layers)
