# SPDX-License-Identifier: Apache-2.0
"""Where an operation stands in the user's code, and what to do where it cannot be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from gatewise.options import cut

_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parents[3]))

CURES = {
    "stft": "Give the model its features, and compute these before: gatewise.data has log-mel features",
    "conv2d": "Expected Conv1d along the steps",
    "conv_transpose1d": "Expected Conv1d, and repeat_interleave of steps before it",
    "argmax": "Return the scores, and choose among them after the model",
    "topk": "Return the scores, and choose among them after the model",
    "cumsum": "Compute it before the model",
    "copy": "It writes into a part of a tensor: join the parts by torch.cat or torch.stack",
    "index_put": "It writes into a part of a tensor: join the parts by torch.cat or torch.stack",
}


class Place:
    """Where an operation stands in the user's code."""

    def __init__(self, node: Any) -> None:
        stack = [entry for entry in node.meta.get("nn_module_stack", {}).values() if "@" not in entry[0]]
        self.path: str = stack[-1][0].removeprefix("L['self'].") if stack else ""
        self.kind: str = stack[-1][1] if stack else ""
        self.lines = node.meta.get("stack_trace") or ""

    @property
    def is_module(self) -> bool:
        """Says whether the innermost module is one of PyTorch's, or of gatewise's."""
        return bool(self.path) and self.kind.startswith(("torch.nn.", "gatewise."))

    def node_name(self) -> str:
        """The module's name, "/" between a module and its part."""
        return self.path.replace(".", "/")

    def error(self, operation: str, problem: str) -> str:
        """Says what is wrong, and where."""
        frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)\n\s*(.*)', self.lines)
        own = [frame for frame in frames if not frame[0].startswith(_OWN) and not frame[0].startswith("torch/")]
        path, line, code = (own[-1][0], own[-1][1], own[-1][3]) if own else ("", "", "")
        at = f"{path}:{line}, {cut(code.strip(), 120)!r}" if path else "an unknown place"
        inside = f" in {self.path!r} ({self.kind.rpartition('.')[2]})" if self.path else ""
        end = "" if problem.endswith(".") else "."
        if ";" not in problem.partition("Expected")[2] and "Expected" in problem:
            end = f"{end} Write it so, or compute it outside of forward."
        return f"from_torch: {operation}{inside} cannot be read, at {at}: {problem}{end}"
