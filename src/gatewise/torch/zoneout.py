# SPDX-License-Identifier: Apache-2.0
"""Zoneout of our modules (Krueger et al. 2016, arXiv 1606.01305): a fresh draw for every row, step and unit.

In training a unit keeps its state in a step with the probability that the module says; else every unit keeps that part
of it, which is the expectation. The draws of a call are one byte for each number of the outputs of each layer.
"""

from __future__ import annotations

from typing import Any

import torch

# The arguments of our constructors, by the names of the engine's options
ARGUMENTS = {"zoneout_h": "zoneout", "zoneout_c": "zoneout_cell"}


def parts(module: Any) -> dict[str, float]:
    """Returns what part of each state a step keeps, by the names of the engine's options; those that are there."""
    named = ((option, getattr(module, name, 0.0)) for option, name in ARGUMENTS.items())
    return {option: part for option, part in named if part}


def draws(module: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Draws for a layer's input (B, T, F) which units keep their states, from PyTorch's generator; only in training.

    Returns:
        kept_h and kept_c, (B, T, U) bool, those that the module has.
    """
    if not module.training:
        return {}
    shape = (x.shape[0], x.shape[1], module.hidden_size)
    return {
        option.replace("zoneout", "kept"): torch.rand(shape, device=x.device) < part
        for option, part in parts(module).items()
    }


def described(module: Any) -> str:
    """Returns what a module's text says besides stock's: ", zoneout=0.1"; nothing without."""
    return "".join(f", {ARGUMENTS[option]}={part}" for option, part in parts(module).items())
