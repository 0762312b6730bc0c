# SPDX-License-Identifier: Apache-2.0
"""What was seen of a recurrent layer: its gates, and what follows from them for each of its units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.cells import Cell
from gatewise.inspect.cells import ROWS
from gatewise.inspect.findings import Tolerances, Twins, ends, ranges, twins
from gatewise.inspect.gates import gates_of
from gatewise.inspect.horizon import gradient_half_life, half_life, mean_keep
from gatewise.inspect.influence import influence_of_inputs, influence_of_units
from gatewise.options import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from gatewise.runtime.graph import Graph, Node

    Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layer:
    """A recurrent layer while it read some data. B = batch, T = timesteps, F = features, U = units.

    Steps are in the order of the layer's input, whichever way it reads. NaN stands in masked steps. All is float64.

    Attributes:
        name: the layer's, in the graph: "bidirectional/forward_gru".
        cell: what kind it is: "GRU".
        backwards: whether it reads from the last step to the first.
        valid: (B, T) bool, the steps that it read.
        restarts: (B, T) bool, those of them that began with the initial state again, as `starts` say: they cut the
            rows into segments.
        zoneout: by state, what part of it a step keeps whatever the gates say: 0 without zoneout.
        gates: by name, (B, T, U): "update", "reset", "candidate" of a GRU; "input", "forget", "output", "candidate"
            of an LSTM; none of a SimpleRNN.
        states: by name, (B, T, U) after each step: "h"; of an LSTM "c" too.
        keep: the name of the gate that is multiplied with what a unit holds; None of a cell without one.
        mean_keep: (U,), the geometric mean over all steps of what part of its state a unit keeps, by that gate and
            zoneout; of an LSTM, of c. None without either.
        half_lives: (U,), steps until half of what a unit held is gone, by `mean_keep`, from 0 to infinity; None
            where that is. See `gatewise.inspect.horizon`. With `starts`, nothing is held for longer than a segment.
        gradient_half_life: of the whole layer: steps until a gradient through time has halved, along the data, within
            segments.
        ends: by gate, (2, U): the shares of the steps in which it is shut and open; gates without ends are left out.
        ranges: (U,), how far h moves, as a share of the layer's largest.
        influence: (U,), how much cutting a unit off changes the model's outputs, as a share of their range.
        duplicates: units that do what a lower unit does.
        inputs: (F,), how much each input moves h within a step; see `gatewise.inspect.influence`.
        features: (F,), what the inputs are called.
        tolerances: what counts as dead, equal and saturated.
    """

    name: str
    cell: str
    backwards: bool
    valid: npt.NDArray[np.bool_]
    restarts: npt.NDArray[np.bool_]
    zoneout: Mapping[str, float]
    gates: Mapping[str, Array]
    states: Mapping[str, Array]
    keep: str | None
    mean_keep: Array | None
    half_lives: Array | None
    gradient_half_life: float
    ends: Mapping[str, Array]
    ranges: Array
    influence: Array
    duplicates: tuple[Twins, ...]
    inputs: Array
    features: tuple[str, ...]
    tolerances: Tolerances

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.ranges)

    @property
    def longest(self) -> int:
        """How many steps the longest segment has: the longest row, where `starts` cut none."""
        way = slice(None, None, -1 if self.backwards else 1)
        rows = zip(self.valid[:, way], self.restarts[:, way], strict=True)
        return max(int(np.bincount(np.cumsum(begun[valid])).max(initial=0)) for valid, begun in rows)

    @property
    def held(self) -> str:
        """The state that half-lives are of."""
        return "c" if "c" in self.states else "h"

    @property
    def kept_by(self) -> str:
        """What keeps what a unit holds, in words; empty of a cell that nothing keeps."""
        zoneout = self.zoneout[self.held] > 0
        return " and ".join([f"{self.keep} gate"] * (self.keep is not None) + ["zoneout"] * zoneout)

    @property
    def still(self) -> tuple[int, ...]:
        """The units that never move: whatever is read, their state stays where it is."""
        return _where(self.ranges < self.tolerances.still)

    @property
    def unheard(self) -> tuple[int, ...]:
        """The units that never matter: cut off, they leave the model's outputs as they are."""
        return _where(self.influence < self.tolerances.matter)

    @property
    def dead(self) -> tuple[int, ...]:
        """The units that never move or never matter."""
        return tuple(sorted({*self.still, *self.unheard}))

    def saturated(self, gate: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Names the units whose gate stays shut, and those whose gate stays open; none of a gate without ends.

        Raises:
            ValueError: the cell has no such gate.
        """
        one_of("saturated", "gate", gate, self.gates)
        if gate not in self.ends:
            return (), ()
        shut, opened = self.ends[gate] >= self.tolerances.steps
        return _where(shut), _where(opened)


def look_at(
    graph: Graph,
    node: Node,
    known: Mapping[str, Any],
    few: Mapping[str, Any],
    names: Mapping[str, Any],
    how: Tolerances,
) -> Layer:
    """Looks at a recurrent layer.

    Args:
        graph: the model.
        node: the layer.
        known: the values that it reads, for all rows.
        few: every value that anything reads, and the outputs, for a few rows.
        names: by value, what its last axis means.
        how: what counts as what.

    Returns:
        What there is to see.

    Raises:
        NotImplementedError: its cell has no row in `inspect.cells`.
        ValueError: no step of it is valid.
    """
    weights = {name: graph.tensors[tensor] for name, tensor in node.weights.items()}
    given: list[Any] = [None if name is None else known[name] for name in node.inputs]
    if not given[0].size or (len(given) > 1 and given[1] is not None and not given[1].any()):
        raise ValueError(
            f"inspect: layer {node.name!r} has nothing to read. Expected a valid step; received {given[0].shape}, all "
            "of it masked. Give other data."
        )
    found = gates_of(node, given, weights)
    row, options = ROWS[Cell[node.operation.upper()]], node.all_options
    h, zoneout = found.states["h"][found.valid], found.zoneout[row.held]
    moves = ranges(h)
    keep = np.zeros_like(h) if row.keep is None else found.gates[row.keep][found.valid]
    mean = None if row.keep is None and not zoneout else mean_keep(keep, zoneout)
    functions = dict.fromkeys(found.gates, options["recurrent_activation"]) | {"candidate": options["activation"]}
    at_ends = {gate: ends(values[found.valid], functions[gate], how) for gate, values in found.gates.items()}
    inputs = influence_of_inputs(found)
    return Layer(
        name=node.name,
        cell=row.title,
        backwards=bool(options["go_backwards"]),
        valid=found.valid,
        restarts=found.restarts,
        zoneout=found.zoneout,
        gates=found.gates,
        states=found.states,
        keep=row.keep,
        mean_keep=mean,
        half_lives=None if mean is None else half_life(mean),
        gradient_half_life=gradient_half_life(found),
        ends={gate: shares for gate, shares in at_ends.items() if shares is not None},
        ranges=moves,
        influence=influence_of_units(graph, node, few),
        duplicates=twins(h, moves >= how.still, how.equal),
        inputs=inputs,
        features=tuple(names.get(str(node.inputs[0]), [f"feature {i}" for i in range(len(inputs))])),
        tolerances=how,
    )


def _where(true: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(true).tolist())
