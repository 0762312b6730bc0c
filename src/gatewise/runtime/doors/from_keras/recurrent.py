# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers, and the wrappers around them: Bidirectional and TimeDistributed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.cells import Cell, gru
from gatewise.engine import ACTIVATIONS
from gatewise.runtime.doors.from_keras.activations import name_of
from gatewise.runtime.doors.from_keras.calls import Flow, flat
from gatewise.runtime.doors.from_keras.errors import refused
from gatewise.runtime.doors.from_keras.row import Row, passes

if TYPE_CHECKING:
    from gatewise.runtime.doors.from_keras.calls import Call
    from gatewise.runtime.doors.from_keras.door import Door

RECURRENT = ("GRU", "LSTM", "SimpleRNN", "RNN", "LayerNormGRU", "LayerNormLSTM")


# --- One layer: a chain of its cells ---


def _cell(door: Door, call: Call, cell: Any) -> Cell:
    """Returns which cell of the engine a cell of Keras is.

    Raises:
        KerasModelError: it is another.
    """
    kind = door.kind(cell)
    if kind in {"GRUCell", "LayerNormGRUCell"}:
        return gru(reset_after=bool(cell.reset_after), layer_norm=kind != "GRUCell")
    found = _OTHERS.get(kind or "")
    if found is None:
        received = f"{type(cell).__module__}.{type(cell).__qualname__}"
        raise refused(call.layer, call.name, "its cell is one that a graph has not", _CELLS, received)
    return found


_OTHERS = {"LSTMCell": Cell.LSTM, "SimpleRNNCell": Cell.SIMPLE_RNN, "LayerNormLSTMCell": Cell.LAYER_NORM_LSTM}
_CELLS = "GRUCell, LSTMCell, SimpleRNNCell or StackedRNNCells of these, or a cell of gatewise.keras"


def _activations(door: Door, call: Call, cell: Any) -> dict[str, Any]:
    options = {}
    for option in ("activation", "recurrent_activation"):
        if not hasattr(cell, option):
            continue
        name = name_of(door, getattr(cell, option))
        if name not in ACTIVATIONS:
            found = getattr(getattr(cell, option), "__name__", str(getattr(cell, option)))
            expected = f"one of {', '.join(ACTIVATIONS)}"
            raise refused(call.layer, call.name, f"its {option} is one that a graph has not", expected, found)
        options[option] = name
    return options


def _recurrent(door: Door, call: Call) -> list[str]:
    """Adds an operation for each cell; gives the output, and the states where the layer returns them."""
    layer = call.layer
    cells = list(layer.cell.cells) if door.kind(layer.cell) == "StackedRNNCells" else [layer.cell]
    x, mask, boundaries = call.x, next(iter(flat(call.arguments["mask"])), None), _boundaries(door, call)
    if boundaries is not None and mask is None:
        mask = call.flows[0].mask  # as our layers take it, where Keras fills in none
    starts = [_start(door, call, one) for one in flat(call.arguments.get("initial_state")) if one is not None]
    states: list[str] = []
    for place, cell in enumerate(cells):
        is_last, of = place == len(cells) - 1, _cell(door, call, cell)
        count = len(of.row.states)
        own, starts = starts[:count], starts[count:]
        name = call.name if is_last else f"{call.name}/{cell.name}"
        weights = door.weights(
            cell,
            call.name if len(cells) == 1 else f"{call.name}/{cell.name}",
            kernel=door.read(cell.kernel, call.name),
            recurrent_kernel=door.read(cell.recurrent_kernel, call.name),
            bias=door.read(cell.bias, call.name) if cell.use_bias else None,
            **{one: door.read(getattr(cell, one), call.name) for one in of.row.weights},
        )
        x, *after = door.emit_all(
            call,
            name,
            of.name.lower(),
            [x, mask, *own] if boundaries is None else [x, mask, *[*own, *[None] * count][:count], boundaries],
            outputs=1 + count if layer.return_state else 1,
            weights=weights,
            return_sequences=not is_last or bool(layer.return_sequences),
            go_backwards=place == 0 and bool(layer.go_backwards),
            zero_output_for_mask=is_last and bool(getattr(layer, "zero_output_for_mask", False)),
            **_activations(door, call, cell),
            **{f"zoneout_{state}": part for state, part in _zoneout(layer, of).items() if part},
            **({"epsilon": float(cell.epsilon)} if of.row.weights else {}),
        )
        states += after
        if place == 0 and layer.go_backwards and not is_last and mask is not None:
            mask = door.emit(call, f"{call.name}/mask", "reverse", [mask], axis=1)  # outputs come last step first
    return [x, *states]


def _boundaries(door: Door, call: Call) -> str | None:
    """Returns the value of the call's starts, if there are any.

    Raises:
        KerasModelError: they are no value of the model of dtype bool.
    """
    given = call.arguments.get("starts")
    if given is None:
        return None
    received = door.dtype(given.value) if isinstance(given, Flow) else type(given).__name__
    if received != "bool":
        expected = "an input of dtype bool, or what the model computes of one"
        raise refused(call.layer, call.name, "its starts are no truth values", expected, received)
    return str(given.value)


