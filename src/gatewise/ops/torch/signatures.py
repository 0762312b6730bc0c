# SPDX-License-Identifier: Apache-2.0
"""What the engine's operations are called and what they take: those of a layer of one direction, and of both.

The inputs of a layer stand in the table's order, what all directions share before each direction's own; so do its
results. The operation of the backward pass takes the workspace and the gradients of the results behind the inputs, and
options stand last.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gatewise.operands import OPTIONS, OWN, OWN_OUTPUTS, SHARED, SHARED_OUTPUTS, Direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewise.operands import Operand

_named_tuple: Any = namedtuple  # noqa: PYI024  # whose fields the table tells

# What all directions share; x is the first.
Shared = _named_tuple("Shared", [row.name for row in SHARED], defaults=[None] * len(SHARED))
# Whole numbers: the oldest of torch's C interfaces hands over no text.
Options = _named_tuple("Options", OPTIONS, defaults=[0] * len(OPTIONS))

RECURRENT_KERNEL = len(SHARED) + Direction._fields.index("recurrent_kernel")  # its place among the inputs, as x's is 0


class GradArguments(NamedTuple):
    """What the operation of the backward pass is given: what the layer was, and what came of it."""

    inputs: tuple[Any, ...]
    workspace: Any
    d_results: tuple[Any, ...]
    options: Any
    x_gradient: bool


class Signature:
    """What the operations of a layer of so many directions take and give.

    Attributes:
        name: what the operation is called that runs the layer.
        directions: how many there are.
        inputs: those of the layer, each what errors call it and its row of the table.
        outputs: its results, likewise: outputs, and all states of each direction.
        differentiable: the places of those inputs that have a gradient.
    """

    def __init__(self, name: str, *whose: str) -> None:
        self.name, self.directions = name, len(whose)
        self.inputs = [*_named(SHARED), *(named for prefix in whose for named in _named(OWN, prefix))]
        self.outputs = [*_named(SHARED_OUTPUTS), *(named for prefix in whose for named in _named(OWN_OUTPUTS, prefix))]
        self.operations: dict[str, Any] = {}
        self.differentiable = tuple(i for i, (_, row) in enumerate(self.inputs) if row.differentiable)

    def of_grad(self, arguments: tuple[Any, ...]) -> GradArguments:
        """Takes the arguments of the backward pass's operation apart."""
        n = len(self.inputs)
        m = n + 1 + len(self.outputs)
        *options, x_gradient = arguments[m:]
        return GradArguments(arguments[:n], arguments[n], arguments[n + 1 : m], Options(*options), x_gradient)

    def declare(self, library: Any) -> None:
        """Declares the operations in a `torch.library.Library`."""
        kinds = {True: "Tensor", False: "Tensor?"}
        inputs = ", ".join(f"{kinds[row.presence == 'required']} {_plain(name)}" for name, row in self.inputs)
        options = ", ".join(f"int {name}" for name in OPTIONS)
        results = ", ".join(f"Tensor {_plain(name)}" for name, _ in self.outputs)
        given = ", ".join(f"Tensor? d_{_plain(name)}" for name, _ in self.outputs)
        gradients = ", ".join(f"Tensor d_{_plain(self.inputs[i][0])}" for i in self.differentiable)
        for suffix, schema in (
            ("", f"({inputs}, {options}) -> ({results})"),
            ("_train", f"({inputs}, {options}) -> ({results}, Tensor workspace)"),
            ("_grad", f"({inputs}, Tensor workspace, {given}, {options}, bool x_gradient) -> ({gradients})"),
        ):
            library.define(self.name + suffix + schema, tags=(torch.Tag.pt2_compliant_tag,))
            self.operations[suffix] = getattr(torch.ops.gatewise, self.name + suffix).default


def _named(rows: Sequence[Operand], whose: str = "") -> list[tuple[str, Operand]]:
    return [(whose + row.name, row) for row in rows]


def _plain(name: str) -> str:
    return name.replace(".", "_")


WHOSE = {1: ("",), 2: ("first.", "second.")}  # begins the names of what a direction has of its own
SIGNATURES = {n: Signature(name, *WHOSE[n]) for n, name in ((1, "rnn"), (2, "rnn_both"))}
_OF_INPUTS = {len(signature.inputs): signature for signature in SIGNATURES.values()}


def of(inputs: Sequence[Any]) -> Signature:
    """The signature of the operations of the layer that has these inputs."""
    return _OF_INPUTS[len(inputs)]


def parted(inputs: Sequence[Any]) -> tuple[Any, list[Any]]:
    """What the directions of a layer share, a `Shared`, and what each has of its own, an `operands.Direction`."""
    starts = range(len(SHARED), len(inputs), len(OWN))
    return Shared(*inputs[: len(SHARED)]), [Direction(*inputs[i : i + len(OWN)]) for i in starts]
