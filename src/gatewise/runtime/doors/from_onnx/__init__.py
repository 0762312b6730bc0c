# SPDX-License-Identifier: Apache-2.0
"""The door for ONNX files: graphs of GRU, LSTM and RNN nodes, and the ordinary nodes that exporters write around them.

A Graph's values have the batch first. An ONNX value has its axes in any order; which of them is the batch is carried
along while the file is read, so that the Transposes around recurrent nodes vanish. So an input or output that the file
has as (steps, batch, features) is (batch, steps, features) here, under the same name: the batch comes first, the other
axes stay in the file's order. `read_onnx` tells where the file has it. States are ordinary inputs and outputs.

The opset may be 7 to the newest that the onnx package knows. Numbers become float32, whole numbers int64. The batch is
free, even where the file fixes it. What is not known is an error that names the node.
"""

from __future__ import annotations

from gatewise.runtime.doors.from_onnx.reading import OnnxGraph as OnnxGraph
from gatewise.runtime.doors.from_onnx.reading import Port as Port
from gatewise.runtime.doors.from_onnx.reading import from_onnx as from_onnx
from gatewise.runtime.doors.from_onnx.reading import read_onnx as read_onnx
