# SPDX-License-Identifier: Apache-2.0
"""A recurrent module of `torch.nn` and of `gatewise.torch`, batch first: PyTorch's own is at least as fast that way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import gatewise
import gatewise.torch
from subjects.weights import weights_class, weights_of
from workloads import make_input, make_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case


def prepare(case: Case, threads: int, *, ours: bool = False) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    torch.set_num_threads(threads)
    gatewise.set_num_threads(threads)
    kind = getattr(gatewise.torch if ours else torch.nn, {"SimpleRNN": "RNN"}.get(case.cell, case.cell))
    module = kind(case.features, case.units, batch_first=True)
    weights = weights_of(case).to_torch()._asdict()
    module.load_state_dict({f"{name}_l0": torch.tensor(array) for name, array in weights.items()})
    x = torch.tensor(make_input(case))
    if case.task == "training":
        return _training(case, module, x.requires_grad_())
    h = torch.tensor(make_state(case))[None] if case.task == "step" else None

    def forward() -> Any:
        with torch.inference_mode():
            return module(x, h)

    return forward, lambda results: [results[0].numpy()]


def _training(case: Case, module: Any, x: Any) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    variables = [x, *(getattr(module, f"{name}_l0") for name in gatewise.weights.TorchWeights._fields)]

    def step() -> Any:
        y, _ = module(x)
        return torch.autograd.grad((y * y).sum(), variables)

    def in_keras_layout(gradients: Any) -> list[Any]:
        d_x, *d_weights = (gradient.numpy() for gradient in gradients)
        if case.cell != "GRU":  # of two biases that stand in one sum, each has the gradient of the sum
            d_weights[-1] = np.zeros_like(d_weights[-1])
        d = weights_class(case).from_torch(*d_weights)
        return [d_x, d.kernel, d.recurrent_kernel, d.bias]

    return step, in_keras_layout
