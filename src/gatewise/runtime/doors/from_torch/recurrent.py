# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers and cells, and packed sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.cells import Cell
from gatewise.runtime.doors.from_torch.call import (
    Call,
    affine,
    as_tensor,
    is_mask,
    is_real,
    numbers,
    positive,
    reads,
    shape_of,
)
from gatewise.runtime.doors.from_torch.layout import inserted, plain, taken, viewed
from gatewise.runtime.doors.from_torch.masks import mask_of_lengths, valid_steps
from gatewise.runtime.doors.from_torch.values import Fill, Packed, Source, Stack, Tensor, array_of, is_one, same
from gatewise.runtime.operations import Problem
from gatewise.weights import GRUWeights, LSTMWeights, SimpleRNNWeights, in_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.runtime.doors.from_torch.builder import Builder
    from gatewise.runtime.doors.from_torch.values import Array


class _Kind(NamedTuple):
    """What a kind of the operation `recurrent` is in a graph.

    Attributes:
        cell: the graph's operation has its name.
        options: what goes with it.
        weights: brings the parameters of one direction, arrays in PyTorch's layout, to Keras's, by name.
    """

    cell: Cell
    options: dict[str, Any]
    weights: Callable[[list[Array]], dict[str, Array | None]]

    @property
    def operation(self) -> str:
        return self.cell.name.lower()

    @property
    def states(self) -> int:
        return len(self.cell.row.states)


def _stock(cell: Cell, weights: Any, **options: Any) -> _Kind:
    def arrays(given: list[Array]) -> dict[str, Array | None]:
        held = weights.from_torch(*given)
        return {"kernel": held.kernel, "recurrent_kernel": held.recurrent_kernel, "bias": held.bias}

    return _Kind(cell, options, arrays)


def _normalised(cell: Cell) -> _Kind:
    of_norm = cell.row.weights

    def arrays(given: list[Array]) -> dict[str, Array | None]:
        bias = ("bias",) if len(given) > 2 + len(of_norm) else ()
        named = dict(zip(("kernel", "recurrent_kernel", *bias, *of_norm), given, strict=True))
        return {name: of if name.startswith("state") else in_order(of, cell.row.torch).T for name, of in named.items()}

    return _Kind(cell, {}, arrays)


_KINDS = {
    "gru": _stock(Cell.GRU, GRUWeights),
    "lstm": _stock(Cell.LSTM, LSTMWeights),
    "tanh": _stock(Cell.SIMPLE_RNN, SimpleRNNWeights, activation="tanh"),
    "relu": _stock(Cell.SIMPLE_RNN, SimpleRNNWeights, activation="relu"),
    **{cell.name.lower(): _normalised(cell) for cell in Cell if cell.row.weights},
}


@reads("recurrent")
def _recurrent(call: Call) -> Any:
    b, kind, both = call.b, _KINDS[call["kind"]], call["both"]
    packed, n = call["sizes"], 2 if both else 1
    x = _sequences(b, call.tensor("x"), packed)
    lengths = packed.lengths if isinstance(packed, Packed) else None
    mask = None if lengths is None else mask_of_lengths(b, lengths, x.sizes[1])
    given = [_initial(b, call[name], call["layers"] * n) for name in ("h", "c")][: kind.states]
    starts = _boundaries(b, call["starts"])
    per_place = len(call["weights"]) // (call["layers"] * n)
    zoneout = dict(zip(("zoneout_h", "zoneout_c"), call["zoneout"] or (), strict=False))
    options = kind.options | {name: part for name, part in zoneout.items() if part}
    options |= {"epsilon": call["epsilon"]} if kind.cell.row.weights else {}
    stated = b.here
    last: list[list[Tensor]] = [[] for _ in range(kind.states)]
    value, sizes = x.value, x.sizes
    for layer in range(call["layers"]):
        outputs = []
        for direction in range(n):
            place = layer * n + direction
            name = stated if call["layers"] * n == 1 else f"{stated}/l{layer}{'_reverse' if direction else ''}"
            made = b.emit(
                kind.operation,
                [value, mask, *(None if states is None else states[place] for states in given), starts],
                options | _how(backwards=bool(direction), masked=mask is not None),
                _weights(kind, call["weights"][place * per_place : (place + 1) * per_place]),
                outputs=1 + kind.states,
                name=name,
            )
            units = call["weights"][place * per_place + 1].shape[1]
            for states, state in zip(last, made[1:], strict=True):
                states.append(Tensor(state, ((0,), (1,)), (sizes[0], units)))
            [out] = b.emit("reverse", [made[0]], {"axis": 1}, name=f"{name}/in_order") if direction else [made[0]]
            outputs.append(out)
        value = outputs[0]
        if both:
            [value] = b.emit("concatenate", outputs, {"axis": -1}, name=f"{stated}/l{layer}/both")
        sizes = (*sizes[:2], n * units)
    y = Tensor(value, ((0,), (1,), (2,)), sizes)
    if packed is not None:
        y = replace(y, axes=((0, 1), (2,)))
    h, c = (*(Stack(tuple(states), 0) for states in last), None)[:2]
    return y, h, c


def _how(*, backwards: bool, masked: bool) -> dict[str, Any]:
    options = {"return_sequences": True, "go_backwards": backwards, "zero_output_for_mask": masked}
    return {name: value for name, value in options.items() if value}


