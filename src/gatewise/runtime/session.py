# SPDX-License-Identifier: Apache-2.0
"""For those who come from onnxruntime: a session with inputs, outputs and `run`, on a model's file or an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.options import cut
from gatewise.runtime.inputs import checked
from gatewise.runtime.model import Model
from gatewise.runtime.saving import load

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from gatewise.runtime.graph import Value

    Array = npt.NDArray[Any]

TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)", "bool": "tensor(bool)"}
NEXT = "_next"  # what the name of a state that comes out ends in


class NodeArg(NamedTuple):
    """An input or an output, as onnxruntime describes it."""

    name: str
    shape: list[int | None]
    type: str


class Session:
    """A model behind the calls of `onnxruntime.InferenceSession`.

    Args:
        path: a model's file, as `gatewise.save` writes it, or an ONNX file.
        states: whether the states of a model that streams are inputs, "gru/h", and outputs, "gru/h_next", so that each
            `run` goes on from what the last one gave; zeros are where a stream begins. Not for ONNX files, whose states
            are inputs and outputs where the file has them so.

    Raises:
        FormatError: the file is no model; GraphError: no ONNX model that can be read. Both are ValueErrors.
        StreamError: with `states`, the model cannot stream; the message names the layer.
        OSError: there is no such file.
        TypeError: an option of onnxruntime, as providers, which means nothing here.

    Example:
        >>> import tempfile
        >>> import gatewise, keras, numpy as np
        >>> from gatewise.runtime import Session
        >>> gru = keras.layers.GRU(4, return_sequences=True, name="gru")
        >>> model = keras.Sequential([keras.Input((None, 3), name="x"), gru])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     gatewise.save(model, f"{folder}/model.safetensors")
        ...     session = Session(f"{folder}/model.safetensors", states=True)
        >>> [arg.name for arg in session.get_inputs()], [arg.name for arg in session.get_outputs()][1:]
        (['x', 'gru/h'], ['gru/h_next'])
        >>> state = np.zeros((1, 4), np.float32)
        >>> for frame in np.ones((3, 1, 1, 3), np.float32):
        ...     outputs, state = session.run(None, {"x": frame, "gru/h": state})
        >>> outputs.shape
        (1, 1, 4)
    """

    def __init__(self, path: str | os.PathLike[str], *, states: bool = False, **options: object) -> None:
        if options:
            raise TypeError(
                f"Session: {cut(', '.join(options), 200)} means nothing here. Expected path and states; received an "
                "option of onnxruntime. Leave it out: gatewise.set_num_threads() is the one setting there is."
            )
        self._axes: dict[str, int] = {}
        if Path(path).suffix == ".onnx":
            from gatewise.runtime.doors.from_onnx import read_onnx

            read = read_onnx(path)
            model = Model(read.graph)
            ports = {**read.inputs, **read.outputs}
            self._axes = {name: port.batch_axis for name, port in ports.items()}
        else:
            model = load(path)
        self._model = model
        self._inputs, self._outputs = model.inputs, model.outputs
        self._states: dict[str, Value] = model.states if states else {}
        if states:
            stream = model.stream()
            self._inputs = stream.inputs
            self._outputs = {name: value for name, value in self._outputs.items() if name in stream.outputs}

    def get_inputs(self) -> list[NodeArg]:
        """The inputs, in their order, states last."""
        return [self._described(name, value) for name, value in {**self._inputs, **self._states}.items()]

    def get_outputs(self) -> list[NodeArg]:
        """The outputs, in their order, states last."""
        after = {f"{name}{NEXT}": value for name, value in self._states.items()}
        return [self._described(name, value) for name, value in {**self._outputs, **after}.items()]

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Array]:
        """Runs the model.

        Args:
            output_names: which outputs; None: all, in their order.
            input_feed: by name, an array for each input.

        Returns:
            The outputs.

        Raises:
            TypeError: an input does not hold numbers of its kind.
            ValueError: an input is missing, unknown or of another shape; an output is unknown.
        """
        names = [arg.name for arg in self.get_outputs()]
        wanted = names if output_names is None else list(output_names)
        given = {**self._inputs, **self._states}
        for what, received, known in (("output", wanted, names), ("input", input_feed, given)):
            unknown = [name for name in received if name not in known]
            if unknown:
                raise ValueError(
                    f"run: {what} {cut(repr(unknown[0]))} is unknown. Expected {cut(', '.join(known), 200)}. Give "
                    f"one of these, or leave it out."
                )
        missing = [name for name in given if name not in input_feed]
        if missing:
            raise ValueError(
                f"run: input {missing[0]!r} is missing. Expected {cut(', '.join(given), 200)}. Give all of these."
            )
        arrays = {}
        for name, value in given.items():
            one, axis = input_feed[name], self._axes.get(name, 0)
            moved = np.moveaxis(np.asarray(one), axis, 0) if axis and np.ndim(one) > axis else one
            arrays[name] = checked(f"run: {name}", value, moved)
        found = self._run_states(arrays) if self._states else self._model.run(arrays)
        return [np.moveaxis(found[name], 0, self._axes.get(name, 0)) for name in wanted]

    def _run_states(self, arrays: dict[str, Array]) -> dict[str, Array]:
        stream = self._model.stream(len(next(iter(arrays.values()))))
        stream.state = {name: arrays.pop(name) for name in self._states}
        found = stream.run(arrays)
        found = found if isinstance(found, dict) else {stream.outputs[0]: found}
        return found | {f"{name}{NEXT}": state for name, state in stream.state.items()}

    def _described(self, name: str, value: Value) -> NodeArg:
        batch, *rest = value.shape
        shape: list[int | None] = list(rest)
        shape.insert(self._axes.get(name, 0), batch)
        return NodeArg(name, shape, TYPES[value.dtype])
