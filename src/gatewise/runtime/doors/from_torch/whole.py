# SPDX-License-Identifier: Apache-2.0
"""What stays whole while torch.export reads: recurrent layers, packing, pools, attention of several heads.

torch.export follows a recurrent layer step by step, and takes the example's number of steps for the only one, as it
does where steps are pooled; and it cannot follow packing. So they are operations of our own: shapes and no numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Their arguments, in order
_MAX_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVG_POOL = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
_POOLS = {"max_pool1d": _MAX_POOL, "_max_pool1d": _MAX_POOL, "avg_pool1d": _AVG_POOL}
_KINDS = {"lstm": "lstm", "gru": "gru", "rnn_tanh": "tanh", "rnn_relu": "relu"}


@torch.library.custom_op("gatewise_runtime::recurrent", mutates_args=())
def _recurrent(
    x: torch.Tensor,
    h: torch.Tensor | None,
    c: torch.Tensor | None,
    sizes: torch.Tensor | None,
    weights: list[torch.Tensor],
    kind: str,
    layers: int,
    both: bool,
    starts: torch.Tensor | None = None,
    zoneout: list[float] | None = None,
    epsilon: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    raise NotImplementedError


@_recurrent.register_fake
def _(
    x: Any, h: Any, c: Any, sizes: Any, weights: Any, _kind: Any, layers: Any, both: Any, starts: Any = None, *_: Any
) -> Any:
    n, units = 2 if both else 1, weights[1].shape[1]
    batch, steps = x.shape[:2] if sizes is None else (sizes.shape[1], sizes.shape[0])
    of_state = (layers * n, batch, units)
    for name, value, shape in (("hx", h, of_state), ("hx", c, of_state), ("starts", starts, (batch, steps))):
        if value is not None and tuple(value.shape) != shape:  # which tells torch.export that the sizes are one
            raise ValueError(f"{name} has the shape {tuple(value.shape)}. Expected {shape}, as the input has rows")
    y = x.new_empty((*x.shape[:-1], n * units))
    return y, x.new_empty((layers * n, batch, units)), x.new_empty((layers * n, batch, units))


@torch.library.custom_op("gatewise_runtime::pack", mutates_args=())
def _pack(x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    raise NotImplementedError


@_pack.register_fake
def _(x: Any, _lengths: Any) -> Any:
    batch, steps, *features = x.shape
    return x.new_empty((batch * steps, *features)), x.new_empty((steps, batch), dtype=torch.int64)


@torch.library.custom_op("gatewise_runtime::unpack", mutates_args=())
def _unpack(data: torch.Tensor, sizes: torch.Tensor, padding: float) -> tuple[torch.Tensor, torch.Tensor]:
    raise NotImplementedError


@_unpack.register_fake
def _(data: Any, sizes: Any, _padding: Any) -> Any:
    steps, batch = sizes.shape
    return data.new_empty((batch, steps, *data.shape[1:])), data.new_empty((batch,), dtype=torch.int64)


@torch.library.custom_op("gatewise_runtime::attend", mutates_args=())
def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ignored: torch.Tensor | None,
    mask: torch.Tensor | None,
    heads: int,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    raise NotImplementedError


@_attend.register_fake
def _(query: Any, key: Any, value: Any, _ignored: Any, _mask: Any, heads: Any, _causal: Any) -> Any:
    batch, steps, _ = query.shape
    scores = query.new_empty((batch, heads, steps, key.shape[1]))
    return query.new_empty((batch, steps, value.shape[2])), scores


@torch.library.custom_op("gatewise_runtime::pool", mutates_args=())
def _pool(x: torch.Tensor, largest: bool, size: int, stride: int, padding: str) -> torch.Tensor:
    raise NotImplementedError


@_pool.register_fake
def _(x: Any, _largest: Any, size: Any, stride: Any, padding: Any) -> Any:
    length = x.shape[-1] if padding == "same" else (x.shape[-1] - size) // stride + 1
    return x.new_empty((*x.shape[:-1], length))


class Whole(TorchFunctionMode):
    """Puts operations of our own in the place of PyTorch's recurrent ones, and of packing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _KINDS and len(args) == 9 and isinstance(args[2], list | tuple):  # else packed
            return _unrolled(name, *args)
        if name == "_pack_padded_sequence":
            x, lengths, batch_first = args
            return torch.ops.gatewise_runtime.pack(x if batch_first else x.transpose(0, 1), lengths)
        if name == "_pad_packed_sequence":
            data, sizes, batch_first, padding, _ = args
            padded, lengths = torch.ops.gatewise_runtime.unpack(data, sizes, float(padding))
            return padded if batch_first else padded.transpose(0, 1).contiguous(), lengths
        named = kwargs or {}
        if name in _POOLS:
            return _pooled(func, dict(zip(_POOLS[name], args, strict=False)) | named)
        return func(*args, **named)


def _pooled(func: Any, given: dict[str, Any]) -> Any:
    """Pools over windows of steps, or over all of them."""
    x, largest = given["input"], "max" in func.__name__
    size, stride, padding, dilation = (
        _one(given.get(name)) for name in ("kernel_size", "stride", "padding", "dilation")
    )
    if isinstance(size, torch.SymInt) and size.node.expr == getattr(x.shape[-1], "node", size.node).expr:
        return x.amax(-1, keepdim=True) if largest else x.mean(-1, keepdim=True)
    padded = "same" if padding and 2 * padding == size - 1 and stride == 1 else "valid"
    counts = padded == "same" and not largest and given.get("count_include_pad", True)
    if given.get("ceil_mode") or given.get("return_indices") or dilation not in {None, 1} or counts:
        raise ValueError("ceil_mode, return_indices, dilation or count_include_pad is set. Expected none of them")
    if padding and padded == "valid":
        raise ValueError(f"padding is {padding}. Expected 0, or windows of the same length with a stride of 1")
    return torch.ops.gatewise_runtime.pool(x, largest, size, stride or size, padded)


def _one(value: Any) -> Any:
    """Returns the one number of an argument for one axis."""
    return value[0] if isinstance(value, tuple | list) and len(value) == 1 else value or None


def _unrolled(
    name: str, x: Any, hx: Any, weights: Any, bias: Any, layers: Any, _dropout: Any, _train: Any, both: Any, first: Any
) -> Any:
    """Runs layers over sequences that are not packed."""
    h, c = hx if name == "lstm" else (hx, None)
    refuse_projections(weights, layers, both, bias)
    given = x if first else x.transpose(0, 1)
    y, *states = torch.ops.gatewise_runtime.recurrent(given, h, c, None, weights, _KINDS[name], layers, both)
    return (y if first else y.transpose(0, 1).contiguous(), *states[: 2 if name == "lstm" else 1])


def refuse_projections(weights: Any, layers: int, both: bool, bias: bool) -> None:
    """Raises ValueError where a module has more weights than its layers and directions need."""
    if len(weights) != layers * (2 if both else 1) * (4 if bias else 2):
        raise ValueError(
            "proj_size is not 0. Expected an LSTM without projections; train with proj_size=0 and project the outputs "
            "by a torch.nn.Linear"
        )
