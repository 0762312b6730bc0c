# SPDX-License-Identifier: Apache-2.0
"""What the constructors of recurrent layers and cells are given: checked, with the cure.

Our layers check before Keras does; a patched one when Keras has refused.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import keras
import numpy as np

from gatewise.keras.errors import describe
from gatewise.keras.kinds import CELLS, LAYERS

_SIGNATURES = {kind: inspect.signature(kind.__init__) for kind in (*LAYERS, *CELLS)}
_ACTIVATIONS = ("activation", "recurrent_activation")
_FLAGS = (
    *("use_bias", "return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
    *("reset_after", "unit_forget_bias"),
)
# The module of Keras that knows the names which an argument may have, by the argument's last word.
_NAMED = {"initializer": keras.initializers, "regularizer": keras.regularizers, "constraint": keras.constraints}

CELL_CURE = """A cell holds the weights of a step and carries its state: write it as a layer.
    class MyCell(keras.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = self.state_size = units

        def build(self, input_shape):
            self.kernel = self.add_weight(shape=(input_shape[-1], self.units))
            self.recurrent_kernel = self.add_weight(shape=(self.units, self.units))

        def call(self, inputs, states):
            output = keras.ops.tanh(inputs @ self.kernel + states[0] @ self.recurrent_kernel)
            return output, [output]  # what this step gives, and the states for the next

    layer = keras.layers.RNN(MyCell(32))"""


def check_constructor(where: str, kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Checks what a recurrent layer or cell is made with, of which Keras says too little.

    Args:
        where: the class as users write it.
        kind: stock's class, as `keras.layers.GRU` or `keras.layers.GRUCell`, whose signature counts.
        args: the positional arguments.
        kwargs: the others.

    Raises:
        TypeError: units is no int, a fraction of dropout is no number, or a flag is neither True nor False.
        ValueError: units is below 1; a fraction of dropout is not between 0 and 1; an activation, an initializer, a
            regularizer or a constraint is unknown.
    """
    try:
        given = _SIGNATURES[kind].bind(None, *args, **kwargs).arguments
    except TypeError:
        return  # an argument is missing or unknown: Python says so itself when Keras's constructor is called
    _check_units(where, given["units"])
    for argument in given.keys() & {"dropout", "recurrent_dropout"}:
        _check_fraction(where, argument, given[argument])
    for argument in given.keys() & set(_FLAGS):
        _check_flag(where, argument, given[argument])
    for argument, value in given.items():
        module = keras.activations if argument in _ACTIVATIONS else _NAMED.get(argument.split("_")[-1])
        if module is not None:
            _check_name(where, argument, value, module)


def check_named(where: str, argument: str, value: Any) -> None:
    """Checks what an argument of ours names or holds, where it ends in `initializer` or the like.

    Raises:
        TypeError: it is neither a name nor a function.
        ValueError: the name is unknown.
    """
    module = _NAMED.get(argument.rsplit("_", maxsplit=1)[-1])
    if module is not None:
        _check_name(where, argument, value, module)


def _check_units(where: str, units: Any) -> None:
    name = where.rsplit(".", maxsplit=1)[-1]
    if not isinstance(units, int) or isinstance(units, bool):
        text = str(units) if isinstance(units, str | np.integer) else ""
        cure = text if text.isdigit() and len(text) < 6 else "32"
        cell = " A cell goes into keras.layers.RNN(cell)." if callable(units) else ""
        raise TypeError(
            f"{where}: units is not a whole number. Expected an int of at least 1; received {describe(units)} of type "
            f"{type(units).__name__}. Write {name}({cure}).{cell}"
        )
    if units < 1:
        raise ValueError(
            f"{where}: units is too small. Expected an int of at least 1; received {describe(units)}. It is the width "
            f"of the state; write for instance {name}(32)."
        )


def _check_fraction(where: str, argument: str, value: Any) -> None:
    if not hasattr(value, "__float__") or np.ndim(value):
        raise TypeError(
            f"{where}: {argument} is no number. Expected a fraction between 0 and 1; received {describe(value)} of "
            f"type {type(value).__name__}. Write {argument}=0.2 to drop a fifth, 0.0 to drop nothing."
        )
    if not 0 <= value <= 1:
        cure = value / 100 if 1 < value < 100 else 0.2  # meant in per cent
        raise ValueError(
            f"{where}: {argument} is out of range. Expected a fraction between 0 and 1; received {describe(value)}. "
            f"Write for instance {argument}={cure:g}."
        )


def _check_flag(where: str, argument: str, value: Any) -> None:
    if isinstance(value, str | bytes) or np.ndim(value):
        raise TypeError(
            f"{where}: {argument} is neither true nor false. Expected True or False; received {describe(value)} of "
            f"type {type(value).__name__}. Write {argument}=True or {argument}=False."
        )


def _check_name(where: str, argument: str, value: Any, module: Any) -> None:
    if inspect.isclass(value) and issubclass(value, keras.Layer):
        raise TypeError(
            f"{where}: {argument} is a class. Expected a name or a function; received {value.__name__}. "
            f"Write {argument}={value.__name__}()."
        )
    if isinstance(value, list | tuple | set | bytes | int | float):
        raise TypeError(
            f"{where}: {argument} is neither a name nor a function. Expected one such; received {describe(value)} of "
            f"type {type(value).__name__}. Leave it out to have what Keras takes."
        )
    if not isinstance(value, str):
        return
    if not _knows(module, value):
        known = sorted(name for name in vars(module) if name == name.lower() and _knows(module, name))
        close = difflib.get_close_matches(value[:100], known, n=1)
        cure = f"Did you mean {close[0]!r}?" if close else "Choose one of these, or pass a function."
        raise ValueError(
            f"{where}: {argument} is unknown. Expected one of {', '.join(known)}; received {describe(value)}. {cure}"
        )


def _knows(module: Any, name: str) -> bool:
    """Says whether one of Keras's modules makes something of a name: `serialize` and the like it refuses."""
    try:
        return module.get(name) is not None
    except (AttributeError, LookupError, TypeError, ValueError):
        return False


def check_cell(where: str, cell: Any) -> None:
    """Checks that `keras.layers.RNN` is given a cell or several: a layer for one step, with its `state_size`.

    Raises:
        TypeError: it is a function, a class, a number or another thing that is no cell.
    """
    for one in cell if isinstance(cell, list | tuple) else [cell]:
        wrong = _whats_wrong(one)
        if wrong:
            what, cure = wrong
            raise TypeError(
                f"{where}: {what}. Expected a cell, as keras.layers.GRUCell(32), or a list of cells; received "
                f"{describe(one)}. {cure}"
            )


def _whats_wrong(cell: Any) -> tuple[str, str] | None:
    """Says what a thing is that is no cell, and the cure."""
    name = getattr(cell, "__name__", type(cell).__name__)
    if inspect.isclass(cell):
        return "the cell is a class", f"Make one of it: {name}(...), as in keras.layers.GRUCell(32)."
    if inspect.isroutine(cell):
        return "the cell is a function", CELL_CURE
    missing = [part for part in ("call", "state_size") if not hasattr(cell, part)]
    if missing:
        return f"the cell has no {' and no '.join(missing)}", CELL_CURE
    return None
