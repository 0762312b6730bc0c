# SPDX-License-Identifier: Apache-2.0
"""Weights in PyTorch's layout brought to Keras's, for what is written in Python and reads Keras's alone.

The engine reads both. U = units, G = gates, R = the rows of a kernel in Keras's layout, features or units.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

from gatewise.cells import ROWS
from gatewise.operands import facts

Tensor: TypeAlias = torch.Tensor


def to_keras(cell: int, own: Any) -> Any:
    """Brings a direction's kernels (GU, R) and biases (GU,) to kernels (R, GU) and one bias, gates in the cell's order.

    And gains (GU,), of a cell that has some, to that order.

    The bias becomes (2, GU) of a cell that keeps two apart, else their sum.
    """
    places = ROWS[cell].torch

    def in_order(weights: Tensor) -> Tensor:
        blocks = weights.chunk(len(places))
        return torch.cat([blocks[place] for place in places])

    biases = [in_order(value) for value in (own.bias, own.recurrent_bias) if value is not None]
    bias = biases[0] if biases else None
    if len(biases) > 1:
        bias = torch.stack(biases) if facts(cell).recurrent_bias else biases[0] + biases[1]
    return own._replace(
        kernel=in_order(own.kernel).t(),
        recurrent_kernel=in_order(own.recurrent_kernel).t(),
        bias=bias,
        recurrent_bias=None,
        **{name: in_order(value) for name in ("gain", "recurrent_gain") if (value := getattr(own, name)) is not None},
    )
