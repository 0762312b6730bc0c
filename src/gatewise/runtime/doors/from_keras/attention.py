# SPDX-License-Identifier: Apache-2.0
"""Attention: Keras's `Attention`, `AdditiveAttention` and `MultiHeadAttention`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_keras.calls import Flow, flat
from gatewise.runtime.doors.from_keras.errors import refused
from gatewise.runtime.doors.from_keras.features import dense
from gatewise.runtime.doors.from_keras.row import Row, unsupported

if TYPE_CHECKING:
    from gatewise.runtime.doors.from_keras.calls import Call
    from gatewise.runtime.doors.from_keras.door import Door


# --- Attention and AdditiveAttention: one head, no projections ---


def _inputs(call: Call) -> list[str | None]:
    """Lists query, value, key, and the masks of query and value."""
    query, value, *key = (flow.value for flow in call.flows)
    masks = [*flat(call.arguments.get("mask")), None, None]
    return [query, value, key[0] if key else None, masks[0], masks[1]]


def _with_scores(door: Door, call: Call, y: tuple[str, ...]) -> list[str]:
    if len(y) == 1:
        return [y[0]]
    return [y[0], door.emit(call, f"{call.name}/scores", "take", [y[1]], axis=1, index=0)]


def _outputs(call: Call) -> int:
    return 2 if call.arguments.get("return_attention_scores") else 1


def _attention(door: Door, call: Call) -> list[str]:
    layer, name = call.layer, call.name
    if layer.score_mode == "concat":
        return _concat_attention(door, call)
    scale = 1.0 if layer.scale is None else float(door.read(layer.scale, name))
    options: dict[str, Any] = {"scale": scale, "causal": bool(call.arguments["use_causal_mask"])}
    return _with_scores(
        door, call, door.emit_all(call, name, "attention", _inputs(call), outputs=_outputs(call), **options)
    )


def _concat_attention(door: Door, call: Call) -> list[str]:
    """Scores weight * sum of tanh(scale * (query + key)): additive, of query and key that are scaled before."""
    layer, name = call.layer, call.name
    query, value, key, *masks = _inputs(call)
    key = key or value
    if layer.scale is not None:
        scale = {"gain": door.tensor(layer, "scale", name, door.read(layer.scale, name).reshape(1)) or ""}
        query = door.emit(call, f"{name}/query", "affine", [query], weights=scale)
        key = door.emit(call, f"{name}/key", "affine", [key], weights=scale)
    width = door.shape(str(query))[-1]
    weight = np.repeat(door.read(layer.concat_score_weight, name), width or 1)
    tensor = {"scale": door.tensor(layer, "concat_score_weight", name, weight) or ""}
    return _additive(door, call, [query, value, key, *masks], tensor)


def _additive_attention(door: Door, call: Call) -> list[str]:
    weights = door.weights(call.layer, call.name, scale=door.read(call.layer.scale, call.name))
    return _additive(door, call, _inputs(call), weights)


def _additive(door: Door, call: Call, inputs: list[str | None], weights: dict[str, str]) -> list[str]:
    causal = bool(call.arguments["use_causal_mask"])
    made = door.emit_all(
        call, call.name, "additive_attention", inputs, outputs=_outputs(call), weights=weights, causal=causal
    )
    return _with_scores(door, call, made)


def _query_mask(_door: Door, call: Call, _values: list[str]) -> Any:
    return flat(call.mask)[0]


# --- MultiHeadAttention ---


def _multi_head_attention(door: Door, call: Call) -> list[str]:
    layer, name = call.layer, call.name
    _check_options(door, call)
    query, value = (call.arguments[key].value for key in ("query", "value"))
    given = call.arguments["key"]
    key = value if given is None else given.value
    projected = [
        _projected(door, call, one, x, f"{name}/{what}")
        for one, x, what in (
            (layer.query_dense, query, "query"),
            (layer.value_dense, value, "value"),
            (layer.key_dense, key, "key"),
        )
    ]
    query_mask = call.arguments["query"].mask  # Keras does not look at an argument query_mask
    masks = [query_mask, _value_mask(door, call)]
    causal, heads = bool(call.arguments["use_causal_mask"]), int(layer.num_heads)
    options: dict[str, Any] = {"heads": heads, "scale": 1 / math.sqrt(layer.key_dim), "causal": causal}
    outputs = _outputs(call)
    y, *scores = door.emit_all(call, f"{name}/attention", "attention", [*projected, *masks], outputs=outputs, **options)
    if query_mask is not None:
        y = _with_masked_queries(door, call, y, projected[1], query_mask)
    if getattr(layer, "_use_gate", False):
        gate = _projected(door, call, layer._gate_dense, query, f"{name}/gate")  # noqa: SLF001  # it has no other name
        gate = door.emit(call, f"{name}/gate/activation", "activation", [gate], function="sigmoid")
        y = door.emit(call, f"{name}/gated", "multiply", [y, gate])
    return [_joined(door, call, y), *scores]


def _check_options(door: Door, call: Call) -> None:
    layer = call.layer
    config = layer.get_config()
    if door.rank(call.x) != 3:
        raise unsupported(call, "attention_axes", "queries of (batch, steps, features)", door.shape(call.x))
    if tuple(config.get("attention_axes") or (1,)) != (1,):
        raise unsupported(call, "attention_axes", "the steps, (1,)", config["attention_axes"])
    if config.get("sliding_window") is not None:
        raise unsupported(call, "sliding_window", "None", config["sliding_window"])
    if len(config.get("output_shape") or (1,)) != 1:
        raise unsupported(call, "output_shape", "one size", config["output_shape"])
    if call.arguments["return_attention_scores"] and call.arguments["query"].mask is not None:
        raise unsupported(call, "return_attention_scores", "False where the query has a mask", "True")


def _projected(door: Door, call: Call, projection: Any, x: str, name: str) -> str:
    """Adds a projection to all heads, side by side: a kernel (features, heads, size)."""
    kernel, bias = (door.read(one, name) for one in (projection.kernel, projection.bias))
    flat_kernel = None if kernel is None else kernel.reshape(len(kernel), -1)
    return dense(door, call, projection, x, name, flat_kernel, None if bias is None else bias.reshape(-1))


def _joined(door: Door, call: Call, y: str) -> str:
    """Adds the projection of all heads to the output: a kernel (heads, size, features)."""
    projection, name = call.layer.output_dense, f"{call.name}/attention_output"
    kernel = door.read(projection.kernel, name)
    flat_kernel = None if kernel is None else kernel.reshape(-1, kernel.shape[-1])
    return dense(door, call, projection, y, name, flat_kernel, projection.bias)


def _value_mask(door: Door, call: Call) -> str | None:
    """Joins the masks of value, of key, and an `attention_mask` that is one of the value's steps."""
    masks = [call.arguments.get(key) for key in ("value_mask", "key_mask")]
    masks.append(_mask_of_steps(door, call, call.arguments.get("attention_mask")))
    there = list(dict.fromkeys(mask for mask in masks if mask is not None))
    if len(there) > 1:
        return door.emit(call, f"{call.name}/mask", "all", there)
    return there[0] if there else None


