# SPDX-License-Identifier: Apache-2.0
"""Weights in PyTorch's layout brought to Keras's, for what is written in Python and reads Keras's alone.

The engine reads both. U = units, R = the rows of a kernel in Keras's layout, features or units.
"""

from __future__ import annotations

from typing import TypeAlias

import torch

Tensor: TypeAlias = torch.Tensor


def to_keras(
    kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None, recurrent_bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Brings kernels (3U, R) and biases (3U,), gates r | z | h, to kernels (R, 3U) and a bias, gates z | r | h.

    Returns:
        kernel, recurrent kernel, and the bias: (2, 3U) of two biases, (3U,) of one, or None.
    """
    biases = [_swapped(value) for value in (bias, recurrent_bias) if value is not None]
    together = torch.stack(biases) if len(biases) > 1 else next(iter(biases), None)
    return _swapped(kernel).t(), _swapped(recurrent_kernel).t(), together


def from_keras(
    kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Undoes `to_keras`; the recurrent bias is None if the bias is (3U,)."""
    biases = () if bias is None else tuple(_swapped(value) for value in bias.reshape(-1, bias.shape[-1]))
    input_bias, recurrent_bias = (*biases, None, None)[:2]
    return _swapped(kernel.t()), _swapped(recurrent_kernel.t()), input_bias, recurrent_bias


def _swapped(weights: Tensor) -> Tensor:
    """Swaps the first two of the three gates that (3U, ...) holds."""
    first, second, candidate = weights.chunk(3)
    return torch.cat((second, first, candidate))
