# SPDX-License-Identifier: Apache-2.0
"""Layers that look at several steps, or move them: convolutions, pools, shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.runtime.doors.from_keras.activations import activated
from gatewise.runtime.doors.from_keras.row import Row, channels_last, unsupported

if TYPE_CHECKING:
    import numpy.typing as npt

    from gatewise.runtime.doors.from_keras.calls import Call
    from gatewise.runtime.doors.from_keras.door import Door
    from gatewise.runtime.doors.from_keras.row import Makes

    Array = npt.NDArray[Any]


def _window(call: Call) -> dict[str, Any]:
    layer = call.layer
    channels_last(call)
    return {"strides": _one(layer.strides), "padding": str(layer.padding)}


def _one(sizes: Any) -> int:
    """Takes a size along time, alone or in a tuple."""
    return int(sizes[0]) if isinstance(sizes, list | tuple) else int(sizes)


def _conv1d(door: Door, call: Call) -> str:
    layer, name = call.layer, call.name
    options = _window(call) | {"dilation": _one(layer.dilation_rate), "groups": int(layer.groups)}
    weights = door.weights(layer, name, kernel=door.read(layer.kernel, name), bias=door.read(layer.bias, name))
    y = door.emit(call, name, "conv1d", [call.x], weights=weights, **options)
    return activated(door, call, layer.activation, y, f"{name}/activation")


def _by_channel(kernel: Array | None) -> Array | None:
    """Brings a kernel (size, channels, multiplier) to that of as many groups: (size, 1, channels * multiplier)."""
    return None if kernel is None else kernel.reshape(len(kernel), 1, -1)


def _depthwise_conv1d(door: Door, call: Call) -> str:
    layer, name = call.layer, call.name
    options = _window(call) | {"dilation": _one(layer.dilation_rate), "groups": door.shape(call.x)[-1]}
    kernel = _by_channel(door.read(layer.kernel, name))
    weights = door.weights(layer, name, kernel=kernel, bias=door.read(layer.bias, name))
    y = door.emit(call, name, "conv1d", [call.x], weights=weights, **options)
    return activated(door, call, layer.activation, y, f"{name}/activation")


def _separable_conv1d(door: Door, call: Call) -> str:
    layer, name = call.layer, call.name
    options = _window(call) | {"dilation": _one(layer.dilation_rate), "groups": door.shape(call.x)[-1]}
    kernels = (door.read(kernel, name) for kernel in (layer.depthwise_kernel, layer.pointwise_kernel))
    depthwise, pointwise = _by_channel(next(kernels)), next(kernels)
    weights = door.weights(layer, name, depthwise_kernel=depthwise)
    x = door.emit(
        call, f"{name}/depthwise", "conv1d", [call.x], weights={"kernel": weights["depthwise_kernel"]}, **options
    )
    weights = door.weights(layer, name, pointwise_kernel=pointwise, bias=door.read(layer.bias, name))
    weights["kernel"] = weights.pop("pointwise_kernel")
    y = door.emit(call, name, "conv1d", [x], weights=weights)
    return activated(door, call, layer.activation, y, f"{name}/activation")


def _pool(operation: str) -> Makes:
    def makes(door: Door, call: Call) -> str:
        options = _window(call) | {"size": _one(call.layer.pool_size)}
        return door.emit(call, call.name, operation, [call.x], **options)

    return makes


def _global_pool(function: str) -> Makes:
    def makes(door: Door, call: Call) -> str:
        channels_last(call)
        mask = call.arguments.get("mask")
        options = {"function": function, "axis": 1, "keepdims": bool(call.layer.keepdims)}
        return door.emit(call, call.name, "reduce", [call.x, mask], **options)

    return makes


def _flatten(door: Door, call: Call) -> str:
    channels_last(call)
    if door.rank(call.x) == 1:
        return door.emit(call, call.name, "expand", [call.x], axis=1)
    return door.emit(call, call.name, "reshape", [call.x], shape=[-1])


def reshaped(door: Door, call: Call, x: str, target: Any, name: str) -> str:
    """Reshapes what follows the batch; one size may be -1 or None."""
    sizes = [-1 if size is None else int(size) for size in target]
    if sizes.count(-1) > 1:
        raise unsupported(call, "target_shape", "at most one size that is not known", str(tuple(target)))
    return door.emit(call, name, "reshape", [x], shape=sizes)


def _reshape(door: Door, call: Call) -> str:
    return reshaped(door, call, call.x, call.layer.target_shape, call.name)


def _permute(door: Door, call: Call) -> str:
    return door.emit(call, call.name, "permute", [call.x], axes=[int(axis) for axis in call.layer.dims])


def _repeat_vector(door: Door, call: Call) -> str:
    return door.emit(call, call.name, "repeat", [call.x], times=int(call.layer.n))


def _cropping1d(door: Door, call: Call) -> str:
    before, after = (int(size) for size in call.layer.cropping)
    options = {"start": before} | ({"stop": -after} if after else {})
    return door.emit(call, call.name, "slice", [call.x], axis=1, **options)


def _zero_padding1d(door: Door, call: Call) -> str:
    channels_last(call)
    before, after = (int(size) for size in call.layer.padding)
    return door.emit(call, call.name, "pad", [call.x], axis=1, before=before, after=after)


def _up_sampling1d(door: Door, call: Call) -> str:
    return door.emit(call, call.name, "upsample", [call.x], times=_one(call.layer.size))


ROWS = {
    "Conv1D": Row(_conv1d),
    "DepthwiseConv1D": Row(_depthwise_conv1d),
    "SeparableConv1D": Row(_separable_conv1d),
    "MaxPooling1D": Row(_pool("max_pool1d")),
    "AveragePooling1D": Row(_pool("average_pool1d")),
    "GlobalAveragePooling1D": Row(_global_pool("mean")),
    "GlobalMaxPooling1D": Row(_global_pool("max")),
    "Flatten": Row(_flatten),
    "Reshape": Row(_reshape),
    "Permute": Row(_permute),
    "RepeatVector": Row(_repeat_vector),
    "Cropping1D": Row(_cropping1d),
    "ZeroPadding1D": Row(_zero_padding1d),
    "UpSampling1D": Row(_up_sampling1d),
}
