# SPDX-License-Identifier: Apache-2.0
"""The forward of a recurrent module of PyTorch, on the engine. Checks, packing and the random numbers stay PyTorch's.

Letters: B = batch, T = timesteps, F = features, U = units (`hidden_size`), L = layers, D = directions, 1 or 2. A
module's states, (L * D, B, U) each, stand in a tuple here, of one or two; none stands for zeros.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.operands import Direction
from gatewise.ops import torch as engine
from gatewise.torch import zoneout
from gatewise.torch.kinds import kind_of
from gatewise.torch.reasons import NOT_PACKED, advice, reason, warn
from gatewise.torch.starts import engine_starts

if TYPE_CHECKING:
    from collections.abc import Callable

States: TypeAlias = tuple[torch.Tensor, ...]


class _Sequences(NamedTuple):
    """A batch of sequences as the engine reads them, and as PyTorch does."""

    x: torch.Tensor  # (B, T, F), any dtype
    lengths: torch.Tensor | None  # (B,) int64, descending, for what came packed; else None
    starts: torch.Tensor | None  # (B, T) bool


def forward(module: Any, input: Any, hx: Any = None, starts: Any = None) -> tuple[Any, Any]:  # noqa: A002
    """Runs a recurrent module of PyTorch, or a subclass of it, on the engine where it can; see `Native.forward`."""
    # torch.compile steps around every such module unless told otherwise. Then it shall not compile pieces of ours.
    if torch.compiler.is_dynamo_compiling() or "torch._dynamo" not in sys.modules:
        return _run(module, input, hx, starts)
    return _uncompiled_run()(module, input, hx, starts)


@functools.cache
def _uncompiled_run() -> Callable[..., tuple[Any, Any]]:
    disable: Any = torch.compiler.disable  # without types
    run: Callable[..., tuple[Any, Any]] = disable(_run)
    return run


def _run(module: Any, input: Any, hx: Any, starts: Any) -> tuple[Any, Any]:  # noqa: A002
    if not _flat_weights_are_current(module):
        module._update_flat_weights()  # noqa: SLF001  # as stock's forward begins
    packed = isinstance(input, PackedSequence)
    data = input.data if packed else input
    states = _states(module, hx)
    if states is None or not isinstance(data, torch.Tensor) or not (packed or _are_sequences(module, data, states)):
        return _stock(module, input, hx)  # which raises, in its own words
    why = reason(module, data, states)
    if module.fallback_reason != why:
        module.fallback_reason = why
    if why is not None:
        _refuse_to_drop(module, starts, why)
        return _stock(module, input, hx)
    given = engine_starts(type(module).__name__, module, input, starts)
    return _packed(module, input, hx, states, given) if packed else _padded(module, input, states, given)


def _refuse_to_drop(module: Any, starts: Any, why: str) -> None:
    """Raises where PyTorch's own path would run without what the engine alone has."""
    what = "zoneout" if zoneout.parts(module) else None if starts is None else "starts"
    if what is not None:
        raise NotImplementedError(
            f"{type(module).__name__}: {what} cannot be left out, and PyTorch's own path has none. Expected the engine "
            f"to run; received a call in which it does not: {why}. Remove the reason, or {what}."
        )


def _stock(module: Any, input: Any, hx: Any) -> tuple[Any, Any]:  # noqa: A002
    """Runs PyTorch's own path. To its error comes what to do, where that is more than it says itself."""
    try:
        return kind_of(type(module)).forward(module, input, hx)  # type: ignore[no-any-return]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        note = advice(module, input, hx)
        if note is not None:
            error.add_note(note)
        raise


def _states(module: Any, hx: Any) -> States | None:
    """Brings what a module was given to a tuple; None if it is not of tensors, or of another number."""
    if hx is None:
        return ()
    wanted = kind_of(type(module)).states
    given = (hx,) if wanted == 1 else hx
    fits = isinstance(given, tuple | list) and len(given) == wanted and all(isinstance(h, torch.Tensor) for h in given)
    return tuple(given) if fits else None


def _given_back(states: States) -> Any:
    return states[0] if len(states) == 1 else states


def _flat_weights_are_current(module: Any) -> bool:
    """Says whether the list of weights holds the parameters, in a fifth of the time that stock's question takes."""
    parameters, names, weights = module._parameters, module._flat_weights_names, module._flat_weights  # noqa: SLF001
    return all(parameters.get(name) is weight for name, weight in zip(names, weights, strict=True))


def _are_sequences(module: Any, data: torch.Tensor, states: States) -> bool:
    """Says whether the ranks are those of sequences, of at least one step."""
    if data.is_nested:
        return True  # of no shape to ask for: the reason says so
    rank = data.dim()
    if rank not in {2, 3} or any(state.dim() != rank for state in states):
        return False
    return data.shape[1 if rank == 3 and module.batch_first else 0] > 0


