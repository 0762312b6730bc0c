# SPDX-License-Identifier: Apache-2.0
"""A case of the engine run through torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatewise.ops import torch as engine

if TYPE_CHECKING:
    from engine_case import Case

INPUTS = ("x", "initial_state", "kernel", "recurrent_kernel", "bias")
OTHERS = ("mask", "input_dropout", "recurrent_dropout")
OPTIONS = (
    "reset_after",
    "activation",
    "recurrent_activation",
    "go_backwards",
    "return_sequences",
    "zero_output_for_mask",
)


def tensors(case: Case) -> dict[str, Any]:
    """The arrays of a case by name, None where it has none; the layer's inputs require gradients."""
    found = {name: None if a is None else torch.from_numpy(np.array(a)) for name, a in case.arrays.items()}
    for name in INPUTS:
        if found[name] is not None:
            found[name].requires_grad_()
    return found


def layer(case: Case, values: dict[str, Any]) -> tuple[Any, Any]:
    """Outputs and state of the layer on these tensors."""
    options = {name: getattr(case, name) for name in OPTIONS}
    outputs, state = engine.gru(*(values[name] for name in (*INPUTS, *OTHERS)), **options)
    return outputs, state


def run(case: Case, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Runs a case forward and backward: every result under its name, as `Case.specified` has them."""
    values = tensors(case) if values is None else values
    outputs, state = layer(case, values)
    present = [name for name in INPUTS if values[name] is not None]
    gradients = torch.autograd.grad(
        [outputs, state], [values[name] for name in present], [values["d_outputs"], values["d_state"]]
    )
    named = {f"d_{name}": gradient for name, gradient in zip(present, gradients, strict=True)}
    return {"outputs": outputs.detach(), "state": state.detach()} | named
