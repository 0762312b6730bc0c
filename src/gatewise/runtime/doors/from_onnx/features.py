# SPDX-License-Identifier: Apache-2.0
"""Nodes that compute along the features: products with weights, normalisations, softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.values import Filled, Size, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from gatewise.runtime.doors.from_onnx.node import Read

    Array = npt.NDArray[Any]


def _dense(node: Read, t: Tensor, axis: int, kernel: Array, key: Any, bias: Array | None = None) -> Tensor:
    """A product with weights (n, m) along an axis of ONNX's; it stands where the axis stood."""
    t = layout.laid(node, t, [axis])
    weights = {"kernel": kernel} | ({} if bias is None else {"bias": bias})
    keys = {"kernel": (*key, kernel.shape)}
    return Tensor(node.result("dense", (t.value,), None, weights, keys=keys), t.axes)


def _matmul(node: Read) -> list[Any]:
    a, b = node.given[0], node.given[1]
    if isinstance(a, Filled) and isinstance(a.base, np.ndarray) and isinstance(b, np.ndarray) and b.ndim == 2:
        whole = np.broadcast_to(a.base, (*a.base.shape[:-1], len(b)))
        return [Filled((*a.sizes[:-1], Size(b.shape[1])), whole @ b)]
    if isinstance(b, np.ndarray):
        kernel = b.astype(np.float32)
        while kernel.ndim > 2 and kernel.shape[0] == 1:
            kernel = kernel[0]
        t = node.tensor(0)
        if kernel.ndim == 1:
            y = _dense(node, t, len(t.axes) - 1, kernel[:, None], (node.inputs[1], "vector"))
            return [layout.without(layout.taken(node, y, len(y.axes) - 1, 0), len(y.axes) - 1)]
        _require_matrix(node, kernel)
        return [_dense(node, t, len(t.axes) - 1, kernel, (node.inputs[1], "as it is"))]
    if isinstance(a, np.ndarray):
        kernel = a.astype(np.float32)
        _require_matrix(node, kernel)
        t = node.tensor(1)
        if len(t.axes) < 2:
            raise node.fail("an input has the wrong rank", "two axes or more", "one")
        return [_dense(node, t, len(t.axes) - 2, kernel.T, (node.inputs[0], "turned"))]
    return [_product(node, node.tensor(0), node.tensor(1))]


def _require_matrix(node: Read, kernel: Array) -> None:
    if kernel.ndim != 2:
        raise node.fail("a constant has the wrong rank", "a matrix", f"shape {kernel.shape}")


def _product(node: Read, a: Tensor, b: Tensor) -> Tensor:
    """A product of two values, over their last two axes."""
    rank = max(len(a.axes), len(b.axes))
    a, b = layout.padded(a, rank), layout.padded(b, rank)
    tail = [rank - 2, rank - 1]
    before = [axis for axis in range(rank - 2) if 0 not in a.axes[axis]]
    with_batch = [[axis for axis, ours in enumerate(each.axes) if 0 in ours] for each in (a, b)]
    if rank < 3 or with_batch[0] != with_batch[1] or with_batch[0][0] >= rank - 2:
        raise node.fail(
            "the batch does not stand before what is multiplied",
            "(batch, ..., n, m) twice",
            "others",
            layout.BATCH_APART,
        )
    a, b = layout.laid(node, a, before + tail), layout.laid(node, b, before + tail)
    if a.axes != b.axes:
        raise node.fail(
            "the batch is joined with others, not the same of both", "the same", "others", layout.BATCH_APART
        )
    return Tensor(node.result("matmul", (a.value, b.value)), a.axes)


def _gemm(node: Read) -> list[Any]:
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    if isinstance(node.given[0], np.ndarray):
        raise node.fail("its first input is a constant", "a value that depends on the inputs", "a constant")
    matrix, c = node.numbers(1), node.there(2)
    kernel = matrix.T if node.attribute("transB", 0) else matrix
    _require_matrix(node, kernel)
    bias = None
    if c is not None:
        c = node.numbers(2)
        bias = layout.one_row(node, c, 0) if c.ndim == 2 else c
        bias = np.broadcast_to(beta * bias.reshape(-1), (kernel.shape[1],)).astype(np.float32)
    first = node.given[0]
    if isinstance(first, Filled) and isinstance(first.base, np.ndarray) and not node.attribute("transA", 0):
        made = alpha * np.broadcast_to(first.base, (*first.base.shape[:-1], len(kernel))) @ kernel
        return [Filled((first.sizes[0], Size(kernel.shape[1])), made + (0.0 if bias is None else bias))]
    t = node.rank(0, 2)
    if node.attribute("transA", 0):
        t = layout.transposed(t, (1, 0))
    key = (node.inputs[1], alpha, bool(node.attribute("transB", 0)))
    return [_dense(node, t, 1, (alpha * kernel).astype(np.float32), key, bias)]


def _softmax(node: Read) -> list[Any]:
    t = node.tensor(0)
    rank = len(t.axes)
    axis = node.axis(node.attribute("axis", -1 if node.opset >= 13 else 1), rank)
    if node.opset < 13 and any(size.fixed != 1 for size in layout.sizes(node, t)[axis + 1 :]):
        raise node.fail(
            "before opset 13 it works over several axes at once", f"axis {rank - 1}, the last", f"axis {axis}",
            "Export the model with opset 13 or later.",
        )  # fmt: skip
    t = layout.laid(node, t, [axis])
    operation = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[node.op]
    return [Tensor(node.result(operation, (t.value,)), t.axes)]


def _layer_normalization(node: Read) -> list[Any]:
    t, gain, offset = node.tensor(0), node.floats(1), node.floats(2)
    rank = len(t.axes)
    axis = node.axis(node.attribute("axis", -1), rank)
    if axis != rank - 1:
        raise node.fail("it normalises over several axes", "the last one alone", f"axis {axis} to {rank - 1}")
    if node.wants(1) or node.wants(2):
        raise node.fail("the mean or the deviation is used", "the first output alone", "others")
    t = layout.laid(node, t, [axis])
    weights = {name: array.reshape(-1) for name, array in (("gain", gain), ("offset", offset)) if array is not None}
    operation = {"LayerNormalization": "layer_normalization", "RMSNormalization": "rms_normalization"}[node.op]
    options = {"epsilon": float(node.attribute("epsilon", 1e-5))}
    return [Tensor(node.result(operation, (t.value,), options, weights), t.axes)]


def _batch_normalization(node: Read) -> list[Any]:
    if node.attribute("training_mode", 0) or any(node.wants(i) for i in range(1, len(node.names))):
        raise node.fail(
            "it is in training mode", "the moving statistics", "those of a batch", "Export it for inference."
        )
    t = node.tensor(0)
    scale, offset, mean, variance = (np.asarray(node.constant(i), np.float64) for i in range(1, 5))
    gain = scale / np.sqrt(variance + float(node.attribute("epsilon", 1e-5)))
    t = layout.laid(node, t, [1])
    weights = {"gain": gain.astype(np.float32), "offset": (offset - mean * gain).astype(np.float32)}
    return [Tensor(node.result("affine", (t.value,), None, weights), t.axes)]


HANDLERS: dict[str, Callable[[Read], list[Any]]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "LayerNormalization": _layer_normalization,
    "RMSNormalization": _layer_normalization,
    "BatchNormalization": _batch_normalization,
}
