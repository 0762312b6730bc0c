# SPDX-License-Identifier: Apache-2.0
"""The loop over time, on the engine: what `inner_loop` of a recurrent Keras layer computes when its cells are GRUCells.

`gatewise.keras.GRU` and the patched layers of Keras come here alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from gatewise.keras import fallback, stock_loop
from gatewise.keras.engine import by_device, operations
from gatewise.ops.direction import Direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.keras.stock_loop import Results, Tensor


def inner_loop(
    layer: Any,
    sequences: Tensor,
    initial_state: Tensor | list[Tensor],
    mask: Tensor | None,
    training: bool,
    otherwise: Callable[..., Results],
) -> Results:
    """Carries the states of a layer through time; notes in `layer.fallback_reason` whether the engine did it.

    Args:
        layer: a `keras.layers.GRU`, or a `keras.layers.RNN` of a GRUCell or of several.
        sequences: (batch, timesteps, features).
        initial_state: (batch, units), alone or in a list; for several cells, a list of one such for each.
        mask: (batch, timesteps), any dtype, nonzero = valid; or None.
        training: whether dropout acts and a gradient will follow.
        otherwise: Keras's own loop, a function of these four arguments, run when the engine cannot.

    Returns:
        The last output (batch, units); the outputs in processing order, (batch, timesteps, units), or (batch, 1,
        units) without `return_sequences`; and the last states, nested as `initial_state`. Last output and last state
        differ if the last step is masked.
    """
    layer.fallback_reason = fallback.reason(layer, sequences)
    valid = valid_steps(sequences, mask)

    def stock() -> Results:
        return stock_loop.run(layer, sequences, initial_state, valid, training, otherwise)

    if layer.fallback_reason is not None or operations is None:
        return stock()
    results: Results = by_device(
        lambda: _alike(layer, _through_cells(layer, operations.gru, sequences, initial_state, valid, training)),
        lambda: _alike(layer, stock()),
    )
    return results


def _alike(layer: Any, results: Results) -> Results:
    """Gives results the dtype and the shape that they have whoever computed them, for a choice made at run time."""
    last, outputs, states = keras.tree.map_structure(lambda value: ops.cast(value, layer.compute_dtype), results)
    states = [list(state) if isinstance(state, list | tuple) else state for state in states]
    return last, outputs if layer.return_sequences else outputs[:, -1:], states


def _through_cells(
    layer: Any,
    run: Callable[..., tuple[Tensor, Tensor]],
    sequences: Tensor,
    initial_state: Tensor | list[Tensor],
    valid: Tensor | None,
    training: bool,
) -> Results:
    cells = fallback.cells_of(layer)
    starts = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
    outputs, go_backwards, last_states = sequences, bool(layer.go_backwards), []
    for cell, start in zip(cells, starts, strict=False):  # Keras takes more states than a GRU has, and drops them
        is_last = cell is cells[-1]
        outputs, last_state = run(
            x=float32(outputs),
            **direction(cell, outputs, _state(layer, start), training)._asdict(),
            **options(cell),
            mask=valid,
            go_backwards=go_backwards,
            return_sequences=bool(layer.return_sequences) or not is_last,
            zero_output_for_mask=bool(layer.zero_output_for_mask) and is_last,
            training=bool(training),
        )
        last_states.append([last_state] if isinstance(start, list | tuple) else last_state)
        if go_backwards and valid is not None:  # the next cell reads what this one wrote, in processing order
            valid = ops.flip(valid, axis=1)
        go_backwards = False
    return outputs[:, -1], outputs, last_states


def _state(layer: Any, start: Tensor | list[Tensor]) -> Tensor:
    state = start[0] if isinstance(start, list | tuple) else start
    # On torch a stateful layer overwrites the very tensor later on, which the gradient still needs.
    return ops.copy(state) if layer.stateful and keras.backend.backend() == "torch" else state


def direction(cell: Any, sequences: Tensor, state: Tensor, training: bool) -> Direction:
    """Reads what a cell holds, for a run over sequences (batch, timesteps, features) from a state (batch, units)."""
    drops, drops_recurrently = training and 0 < cell.dropout < 1, training and 0 < cell.recurrent_dropout < 1
    return Direction(
        initial_state=_for_every_row(float32(state), sequences),
        kernel=float32(cell.kernel),
        recurrent_kernel=float32(cell.recurrent_kernel),
        bias=None if cell.bias is None else float32(cell.bias),
        input_dropout=_factors(cell.get_dropout_mask(sequences[:, 0, :])) if drops else None,
        recurrent_dropout=_factors(cell.get_recurrent_dropout_mask(state)) if drops_recurrently else None,
    )


def options(cell: Any) -> dict[str, Any]:
    """Reads what a cell computes, as `operations.gru` takes it."""
    return {
        "reset_after": bool(cell.reset_after),
        "activation": fallback.ACTIVATION_NAMES[cell.activation],
        "recurrent_activation": fallback.ACTIVATION_NAMES[cell.recurrent_activation],
    }


def float32(value: Tensor) -> Tensor:
    """Brings a tensor or an array to a float32 tensor."""
    return ops.cast(ops.convert_to_tensor(value), "float32")


def valid_steps(sequences: Tensor, mask: Tensor | None) -> Tensor | None:
    """Brings a mask, (batch or 1, timesteps) or (batch or 1, timesteps, 1), to (batch, timesteps) bool."""
    if isinstance(mask, list | tuple):
        mask = mask[0]
    if mask is None:
        return None
    mask = ops.cast(ops.convert_to_tensor(mask), "bool")
    if len(mask.shape) == 3:  # Keras takes a trailing axis of length 1
        mask = ops.squeeze(mask, axis=-1)
    return _for_every_row(mask, sequences)


def _for_every_row(value: Tensor, sequences: Tensor) -> Tensor:
    """Repeats a single row, (1, width), for the whole batch of `sequences`; leaves (batch, width) alone."""
    if value.shape[0] != 1 or sequences.shape[0] == 1:
        return value
    return ops.broadcast_to(value, (ops.shape(sequences)[0], ops.shape(value)[1]))


def _factors(masks: Tensor | list[Tensor]) -> Tensor:
    """Brings Keras's dropout masks, one (batch, width) or a list of three, to (1 or 3, batch, width) float32."""
    return float32(ops.stack(masks) if isinstance(masks, list) else ops.expand_dims(masks, 0))
