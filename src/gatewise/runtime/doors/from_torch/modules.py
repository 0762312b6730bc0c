# SPDX-License-Identifier: Apache-2.0
"""What stands in the place of a module's own forward while it is read: what no mode of torch's functions can reach.

That are packed sequences, attention, and what gatewise's recurrent modules have beyond PyTorch's: layer normalisation,
boundaries inside sequences, zoneout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence

from gatewise.runtime.doors.from_torch.whole import refuse_projections

if TYPE_CHECKING:
    from collections.abc import Callable

_MODES = {"GRU": "gru", "LSTM": "lstm", "RNN_TANH": "tanh", "RNN_RELU": "relu"}
_ZONEOUT = ("zoneout", "zoneout_cell")


def patch(model: Any) -> None:
    """Lets the modules of a copy run as operations of our own where a mode cannot reach."""
    for part in model.modules():
        if isinstance(part, torch.nn.RNNBase) or _normalises(part):
            vars(part)["forward"] = _of_recurrent(part, part.forward)
        if type(part).forward is torch.nn.MultiheadAttention.forward:
            vars(part)["forward"] = _attention_of(part)


def _normalises(part: Any) -> bool:
    """Says whether a module is one of gatewise's with layer normalisation, or of a class made of one."""
    return any(cls.__module__ == "gatewise.torch.layer_norm" for cls in type(part).__mro__)


class _Layers(NamedTuple):
    """What the operation is told of a module.

    Attributes:
        kind: a cell of PyTorch's, or the name of one of gatewise's operations.
        states: how many it carries on.
        weights: of each layer and direction, in order.
        epsilon: what is added to variances.
    """

    kind: str
    states: int
    weights: list[Any]
    epsilon: float = 0.0


def _layers(part: Any) -> _Layers:
    if not _normalises(part):
        weights = [getattr(part, name) for name in part._flat_weights_names]  # noqa: SLF001  # stock's own list
        refuse_projections(weights, part.num_layers, part.bidirectional, part.bias)
        return _Layers(_MODES[part.mode], 2 if part.mode == "LSTM" else 1, weights)
    places = part.num_layers * (2 if part.bidirectional else 1)
    weights = [value for place in range(places) for value in part.operands(place).values() if value is not None]
    return _Layers(part.cell.name.lower(), len(part.cell.row.states), weights, part.eps)


def _of_recurrent(part: Any, own: Callable[..., Any]) -> Callable[..., Any]:
    zoneout = [float(getattr(part, name, 0.0)) for name in _ZONEOUT]
    beyond = "layer normalisation" if _normalises(part) else "zoneout" if any(zoneout) else ""
    if not type(part).forward.__module__.startswith(("torch.nn.", "gatewise.")):
        return _of_subclass(part, own, beyond)

    def forward(input: Any, hx: Any = None, starts: Any = None) -> Any:  # noqa: A002  # stock's name
        if not (beyond or isinstance(input, PackedSequence) or starts is not None):
            return own(input, hx)
        return _run(part, _layers(part), input, hx, starts, zoneout)

    return forward


def _of_subclass(part: Any, own: Callable[..., Any], beyond: str) -> Callable[..., Any]:
    """Reads a forward of the user's, around layers that PyTorch has."""

    def refused(what: str) -> ValueError:
        return ValueError(
            f"{type(part).__name__} has a forward of its own, and {what}. Expected that of torch.nn or gatewise; do "
            "what it does in the module that calls it"
        )

    def forward(*args: Any, **kwargs: Any) -> Any:
        if beyond:
            raise refused(beyond)
        if any(isinstance(value, PackedSequence) for value in (*args, *kwargs.values())):
            raise refused("is given packed sequences")
        try:
            return own(*args, **kwargs)
        except NotImplementedError as error:  # by gatewise.torch, whose own forward it calls
            raise refused("gives it starts") from error

    return forward


def _run(part: Any, of: _Layers, given: Any, hx: Any, starts: Any, zoneout: list[float]) -> Any:
    """Runs the layers over sequences, packed or not, as gatewise's modules do."""
    packed = isinstance(given, PackedSequence)
    data, sizes, to_descending, to_given = given if packed else (given, None, None, None)
    if data.shape[-1] != part.input_size:
        raise ValueError(f"the input has {data.shape[-1]} features. Expected {part.input_size}")
    single, steps_first = not packed and data.dim() == 2, not part.batch_first
    states = () if hx is None else tuple(hx) if of.states > 1 else (hx,)
    if single:
        data, states, steps_first = data[None], tuple(state[:, None] for state in states), False
    elif not packed and steps_first:
        data = data.transpose(0, 1)
    if starts is not None:
        starts = starts[None] if single else starts.transpose(0, 1) if steps_first else starts
        starts = _in_order(starts if starts.dtype == torch.bool else starts != 0, 0, to_descending)
    h, c = (*(_in_order(state, 1, to_descending) for state in states), None, None)[:2]
    y, *found = torch.ops.gatewise_runtime.recurrent(
        *(data, h, c, sizes, of.weights, of.kind, part.num_layers, part.bidirectional, starts, zoneout, of.epsilon)
    )
    last = [_in_order(state, 1, to_given) for state in found[: of.states]]
    if single:
        y, last = y[0], [state[:, 0] for state in last]
    elif packed:
        y = PackedSequence(y, sizes, to_descending, to_given)
    elif steps_first:
        y = y.transpose(0, 1).contiguous()
    return y, (tuple(last) if of.states > 1 else last[0])


def _in_order(value: Any, axis: int, order: Any) -> Any:
    return value if order is None else value.index_select(axis, order)


def _attention_of(part: Any) -> Callable[..., Any]:
    def forward(
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Any:
        if part.bias_k is not None or part.add_zero_attn:
            raise ValueError("add_bias_kv or add_zero_attn is set. Expected neither; train without")
        linear = torch.nn.functional.linear
        given = [x if part.batch_first else x.transpose(0, 1) for x in (query, key, value)]
        if part._qkv_same_embed_dim:  # noqa: SLF001  # where the weights are
            kernels = part.in_proj_weight.chunk(3)
        else:
            kernels = part.q_proj_weight, part.k_proj_weight, part.v_proj_weight
        biases = (None,) * 3 if part.in_proj_bias is None else part.in_proj_bias.chunk(3)
        q, k, v = (linear(x, w, b) for x, w, b in zip(given, kernels, biases, strict=True))
        mask = None if is_causal else attn_mask
        y, weights = torch.ops.gatewise_runtime.attend(q, k, v, key_padding_mask, mask, part.num_heads, is_causal)
        y = part.out_proj(y)
        if average_attn_weights:
            weights = weights.mean(1)
        return y if part.batch_first else y.transpose(0, 1).contiguous(), weights if need_weights else None

    return forward