def _sequences(b: Builder, x: Tensor, packed: Any) -> Tensor:
    """Lays sequences out: (batch, steps, features)."""
    if isinstance(packed, Packed):
        x = viewed(b, x, (*_sizes_of(x), x.shape[-1]))
    x = plain(b, numbers(b, x))
    if x.axes != ((0,), (1,), (2,)):
        raise Problem(
            "its rows are no batch: it runs along the batch, or over rows that are all one. Expected an input whose "
            "batch is where batch_first says; received one of the shape "
            f"{x.shape}. Set batch_first as the input is, or say which axis is the batch: batch_axes="
        )
    return x


def _sizes_of(x: Tensor) -> tuple[Any, Any]:
    """Returns batch and steps of what packing made one axis."""
    if len(x.axes[0]) != 2:
        raise Problem("its rows are not those that were packed. Expected a packed sequence of pack_padded_sequence")
    batch, steps = (x.sizes[axis] for axis in x.axes[0])
    return batch, steps


def _initial(b: Builder, given: Any, places: int) -> list[str] | None:
    """Returns a state for each layer and direction; None for zeros."""
    if given is None or (isinstance(given, Fill) and given.number == 0):
        return None
    if is_one(shape_of(given)[0]) or not isinstance(given, Stack):
        t = as_tensor(b, given)
        return [_state(b, taken(b, t, 0, place)) for place in range(places)]
    return [_state(b, t) for t in given.items]


def _state(b: Builder, t: Tensor) -> str:
    t = plain(b, t)
    if t.axes != ((0,), (1,)):
        raise Problem(f"its state has the shape {t.shape}. Expected (layers, batch, units), the batch as the input's")
    return t.value


def _boundaries(b: Builder, given: Any) -> str | None:
    """Returns starts, (batch, steps); None where there are none."""
    if given is None or (isinstance(given, Fill) and not given.number):
        return None
    if not isinstance(given, Tensor) or not is_mask(b, given):
        raise Problem("its starts are no truth values of the input's rows. Expected an input of forward")
    t = plain(b, positive(b, given))
    if t.axes != ((0,), (1,)):
        raise Problem(f"its starts have the shape {t.shape}. Expected a value for each row and step, as the input has")
    return t.value


def _weights(kind: _Kind, given: list[Any]) -> dict[str, tuple[Source, Any]]:
    if not all(map(is_real, given)):
        raise Problem("its weights depend on the input. Expected parameters")
    source = ("recurrent", *given)
    arrays = kind.weights([array_of(value) for value in given])
    return {name: (source, array) for name, array in arrays.items() if array is not None}


@reads("gru_cell", "lstm_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(call: Call) -> Any:
    b = call.b
    kind = _KINDS[call.operation.removesuffix("_cell").removeprefix("rnn_")]
    x = plain(b, inserted(numbers(b, call.tensor("input")), 1))
    if x.axes != ((0,), (1,), (2,)):
        raise Problem(f"its input has the shape {x.shape[::2]}. Expected (batch, features)")
    hx = call["hx"] if isinstance(call["hx"], list | tuple) else [call["hx"]]
    zeros = all(isinstance(h, Fill) and h.number == 0 for h in hx)
    states = [None if zeros else _state(b, as_tensor(b, h)) for h in hx]
    weights = [call[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh") if call[name] is not None]
    made = b.emit(
        kind.operation, [x.value, None, *states], kind.options, _weights(kind, weights), outputs=1 + kind.states
    )
    found = [Tensor(value, ((0,), (1,)), (x.sizes[0], weights[1].shape[1])) for value in made[1:]]
    return tuple(found) if kind.states > 1 else found[0]


@reads("pack")
def _pack(call: Call) -> Any:
    lengths = call["lengths"]
    if not isinstance(lengths, Tensor) or lengths.axes != ((0,),):
        raise Problem(
            "its lengths are numbers that are fixed. Expected an input of forward, int64 (batch,): pass lengths as a "
            "tensor"
        )
    x = call.tensor("x")
    if x.axes[0] != (0,):
        raise Problem("its rows are no batch. Expected an input whose batch is where batch_first says")
    x = replace(x, axes=((0,), *x.axes[1:]))
    if len(x.axes[1]) != 1:
        x = plain(call.b, x)
    return replace(x, axes=(x.axes[0] + x.axes[1], *x.axes[2:])), Packed(lengths)


@reads("unpack")
def _unpack(call: Call) -> Any:
    b, packed = call.b, call["sizes"]
    x = call.tensor("data")
    x = plain(b, viewed(b, x, (*_sizes_of(x), *x.shape[1:])))
    if len(x.sizes) != 3 or not same(x.sizes[0], packed.lengths.sizes[0]):
        raise Problem(f"it unpacks numbers of the shape {x.shape}. Expected (batch, steps, features)")
    value, padding = valid_steps(b, x.value, packed.lengths, x.sizes), call.number("padding")
    if padding:
        [mask] = [mask_of_lengths(b, packed.lengths, x.sizes[1])]
        m = numbers(b, Tensor(mask, ((0,), (1,), ()), x.sizes[:2]))
        there = affine(b, m, gain=-padding, offset=padding)
        [wide] = b.emit("expand", [there.value], {"axis": 2})
        [value] = b.emit("add", [value, wide])
    b.padded.add(value)
    return replace(x, value=value), packed.lengths
