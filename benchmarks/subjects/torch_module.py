# SPDX-License-Identifier: Apache-2.0
"""A recurrent module of `torch.nn` and of `gatewise.torch`, batch first: PyTorch's own is at least as fast that way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import gatewise
import gatewise.torch
from subjects.weights import weights_class, weights_of
from workloads import make_input, make_states

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case

DIRECTIONS = ("", "_reverse")  # what PyTorch's names of parameters end in


def prepare(case: Case, threads: int, *, ours: bool = False) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    torch.set_num_threads(threads)
    gatewise.set_num_threads(threads)
    kind = getattr(gatewise.torch if ours else torch.nn, {"SimpleRNN": "RNN"}.get(case.cell, case.cell))
    shape: Any = {"num_layers": case.layers, "bidirectional": case.directions == 2}
    module = kind(case.features, case.units, batch_first=True, **shape)
    module.load_state_dict(
        {
            f"{name}_l{i}{direction}": torch.tensor(array)
            for i in range(case.layers)
            for direction in DIRECTIONS[: case.directions]
            for name, array in weights_of(case, i).to_torch()._asdict().items()
        }
    )
    x = torch.tensor(make_input(case))
    if case.task == "training":
        return _training(case, module, x.requires_grad_())
    carried = [torch.tensor(state) for state in make_states(case)] if case.task == "step" else []
    states = carried[0] if len(carried) == 1 else tuple(carried) or None

    def forward() -> Any:
        with torch.inference_mode():
            return module(x, states)

    return forward, lambda results: [results[0].numpy()]


def _training(case: Case, module: Any, x: Any) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    names = gatewise.weights.TorchWeights._fields
    variables = [x, *(getattr(module, f"{n}_l0{d}") for d in DIRECTIONS[: case.directions] for n in names)]

    def step() -> Any:
        y, _ = module(x)
        return torch.autograd.grad((y * y).sum(), variables)

    def in_keras_layout(gradients: Any) -> list[Any]:
        d_x, *d_weights = (gradient.numpy() for gradient in gradients)
        results = [d_x]
        for i in range(0, len(d_weights), len(names)):
            of_direction = d_weights[i : i + len(names)]
            if case.cell != "GRU":  # of two biases that stand in one sum, each has the gradient of the sum
                of_direction[-1] = np.zeros_like(of_direction[-1])
            d = weights_class(case).from_torch(*of_direction)
            results += [d.kernel, d.recurrent_kernel, d.bias]
        return results

    return step, in_keras_layout
