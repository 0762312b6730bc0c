# SPDX-License-Identifier: Apache-2.0
"""Nodes that compute constants of constants: ONNX's own reference implementation runs them once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.options import cut
from gatewise.runtime.doors.from_onnx.values import as_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_MOST = 2**28  # numbers of a constant that a node makes of a shorter one
_GROWING = {"Expand", "Tile", "ConstantOfShape", "Range", "Pad", "Resize", "OneHot"}  # left to what knows their sizes
_NOT = {"GRU", "LSTM", "RNN", "If", "Loop", "Scan"}


def constant(attributes: dict[str, Any]) -> Array | None:
    """The array of a Constant node; None if it is of another kind."""
    for name, kind in (("value_float", np.float32), ("value_int", np.int64), ("value_floats", np.float32),
                       ("value_ints", np.int64)):  # fmt: skip
        if name in attributes:
            return np.asarray(attributes[name], kind)
    value = attributes.get("value")
    return value if isinstance(value, np.ndarray) else None


def folds(node: Any, given: Sequence[Any]) -> bool:
    """Says whether a node is computed now."""
    known = [value is None or isinstance(value, np.ndarray) for value in given]
    foldable = node.op_type not in _NOT | _GROWING and not node.op_type.startswith("Random")
    shapes = [value.shape for value in given if isinstance(value, np.ndarray)]
    if not given or not all(known) or not foldable or all(value is None for value in given):
        return False
    largest = [max(axis) for axis in zip(*([1] * (8 - len(s)) + list(s) for s in shapes), strict=False)]
    return math.prod(largest) <= _MOST or node.op_type in {"Transpose", "Identity", "Cast", "Concat"}


def folded(node: Any, given: Sequence[Any], opset: int) -> list[Array]:
    """What a node makes of constants.

    Raises:
        ValueError: it cannot be computed.
    """
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    feed = {name: value for name, value in zip(node.input, given, strict=True) if name}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feed.items()
    ]
    outputs = [name for name in node.output if name]
    wanted = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "constants", inputs, wanted)
    try:
        with np.errstate(all="ignore"):  # as when a model runs
            found = ReferenceEvaluator(graph, opsets={"": opset, node.domain: opset}).run(None, feed)
    except Exception as error:  # onnx's implementations raise what they like
        raise ValueError(cut(f"{type(error).__name__}: {error}", 120)) from error
    by_name = dict(zip(outputs, found, strict=True))
    return [np.asarray(by_name.get(name)) for name in node.output]


def range_of(given: Sequence[Any]) -> Array | None:
    """What Range counts, if that is known and short."""
    bounds = [as_sizes(value) for value in given]
    numbers = [None if each is None or len(each) != 1 else each[0].fixed for each in bounds]
    if len(numbers) != 3 or None in numbers or not numbers[2]:
        return None
    counted = range(*(int(n or 0) for n in numbers))
    return np.array(counted, np.int64) if len(counted) <= 2**20 else None