def _zoneout(layer: Any, cell: Cell) -> dict[str, float]:
    """Returns what part of each state a step keeps; stock's layers have no such thing."""
    named = {"h": getattr(layer, "zoneout", 0.0), "c": getattr(layer, "zoneout_cell", 0.0)}
    return {state: float(named[state]) for state in cell.row.states}


def _start(door: Door, call: Call, state: Any) -> str:
    if isinstance(state, Flow):
        return state.value
    return door.constant(call, f"{call.name}/initial_state", door.read(state, call.name))


def _recurrent_masks(_door: Door, call: Call, _values: list[str]) -> Any:
    return flat(call.mask)[:1] if call.layer.return_sequences else None


# --- Both directions ---


class _Direction(NamedTuple):
    output: str
    states: list[str]


def _bidirectional(door: Door, call: Call) -> list[str]:
    layer, mode = call.layer, call.layer.merge_mode
    starts = flat(call.arguments.get("initial_state"))
    starts = [] if starts == [None] else starts
    half = len(starts) // 2
    forward, backward = (
        _direction(door, call, one, own)
        for one, own in ((layer.forward_layer, starts[:half]), (layer.backward_layer, starts[half:]))
    )
    outputs = [forward.output, backward.output]
    if layer.return_sequences:
        name = f"{call.name}/reverse"
        outputs[1] = door.emit(call, name, "reverse", [outputs[1]], axis=1)
    if mode is not None:
        operation = {"concat": "concatenate", "sum": "add", "mul": "multiply", "ave": "average"}[mode]
        outputs = [door.emit(call, call.name, operation, outputs)]
    return [*outputs, *forward.states, *backward.states]


def _direction(door: Door, call: Call, layer: Any, starts: list[Any]) -> _Direction:
    if door.kind(layer) not in RECURRENT:
        received = f"{type(layer).__module__}.{type(layer).__qualname__}"
        raise refused(call.layer, call.name, "it wraps a layer that is not known", ", ".join(RECURRENT), received)
    given = {"sequences": call.flows[0], "initial_state": starts or None, "mask": call.arguments["mask"]}
    given["starts"] = call.arguments.get("starts")
    output, *states = _recurrent(door, call.inside(layer, layer.name, **given))
    return _Direction(output, states)


def _bidirectional_masks(_door: Door, call: Call, _values: list[str]) -> Any:
    layer = call.layer
    masks = flat(call.mask)[:1] if layer.return_sequences else [None]
    return masks * 2 if layer.merge_mode is None else masks


# --- A layer at each step ---

# Those of the last axis alone: they need not be told that steps are folded into the batch
_POINTWISE = {
    *("Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "Embedding", "Rescaling", "Identity", "Dropout"),
    *("GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization", "RMSNormalization"),
    *("BatchNormalization", "LayerNormalization", "UnitNormalization"),
}


# Those whose numbers depend on a mask
_JOINS = {"Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"}
_NO_MASK = "Join outside of TimeDistributed, or leave the mask out."


def _time_distributed(door: Door, call: Call) -> list[str]:
    """Adds the layer once, over all steps of all rows. It gets the mask of each step, where that has one of its own."""
    layer, x = call.layer.layer, call.flows[0]
    mask = next(iter(flat(call.arguments["mask"])), None)
    kind = door.kind(layer)
    if kind in _POINTWISE and all(int(axis) < 0 for axis in flat(getattr(layer, "axis", -1))):
        return [flow.value for flow in _apply(door, call, layer, Flow(x.value), None)]
    folded = door.emit(call, f"{call.name}/fold", "fold", [x.value])
    of_steps = None
    if mask is not None and door.rank(mask) > 2:
        of_steps = door.emit(call, f"{call.name}/fold/mask", "fold", [mask])
    elif mask is not None and any(type(one).__name__ in _JOINS for one in layer._flatten_layers()):  # noqa: SLF001
        problem = "it joins values at each step, where Keras's mask of the whole steps changes what is joined"
        raise refused(layer, call.name, problem, "no mask, or one for each step within", "one of the steps", _NO_MASK)
    made = _apply(door, call, layer, Flow(folded), of_steps)
    return [
        door.emit(call, call.name if place == 0 else f"{call.name}/{place}", "unfold", [flow.value, x.value])
        for place, flow in enumerate(made)
    ]


def _apply(door: Door, call: Call, layer: Any, x: Flow, mask: str | None) -> list[Flow]:
    """Runs a layer as `layer.call` would, which fills in no mask."""
    from gatewise.runtime.doors.from_keras.calls import bound

    inner = bound(layer, f"{call.name}/{layer.name}", (x,), {})
    arguments = {**inner.arguments, **({"mask": mask} if "mask" in inner.arguments else {})}
    return door.layer(call.inside(layer, layer.name, **arguments))


ROWS = {
    **{name: Row(_recurrent, _recurrent_masks) for name in RECURRENT},
    "Bidirectional": Row(_bidirectional, _bidirectional_masks),
    "TimeDistributed": Row(_time_distributed, passes),
}
