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

from gatewise.ops.torch import signatures

if TYPE_CHECKING:
    from collections.abc import Sequence


def register() -> None:
    """Registers a formula for each of the operations, which are declared, unless the counter ends the process."""
    if _counter_ends_the_process():
        return
    from torch.utils.flop_counter import register_flop_formula

    for directions, name in signatures.NAMES.items():
        for suffix, formula in (("", _forward), ("_train", _forward), ("_grad", _way_back)):
            packet = getattr(torch.ops.gatewise, name + suffix)
            register_flop_formula(packet)(partial(formula, directions))


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


def _of_a_step(shapes: Sequence[Any], *, torch_layout: bool) -> tuple[int, int]:
    """Counts a step of one direction: the product of the input with the kernel, and that of the state with its own."""
    batch, _, features = shapes[0]
    units = shapes[3][1 if torch_layout else 0]
    return 2 * batch * features * 3 * units, 2 * batch * units * 3 * units


def _forward(directions: int, *shapes: Any, torch_layout: bool, **_options: Any) -> int:
    timesteps: int = shapes[0][1]
    return directions * timesteps * sum(_of_a_step(shapes, torch_layout=torch_layout))


def _way_back(
    directions: int, *shapes: Any, torch_layout: bool, recompute: bool, x_gradient: bool, **options: Any
) -> int:
    """Counts two products for each of the way forward, by either factor: but for gradients that are not asked for."""
    timesteps: int = shapes[0][1]
    of_input, of_state = _of_a_step(shapes, torch_layout=torch_layout)
    count = directions * timesteps * (of_input + (of_input if x_gradient else 0) + 2 * of_state)
    each = signatures.of_each_direction(shapes[: signatures.layer_inputs(directions)])
    without_state = sum(own[1] is None for own in each)
    count -= min(timesteps, 1) * without_state * of_state  # the zeros that these start with have no gradient
    return count + (_forward(directions, *shapes, torch_layout=torch_layout, **options) if recompute else 0)
