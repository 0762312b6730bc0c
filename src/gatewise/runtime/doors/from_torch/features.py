# SPDX-License-Identifier: Apache-2.0
"""What is computed of each step alone: activations, norms, embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gatewise.runtime.doors.from_torch.arithmetic import bounded, combined
from gatewise.runtime.doors.from_torch.call import Call, affine, as_tensor, is_real, numbers, reads, shape_of
from gatewise.runtime.doors.from_torch.layout import last, single
from gatewise.runtime.doors.from_torch.values import Stack, Tensor, array_of
from gatewise.runtime.operations import Problem

# PyTorch's name: ours, and its arguments: ours
_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "tanh": ("tanh", {}),
    "sigmoid": ("sigmoid", {}),
    "silu": ("silu", {}),
    "selu": ("selu", {}),
    "mish": ("mish", {}),
    "hardsigmoid": ("hard_sigmoid", {}),
    "hardswish": ("hard_silu", {}),
    "log_sigmoid": ("log_sigmoid", {}),
    "exp": ("exponential", {}),
    "sqrt": ("sqrt", {}),
    "abs": ("absolute", {}),
    "absolute": ("absolute", {}),
    "celu": ("celu", {"alpha": "alpha"}),
    "leaky_relu": ("leaky_relu", {"negative_slope": "slope"}),
    "softshrink": ("soft_shrink", {"lambd": "threshold"}),
    "hardshrink": ("hard_shrink", {"lambd": "threshold"}),
    "threshold": ("threshold", {"threshold": "threshold", "value": "least"}),
}


@reads(*_ACTIVATIONS)
def _activation(call: Call) -> Any:
    function, arguments = _ACTIVATIONS[call.operation]
    return activated(call, function, **{ours: call.number(theirs) for theirs, ours in arguments.items()})


def activated(call: Call, function: str, **options: Any) -> Any:
    """Applies a function of the table to each number."""
    given = call["self"]
    if isinstance(given, Stack):
        return replace(given, items=tuple(_applied(call, t, function, options) for t in given.items))
    return _applied(call, numbers(call.b, as_tensor(call.b, given)), function, options)


def _applied(call: Call, t: Tensor, function: str, options: dict[str, Any]) -> Tensor:
    [value] = call.b.emit("activation", [t.value], {"function": function, **options})
    return replace(t, value=value)


@reads("gelu")
def _gelu(call: Call) -> Any:
    return activated(call, "gelu", approximate=call["approximate"] == "tanh")


@reads("elu")
def _elu(call: Call) -> Any:
    if call["scale"] != 1 or call["input_scale"] != 1:
        raise Problem("scale or input_scale is not 1. Expected an ELU of alpha alone")
    return activated(call, "elu", alpha=call.number("alpha"))


@reads("softplus")
def _softplus(call: Call) -> Any:
    beta = call.number("beta")
    if beta == 1:
        return activated(call, "softplus")
    t = _applied(call, affine(call.b, call.tensor(), gain=beta), "softplus", {})
    return affine(call.b, t, gain=1 / beta)


@reads("hardtanh")
def _hardtanh(call: Call) -> Any:
    least, most = call.number("min_val"), call.number("max_val")
    if (least, most) == (-1, 1):
        return activated(call, "hard_tanh")
    if least == 0:
        return activated(call, "relu", most=most)
    return bounded(call.b, bounded(call.b, call.tensor(), "maximum", least), "minimum", most)


@reads("rrelu")
def _rrelu(call: Call) -> Any:
    call.refuse("training")
    return activated(call, "leaky_relu", slope=(call.number("lower") + call.number("upper")) / 2)


@reads("prelu")
def _prelu(call: Call) -> Any:
    t, weight = call.tensor(), _real(call["weight"], "weight")
    if weight.numel() > 1:
        t = last(call.b, t, 1)
    [value] = call.b.emit("prelu", [t.value], {}, {"slope": (("prelu", weight), array_of(weight))})
    return replace(t, value=value)


@reads("glu")
def _glu(call: Call) -> Any:
    axis, shape = call.axis(), shape_of(call["self"])
    half = shape[axis] // 2
    if not isinstance(half, int):
        raise Problem("it halves an axis whose size is open. Expected a fixed one")
    t = single(call.b, call.tensor(), axis)
    [own] = t.axes[axis]
    sizes = (*t.sizes[:own], half, *t.sizes[own + 1 :])
    values = [
        call.b.emit("slice", [t.value], {"axis": own, "start": start, "stop": start + half})[0] for start in (0, half)
    ]
    [gate] = call.b.emit("activation", [values[1]], {"function": "sigmoid"})
    [value] = call.b.emit("multiply", [values[0], gate])
    return replace(t, value=value, sizes=sizes)


@reads("softmax", "_softmax", "log_softmax", "_log_softmax", "special_softmax", "special_log_softmax")
def _softmax(call: Call) -> Any:
    t = last(call.b, call.tensor(), call.axis())
    [value] = call.b.emit("log_softmax" if "log" in call.operation else "softmax", [t.value])
    return replace(t, value=value)


def _real(value: Any, name: str) -> Any:
    if not is_real(value):
        raise Problem(f"its {name} depends on the input. Expected a parameter")
    return value


def _gains(call: Call, gain: str, offset: str) -> dict[str, Any]:
    named = {"gain": call[gain], "offset": call[offset]}
    return {
        key: ((key, _real(value, key)), array_of(value).reshape(-1))
        for key, value in named.items()
        if value is not None
    }


@reads("layer_norm", "rms_norm")
def _norm(call: Call) -> Any:
    if len(call["normalized_shape"]) != 1:
        raise Problem(f"it normalises over {len(call['normalized_shape'])} axes. Expected the last one alone")
    t = call.tensor("input")
    t = last(call.b, t, len(t.axes) - 1)
    eps = float(np.finfo(np.float32).eps) if call["eps"] is None else call.number("eps")
    name = "rms_normalization" if call.operation == "rms_norm" else "layer_normalization"
    [value] = call.b.emit(name, [t.value], {"epsilon": eps}, _gains(call, "weight", "bias"))
    return replace(t, value=value)


@reads("batch_norm")
def _batch_norm(call: Call) -> Any:
    if call["training"] or call["running_mean"] is None:
        raise Problem("it normalises by the batch. Expected running statistics; train with track_running_stats=True")
    t = last(call.b, call.tensor("input"), 1)
    given = [call[name] for name in ("running_mean", "running_var", "weight", "bias")]
    mean, variance, weight, bias = (
        default if v is None else array_of(_real(v, "statistics")).astype(np.float64)
        for v, default in zip(given, (0.0, 1.0, 1.0, 0.0), strict=True)
    )
    gain = weight / np.sqrt(variance + call.number("eps"))
    source = ("batch_norm", str(call["eps"]), *given)
    arrays = {"gain": gain, "offset": bias - mean * gain}
    weights = {key: (source, np.asarray(array, np.float32)) for key, array in arrays.items()}
    [value] = call.b.emit("affine", [t.value], {}, weights)
    return replace(t, value=value)


@reads("embedding")
def _embedding(call: Call) -> Any:
    return _embedded(call, call["indices"], ("table", _real(call["weight"], "weight")), array_of(call["weight"]))


@reads("one_hot")
def _one_hot(call: Call) -> Any:
    size = call["num_classes"]
    if not isinstance(size, int) or size < 1:
        raise Problem(f"num_classes is {size}. Expected a number")
    return _embedded(call, call["self"], ("one_hot", str(size)), np.eye(size, dtype=np.float32))


def _embedded(call: Call, ids: Any, source: Any, table: Any) -> Any:
    t = as_tensor(call.b, ids)
    if call.b.known[t.value].dtype != "int64":
        raise Problem("its ids are no whole numbers. Expected int64 inputs; give an example of ids as int64")
    [value] = call.b.emit("embedding", [t.value], {}, {"table": (source, table)})
    return replace(t, value=value, axes=(*t.axes, (len(t.sizes),)), sizes=(*t.sizes, table.shape[1]))


@reads("cosine_similarity", "addcmul", "lerp")
def _composed(call: Call) -> Any:
    if call.operation == "lerp":
        b, shape = call.b, call.shapes[0]
        step = combined(b, "subtract", call["end"], call["self"], shape)
        return combined(b, "add", call["self"], combined(b, "multiply", step, call["weight"], shape), shape)
    raise Problem("it is not known. Expected it written with +, *, sum and matmul")
