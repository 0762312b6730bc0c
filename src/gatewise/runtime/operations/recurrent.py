# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers: a row for each cell, from its row in `gatewise.cells`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.cells import Cell
from gatewise.engine import ACTIVATIONS
from gatewise.operands import facts
from gatewise.runtime.operations.operation import MOST, Operation, Option, checked_mask, fits, numbers, rank, weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.runtime.operations.operation import Array, Known


def _shapes(cell: Cell) -> Callable[[list[Any], dict[str, Any], dict[str, Array]], list[Known]]:
    gates, states = len(cell.row.gates), len(cell.row.states)

    def shapes(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> list[Known]:
        x, mask, *initial, starts = given + [None] * (3 + states - len(given))
        batch, steps, features = rank((numbers(x, "x"), x[1]), 3, "x")
        recurrent = weight(weights, "recurrent_kernel", None, None)
        units = 0 if recurrent is None else len(recurrent)
        weight(weights, "recurrent_kernel", units, gates * units)
        weight(weights, "bias", *((2,) if facts(cell).recurrent_bias else ()), gates * units)
        for name in cell.row.weights:
            weight(weights, name, units if name.startswith("state") else gates * units)
        kernel = weight(weights, "kernel", None, gates * units)
        fits(features, None if kernel is None else len(kernel), "the width of x")
        checked_mask(mask, x[0])
        checked_mask(starts, x[0])
        for name, state in zip(cell.row.states, initial, strict=True):
            if state is not None:
                fits(rank((numbers(state, name), state[1]), 2, name)[1], units, f"the width of {name}")
        outputs = (batch, steps, units) if options["return_sequences"] else (batch, units)
        return [(outputs, "float32"), *[((batch, units), "float32")] * states]

    return shapes


def _row(cell: Cell) -> Operation:
    return Operation(
        inputs=("x", "mask?", *(f"{state}?" for state in cell.row.states), "starts?"),
        outputs=("outputs", *cell.row.states),
        shapes=_shapes(cell),
        weights=("kernel", "recurrent_kernel", "bias?", *(f"{name}?" for name in cell.row.weights)),
        options={
            "activation": Option("tanh", str, names=ACTIVATIONS),
            "recurrent_activation": Option("sigmoid", str, names=ACTIVATIONS),
            "return_sequences": Option(default=False, kind=bool),
            "go_backwards": Option(default=False, kind=bool),
            "zero_output_for_mask": Option(default=False, kind=bool),
            **{f"zoneout_{state}": Option(0.0, float, least=0, most=1) for state in cell.row.states},
            **({"epsilon": Option(1e-3, float, least=1e-30, most=MOST)} if facts(cell).normalises else {}),
        },
    )


# By the cell's name in lower case; a state of one row stands for all
ROWS = {cell.name.lower(): _row(cell) for cell in Cell}
