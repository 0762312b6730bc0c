# SPDX-License-Identifier: Apache-2.0
"""Attention of several heads, as PyTorch has it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewise.runtime.doors.from_torch.call import Call, as_tensor, is_mask, positive, reads
from gatewise.runtime.doors.from_torch.layout import plain
from gatewise.runtime.doors.from_torch.masks import causal
from gatewise.runtime.doors.from_torch.values import Tensor
from gatewise.runtime.operations import Problem

if TYPE_CHECKING:
    from gatewise.runtime.doors.from_torch.builder import Builder


@reads("attend")
def _attend(call: Call) -> Any:
    query, key, value = (call.tensor(name) for name in ("query", "key", "value"))
    mask = None
    if call["ignored"] is not None:
        ignored = as_tensor(call.b, call["ignored"])
        if not is_mask(call.b, ignored):
            raise Problem("key_padding_mask holds numbers. Expected a mask, true where a step is ignored")
        mask = replace(ignored, negated=not ignored.negated)
    options = {
        "heads": call["heads"],
        "scale": 1 / math.sqrt(query.shape[-1] // call["heads"]),
        "causal": bool(call["causal"]) or causal(call["mask"]),
    }
    return _attention(call.b, query, key, value, mask, options)


def _attention(
    b: Builder, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Attends, from tensors (batch, steps, features of all heads)."""
    laid = [plain(b, t) for t in (query, key, value)]
    if any(t.axes != ((0,), (1,), (2,)) for t in laid):
        raise Problem("its rows are no batch. Expected (batch, steps, features), the batch where batch_first says")
    allowed = None if mask is None else _mask_of_steps(b, mask)
    q, k, v = laid
    made = b.emit("attention", [q.value, v.value, k.value, None, allowed], options, outputs=2)
    y = Tensor(made[0], ((0,), (1,), (2,)), (*q.sizes[:2], v.sizes[2]))
    scores = Tensor(made[1], ((0,), (1,), (2,), (3,)), (q.sizes[0], options["heads"], q.sizes[1], v.sizes[1]))
    return y, scores


def _mask_of_steps(b: Builder, mask: Tensor) -> str:
    mask = positive(b, mask)
    mask = plain(b, replace(mask, axes=tuple(own for own in mask.axes if own)))
    if len(mask.sizes) != 2 or not mask.has_batch:
        raise Problem(f"its mask has the shape {mask.shape}. Expected (batch, steps)")
    return mask.value


@reads("scaled_dot_product_attention")
def _scaled(call: Call) -> Any:
    call.refuse("dropout_p", "enable_gqa")
    given = [call.tensor(name) for name in ("query", "key", "value")]
    rank = len(given[0].axes)
    if rank not in {3, 4}:
        raise Problem(f"its query has {rank} axes. Expected (batch, heads, steps, features)")
    heads = given[0].shape[1] if rank == 4 else 1
    width = given[0].shape[-1]
    if not isinstance(heads, int) or not isinstance(width, int):
        raise Problem("the number of heads or features is open. Expected fixed ones: (batch, heads, steps, features)")
    if rank == 4:
        given = [_heads_last(t, heads) for t in given]
    mask, is_causal = call["attn_mask"], bool(call["is_causal"])
    allowed = None
    if isinstance(mask, Tensor) and is_mask(call.b, mask):
        allowed = mask
    elif mask is not None:
        is_causal = is_causal or causal(mask)
    scale = 1 / math.sqrt(width) if call["scale"] is None else call.number("scale")
    options = {"heads": heads, "scale": scale, "causal": is_causal}
    query, key, value = given
    y, _ = _attention(call.b, query, key, value, allowed, options)
    if rank == 3:
        return y
    [split] = call.b.emit("reshape", [y.value], {"shape": [-1, heads, y.sizes[2] // heads]})
    return Tensor(split, ((0,), (2,), (1,), (3,)), (*y.sizes[:2], heads, y.sizes[2] // heads))


def _heads_last(t: Tensor, heads: int) -> Tensor:
    """Joins heads and features: (batch, heads, steps, features) as (batch, steps, heads * features)."""
    if t.shape[1] != heads:
        raise Problem(f"query has {heads} heads, and key or value {t.shape[1]}. Expected as many")
    return replace(t, axes=(t.axes[0], t.axes[2], t.axes[1] + t.axes[3]))
