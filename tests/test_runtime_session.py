# SPDX-License-Identifier: Apache-2.0
"""A session answers as onnxruntime does, on ONNX files and on a model's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import gatewise
from gatewise.cells import Cell
from gatewise.runtime import Model, Session, StreamError
from runtime_graphs import FEATURES, both_directions, recogniser

if TYPE_CHECKING:
    from pathlib import Path

UNITS = 6


def onnx_file(folder: Path) -> str:
    """An LSTM in ONNX's own order, time first, with its states as inputs and outputs."""
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 4 * UNITS, FEATURES), "R": (1, 4 * UNITS, UNITS), "B": (1, 8 * UNITS)}
    weights = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32) / 2, n) for n, s in shapes.items()]

    def value(name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs = [value("x", "steps", "batch", FEATURES), value("h", 1, "batch", UNITS), value("c", 1, "batch", UNITS)]
    outputs = [value("y", "steps", 1, "batch", UNITS), value("hn", 1, "batch", UNITS), value("cn", 1, "batch", UNITS)]
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y", "hn", "cn"], hidden_size=UNITS)
    graph = helper.make_graph([node], "lstm", inputs, outputs, weights)
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return str(path)


def test_an_onnx_file_gives_what_onnxruntime_gives(tmp_path: Path) -> None:
    path = onnx_file(tmp_path)
    theirs, ours = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]), Session(path)
    for asked in ("get_inputs", "get_outputs"):
        expected, found = getattr(theirs, asked)(), getattr(ours, asked)()
        assert [(a.name, a.type, len(a.shape)) for a in found] == [(a.name, a.type, len(a.shape)) for a in expected]
        sizes = [[size if isinstance(size, int) else None for size in a.shape] for a in expected]
        assert [a.shape for a in found] == sizes
    rng = np.random.default_rng(1)
    feed = {"x": rng.normal(size=(7, 3, FEATURES)).astype(np.float32)}
    feed |= {name: rng.normal(size=(1, 3, UNITS)).astype(np.float32) for name in "hc"}
    for names in (None, ["cn", "y"]):
        for found, expected in zip(ours.run(names, feed), theirs.run(names, feed), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_states_of_a_model_that_streams_go_in_and_out(tmp_path: Path) -> None:
    graph = recogniser(Cell.LSTM)
    gatewise.save(graph, tmp_path / "m")
    session = Session(tmp_path / "m", states=True)
    states = {arg.name: np.zeros((2, arg.shape[1] or 0), np.float32) for arg in session.get_inputs()[1:]}
    assert [arg.name for arg in session.get_outputs()] == ["y", *(f"{name}_next" for name in states)]
    x = np.random.default_rng(0).normal(size=(2, 9, FEATURES)).astype(np.float32)
    found = []
    for begin, end in ((0, 4), (4, 5), (5, 9)):
        y, *after = session.run(None, {"x": x[:, begin:end], **states})
        states = dict(zip(states, after, strict=True))
        found.append(y)
    assert (np.concatenate(found, axis=1) == Model(graph).predict(x)).all()


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    session = Session(onnx_file(tmp_path))
    feed = {"x": np.zeros((2, 1, FEATURES)), "h": np.zeros((1, 1, UNITS)), "c": np.zeros((1, 1, UNITS))}
    with pytest.raises(ValueError, match=r"input 'c' is missing\. Expected x, h, c"):
        session.run(None, {name: feed[name] for name in "xh"})
    with pytest.raises(ValueError, match=r"input 'z' is unknown"):
        session.run(None, feed | {"z": 1})
    with pytest.raises(ValueError, match=r"output 'z' is unknown\. Expected y, hn, cn"):
        session.run(["z"], feed)
    with pytest.raises(ValueError, match=r"run: x has the wrong shape"):
        session.run(None, feed | {"x": np.zeros((2, 1, FEATURES + 1))})
    for what, kind in ((object(), TypeError), (3.0, ValueError)):  # x has its batch second, and this no axes
        with pytest.raises(kind, match=r"run: x has the wrong .*Expected"):
            session.run(None, feed | {"x": what})
    with pytest.raises(TypeError, match=r"providers means nothing here"):
        Session(onnx_file(tmp_path), providers=["CPUExecutionProvider"])
    gatewise.save(both_directions(), tmp_path / "m")
    with pytest.raises(StreamError, match="layer 'back'"):
        Session(tmp_path / "m", states=True)
