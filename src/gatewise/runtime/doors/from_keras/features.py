# SPDX-License-Identifier: Apache-2.0
"""Layers that see the features of each step alone: dense ones, embeddings, normalisations; and those that vanish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_keras.activations import activated
from gatewise.runtime.doors.from_keras.keeping import Kept
from gatewise.runtime.doors.from_keras.row import Row, last_axis, passes, unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from gatewise.runtime.doors.from_keras.calls import Call
    from gatewise.runtime.doors.from_keras.door import Door

    Array = npt.NDArray[Any]


def dense(door: Door, call: Call, owner: Any, x: str, name: str, kernel: Any, bias: Any) -> str:
    """Adds a dense operation whose weights are a layer's own, or read and reshaped before."""
    weights = door.weights(owner, name, kernel=door.read(kernel, name), bias=door.read(bias, name))
    return door.emit(call, name, "dense", [x], weights=weights)


def _dense(door: Door, call: Call) -> str:
    layer = call.layer
    y = dense(door, call, layer, call.x, call.name, layer.kernel, layer.bias)
    return activated(door, call, layer.activation, y, f"{call.name}/activation")


def _einsum_dense(door: Door, call: Call) -> str:
    layer = call.layer
    given, _, out = str(layer.equation).replace(" ", "").partition("->")
    x, _, weights = given.replace("...", "0").partition(",")
    out = out.replace("...", "0")
    is_dense = len(weights) == 2 and x[:-1] == out[:-1] and {x[-1], out[-1]} == {*weights} and x[-1] != out[-1]
    if not is_dense or layer.bias_axes not in {None, out[-1]} or (x[0] != "0" and len(x) != door.rank(call.x)):
        found = f"{layer.equation} with bias_axes {layer.bias_axes}"
        raise unsupported(call, "equation", "a dense layer of the last axis, as abc,cd->abd with bias_axes d", found)
    kernel = door.read(layer.kernel, call.name)
    if kernel is not None and weights[0] == out[-1]:
        kernel = kernel.T
    y = dense(door, call, layer, call.x, call.name, kernel, layer.bias)
    return activated(door, call, layer.activation, y, f"{call.name}/activation")


def _embedding(door: Door, call: Call) -> str:
    table = door.read(call.layer.embeddings, call.name)
    return door.emit(call, call.name, "embedding", [call.x], weights=door.weights(call.layer, call.name, table=table))


def _embedding_mask(door: Door, call: Call, _values: list[str]) -> Any:
    if not call.layer.mask_zero:
        return None
    return door.emit(call, f"{call.name}/mask", "not_equal", [call.x], value=0.0)


def _masking(door: Door, call: Call) -> str:
    value = float(np.asarray(door.keras.ops.convert_to_numpy(call.layer.mask_value)))
    door.settle(call, call.x, "float32")
    mask = door.emit(call, f"{call.name}/mask", "not_equal", [call.x], value=value)
    return door.emit(call, call.name, "zero_masked", [call.x, mask])


def _masking_mask(door: Door, _call: Call, values: list[str]) -> Any:
    made = door.made_by(values[0])
    return None if made is None else made.inputs[1]


def _layer_normalization(door: Door, call: Call) -> str:
    layer = call.layer
    last_axis(door, call, layer.axis)
    if getattr(layer, "rms_scaling", False):
        raise unsupported(call, "rms_scaling", "False; RMSNormalization is known", "True")
    weights = door.weights(
        layer, call.name, gain=door.read(layer.gamma, call.name), offset=door.read(layer.beta, call.name)
    )
    return door.emit(call, call.name, "layer_normalization", [call.x], weights=weights, epsilon=float(layer.epsilon))


def _rms_normalization(door: Door, call: Call) -> str:
    layer = call.layer
    last_axis(door, call, layer.axis)
    weights = door.weights(layer, call.name, gain=door.read(layer.scale, call.name))
    return door.emit(call, call.name, "rms_normalization", [call.x], weights=weights, epsilon=float(layer.epsilon))


def _unit_normalization(door: Door, call: Call) -> str:
    last_axis(door, call, call.layer.axis)
    return door.emit(call, call.name, "unit_normalization", [call.x], epsilon=1e-12)  # Keras's own


