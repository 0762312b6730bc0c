# SPDX-License-Identifier: Apache-2.0
"""Gate values of a recurrent layer, at every step of given data, by the float64 formulas of `gatewise.reference`.

The formulas are not written again: a step of the reference is taken with activations that note what they return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.cells import Cell
from gatewise.inspect.cells import row_of
from gatewise.reference import EQUATIONS, forward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from gatewise.reference import Forward
    from gatewise.reference.step import Kept
    from gatewise.runtime.graph import Node

    Array = npt.NDArray[np.float64]


class Gates(NamedTuple):
    """What a layer did. Steps are in the order of its input, whichever way it reads; NaN stands in masked steps."""

    valid: npt.NDArray[np.bool_]  # (B, T)
    gates: dict[str, Array]  # (B, T, U) each, in the order of the formulas
    states: dict[str, Array]  # (B, T, U) each, after the step
    restarts: npt.NDArray[np.bool_]  # (B, T), valid steps that began with the initial state again, by `starts`
    zoneout: dict[str, float]  # by state, what part of it a step keeps whatever the gates say
    x: Array  # (N, F), what it read in the N valid steps
    kept: Kept  # of the N valid steps
    passed: Forward  # the forward pass, in processing order


def gates_of(node: Node, given: list[Any], weights: Mapping[str, Any]) -> Gates:
    """Finds the gates of a recurrent node.

    Args:
        node: of a graph.
        given: what it reads: x (B, T, F), the mask (B, T) or None, a state each (B, U) or None, the starts (B, T) or
            None.
        weights: its arrays by name.

    Returns:
        Gates and states of each unit at each step.

    Raises:
        NotImplementedError: its cell has no row in `inspect.cells`.
        ValueError: a valid step, a state or a weight holds NaN or infinity.
    """
    cell = Cell[node.operation.upper()]
    row = row_of(node.name, cell)
    _check_finite(node, given, weights)
    passed = _passed(node, cell, given, weights)
    zoneout = {name: float(node.all_options[f"zoneout_{name}"]) for name in cell.row.states}
    kept = _pooled(passed)
    values, after = _step(cell, kept, [*zoneout.values()])
    places = np.nonzero(passed.valid.T)[::-1]  # step by step, as the steps are pooled

    def placed(array: Array) -> Array:
        found = np.full((*passed.valid.shape, array.shape[-1]), np.nan)
        found[places] = array
        in_order: Array = _in_order(found, passed)
        return in_order

    named = zip(row.order, values, strict=True)
    return Gates(
        _in_order(passed.valid, passed),
        {name: placed(value) for name, value in named if name is not None},
        {name: placed(value) for name, value in zip(cell.row.states, after, strict=True)},
        _in_order(passed.restarts, passed),
        zoneout,
        np.concatenate([x[0] for x, _ in passed.steps]),
        kept,
        passed,
    )


def _check_finite(node: Node, given: list[Any], weights: Mapping[str, Any]) -> None:
    """What is NaN or infinite has gates that look like any others, and half-lives that mean nothing."""
    padded: list[Any] = [*given, None]
    x, mask, *others = padded
    valid = x if mask is None else x[np.broadcast_to(mask, x.shape[:2])]
    arrays = [valid, *weights.values(), *(one for one in others if one is not None)]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(
            f"inspect: layer {node.name!r} has numbers that are not finite, in steps that count. Expected finite data "
            "and weights; received NaN or infinity. Leave such steps out by the mask."
        )


def _passed(node: Node, cell: Cell, given: list[Any], weights: Mapping[str, Any]) -> Forward:
    x, mask, *states, starts = given + [None] * (3 + len(cell.row.states) - len(given))
    initial = None
    if any(state is not None for state in states):
        zeros = np.zeros((len(x), len(weights["recurrent_kernel"])))
        full = [zeros if state is None else np.broadcast_to(state, zeros.shape) for state in states]
        initial = full[0] if len(full) == 1 else tuple(full)
    options = {name: value for name, value in node.all_options.items() if name != "return_sequences"}
    return forward(x, **weights, cell=cell, initial_state=initial, mask=mask, starts=starts, **options)


def _pooled(passed: Forward) -> Kept:
    """All valid steps of all rows as if they were rows of one step."""
    x = np.concatenate([x for x, _ in passed.steps], axis=1)
    h = np.concatenate([kept.h for _, kept in passed.steps], axis=1)
    states = zip(*(kept.states for _, kept in passed.steps), strict=True)
    return passed.layer.kept(x, h, tuple(np.concatenate(state) for state in states))


def _step(cell: Cell, kept: Kept, zoneout: list[float]) -> tuple[list[Array], list[Array]]:
    """Takes the reference's step. Returns what its activations returned, in order, and the states after."""
    noted: list[Array] = []

    def noting(activation: Callable[[Array], Array]) -> Callable[[Array], Array]:
        def run(sums: Array) -> Array:
            noted.append(activation(sums))
            return noted[-1]

        return run

    gate, candidate = noting(kept.recurrent_activation.value), noting(kept.activation.value)
    of_state = (kept.state_normal,) if EQUATIONS[cell].normalises_state else ()
    new = EQUATIONS[cell].step(kept.x, kept.recurrent, kept.states, candidate, gate, *of_state)
    parts = zip(zoneout, kept.states, new, strict=True)
    return noted, [part * before + (1 - part) * after for part, before, after in parts]


def _in_order(array: Any, passed: Forward) -> Any:
    return array[:, ::-1] if passed.go_backwards else array
