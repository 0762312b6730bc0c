# SPDX-License-Identifier: Apache-2.0
"""What `torch.utils.flop_counter.FlopCounterMode` counts for the operations: products of matrices, as in all of torch.

A product of (m, k) and (k, n) counts 2 * m * k * n, biases and gates nothing. A step that a mask leaves out counts as
the others do, since a formula sees shapes alone.
"""

from __future__ import annotations

import ctypes
import sys
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from gatewise.ops.torch import shapes, signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewise.ops.torch.signatures import Signature


def register() -> None:
    """Registers a formula for each of the operations, which are declared, unless the counter ends the process."""
    if _counter_ends_the_process():
        return
    from torch.utils.flop_counter import register_flop_formula

    for signature in signatures.SIGNATURES.values():
        for suffix, formula in (("", _forward), ("_train", _forward), ("_grad", _backward)):
            packet = getattr(torch.ops.gatewise, signature.name + suffix)
            register_flop_formula(packet)(partial(formula, signature))


def _counter_ends_the_process() -> bool:
    """Whether importing the counter does, which imports Triton where that is installed: as it is with torch for CUDA.

    Triton's LLVM does not bear another one in the global symbol table, where TensorFlow puts its own from 2.20 on:
    https://github.com/tensorflow/tensorflow/issues/124205.
    """
    if "triton" in sys.modules or find_spec("triton") is None:
        return False
    try:
        ctypes.CDLL(None)["_ZN4llvm11LLVMContextC1Ev"]  # its constructor, which every LLVM has
    except AttributeError:
        return False
    return True


def _products(signature: Signature, inputs: Sequence[Any], options: Any) -> tuple[int, int, int]:
    """Counts a step of one direction: the product of x with the kernel, that of h with its own; and the steps."""
    layer = shapes.Layer(signature.directions, options)
    layer.take_sizes(inputs[0], inputs[signatures.RECURRENT_KERNEL])
    batch, timesteps, features, units, columns = (layer.sizes[axis] for axis in "btfug")
    return 2 * batch * features * columns, 2 * batch * units * columns, timesteps


def _forward(signature: Signature, *arguments: Any, **_out_shape: Any) -> int:
    n = len(signature.inputs)
    of_x, of_h, timesteps = _products(signature, arguments[:n], signatures.Options(*arguments[n:]))
    return signature.directions * timesteps * (of_x + of_h)


def _backward(signature: Signature, *arguments: Any, **_out_shape: Any) -> int:
    """Counts two products for each of the forward pass, by either factor: but for gradients that are not asked for."""
    inputs, _, _, options, x_gradient = signature.of_grad(arguments)
    of_x, of_h, timesteps = _products(signature, inputs, options)
    count = signature.directions * timesteps * (of_x + (of_x if x_gradient else 0) + 2 * of_h)
    _, directions = signatures.parted(inputs)
    without_state = sum(own.initial_h is None for own in directions)
    count -= min(timesteps, 1) * without_state * of_h  # the zeros that these start with have no gradient
    return count + (_forward(signature, *inputs, *options) if options.recompute else 0)
