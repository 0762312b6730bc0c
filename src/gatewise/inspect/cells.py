# SPDX-License-Identifier: Apache-2.0
"""The cells, a row each: what their formulas' activations are values of, and which gate keeps what a unit holds."""

from __future__ import annotations

from typing import NamedTuple

from gatewise.cells import Cell


class Row(NamedTuple):
    """What inspection has to know of a cell.

    Attributes:
        title: its name in a report.
        order: of which gate each activation in the cell's formula is the value, in the order in which
            `reference.EQUATIONS[cell].step` finds them; None for what is no gate.
        keep: the gate that is multiplied with what a unit holds; None of a cell without one.
        held: the state that it is multiplied with, and whose zoneout keeps as well.
        coupled: whether what one unit reads acts on other units within a step, by a gate or by a mean and a variance
            over all of them, so that a step's derivative has to be taken unit by unit.
    """

    title: str
    order: tuple[str | None, ...]
    keep: str | None
    held: str
    coupled: bool = False


ROWS = {
    Cell.GRU: Row("GRU", ("update", "reset", "candidate"), "update", "h"),
    Cell.GRU_RESET_BEFORE: Row("GRU, reset before", ("update", "reset", "candidate"), "update", "h", coupled=True),
    Cell.LSTM: Row("LSTM", ("input", "forget", "output", "candidate", None), "forget", "c"),
    Cell.SIMPLE_RNN: Row("SimpleRNN", (None,), None, "h"),
    Cell.LAYER_NORM_GRU: Row("LayerNormGRU", ("update", "reset", "candidate"), "update", "h", coupled=True),
    Cell.LAYER_NORM_GRU_RESET_BEFORE: Row(
        "LayerNormGRU, reset before", ("update", "reset", "candidate"), "update", "h", coupled=True
    ),
    Cell.LAYER_NORM_LSTM: Row(
        "LayerNormLSTM", ("input", "forget", "output", "candidate", None), "forget", "c", coupled=True
    ),
}


def row_of(layer: str, cell: Cell) -> Row:
    """Finds the row of a layer's cell.

    Raises:
        NotImplementedError: there is none.

    Example:
        >>> row_of("encoder", Cell.LSTM).keep
        'forget'
    """
    if cell not in ROWS:
        known = ", ".join(row.title for row in ROWS.values())
        raise NotImplementedError(
            f"inspect: layer {layer!r} has a cell whose gates are not known. Expected one of {known}; received "
            f"{cell.name}. Inspect a part without it: gatewise.runtime.Model.part(inputs=..., outputs=...)."
        )
    return ROWS[cell]
