# SPDX-License-Identifier: Apache-2.0
"""The kinds of recurrent layers that stock Keras and the engine both have, a row each; and the engine's other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import keras

from gatewise.cells import Cell, gru
from gatewise.keras.layer_norm_cells import LayerNormGRUCell, LayerNormLSTMCell

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(NamedTuple):
    """Stock's classes of a kind, and which cell of the engine one of its cells is."""

    layer: Any
    cell: Any
    engine_cell: Callable[[Any], Cell]

    @property
    def name(self) -> str:
        """What users call it: the class's name."""
        return str(self.layer.__name__)


KINDS = (
    Kind(keras.layers.GRU, keras.layers.GRUCell, lambda cell: gru(reset_after=bool(cell.reset_after))),
    Kind(keras.layers.LSTM, keras.layers.LSTMCell, lambda _cell: Cell.LSTM),
    Kind(keras.layers.SimpleRNN, keras.layers.SimpleRNNCell, lambda _cell: Cell.SIMPLE_RNN),
)
LAYERS = tuple(kind.layer for kind in KINDS)
CELLS = tuple(kind.cell for kind in KINDS)
# What each cell is to the engine: stock's, and those of our own that stock has not.
ENGINE_CELLS: dict[Any, Callable[[Any], Cell]] = {
    **{kind.cell: kind.engine_cell for kind in KINDS},
    **{kind: lambda cell: cell.engine_cell for kind in (LayerNormGRUCell, LayerNormLSTMCell)},
}


def engine_cell(cell: Any) -> Cell:
    """Returns which cell of the engine a cell of Keras is; KeyError for one that it has not."""
    return ENGINE_CELLS[type(cell)](cell)


def cells_of(layer: Any) -> list[Any]:
    """Returns a recurrent layer's cells, from the lowest to the highest."""
    cell = layer.cell
    return list(cell.cells) if type(cell) is keras.layers.StackedRNNCells else [cell]


def states_of(cell: Any) -> int:
    """Counts the states of a cell."""
    size = cell.state_size
    return len(size) if isinstance(size, list | tuple) else 1
