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
WEIGHTS = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
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


def in_torch_layout(case: Case, values: dict[str, Any]) -> dict[str, Any]:
    """The same case with its weights as `torch.nn.GRU` has them: (3U, F) and (3U, U), gates r | z | n, two biases."""

    def turned(value: Any) -> Any:
        gates = value.detach().reshape(-1, 3, case.units)[:, [1, 0, 2]]
        return gates.permute(1, 2, 0).reshape(3 * case.units, -1).contiguous()

    biases = [] if values["bias"] is None else [turned(row)[:, 0] for row in values["bias"].reshape(-1, 3 * case.units)]
    bias, recurrent_bias, *_ = *biases, None, None
    weights = turned(values["kernel"]), turned(values["recurrent_kernel"]), bias, recurrent_bias
    leaves = (None if value is None else value.clone().requires_grad_() for value in weights)
    return values | dict(zip(WEIGHTS, leaves, strict=True)) | {"torch_layout": True}


def layer(case: Case, values: dict[str, Any]) -> tuple[Any, Any]:
    """Outputs and state of the layer on these tensors."""
    options = {name: getattr(case, name) for name in OPTIONS}
    options |= {name: values[name] for name in ("recurrent_bias", "torch_layout") if name in values}
    outputs, state = engine.gru(*(values[name] for name in (*INPUTS, *OTHERS)), **options)
    return outputs, state


def run(case: Case, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Runs a case forward and backward: every result under its name, as `Case.specified` has them."""
    values = tensors(case) if values is None else values
    outputs, state = layer(case, values)
    present = [name for name in (*INPUTS, "recurrent_bias") if values.get(name) is not None]
    gradients = torch.autograd.grad(
        [outputs, state], [values[name] for name in present], [values["d_outputs"], values["d_state"]]
    )
    named = {f"d_{name}": gradient for name, gradient in zip(present, gradients, strict=True)}
    return {"outputs": outputs.detach(), "state": state.detach()} | named