def _batch_normalization(door: Door, call: Call) -> str:
    """Folds the moving statistics into a gain and an offset, in float64."""
    layer, name = call.layer, call.name
    last_axis(door, call, layer.axis)
    mean, variance = (door.read(one, name).astype(np.float64) for one in (layer.moving_mean, layer.moving_variance))
    gain: Array = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        gain = gain * door.read(layer.gamma, name)
    offset: Array = -mean * gain
    if layer.center:
        offset = offset + door.read(layer.beta, name)
    weights = door.weights(layer, name, gain=gain.astype(np.float32), offset=offset.astype(np.float32))
    return door.emit(call, name, "affine", [call.x], weights=weights)


def _rescaling(door: Door, call: Call) -> str:
    layer = call.layer
    gain, offset = (np.atleast_1d(np.asarray(one, np.float32)) for one in (layer.scale, layer.offset))
    if gain.ndim > 1 or offset.ndim > 1:
        raise unsupported(call, "scale", "numbers, or a list for the last axis", f"{gain.shape} and {offset.shape}")
    return door.emit(
        call, call.name, "affine", [call.x], weights=door.weights(layer, call.name, gain=gain, offset=offset)
    )


def _normalization(door: Door, call: Call) -> str:
    """Subtracts the mean before it divides, as Keras does: folded, a large mean would cost digits."""
    layer, name = call.layer, call.name
    mean, variance = door.read(layer.mean, name), door.read(layer.variance, name)
    if mean is None or variance is None:
        raise unsupported(call, "mean", "an adapted layer", "none")
    spread = np.maximum(np.sqrt(np.float64(variance)), door.keras.config.epsilon())
    if layer.invert:
        return _shifted(door, call, _scaled(door, call, call.x, spread, f"{name}/spread"), mean, name)
    return _scaled(door, call, _shifted(door, call, call.x, -mean, f"{name}/mean"), 1 / spread, name)


def _scaled(door: Door, call: Call, x: str, gain: Array, name: str) -> str:
    if gain.size == gain.shape[-1]:  # of the last axis alone
        return door.emit(call, name, "affine", [x], weights=door.weights(call.layer, name, gain=_row(gain)))
    return door.emit(call, name, "multiply", [x, door.constant(call, f"{name}/gain", gain.astype(np.float32))])


def _shifted(door: Door, call: Call, x: str, offset: Array, name: str) -> str:
    if offset.size == offset.shape[-1]:
        return door.emit(call, name, "affine", [x], weights=door.weights(call.layer, name, offset=_row(offset)))
    return door.emit(call, name, "add", [x, door.constant(call, f"{name}/offset", offset.astype(np.float32))])


def _row(array: Array) -> Array:
    return array.reshape(-1).astype(np.float32)


def _vanishes(_door: Door, call: Call) -> Any:
    return [flow.value for flow in call.flows]


def _preprocessing(door: Door, call: Call) -> Any:
    """Keeps what the layer keeps; where it stands in the graph, all of the model decides."""
    for name, config in call.layer.get_config()["kept"].items():
        for own, described in _as_saved(name, config):
            door.kept.append(Kept(own, described, call.x, sorted(door.origins(call.x))))
    return call.x


def _as_saved(name: str, config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Brings what Keras serialised to what `gatewise.data.saved` writes, each by its name: class and configuration."""
    if isinstance(config, list | tuple):
        for i, one in enumerate(config):
            yield from _as_saved(f"{name}/{i}", one)
    elif isinstance(config, dict) and str(config.get("registered_name")).startswith("gatewise>"):
        yield name, {"class_name": config["registered_name"], "config": config["config"]}
    elif isinstance(config, dict):
        for own, one in config.items():
            yield from _as_saved(f"{name}/{own}", one)


ROWS = {
    "Dense": Row(_dense, passes),
    "EinsumDense": Row(_einsum_dense),
    "Embedding": Row(_embedding, _embedding_mask),
    "Masking": Row(_masking, _masking_mask),
    "LayerNormalization": Row(_layer_normalization, passes),
    "RMSNormalization": Row(_rms_normalization),
    "UnitNormalization": Row(_unit_normalization, passes),
    "BatchNormalization": Row(_batch_normalization, passes),
    "Rescaling": Row(_rescaling, passes),
    "Normalization": Row(_normalization, passes),
    "Preprocessing": Row(_preprocessing, passes),
    **{
        name: Row(_vanishes, passes)
        for name in (
            *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout"),
            *("GaussianNoise", "AlphaDropout", "ActivityRegularization", "Identity"),
        )
    },
}
