# SPDX-License-Identifier: Apache-2.0
"""What looks at several steps: convolutions, pools, reductions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewise.runtime.doors.from_torch.arithmetic import combined
from gatewise.runtime.doors.from_torch.call import Call, affine, as_tensor, is_real, numbers, reads, shape_of
from gatewise.runtime.doors.from_torch.causal import padded, padded_before
from gatewise.runtime.doors.from_torch.layout import last, plain, single, together, viewed
from gatewise.runtime.doors.from_torch.values import Tensor, array_of
from gatewise.runtime.operations import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence


def _one(value: Any, name: str) -> int:
    """Returns the one number of an argument for one axis."""
    numbers_ = [value] if isinstance(value, int) else list(value)
    if len(numbers_) != 1 or not isinstance(numbers_[0], int):
        raise Problem(f"{name} is {value}. Expected one number")
    return int(numbers_[0])


@reads("conv1d", "convolution")
def _conv1d(call: Call) -> Any:
    b, weight, bias = call.b, call["weight"], call["bias"]
    if call["transposed"] or len(call.shapes[0]) != 3:
        raise Problem("it is transposed, or not along one axis. Expected Conv1d on (batch, channels, steps)")
    if not is_real(weight) or not (bias is None or is_real(bias)):
        raise Problem("its weight depends on the input. Expected a parameter")
    stride, dilation = _one(call["stride"], "stride"), _one(call["dilation"], "dilation")
    reach = (weight.shape[2] - 1) * dilation
    padding = call["padding"]
    if isinstance(padding, str):
        before = 0 if padding == "valid" else reach // 2
        after = 0 if padding == "valid" else reach - before
    else:
        before = after = _one(padding, "padding")
    t = call.tensor("input")
    if before or after:
        t = padded(b, t, 2, before, after)
    t = plain(b, t, [0, 2, 1])
    options = {"strides": stride, "dilation": dilation, "groups": call["groups"]}
    value = t.value
    source = padded_before(b, value, reach)
    if source is not None:
        value, options["padding"] = source, "causal"
    weights = {"kernel": (("conv", weight), array_of(weight).transpose(2, 1, 0))}
    if bias is not None:
        weights["bias"] = (("bias", bias), array_of(bias))
    [value] = b.emit("conv1d", [value], options, weights)
    return Tensor(value, ((0,), (2,), (1,)), (t.sizes[0], call.shapes[0][2], weight.shape[0]))


@reads("pool")
def _pool(call: Call) -> Any:
    t = plain(call.b, call.tensor("x"), [0, 2, 1])
    name = "max_pool1d" if call["largest"] else "average_pool1d"
    options = {"size": call["size"], "strides": call["stride"], "padding": call["padding"]}
    [value] = call.b.emit(name, [t.value], options)
    return Tensor(value, ((0,), (2,), (1,)), (t.sizes[0], call.shapes[0][2], t.sizes[2]))


@reads("adaptive_avg_pool1d", "adaptive_max_pool1d")
def _adaptive(call: Call) -> Any:
    if _one(call["output_size"], "output_size") != 1:
        raise Problem(f"output_size is {call['output_size']}. Expected 1")
    largest = "max" in call.operation
    t = reduced(call, call.tensor(), [2], "max" if largest else "mean", keep=True)
    return (t, None) if largest else t


def reduced(call: Call, t: Tensor, axes: Sequence[int], function: str, *, keep: bool) -> Tensor:
    """Reduces axes to one number each."""
    t = numbers(call.b, t)
    for axis in sorted((axis % len(t.axes) for axis in axes), reverse=True):
        if 0 in t.axes[axis]:
            raise Problem("it computes over the batch. Expected rows that know nothing of each other; check the axis")
        t = single(call.b, t, axis)
        [own] = t.axes[axis]
        [value] = call.b.emit("reduce", [t.value], {"function": function, "axis": own})
        place = tuple(tuple(g - (g > own) for g in group) for group in t.axes)
        place = (*place[:axis], *(((),) if keep else ()), *place[axis + 1 :])
        t = replace(t, value=value, axes=place, sizes=(*t.sizes[:own], *t.sizes[own + 1 :]))
    return t


@reads("mean", "sum", "amax", "amin", "max", "min")
def _reduce(call: Call) -> Any:
    function = {"amax": "max", "amin": "min"}.get(call.operation, call.operation)
    if call["other"] is not None:
        name = {"max": "maximum", "min": "minimum"}[function]
        return combined(call.b, name, call["self"], call["other"], call.shapes[0])
    dim = call["dim"]
    if dim is None or dim == []:
        raise Problem("it computes over the batch. Expected axes to compute over: dim=")
    t = as_tensor(call.b, call["self"])
    axes = [dim] if isinstance(dim, int) else list(dim)
    found = reduced(call, t, axes, function, keep=bool(call["keepdim"]))
    return (found, None) if call.operation in {"max", "min"} else found


@reads("var", "std")
def _spread(call: Call) -> Any:
    dim, correction = call["dim"], 1 if call["correction"] is None else call["correction"]
    correction = int(call["unbiased"]) if call["unbiased"] is not None else correction
    if dim is None or (not isinstance(dim, int) and len(dim) != 1):
        raise Problem(f"it computes over {dim}. Expected one axis: dim=")
    axis = (dim if isinstance(dim, int) else dim[0]) % len(shape_of(call["self"]))
    size = shape_of(call["self"])[axis]
    if correction and not isinstance(size, int):
        raise Problem("it divides by the number of steps less one. Expected unbiased=False, or correction=0")
    t = spread(call, call.tensor(), [axis], keep=bool(call["keepdim"]))
    if correction:
        t = affine(call.b, t, gain=size / (size - correction))
    if call.operation == "var":
        return t
    [value] = call.b.emit("activation", [t.value], {"function": "sqrt"})
    return replace(t, value=value)


def spread(call: Call, t: Tensor, axes: Sequence[int], *, keep: bool) -> Tensor:
    """Finds the mean square of what is left of each number less the mean, over axes."""
    centred = less_mean(call, t, axes)
    [value] = call.b.emit("multiply", [centred.value, centred.value])
    return reduced(call, replace(centred, value=value), axes, "mean", keep=keep)


def less_mean(call: Call, t: Tensor, axes: Sequence[int]) -> Tensor:
    """Takes the mean over axes away."""
    laid, result = together(call.b, [t, reduced(call, t, axes, "mean", keep=True)])
    [value] = call.b.emit("subtract", [each.value for each in laid])
    return replace(result, value=value)


@reads("group_norm", "instance_norm")
def _group_norm(call: Call) -> Any:
    """Normalises each row over groups of channels and all steps."""
    b, shape = call.b, call.shapes[0]
    channels, rest = shape[1], shape[2:]
    groups = channels if call.operation == "instance_norm" else call["num_groups"]
    if call["use_input_stats"] is False or not isinstance(channels, int):
        raise Problem("it normalises by running statistics, or an open number of channels. Expected a fixed number")
    t = viewed(b, call.tensor("input"), (shape[0], groups, channels // groups, *rest))
    axes = list(range(2, len(t.axes)))
    variance = spread(call, t, axes, keep=True)
    variance = affine(b, variance, offset=call.number("eps"))
    [root] = b.emit("activation", [variance.value], {"function": "sqrt"})
    laid, result = together(b, [less_mean(call, t, axes), replace(variance, value=root)])
    [value] = b.emit("divide", [each.value for each in laid])
    t = last(b, viewed(b, replace(result, value=value), shape), 1)
    weights = {
        key: ((key, call[name]), array_of(call[name]))
        for key, name in (("gain", "weight"), ("offset", "bias"))
        if is_real(call[name])
    }
    [value] = b.emit("affine", [t.value], {}, weights)
    return replace(t, value=value)


@reads("repeat_interleave", "upsample_nearest1d")
def _upsample(call: Call) -> Any:
    t, times = call.tensor("self" if call["input"] is None else "input"), call["repeats"]
    axis = 2 if call["dim"] is None else call.axis(rank=3)
    if call.operation == "upsample_nearest1d":
        times = (call["scale_factors"] or [call["scales"]])[0]
    if not isinstance(times, int | float) or times != int(times) or len(t.axes) != 3 or call["output_size"] is not None:
        raise Problem("it repeats steps of a tensor that is not (batch, steps, features), or no whole number of times. "
                      "Expected repeat_interleave(number, dim)")  # fmt: skip
    t = plain(call.b, t, [axis, *(i for i in range(3) if i != axis)])
    [value] = call.b.emit("upsample", [t.value], {"times": int(times)})
    return replace(t, value=value, sizes=(t.sizes[0], call.shapes[0][axis], t.sizes[2]))


@reads("linalg_vector_norm", "norm")
def _length(call: Call) -> Any:
    order = call["ord"] if call.operation == "linalg_vector_norm" else call["p"]
    dim = call["dim"]
    if order not in {None, 2} or dim is None:
        raise Problem(f"it is the norm of order {order} over {dim}. Expected that of order 2, over axes")
    t = call.tensor()
    [value] = call.b.emit("multiply", [t.value, t.value])
    t = reduced(
        call, replace(t, value=value), [dim] if isinstance(dim, int) else dim, "sum", keep=bool(call["keepdim"])
    )
    [value] = call.b.emit("activation", [t.value], {"function": "sqrt"})
    return replace(t, value=value)
