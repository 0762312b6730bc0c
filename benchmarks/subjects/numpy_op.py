# SPDX-License-Identifier: Apache-2.0
"""gatewise on NumPy arrays: `gatewise.rnn`, `gatewise.Step` for a step, and `gatewise.rnn_vjp` for training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gatewise
from subjects.weights import weights_of
from workloads import make_input, make_mask, make_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case


def prepare(case: Case, threads: int) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    gatewise.set_num_threads(threads)
    x, mask = make_input(case), make_mask(case)
    weights = weights_of(case)
    if case.task == "step":
        inputs, state, step_of = x[:, 0].copy(), make_state(case), gatewise.Step(weights)
        return lambda: step_of(inputs, state), lambda state: [state[:, None]]
    if case.task == "inference":
        return lambda: gatewise.rnn(x, weights, mask=mask), lambda results: [results[0]]

    def step() -> Any:
        y, _, vjp = gatewise.rnn_vjp(x, weights, mask=mask)
        return vjp(2 * y)

    return step, lambda d: [d.x, d.kernel, d.recurrent_kernel, d.bias]
