# SPDX-License-Identifier: Apache-2.0
"""What is compared: layers by name, and what makes one of a number of units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from gatewise.options import cut

# Makes a recurrent layer: (units, return_sequences=...) -> layer, as the classes of Keras do
Factory: TypeAlias = Callable[..., Any]

# The layers of gatewise.keras that are compared if nothing else is said; a new cell gets its name here
CELLS = ("GRU", "LSTM", "SimpleRNN", "LayerNormGRU", "LayerNormLSTM")

_EXPECTED = f"names of {', '.join(CELLS)}, layer classes of Keras, layers, or a dict from a name to what makes a layer"


def factories(cells: Any) -> dict[str, Factory]:
    """Finds what makes each layer.

    Args:
        cells: a list of names of `CELLS`, classes, layers and functions; or a dict from a name to one of these.

    Returns:
        By name, what makes the layer. A layer's own settings stay, but for its units and what it returns.

    Raises:
        TypeError: one of them is none of these.
        ValueError: a name is unknown or there twice, or fewer than two are given.

    Example:
        >>> import keras
        >>> list(factories(["GRU", keras.layers.LSTM]))
        ['GRU', 'LSTM']
    """
    if isinstance(cells, str) or not isinstance(cells, Iterable):
        raise TypeError(
            f"compare: cells is no list. Expected a list of {_EXPECTED}; received {cut(repr(cells))}. Write a list."
        )
    pairs = cells.items() if isinstance(cells, Mapping) else [(_name(one), one) for one in cells]
    found: dict[str, Factory] = {}
    for name, one in ((str(name), one) for name, one in pairs):
        if name in found:
            raise ValueError(
                f"compare: two cells have the name {name}. Expected each name once. Give a dict with names of your "
                "own: {'stock GRU': keras.layers.GRU, ...}."
            )
        found[name] = _factory(one)
    if len(found) < 2:
        raise ValueError(
            f"compare: there are too few cells. Expected two or more; received {', '.join(found) or 'none'}. "
            "Add what to compare with."
        )
    return found


def _name(cell: Any) -> str:
    return cell if isinstance(cell, str) else str(getattr(cell, "__name__", type(cell).__name__))


def _factory(cell: Any) -> Factory:
    import keras

    import gatewise.keras

    if isinstance(cell, str):
        if cell not in CELLS:
            raise ValueError(
                f"compare: a cell is unknown. Expected one of {', '.join(CELLS)}; received {cut(repr(cell))}. Choose "
                "one of these, or give the layer's class."
            )
        found: Factory = getattr(gatewise.keras, cell)
        return found
    if isinstance(cell, keras.layers.Layer):
        return _like(cell)
    if not callable(cell):
        raise TypeError(
            f"compare: a cell is no layer. Expected {_EXPECTED}; received {cut(repr(cell))}. Give one of these."
        )
    return cell  # type: ignore[no-any-return]


def _like(layer: Any) -> Factory:
    """Makes layers with the settings of one, but for its units, its name and what it returns."""
    config = layer.get_config()
    if "units" not in config:
        raise TypeError(
            f"compare: a layer has no units that could be set. Expected a recurrent layer; received "
            f"{type(layer).__name__}. Give a function (units, return_sequences=...) that makes the layer."
        )
    config.pop("name", None)

    def make(units: int, return_sequences: bool = False) -> Any:
        return type(layer).from_config({**config, "units": units, "return_sequences": return_sequences})

    return make
