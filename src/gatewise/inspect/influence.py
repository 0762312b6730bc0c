# SPDX-License-Identifier: Apache-2.0
"""What moves the state, and whom a unit moves: inputs by the derivative of a step, units by cutting them off."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.cells import Cell
from gatewise.inspect.cells import ROWS
from gatewise.reference import EQUATIONS
from gatewise.runtime.evaluation import Evaluation
from gatewise.runtime.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from gatewise.inspect.gates import Gates
    from gatewise.runtime.graph import Node

    Array = npt.NDArray[np.float64]

MOST_STEPS, MOST_STEPS_COUPLED = 2048, 128  # that derivatives are taken at, evenly chosen


def influence_of_inputs(gates: Gates) -> Array:
    """Finds how much each input of a layer moves its state within a step.

    That is the mean, over units and steps, of |dh_t / dx_t|, exact by the reference's derivative, times the standard
    deviation of the input: by so much h moves when the input moves as it does in the data. What layer normalisation
    takes from one unit's sums to the others' is in it, and so is the part of h that zoneout leaves as it was.

    Returns:
        (F,) float64, from 0.
    """
    passed, n = gates.passed, len(gates.x)
    layer, cell, kernel = passed.layer, passed.layer.cell, passed.layer.kernel
    coupled = ROWS[cell].coupled
    chosen = np.unique(np.linspace(0, n - 1, min(n, MOST_STEPS_COUPLED if coupled else MOST_STEPS)).astype(int))
    x, h = gates.x[chosen][None], gates.kept.h[:, chosen]
    kept = layer.kept(x, h, tuple(state[chosen] for state in gates.kept.states))
    of_product, units = layer.normal(x @ kernel), kernel.shape[2]
    rest = [np.zeros((len(chosen), units)) for _ in cell.row.states[1:]]

    def d_products(unit: int | slice) -> Array:
        d_h = np.zeros((len(chosen), units))
        d_h[:, unit] = 1 - gates.zoneout["h"]
        return of_product.back(EQUATIONS[cell].backward(kept, (d_h, *rest)).x * layer.gain)  # (G, n, U)

    if coupled:
        moved = sum(np.abs(np.einsum("gnv,gfv->nf", d_products(u), kernel)).sum(axis=0) for u in range(units))
    else:  # a unit's sums are its own, so that one pass finds those of all units
        of_all = d_products(slice(None))
        moved = sum(np.abs(of_all[:, :, u].T @ kernel[:, :, u]).sum(axis=0) for u in range(units))
    spread: Array = np.asarray(moved) / (len(chosen) * units) * gates.x.std(axis=0)
    return spread


def influence_of_units(graph: Graph, node: Node, known: Mapping[str, Any]) -> Array:
    """Finds how much the outputs of a model change when a unit is cut off: its state reads as zero for all its readers.

    Its readers are the layer's own recurrent weights and whatever reads the layer; where c is normalised, all units of
    the layer read c, by its mean and variance. What layer normalisation finds of products keeps the unit's weights: it
    is the state that is cut off, not the unit that is taken out.

    Args:
        graph: the model.
        node: a recurrent layer of it.
        known: every value of the graph that it or what is behind it reads, and the outputs, for a few rows.

    Returns:
        (U,) float64: the greatest change of any output, as a share of that output's range over the rows.
    """
    behind, reached = [], {*node.outputs}
    for other in graph.nodes:
        if reached & {*other.inputs}:
            behind.append(other)
            reached |= {*other.outputs}
    wanted = [v for v in graph.outputs.values() if v in reached and graph.values[v].dtype == "float32"]
    evaluation, cell = Evaluation(graph), Cell[node.operation.upper()]
    given = {name: known[name] for name in node.inputs if name is not None}
    initial = [name for name in node.inputs[2 : 2 + len(cell.row.states)] if name is not None]
    units = np.arange(len(graph.tensors[node.weights["recurrent_kernel"]]))
    changed = np.zeros(len(units))
    for unit in units.tolist():
        alone = _cut_off(graph, node, cell, unit)
        without = {name: np.where(units == unit, np.float32(0), given[name]) for name in initial}
        found = Evaluation(alone).run(alone.nodes, {**given, **without}, node.outputs)
        for value in found.values():
            value[..., unit] = 0
        outputs = evaluation.run(behind, {**known, **found}, wanted)
        changed[unit] = max((_change(known[v], outputs[v]) for v in wanted), default=0.0)
    return changed


def readers_read(graph: Graph) -> set[str]:
    """Names the values that `influence_of_units` may need of a model, for any of its layers."""
    return {name for node in graph.nodes for name in node.inputs if name is not None} | {*graph.outputs.values()}


def _cut_off(graph: Graph, node: Node, cell: Cell, unit: int) -> Graph:
    """A layer by itself whose recurrent weights do not read a unit, and whose normalisation finds a c of zero there."""
    tensors = {name: graph.tensors[tensor] for name, tensor in node.weights.items()}
    tensors["recurrent_kernel"] = tensors["recurrent_kernel"].copy()
    tensors["recurrent_kernel"][unit] = 0
    if EQUATIONS[cell].normalises_state:
        tensors |= _taking_in_nothing(tensors, cell, unit, node.all_options["activation"])
    inputs = {name: graph.values[name] for name in node.inputs if name is not None}
    alone = replace(node, weights={name: name for name in tensors})
    return Graph(inputs, (alone,), {name: name for name in node.outputs}, tensors)


def _taking_in_nothing(tensors: Mapping[str, Any], cell: Cell, unit: int, activation: str) -> dict[str, Any]:
    """Gains and biases that make a unit's candidate zero, so that a c that begins at zero stays there."""
    columns, units = tensors["kernel"].shape[1], len(tensors["recurrent_kernel"])
    nothing = -1e4 if activation in {"sigmoid", "hard_sigmoid"} else 0.0
    changed = {}
    for name, default, value in (("gain", 1, 0), ("recurrent_gain", 1, 0), ("bias", 0, nothing)):
        changed[name] = np.array(tensors.get(name, np.full(columns, default)), np.float32)
        changed[name][cell.row.gates.index("candidate") * units + unit] = value
    return changed


def _change(before: Any, after: Any) -> float:
    if not before.size:
        return 0.0
    scale = float(np.ptp(before)) or float(np.abs(before).max()) or 1.0
    return float(np.abs(after.astype(np.float64) - before).max()) / scale
