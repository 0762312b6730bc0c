# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.GRU` and `gatewise.torch.GRU`, batch first (PyTorch's own is as fast that way as time first, or faster)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

import gatewise
import gatewise.torch
from workloads import make_input, make_state, make_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case


def prepare(case: Case, threads: int, *, ours: bool = False) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    torch.set_num_threads(threads)
    gatewise.set_num_threads(threads)
    kind = gatewise.torch.GRU if ours else torch.nn.GRU
    module = kind(case.features, case.units, batch_first=True)
    weights = gatewise.GRUWeights(*make_weights(case)).to_torch()._asdict()
    module.load_state_dict({f"{name}_l0": torch.tensor(array) for name, array in weights.items()})
    x = torch.tensor(make_input(case))
    if case.task == "training":
        return _training(module, x.requires_grad_())
    h = torch.tensor(make_state(case))[None] if case.task == "step" else None

    def forward() -> Any:
        with torch.inference_mode():
            return module(x, h)

    return forward, lambda results: [results[0].numpy()]


def _training(module: Any, x: Any) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    variables = [x, *(getattr(module, f"{name}_l0") for name in gatewise.weights.TorchWeights._fields)]

    def step() -> Any:
        y, _ = module(x)
        return torch.autograd.grad((y * y).sum(), variables)

    def in_keras_layout(gradients: Any) -> list[Any]:
        d_x, *d_weights = (gradient.numpy() for gradient in gradients)
        d = gatewise.GRUWeights.from_torch(*d_weights)
        return [d_x, d.kernel, d.recurrent_kernel, d.bias]

    return step, in_keras_layout
