# SPDX-License-Identifier: Apache-2.0
"""Kernels in Python for the operations of `operations.py`, for a torch that lacks its stable C interface.

They check what they are given and hand NumPy views of it to the engine: some microseconds a call more than
csrc/bind/torch.cpp, and the same numbers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatewise import _native
from gatewise.operands import INPUTS, OUTPUTS, OWN, OWN_OUTPUTS, SHARED
from gatewise.ops.torch import shapes, signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from gatewise.ops.torch.signatures import Signature


def register(library: Any) -> None:
    """Gives the operations that a `torch.library.Library` declares their kernels."""
    for signature in signatures.SIGNATURES.values():
        library.impl(signature.name, partial(_forward, signature, keeps=False), "CPU")
        library.impl(f"{signature.name}_train", partial(_forward, signature, keeps=True), "CPU")
        library.impl(f"{signature.name}_grad", partial(_backward, signature), "CPU")


class _Layer:
    """A checked layer: a call of the engine for each direction, of which the second reads the other way."""

    def __init__(self, signature: Signature, inputs: Sequence[Any], options: Any) -> None:
        self.shapes = shapes.Layer(signature.directions, options)
        self.shapes.check(inputs)
        shared, directions = signatures.parted(inputs)
        self.given = [shared._asdict() | own._asdict() for own in directions]
        self.calls = [
            _native.Call(
                tuple(_array(given[row.name]) for row in INPUTS),
                tuple(options._replace(go_backwards=bool(options.go_backwards) != (i > 0))),
            )
            for i, given in enumerate(self.given)
        ]

    def parts_of(self, workspace: torch.Tensor) -> list[npt.NDArray[np.float32]]:
        """What the engine writes and reads of it in each direction."""
        self.shapes.expect_workspace(workspace)
        floats = workspace.contiguous().view(torch.float32).view(len(self.calls), -1).numpy()
        return [part[: call.workspace_floats] for part, call in zip(floats, self.calls, strict=True)]

    def gradients_of_outputs(self, direction: int, d_results: Sequence[Any]) -> list[torch.Tensor | None]:
        """What the engine takes of the gradients of all results, for one direction."""
        d_outputs, *d_states = d_results
        each = len(OWN_OUTPUTS)
        own = [d_outputs, *d_states[direction * each :][:each]]
        for i, row in enumerate(OUTPUTS):
            if own[i] is not None and not self.shapes.exists(row) and own[i].shape == (0,):
                own[i] = None
            self.shapes.expect(self.shapes.name_of(row, direction, "d_"), own[i], row)
        if d_outputs is not None:
            half = d_outputs.chunk(len(self.calls), 2)[direction]
            own[0] = half.flip(1) if direction else half
        return own


def _forward(signature: Signature, *arguments: Any, keeps: bool) -> tuple[torch.Tensor, ...]:
    """Runs one direction after the other. Returns their outputs side by side, and the states of each."""
    n = len(signature.inputs)
    layer = _Layer(signature, arguments[:n], signatures.Options(*arguments[n:]))
    kept = [torch.empty(layer.shapes.of_workspace(), dtype=torch.int32)] if keeps else []
    parts = layer.parts_of(*kept) if keeps else [None] * len(layer.calls)
    outputs, states = [], []
    for i, (call, part) in enumerate(zip(layer.calls, parts, strict=True)):
        results = [None if shape is None else torch.empty(shape) for shape in call.output_shapes]
        _native.forward(call, tuple(map(_array, results)), part)
        y, *own = map(_there, results)
        outputs.append(y.flip(1) if i else y)
        states += own
    return torch.cat(outputs, 2), *states, *kept


def _backward(signature: Signature, *arguments: Any) -> tuple[torch.Tensor, ...]:
    """Takes the gradients of one direction after the other back. That of x is the sum of theirs."""
    inputs, workspace, d_results, options, x_gradient = signature.of_grad(arguments)
    layer = _Layer(signature, inputs, options)
    gradients = []
    for i, part in enumerate(layer.parts_of(workspace)):
        of = tuple(map(_array, layer.gradients_of_outputs(i, d_results)))
        found: dict[str, Any] = {
            row.name: _like(layer.given[i][row.name]) if row.differentiable else None for row in INPUTS
        }
        _native.backward(layer.calls[i], part, of, tuple(map(_array, found.values())))
        gradients.append(found)
    if not x_gradient:
        gradients[0]["x"] = None
    elif len(gradients) > 1:
        gradients[0]["x"] += gradients[1]["x"]
    own = (found[row.name] for found in gradients for row in OWN if row.differentiable)
    return tuple(map(_there, (*(gradients[0][row.name] for row in SHARED if row.differentiable), *own)))


def _array(value: torch.Tensor | None) -> Any:
    """A tensor's elements as the engine reads them, without a copy where they stand so; None without a tensor."""
    return None if value is None else np.require(value.detach().numpy(), requirements=["C", "A"])


def _like(value: torch.Tensor | None) -> torch.Tensor | None:
    """Room for a gradient."""
    return None if value is None else torch.empty(value.shape)


def _there(value: torch.Tensor | None) -> torch.Tensor:
    """What stands for a result that is none: a tensor without elements."""
    return torch.empty(0) if value is None else value
