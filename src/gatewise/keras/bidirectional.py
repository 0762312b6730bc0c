# SPDX-License-Identifier: Apache-2.0
"""Both directions of a `keras.layers.Bidirectional` in one operation of the engine.

Keras runs one layer after the other, reverses the outputs of the second and joins them, and a gradient comes back the
same way, each time through all outputs once more. The engine writes each output where it belongs. `Bidirectional.call`
is therefore wrapped: two layers that the engine can run together, it does; all others stay Keras's matter. `__call__`
is wrapped to say what is wrong with what it is given.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
from keras import ops

from gatewise.keras import fallback, kinds, loop, teaching
from gatewise.keras.engine import leaves_device_open, operations
from gatewise.keras.errors import class_name, named
from gatewise.keras.layers import LAYERS, NORMALISED
from gatewise.keras.native import Native
from gatewise.keras.patch import is_ours, is_patched
from gatewise.keras.starts import given

if TYPE_CHECKING:
    from collections.abc import Callable

Tensor: TypeAlias = Any  # a tensor of Keras's backend

_SEQUENCES_RANK = 3


def join_directions() -> None:
    """Wraps `keras.layers.Bidirectional.call` and `__call__`, once."""
    wrapper = keras.layers.Bidirectional
    if not hasattr(wrapper.call, "joins_directions"):
        wrapper.call = _joining(wrapper.call)
        wrapper.__call__ = teaching.call(wrapper, _wraps(is_ours), _wraps(lambda layer: isinstance(layer, Native)))


def _joining(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def call(
        self: Any,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: Any = None,
        starts: Tensor | None = None,
        sequences_mask: Tensor | None = None,
    ) -> Any:
        if starts is not None:
            _check_takes_starts(self)
            mask = sequences_mask if mask is None else mask
        if _can_join(self, sequences, initial_state):
            return _joined(self, sequences, initial_state, mask, bool(training), starts)
        with nullcontext() if starts is None else given(starts, *_layers(self)):
            return stock(self, sequences, initial_state=initial_state, mask=mask, training=training)

    setattr(call, "joins_directions", True)  # noqa: B010  # mypy knows no such attribute
    of_stock = inspect.signature(stock)  # which Keras reads, and people in help()
    names = ("starts", "sequences_mask")
    more = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in names]
    setattr(call, "__signature__", of_stock.replace(parameters=[*of_stock.parameters.values(), *more]))  # noqa: B010
    return call


def _check_takes_starts(wrapper: Any) -> None:
    for layer in _layers(wrapper):
        if not isinstance(layer, Native):
            raise NotImplementedError(
                f"{named(wrapper)}: starts need layers of gatewise.keras. Expected such in both directions; received "
                f"{class_name(layer)}. Wrap gatewise.keras.{type(layer).__name__}, or call "
                "gatewise.keras.convert(model)."
            )


def _wraps(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Makes a function that says whether a wrapper is stock's, with two layers of a kind."""
    return lambda wrapper: type(wrapper) is keras.layers.Bidirectional and all(map(kind, _layers(wrapper)))


def _can_join(wrapper: Any, sequences: Tensor, initial_state: Any) -> bool:
    layers = _layers(wrapper)
    known = {*LAYERS, *NORMALISED, *(kinds.LAYERS if is_patched() else ())}
    return (
        operations is not None
        and wrapper.merge_mode == "concat"
        and not wrapper.stateful
        and not leaves_device_open()
        and all(type(layer) in known and layer.built and layer.activity_regularizer is None for layer in layers)
        and _common(layers[0]) == _common(layers[1])
        and wrapper.compute_dtype == layers[0].compute_dtype
        and len(sequences.shape) == _SEQUENCES_RANK
        and (initial_state is None or _are_of_both(initial_state, layers))
        and all(fallback.reason(layer, sequences) is None for layer in layers)
    )


def _are_of_both(initial_state: Any, layers: tuple[Any, Any]) -> bool:
    needed = sum(kinds.states_of(layer.cell) for layer in layers)
    return isinstance(initial_state, list | tuple) and len(initial_state) == needed


def _layers(wrapper: Any) -> tuple[Any, Any]:
    return wrapper.forward_layer, wrapper.backward_layer


def _common(layer: Any) -> tuple[Any, ...]:
    """What two layers must have in common."""
    return (layer.units, layer.zero_output_for_mask, layer.compute_dtype, *loop.options(layer, layer.cell).values())


def _joined(
    wrapper: Any,
    sequences: Tensor,
    initial_state: Any,
    mask: Tensor | None,
    training: bool,
    starts: Tensor | None,
) -> Any:
    layers = _layers(wrapper)
    batch = ops.shape(sequences)[0]
    given = initial_state or [state for layer in layers for state in layer.get_initial_state(batch)]
    half = len(given) // 2
    directions = [
        _direction(layer, sequences, starts, training)
        for layer, starts in zip(layers, (given[:half], given[half:]), strict=True)
    ]
    outputs, states = operations.rnn(  # type: ignore[union-attr]  # _can_join has asked
        loop.float32(sequences),
        directions,
        loop.valid_steps(sequences, mask),
        loop.valid_steps(sequences, starts),
        go_backwards=bool(layers[0].go_backwards),
        return_sequences=bool(wrapper.return_sequences),
        zero_output_for_mask=bool(layers[0].zero_output_for_mask),
        training=training,
        **loop.options(layers[0], layers[0].cell),
    )
    output = ops.cast(outputs if wrapper.return_sequences else outputs[:, -1], wrapper.compute_dtype)
    if not wrapper.return_state:
        return output
    return output, *(ops.cast(state, wrapper.compute_dtype) for of_each in states for state in of_each)


def _direction(layer: Any, sequences: Tensor, starts: list[Tensor], training: bool) -> Any:
    """Reads a layer as its own call would: dropout is drawn for this call, in training or not, and forgotten after."""
    layer.fallback_reason = None
    cell = layer.cell
    states = [
        ops.convert_to_tensor(state[0] if isinstance(state, list | tuple) else state, layer.compute_dtype)
        for state in starts  # as Keras takes them, alone or in a list
    ]
    cell.get_dropout_mask(sequences[:, 0, :])
    cell.get_recurrent_dropout_mask(states[0])
    direction = loop.direction(layer, cell, sequences, states, training)
    cell.reset_dropout_mask()
    cell.reset_recurrent_dropout_mask()
    return direction
