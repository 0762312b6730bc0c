# SPDX-License-Identifier: Apache-2.0
"""What one direction of a layer has of its own: its weights, where it starts, and what it drops."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Tensor: TypeAlias = Any  # an array of the framework


class Direction(NamedTuple):
    """The inputs of a layer but for the sequences and their mask, which both directions read.

    Attributes:
        initial_state: (batch, units) float32, or None for zeros.
        kernel: (features, 3 * units) float32, gates in the order z | r | h.
        recurrent_kernel: (units, 3 * units) float32.
        bias: (2, 3 * units) float32 with `reset_after`, else (3 * units,); or None for zeros.
        input_dropout: (1 or 3, batch, features) float32, factors on x, one for all gates or one for each; or None.
        recurrent_dropout: (3, batch, units) float32, factors on the previous state, one for each gate; or None.
    """

    initial_state: Tensor | None
    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None = None
    input_dropout: Tensor | None = None
    recurrent_dropout: Tensor | None = None
