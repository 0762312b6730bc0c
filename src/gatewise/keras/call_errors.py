# SPDX-License-Identifier: Apache-2.0
"""What recurrent layers are called with, sequences, states and masks: checked, with the cure.

Our layers, and a `Bidirectional` of such, are checked before Keras sees the call; a patched layer when Keras
has refused, but for states that are too few, with which Keras computes something else.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from gatewise.keras import sequence_errors
from gatewise.keras.errors import describe, is_text, named
from gatewise.keras.kinds import cells_of, states_of
from gatewise.keras.sequence_errors import Shape, check_real, shape_of

_RANK = 3
_ARGUMENTS = ("sequences", "initial_state", "mask", "training", "starts")  # in the order of Keras, and ours


def check_call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Checks what a layer is called with: sequences, initial_state, mask and starts.

    Args:
        layer: a recurrent layer, an RNN of cells, or a Bidirectional of such.
        args: the positional arguments.
        kwargs: the others.

    Raises:
        TypeError: the sequences, a state, the mask or the starts are no array, or one with a mask of its own; the
            sequences are ragged or sparse.
        ValueError: the sequences are text, have the wrong rank or width, or no steps; a state, the mask or the starts
            have the wrong shape; there are too many or too few states; or a stateful layer is given starts.
    """
    if not args and "sequences" not in kwargs:
        return  # Python says so itself when Keras's call is made
    sequences, initial_state, mask, starts = _arguments(args, kwargs)
    shape = sequence_errors.check_sequences(layer, _layers(layer)[0], sequences)
    if shape is None:
        return
    if initial_state is not None:
        check_number_of_states(layer, initial_state, or_more=False)
        for state, units in zip(_states(layer, initial_state), _units(layer), strict=True):
            _check_state(layer, state, (shape[0], units))
    if mask is not None:
        _check_mask(layer, mask, shape, "mask", "counts")
    if starts is not None:
        _check_mask(layer, starts, shape, "starts", "begins anew")
        _check_not_stateful(layer)


def check_few_states(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Checks that a layer's call has no fewer states than it has cells.

    Keras cuts what is there in two halves, along the batch where it is one tensor, or leaves cells out.

    Raises:
        ValueError: there are too few.
    """
    initial_state = _arguments(args, kwargs)[1]
    if initial_state is not None:
        check_number_of_states(layer, initial_state, or_more=True)


def check_number_of_states(layer: Any, initial_state: Any, *, or_more: bool) -> None:
    """Checks how many states there are; `or_more` lets pass more than the layer has.

    Raises:
        ValueError: too few, or too many.
    """
    needed, states = len(_units(layer)), _states(layer, initial_state)
    if len(states) == needed or (or_more and len(states) > needed):
        return
    received = f"one of shape {shape_of(initial_state)}" if shape_of(initial_state) else str(len(states))
    if isinstance(layer, keras.layers.Bidirectional):
        each = needed // 2
        expected = f"a list of {needed}, {'one' if each == 1 else each} for each direction"
        cure = f"Write initial_state=[{', '.join(['forward'] * each + ['backward'] * each)}], each (batch, units)."
    else:
        expected = str(needed)
        cure = {1: "It has one state, and a Bidirectional of it two, one for each direction."}.get(
            needed, "Give all states of each cell, in the order of the cells."
        )
    raise ValueError(
        f"{named(layer)}: initial_state holds the wrong number of states. Expected {expected}; received {received}. "
        f"{cure}"
    )


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    sequences, initial_state, mask, _, starts = (
        args[place] if len(args) > place else kwargs.get(name) for place, name in enumerate(_ARGUMENTS)
    )
    return sequences, initial_state, mask, starts


def _layers(layer: Any) -> list[Any]:
    """Lists the layers that run over time: a Bidirectional has two."""
    is_wrapper = isinstance(layer, keras.layers.Bidirectional)
    return [layer.forward_layer, layer.backward_layer] if is_wrapper else [layer]


def _units(layer: Any) -> list[int | None]:
    """Lists the width of each state, in Keras's order."""
    cells = [cell for part in _layers(layer) for cell in cells_of(part)]
    return [getattr(cell, "units", None) for cell in cells for _ in range(states_of(cell))]


def _states(layer: Any, initial_state: Any) -> list[Any]:
    """Lists states one by one; those of several cells may stand in lists, one for each cell."""
    if not isinstance(initial_state, list | tuple):
        return [initial_state]
    counts = [states_of(cell) for part in _layers(layer) for cell in cells_of(part)]
    lists = [len(part) if isinstance(part, list | tuple) else None for part in initial_state]
    return [state for part in initial_state for state in part] if lists == counts else list(initial_state)


# --- States and masks ---


def _check_state(layer: Any, state: Any, expected: Shape) -> None:
    if isinstance(state, list | tuple) and len(state) == 1:  # so nested, Keras keeps the states of several cells
        state = state[0]
    check_real(layer, "initial_state", state)
    received = shape_of(state)
    if not received and isinstance(state, list | tuple | dict | str | int | float | None):
        raise TypeError(
            f"{named(layer)}: initial_state is no array. Expected (batch={_known(expected[0])}, units={expected[1]}); "
            f"received {describe(state)} of type {type(state).__name__}. Leave it out to begin with zeros."
        )
    if received is not None and not _fits(received, expected):
        raise ValueError(
            f"{named(layer)}: initial_state has the wrong shape. Expected (batch={_known(expected[0])}, "
            f"units={expected[1]}); received {received}. Give one state for each sequence of the batch."
        )


def _check_not_stateful(layer: Any) -> None:
    if layer.stateful:
        raise ValueError(
            f"{named(layer)}: starts and stateful=True do not go together: a step behind a start would begin with the "
            "state of the batch before. Expected one of them; received both. Call reset_state(), or leave stateful out."
        )


def _check_mask(layer: Any, mask: Any, shape: Shape, name: str, happens: str) -> None:
    expected = f"(batch={_known(shape[0])}, timesteps={_known(shape[1])})"
    if isinstance(mask, list | tuple) and len(mask) and shape_of(mask[0]):
        mask = mask[0]  # as Keras gives the mask of a layer with several inputs
    check_real(layer, name, mask)
    received = shape_of(mask)
    if is_text(mask) or (not received and isinstance(mask, list | tuple | dict | int | float)):
        raise TypeError(
            f"{named(layer)}: {name} is no array of truth values. Expected {expected}; received {describe(mask)}. Give "
            f"numpy.array({name}, bool), True where the step {happens}."
        )
    if received is None:
        return
    flat = received[:-1] if len(received) == _RANK and received[-1] == 1 else received
    if not _fits(flat, shape[:2]):
        raise ValueError(
            f"{named(layer)}: {name} has the wrong shape. Expected {expected}; received {received}. "
            f"Give one value for each step of each sequence, True where the step {happens}."
        )
    if isinstance(mask, np.ndarray) and mask.dtype.kind == "f" and np.isnan(mask).any():
        raise ValueError(
            f"{named(layer)}: {name} holds NaN, which would count as valid. Expected zeros and ones; received "
            f"{describe(mask)}. Decide by ~numpy.isnan({name}) which steps count."
        )


def _fits(received: Shape, expected: Shape) -> bool:
    """Compares shapes where both are known; a batch of 1 serves every row, as in Keras."""
    return len(received) == len(expected) and all(
        a is None or b is None or a == b or (axis == 0 and a == 1)
        for axis, (a, b) in enumerate(zip(received, expected, strict=True))
    )


def _known(size: int | None) -> str:
    return "any" if size is None else str(size)