def _padded(module: Any, data: torch.Tensor, states: States, starts: torch.Tensor | None) -> tuple[torch.Tensor, Any]:
    """Runs over sequences of one length, (T, B, F), (B, T, F) with batch_first, or (T, F)."""
    single = data.dim() == 2
    batch_axis = 0 if module.batch_first else 1
    if single:
        data, states = data.unsqueeze(batch_axis), tuple(state.unsqueeze(1) for state in states)
    _check(module, data, states, None)
    x = data if module.batch_first else data.transpose(0, 1)
    outputs, states = _layers(module, _Sequences(x, None, starts), states)
    if not module.batch_first:
        outputs = outputs.transpose(0, 1).contiguous()  # users call view() on it, as they can on stock's
    if single:
        outputs, states = outputs.squeeze(batch_axis), tuple(state.squeeze(1) for state in states)
    return outputs, _given_back(states)


def _packed(
    module: Any, packed: PackedSequence, hx: Any, states: States, starts: torch.Tensor | None
) -> tuple[PackedSequence, Any]:
    """Runs over sequences of many lengths, which stand in descending order in what is packed."""
    data, batch_sizes, to_descending, to_given = packed
    if states:
        states = _states(module, module.permute_hidden(_given_back(states), to_descending)) or ()
    _check(module, data, states, batch_sizes)
    padded = _unpacked(data, batch_sizes)
    if padded is None:
        module.fallback_reason = NOT_PACKED
        _refuse_to_drop(module, starts, NOT_PACKED)
        warn(module, NOT_PACKED)
        return _stock(module, packed, hx)
    x, lengths = padded
    outputs, states = _layers(module, _Sequences(x, lengths, starts), states)
    result = pack_padded_sequence(outputs, lengths, batch_first=True).data
    last = module.permute_hidden(_given_back(states), to_given)
    return PackedSequence(result, batch_sizes, to_descending, to_given), last


def _unpacked(data: torch.Tensor, batch_sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Pads sequences. Returns them, (B, T, F), and their lengths; None if the sizes are not those of any."""
    try:
        x, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes), batch_first=True)
    except (IndexError, RuntimeError):
        return None
    return (x, lengths) if len(lengths) else None


def _check(module: Any, data: torch.Tensor, states: States, batch_sizes: torch.Tensor | None) -> None:
    """Lets PyTorch check the shapes, in its own words."""
    if states:
        module.check_forward_args(data, _given_back(states), batch_sizes)
    else:
        module.check_input(data, batch_sizes)


def _layers(module: Any, sequences: _Sequences, states: States) -> tuple[torch.Tensor, States]:
    """Runs every layer and direction. Returns outputs (B, T, D * U) and states (L * D, B, U)."""
    x, lengths = _float32(sequences.x), sequences.lengths
    dtype = states[0].dtype if states else sequences.x.dtype  # they differ under autocast alone
    mask = None
    if lengths is not None and int(lengths[-1]) < x.shape[1]:
        mask = torch.arange(x.shape[1]) < lengths[:, None]
    kind, n = kind_of(type(module)), 2 if module.bidirectional else 1
    options: dict[str, Any] = {"cell": kind.cell, "activation": kind.activation(module), "torch_layout": True}
    options |= zoneout.parts(module)
    last: list[States] = []
    for layer in range(module.num_layers):
        if layer and module.training and module.dropout:
            x = x * _dropout_factors(module.dropout, sequences, x.shape[2])
        directions = [_direction(module, layer * n + i, states, x) for i in range(n)]
        x, own = engine.rnn(x, directions, mask, sequences.starts, **options)
        last += own
    found = tuple(torch.stack(of_each) for of_each in zip(*last, strict=True))
    return (x, found) if dtype == torch.float32 else (x.to(dtype), tuple(state.to(dtype) for state in found))


def _direction(module: Any, place: int, states: States, x: torch.Tensor) -> Any:
    """Names one direction's parameters as the engine does, in float32, in PyTorch's layout; and draws for its input."""
    count = 4 if module.bias else 2
    weights = module._flat_weights[place * count : (place + 1) * count]  # noqa: SLF001
    kernel, recurrent_kernel, bias, recurrent_bias = (*map(_float32, weights), None, None)[:4]
    initial_h, initial_c = (*(_float32(state[place]) for state in states), None, None)[:2]
    return Direction(
        initial_h=initial_h,
        initial_c=initial_c,
        kernel=kernel,
        recurrent_kernel=recurrent_kernel,
        bias=bias,
        recurrent_bias=recurrent_bias,
        **zoneout.draws(module, x),
    )


def _float32(value: torch.Tensor) -> torch.Tensor:
    return value if value.dtype is torch.float32 else value.float()  # which takes four times as long to do nothing


def _dropout_factors(probability: float, sequences: _Sequences, width: int) -> torch.Tensor:
    """Draws the factors on a layer's input, (B, T, width), as stock does: from the same seed come the same ones.

    Stock's tensor is (T, B, width), or the data of a packed sequence, and random numbers are drawn in its order.
    """
    batch, timesteps, _ = sequences.x.shape
    if sequences.lengths is None:
        ones = sequences.x.new_ones(timesteps, batch, width)
        return torch.dropout(ones, probability, train=True).transpose(0, 1).float()
    packed = pack_padded_sequence(sequences.x.new_ones(batch, timesteps, width), sequences.lengths, batch_first=True)
    dropped = PackedSequence(torch.dropout(packed.data, probability, train=True), packed.batch_sizes)
    return pad_packed_sequence(dropped, batch_first=True)[0].float()