def _mask_of_steps(door: Door, call: Call, mask: Any) -> str | None:
    if mask is None:
        return None
    made = door.made_by(mask) if isinstance(mask, str) else None
    if made is not None and made.operation == "expand" and door.shape(mask)[1:2] == (1,):
        source = made.inputs[0]
        if source is not None and door.rank(source) == 2 and door.dtype(source) == "bool":
            return source
    raise unsupported(
        call, "attention_mask", "a mask of the value's steps, mask[:, None, :], or use_causal_mask", "another"
    )


def _with_masked_queries(door: Door, call: Call, y: str, value: str, mask: str) -> str:
    """Gives masked queries what Keras gives them, the mean of all values: layers that know no masks see it."""
    name = f"{call.name}/masked"
    mean = door.emit(call, f"{name}/mean", "reduce", [value], function="mean", axis=1, keepdims=True)
    zeros = {"gain": door.tensor(call.layer, "zero", call.name, np.zeros(1, np.float32)) or ""}
    nothing = door.emit(call, f"{name}/nothing", "affine", [y], weights=zeros)
    means = door.emit(call, f"{name}/means", "add", [nothing, mean])
    valid = door.emit(call, f"{name}/valid", "zero_masked", [means, mask])
    means = door.emit(call, f"{name}/others", "subtract", [means, valid])
    return door.emit(call, name, "add", [y, means])


def _own_query_mask(_door: Door, call: Call, _values: list[str]) -> Any:
    query = call.arguments["query"]
    return query.mask if isinstance(query, Flow) else None


def _grouped(_door: Door, call: Call) -> str:
    expected = "MultiHeadAttention, Attention or AdditiveAttention"
    raise refused(call.layer, call.name, "a graph has no heads that share keys", expected, type(call.layer).__name__)


ROWS = {
    "Attention": Row(_attention, _query_mask),
    "AdditiveAttention": Row(_additive_attention, _query_mask),
    "MultiHeadAttention": Row(_multi_head_attention, _own_query_mask),
    "GroupQueryAttention": Row(_grouped),
    "GroupedQueryAttention": Row(_grouped),
}
