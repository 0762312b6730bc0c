# SPDX-License-Identifier: Apache-2.0
"""Attention of queries over the steps of another value, or of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.runtime.operations.operation import Operation, Option, Problem, checked_mask, fits, numbers, rank, weight

if TYPE_CHECKING:
    from gatewise.runtime.operations.operation import Array, Known


def _attention(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> list[Known]:
    query, value, key, query_mask, mask = given + [None] * (5 - len(given))
    key = value if key is None else key
    for name, known in (("query", query), ("value", value), ("key", key)):
        rank((numbers(known, name), known[1]), 3, name)
    checked_mask(query_mask, query[0])
    checked_mask(mask, value[0])
    fits(key[0][1], value[0][1], "the length of key")
    heads = options.get("heads", 1)
    for name, known in (("query", query), ("value", value), ("key", key)):
        if known[0][2] is None or known[0][2] % heads:
            raise Problem(f"the width of {name} is {known[0][2]}. Expected a multiple of heads, {heads}.")
    fits(key[0][2], query[0][2], "the width of key")
    weight(weights, "scale", query[0][2])
    batch, steps = query[0][:2]
    scores = (batch, heads, steps, value[0][1])
    return [((batch, steps, value[0][2]), "float32"), (scores, "float32")]


_INPUTS = ("query", "value", "key?", "query_mask?", "mask?")
_OUTPUTS = ("y", "weights")

ROWS = {
    # for each head, which has its share of the features: weights (batch, heads, query's steps, value's steps) =
    # softmax of scale * query key^T over the steps that the mask allows, and with `causal` those up to the query's;
    # y = weights value; zeros where query_mask is false. No step allowed: all weights equal.
    "attention": Operation(
        _INPUTS,
        _OUTPUTS,
        _attention,
        (),
        {
            "heads": Option(1, int, least=1, most=4096),
            "scale": Option(1.0, float),
            "causal": Option(default=False, kind=bool),
        },
    ),
    # likewise, one head, of the scores sum over the features of scale * tanh(query + key)
    "additive_attention": Operation(
        _INPUTS, _OUTPUTS, _attention, ("scale?",), {"causal": Option(default=False, kind=bool)}
    ),
}
