# SPDX-License-Identifier: Apache-2.0
"""A case of the engine run through torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import ops_case
from gatewise.ops import torch as engine

if TYPE_CHECKING:
    from engine_case import Case

INPUTS = ("x", "initial_state", "kernel", "recurrent_kernel", "bias")
OTHERS = ("mask", "input_dropout", "recurrent_dropout")
WEIGHTS = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
OPTIONS = (
    "cell",
    "activation",
    "recurrent_activation",
    "go_backwards",
    "return_sequences",
    "zero_output_for_mask",
)
_MORE = ("initial_state_c", "recurrent_bias", *ops_case.OF_NORM)  # those of some cells, and in some layout


def tensors(case: Case) -> dict[str, Any]:
    """The arrays of a case by name, None where it has none; the layer's inputs require gradients."""
    found = {name: None if a is None else torch.from_numpy(np.array(a)) for name, a in case.arrays.items()}
    for name in (*INPUTS, *_MORE):
        if found.get(name) is not None:
            found[name].requires_grad_()
    return found


def in_torch_layout(case: Case, values: dict[str, Any]) -> dict[str, Any]:
    """The same case with its weights as `torch.nn.GRU` has them: (3U, F) and (3U, U), gates r | z | n, two biases."""

    places, units = case.cell.row.torch, case.units

    def turned(value: Any) -> Any:
        gates = value.detach().reshape(-1, len(places), units)[:, [places.index(i) for i in range(len(places))]]
        return gates.permute(1, 2, 0).reshape(len(places) * units, -1).contiguous()

    wide = len(places) * units
    biases = [] if values["bias"] is None else [turned(row)[:, 0] for row in values["bias"].reshape(-1, wide)]
    bias, recurrent_bias, *_ = *biases, None, None
    weights = turned(values["kernel"]), turned(values["recurrent_kernel"]), bias, recurrent_bias
    gains = {name: turned(values[name])[:, 0] for name in ("gain", "recurrent_gain") if values.get(name) is not None}
    laid_out = dict(zip(WEIGHTS, weights, strict=True)) | gains
    leaves = {name: None if value is None else value.clone().requires_grad_() for name, value in laid_out.items()}
    return values | leaves | {"torch_layout": True}


def layer(case: Case, values: dict[str, Any]) -> tuple[Any, ...]:
    """Outputs and states of the layer on these tensors."""
    return ops_case.layer(engine, case, values, torch_layout=values.get("torch_layout", False))


def run(case: Case, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Runs a case forward and backward: every result under its name, as `Case.specified` has them."""
    values = tensors(case) if values is None else values
    results = layer(case, values)
    present = [name for name in (*INPUTS, *_MORE) if values.get(name) is not None]
    of = [values[name] for name in ("d_outputs", *case.state_names("d_state"))]
    gradients = torch.autograd.grad(results, [values[name] for name in present], of)
    found = [value.detach() for value in results]
    return ops_case.named(case, found, dict(zip(present, gradients, strict=True)))
