# SPDX-License-Identifier: Apache-2.0
"""The loop over time, on the engine: what `inner_loop` of a recurrent Keras layer computes whose cells the engine has.

Our layers and the patched ones of Keras come here alike.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from gatewise.keras import fallback, starts, stock_loop, zoneout
from gatewise.keras.engine import by_device, operations
from gatewise.keras.errors import named
from gatewise.keras.kinds import cells_of, engine_cell, states_of
from gatewise.operands import Direction

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
        layer: a recurrent layer of a cell in `kinds.py`, or of several.
        sequences: (batch, timesteps, features).
        initial_state: (batch, units), alone or in a list of the cell's states; for several cells, a list of one such
            for each.
        mask: (batch, timesteps), any dtype, nonzero = valid; or None.
        training: whether dropout acts and a gradient will follow.
        otherwise: Keras's own loop, a function of these four arguments, run when the engine cannot.

    Returns:
        The last output (batch, units); the outputs in processing order, (batch, timesteps, units), or (batch, 1,
        units) without `return_sequences`; and the last states, nested as `initial_state`. Last output and last state
        differ if the last step is masked.
    """
    layer.fallback_reason = fallback.reason(layer, sequences)
    valid, boundaries = valid_steps(sequences, mask), valid_steps(sequences, starts.take(layer))
    if boundaries is not None or zoneout.acts_on(layer):
        require_engine(layer, "starts" if boundaries is not None else "zoneout")

    def stock() -> Results:
        return stock_loop.run(layer, sequences, initial_state, valid, training, otherwise)

    if layer.fallback_reason is not None or operations is None:
        return stock()

    def engine() -> Results:
        run = functools.partial(operations.rnn, starts=boundaries)
        return _alike(layer, _through_cells(layer, run, sequences, initial_state, valid, training))

    if boundaries is not None or zoneout.acts_on(layer):
        return engine()
    results: Results = by_device(engine, lambda: _alike(layer, stock()))
    return results


def require_engine(layer: Any, what: str) -> None:
    """Raises unless the engine runs a layer in this call, which alone can do what is asked for.

    Raises:
        NotImplementedError: Keras's own path runs.
    """
    if layer.fallback_reason is not None:
        raise NotImplementedError(
            f"{named(layer)}: {what} cannot be left out, and Keras's own path has none. Expected the engine to run; "
            f"received a call in which it does not: {layer.fallback_reason}. Remove the reason, or {what}."
        )


def _alike(layer: Any, results: Results) -> Results:
    """Gives results the dtype and the shape that they have whoever computed them, for a choice made at run time."""
    last, outputs, states = keras.tree.map_structure(lambda value: ops.cast(value, layer.compute_dtype), results)
    states = [list(state) if isinstance(state, list | tuple) else state for state in states]
    return last, outputs if layer.return_sequences else outputs[:, -1:], states


def _through_cells(
    layer: Any,
    run: Callable[..., tuple[Tensor, tuple[tuple[Tensor, ...], ...]]],
    sequences: Tensor,
    initial_state: Tensor | list[Tensor],
    valid: Tensor | None,
    training: bool,
) -> Results:
    cells = cells_of(layer)
    outputs, go_backwards, last_states = sequences, bool(layer.go_backwards), []
    for cell, start in zip(cells, _starts(cells, initial_state), strict=False):
        is_last = cell is cells[-1]
        states = [_state(layer, state) for state in (start if isinstance(start, list | tuple) else [start])]
        outputs, (last,) = run(
            float32(outputs),
            [direction(layer, cell, outputs, states, training)],
            valid,
            **options(layer, cell),
            go_backwards=go_backwards,
            return_sequences=bool(layer.return_sequences) or not is_last,
            zero_output_for_mask=bool(layer.zero_output_for_mask) and is_last,
            training=bool(training),
        )
        last_states.append(list(last) if isinstance(start, list | tuple) else last[0])
        if go_backwards and valid is not None:  # the next cell reads what this one wrote, in processing order
            valid = ops.flip(valid, axis=1)
        go_backwards = False
    nested = isinstance(layer.cell, keras.layers.StackedRNNCells)
    return outputs[:, -1], outputs, last_states if nested else keras.tree.flatten(last_states)


def _starts(cells: list[Any], initial_state: Tensor | list[Tensor]) -> list[Tensor | list[Tensor]]:
    """Lists what each cell starts from: a state alone, or a list of its states."""
    given = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
    if len(cells) > 1 or isinstance(given[0], list | tuple):
        return given
    return [given[: states_of(cells[0])]]  # Keras takes more states than a cell has, and drops them


def _state(layer: Any, state: Tensor) -> Tensor:
    # On torch a stateful layer overwrites the very tensor later on, which the gradient still needs.
    return ops.copy(state) if layer.stateful and keras.backend.backend() == "torch" else state


def direction(layer: Any, cell: Any, sequences: Tensor, states: list[Tensor], training: bool) -> Any:
    """Reads a layer's cell, for a run over sequences (batch, timesteps, features) from states (batch, units)."""
    drops, drops_recurrently = training and 0 < cell.dropout < 1, training and 0 < cell.recurrent_dropout < 1
    initial = (_for_every_row(float32(state), sequences) for state in states)
    return Direction(
        **dict(zip(("initial_h", "initial_c"), initial, strict=False)),
        kernel=float32(cell.kernel),
        recurrent_kernel=float32(cell.recurrent_kernel),
        bias=None if cell.bias is None else float32(cell.bias),
        **_of_norm(cell),
        input_dropout=_factors(cell.get_dropout_mask(sequences[:, 0, :])) if drops else None,
        recurrent_dropout=_factors(cell.get_recurrent_dropout_mask(states[0])) if drops_recurrently else None,
        **zoneout.draws(layer, sequences, training),
    )


def _of_norm(cell: Any) -> dict[str, Any]:
    """Reads what a cell that normalises has besides."""
    weights = {name: float32(getattr(cell, name)) for name in getattr(cell, "of_norm", ())}
    return weights | {"epsilon": float32([cell.epsilon])} if weights else {}


def options(layer: Any, cell: Any) -> dict[str, Any]:
    """Reads what a cell of a layer computes, as `operations.rnn` takes it."""
    names = {name: fallback.ACTIVATION_NAMES[function] for name, function in fallback.activations_of(cell).items()}
    return {"cell": engine_cell(cell), **names, **zoneout.parts(layer)}


def float32(value: Tensor) -> Tensor:
    """Brings a tensor or an array to a float32 tensor."""
    return ops.cast(ops.convert_to_tensor(value), "float32")


def valid_steps(sequences: Tensor, mask: Tensor | None) -> Tensor | None:
    """Brings a mask or starts, (batch or 1, timesteps) or (batch or 1, timesteps, 1), to (batch, timesteps) bool."""
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
    """Brings Keras's dropout masks, one (batch, width) or a list of one for each gate, to (masks, batch, width)."""
    return float32(ops.stack(masks) if isinstance(masks, list) else ops.expand_dims(masks, 0))
