# SPDX-License-Identifier: Apache-2.0
"""What onnxruntime makes of an ONNX model, and what the graph that we read of it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from gatewise.reference import operations
from gatewise.runtime import Model
from gatewise.runtime.doors.from_onnx import read_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from gatewise.runtime.graph import Graph

    Array = npt.NDArray[Any]

ALLOWED = 1e-5  # of the largest number


def run(source: Any, feed: Mapping[str, Array]) -> tuple[dict[str, Array], Graph]:
    """What the engine makes of a model's graph, inputs and outputs as the file has them; and the graph."""
    read = read_onnx(source)
    axes = {name: port.batch_axis for name, port in read.inputs.items()}
    given = {
        name: np.ascontiguousarray(np.moveaxis(feed[name], axes[name], 0), dtype)
        for name, (_, dtype) in read.graph.inputs.items()
    }
    found = Model(read.graph).run(given)
    assert_agree(found, operations.run(read.graph, given))
    return {name: np.moveaxis(y, 0, read.outputs[name].batch_axis) for name, y in found.items()}, read.graph


def by_onnxruntime(model: Any, feed: Mapping[str, Array]) -> dict[str, Array]:
    """What onnxruntime computes."""
    source = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, dict(feed)), strict=True))


def assert_agree(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Asserts that outputs have the same names and shapes, and numbers within `ALLOWED` of the largest."""
    assert [*found] == [*expected]
    for name, y in expected.items():
        assert found[name].shape == y.shape, name
        error = np.abs(found[name] - y).max() / max(1e-30, np.abs(y).max())
        assert error <= ALLOWED, f"{name}: {error}"
