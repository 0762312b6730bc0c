# SPDX-License-Identifier: Apache-2.0
"""What each operation of a graph computes, in float64 NumPy. The rows stand in `gatewise.runtime.operations`.

A function takes the inputs, None where an optional one is not given, the options, all of them, and the weights, and
gives the outputs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gatewise.cells import Cell
from gatewise.reference.activations import ACTIVATIONS
from gatewise.reference.loop import forward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Formula = Callable[[list[Any], dict[str, Any], dict[str, Array]], tuple[Array, ...]]

_sigmoid = ACTIVATIONS["sigmoid"].value
_erf = np.vectorize(math.erf, otypes=[np.float64])

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _softplus(x: Array) -> Array:
    y: Array = np.logaddexp(x, 0.0)
    return y


def _relu(x: Array, o: dict[str, Any]) -> Array:
    below = o["slope"] * (x - o["threshold"])
    y: Array = np.where(x >= o["threshold"], np.minimum(x, o["most"]), below)
    return y


def _gelu(x: Array, o: dict[str, Any]) -> Array:
    cubic = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    inside = np.tanh(cubic) if o["approximate"] else _erf(x / math.sqrt(2))
    y: Array = 0.5 * x * (1 + inside)
    return y


FUNCTIONS: dict[str, Callable[[Array, dict[str, Any]], Array]] = {
    "linear": lambda x, _: x,
    "tanh": lambda x, _: np.tanh(x),
    "sigmoid": lambda x, _: _sigmoid(x),
    "relu": _relu,
    "hard_sigmoid": lambda x, _: np.clip(x + 3, 0, 6) / 6,
    "relu6": lambda x, _: np.clip(x, 0, 6),
    "leaky_relu": lambda x, o: np.where(x >= 0, x, o["slope"] * x),
    "elu": lambda x, o: np.where(x > 0, x, o["alpha"] * np.expm1(np.minimum(x, 0))),
    "selu": lambda x, _: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "celu": lambda x, o: np.maximum(x, 0) + np.minimum(0, o["alpha"] * np.expm1(np.minimum(x, 0) / o["alpha"])),
    "gelu": _gelu,
    "silu": lambda x, _: x * _sigmoid(x),
    "hard_silu": lambda x, _: x * np.clip(x + 3, 0, 6) / 6,
    "hard_tanh": lambda x, _: np.clip(x, -1, 1),
    "softplus": lambda x, _: _softplus(x),
    "softsign": lambda x, _: x / (1 + np.abs(x)),
    "exponential": lambda x, _: np.exp(x),
    "mish": lambda x, _: x * np.tanh(_softplus(x)),
    "log_sigmoid": lambda x, _: -_softplus(-x),
    "tanh_shrink": lambda x, _: x - np.tanh(x),
    "soft_shrink": lambda x, o: np.sign(x) * np.maximum(np.abs(x) - o["threshold"], 0),
    "hard_shrink": lambda x, o: np.where(np.abs(x) > o["threshold"], x, 0),
    "threshold": lambda x, o: np.where(x > o["threshold"], x, o["least"]),
    "squareplus": lambda x, o: (x + np.sqrt(x * x + o["alpha"])) / 2,
    "sparse_plus": lambda x, _: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x, _: np.clip((x + 1) / 2, 0, 1),
    "sqrt": lambda x, _: np.sqrt(x),
    "absolute": lambda x, _: np.abs(x),
}


def _recurrent(cell: Cell) -> Formula:
    def run(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> tuple[Array, ...]:
        x, mask, *states, starts = given + [None] * (3 + len(cell.row.states) - len(given))
        if any(state is not None for state in states):
            zeros = np.zeros((len(x), len(weights["recurrent_kernel"])))
            states = [zeros if state is None else np.broadcast_to(state, zeros.shape) for state in states]
        start = None if states[0] is None else states[0] if len(states) == 1 else tuple(states)
        kept = {name: value for name, value in options.items() if name != "return_sequences"}
        arrays: dict[str, Any] = dict(weights)
        found = forward(x, **arrays, cell=cell, initial_state=start, mask=mask, starts=starts, **kept)
        after = found.state if isinstance(found.state, tuple) else (found.state,)
        return (found.outputs if options["return_sequences"] else found.last_output, *after)

    return run


def _embedding(given: list[Any], _options: dict[str, Any], weights: dict[str, Array]) -> tuple[Array]:
    ids, table = given[0], weights["table"]
    if ((ids < 0) | (ids >= len(table))).any():
        raise ValueError(f"an id is out of range 0 to {len(table) - 1}")
    return (table[ids],)


def _normalised(x: Array, weights: Mapping[str, Array]) -> tuple[Array]:
    return (x * weights.get("gain", 1.0) + weights.get("offset", 0.0),)


def _layer_normalization(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> tuple[Array]:
    x = given[0]
    centred = x - x.mean(-1, keepdims=True)
    return _normalised(centred / np.sqrt((centred**2).mean(-1, keepdims=True) + options["epsilon"]), weights)


def _rms_normalization(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> tuple[Array]:
    x = given[0]
    return _normalised(x / np.sqrt((x**2).mean(-1, keepdims=True) + options["epsilon"]), weights)


def _unit_normalization(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    x = given[0]
    return (x / np.maximum(np.sqrt((x**2).sum(-1, keepdims=True)), options["epsilon"]),)


def _softmax(x: Array, axis: int = -1) -> Array:
    e: Array = np.exp(x - x.max(axis, keepdims=True))
    share: Array = e / e.sum(axis, keepdims=True)
    return share


def _log_softmax(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    shifted = given[0] - given[0].max(-1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)),)


def _windows(x: Array, size: int, options: dict[str, Any], fill: float) -> Array:
    """The windows (B, T', size, C) that start every `strides` steps, padded as the options say."""
    dilation, strides = options.get("dilation", 1), options["strides"]
    reach, length = (size - 1) * dilation, x.shape[1]
    before = after = 0
    if options["padding"] == "causal":
        before = reach
    elif options["padding"] == "same":
        total = max(0, (max(0, -(-length // strides)) - 1) * strides + reach + 1 - length)
        before, after = total // 2, total - total // 2
    padded = np.pad(x, ((0, 0), (before, after), (0, 0)), constant_values=fill)
    if padded.shape[1] <= reach:
        return np.empty((len(x), 0, size, x.shape[2]))
    windows = sliding_window_view(padded, reach + 1, axis=1)[:, ::strides, :, ::dilation]
    return np.moveaxis(windows, -1, 2)


def _conv1d(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> tuple[Array]:
    kernel, groups = weights["kernel"], options["groups"]
    windows = _windows(given[0], len(kernel), options, 0.0)
    parts = zip(np.split(windows, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    y = np.concatenate([np.einsum("btkc,kco->bto", *part) for part in parts], axis=-1)
    return (y + weights.get("bias", 0.0),)


def _max_pool1d(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    return (_windows(given[0], options["size"], options, -np.inf).max(axis=2),)


def _average_pool1d(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    there = _windows(np.ones_like(given[0]), options["size"], options, 0.0).sum(axis=2)
    return (_windows(given[0], options["size"], options, 0.0).sum(axis=2) / there,)


def _reduce(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    x, mask = [*given, None][:2]
    how: Any = {"axis": options["axis"], "keepdims": options["keepdims"]}
    if mask is None:
        return (getattr(np, options["function"])(x, **how),)
    valid = mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
    if options["function"] in {"max", "min"}:
        fill = -np.inf if options["function"] == "max" else np.inf
        return (getattr(np, options["function"])(np.where(valid, x, fill), **how),)
    total = np.where(valid, x, 0.0).sum(**how)
    return (total / valid.sum(**how) if options["function"] == "mean" else total,)


def _merge(combine: Callable[[Array, Array], Array]) -> Formula:
    def run(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
        total = given[0]
        for other in given[1:]:
            total = combine(total, other)
        return (total,)

    return run


def _average(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    return (sum(given[1:], given[0]) / len(given),)


def _weighted(scores: Array, given: list[Any], options: dict[str, Any], heads: int) -> tuple[Array, Array]:
    """Brings y and the weights from scores (B, heads, steps, steps of value)."""
    _, value, _, query_mask, mask = given
    allowed = np.ones(scores.shape[2:], bool)[None, None]
    if options["causal"]:
        allowed = np.tril(allowed)
    if mask is not None:
        allowed = allowed & mask[:, None, None]
    scores = np.where(allowed, scores, -np.inf)
    none = ~allowed.any(-1, keepdims=True)  # then all weigh the same
    weights = _softmax(np.where(none, 0.0, scores))
    parts = value.reshape(*value.shape[:2], heads, -1)
    y = np.einsum("bhqv,bvhd->bqhd", weights, parts).reshape(len(value), scores.shape[2], -1)
    return (y if query_mask is None else np.where(query_mask[..., None], y, 0.0)), weights


def _five(given: list[Any]) -> list[Any]:
    query, value, key, *masks = given + [None] * (5 - len(given))
    return [query, value, value if key is None else key, *masks]


def _attention(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array, Array]:
    given = _five(given)
    heads = options["heads"]
    query, key = (given[i].reshape(*given[i].shape[:2], heads, -1) for i in (0, 2))
    return _weighted(options["scale"] * np.einsum("bqhd,bvhd->bhqv", query, key), given, options, heads)


def _additive_attention(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> tuple[Array, Array]:
    given = _five(given)
    scores = (np.tanh(given[0][:, :, None] + given[2][:, None]) * weights.get("scale", 1.0)).sum(-1)
    return _weighted(scores[:, None], given, options, 1)


def _slice(given: list[Any], o: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    before = (slice(None),) * (o["axis"] % given[0].ndim)
    return (given[0][(*before, slice(o["start"], o["stop"], o["step"]))],)


def _pad(given: list[Any], o: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    widths = [(0, 0)] * given[0].ndim
    widths[o["axis"]] = (o["before"], o["after"])
    return (np.pad(given[0], widths),)


def _not_equal(given: list[Any], o: dict[str, Any], _weights: dict[str, Array]) -> tuple[Array]:
    different = given[0] != o["value"]
    return (different if given[0].dtype.kind == "i" else different.any(-1),)


FORMULAS: dict[str, Formula] = {
    **{cell.name.lower(): _recurrent(cell) for cell in Cell},
    "dense": lambda g, _, w: (g[0] @ w["kernel"] + w.get("bias", 0.0),),
    "embedding": _embedding,
    "affine": lambda g, _, w: _normalised(g[0], w),
    "layer_normalization": _layer_normalization,
    "rms_normalization": _rms_normalization,
    "unit_normalization": _unit_normalization,
    "activation": lambda g, o, _: (FUNCTIONS[o["function"]](g[0], o),),
    "prelu": lambda g, _, w: (np.where(g[0] > 0, g[0], g[0] * w["slope"]),),
    "softmax": lambda g, _o, _w: (_softmax(g[0]),),
    "log_softmax": _log_softmax,
    "not_equal": _not_equal,
    "zero_masked": lambda g, _o, _w: (np.where(g[1][..., None], g[0], 0.0),),
    "not": lambda g, _o, _w: (~g[0],),
    "all": _merge(np.logical_and),
    "any": _merge(np.logical_or),
    "conv1d": _conv1d,
    "max_pool1d": _max_pool1d,
    "average_pool1d": _average_pool1d,
    "reduce": _reduce,
    "add": _merge(np.add),
    "subtract": _merge(np.subtract),
    "multiply": _merge(np.multiply),
    "divide": _merge(np.divide),
    "maximum": _merge(np.maximum),
    "minimum": _merge(np.minimum),
    "average": _average,
    "concatenate": lambda g, o, _: (np.concatenate(g, o["axis"]),),
    "matmul": lambda g, _o, _w: (g[0] @ g[1],),
    "reshape": lambda g, o, _: (g[0].reshape(len(g[0]), *o["shape"]),),
    "permute": lambda g, o, _: (g[0].transpose(0, *o["axes"]),),
    "repeat": lambda g, o, _: (np.repeat(g[0][:, None], o["times"], axis=1),),
    "slice": _slice,
    "take": lambda g, o, _: (np.take(g[0], o["index"], axis=o["axis"]),),
    "expand": lambda g, o, _: (np.expand_dims(g[0], o["axis"]),),
    "reverse": lambda g, o, _: (np.flip(g[0], o["axis"]),),
    "fold": lambda g, _o, _w: (g[0].reshape(-1, *g[0].shape[2:]),),
    "unfold": lambda g, _o, _w: (g[0].reshape(*g[1].shape[:2], *g[0].shape[1:]),),
    "pad": _pad,
    "upsample": lambda g, o, _: (np.repeat(g[0], o["times"], axis=1),),
    "constant": lambda _g, _o, w: (w["value"],),
    "broadcast": lambda g, o, _: (np.broadcast_to(g[0], (*g[1].shape[: o["axes"]], *g[0].shape[o["axes"] :])),),
    "lengths": lambda g, _o, _w: (np.broadcast_to(np.arange(g[1].shape[1]) < g[0][:, None], g[1].shape[:2]),),
    "attention": _attention,
    "additive_attention": _additive_attention,
}


def run(graph: Any, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Runs a graph.

    Args:
        graph: a `gatewise.runtime.graph.Graph`.
        inputs: an array for each of its inputs.

    Returns:
        An array for each of its outputs, by name, float64 but for masks and ids.
    """
    values: dict[str | None, Any] = {None: None}
    for name, (_, dtype) in graph.inputs.items():
        values[name] = np.asarray(inputs[name], np.float64 if dtype == "float32" else dtype)
    for node in graph.nodes:
        arrays = {name: graph.tensors[tensor] for name, tensor in node.weights.items()}
        wide = {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in arrays.items()}
        found = FORMULAS[node.operation]([values[name] for name in node.inputs], node.all_options, wide)
        values |= dict(zip(node.outputs, found, strict=False))  # what nobody asks for is not named
    return {name: values[value] for name, value in graph.outputs.items()}
