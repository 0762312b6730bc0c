# SPDX-License-Identifier: Apache-2.0
"""gatewise on NumPy arrays: `gatewise.rnn`, `gatewise.Step` for a step, and `gatewise.rnn_vjp` for training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gatewise
from subjects.weights import weights_of
from workloads import make_input, make_mask, make_states

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Array, Case


def prepare(case: Case, threads: int) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    gatewise.set_num_threads(threads)
    x, mask = make_input(case), make_mask(case)
    if case.task == "step":
        return _steps(case, x[:, 0].copy())
    weights = weights_of(case)
    if case.task == "inference":
        return lambda: gatewise.rnn(x, weights, mask=mask), lambda results: [results[0]]

    def step() -> Any:
        y, _, vjp = gatewise.rnn_vjp(x, weights, mask=mask)
        return vjp(2 * y)

    return step, lambda d: [d.x, d.kernel, d.recurrent_kernel, d.bias]


def _steps(case: Case, inputs: Array) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """A step through one layer, or through several."""
    steps = [gatewise.Step(weights_of(case, layer)) for layer in range(case.layers)]
    states = [tuple(of_layer) if case.states > 1 else of_layer[0] for of_layer in make_states(case).swapaxes(0, 1)]
    first, state = steps[0], states[0]
    if case.states == case.layers == 1:
        return lambda: first(inputs, state), lambda h: [h[:, None]]

    def through() -> Any:
        x = inputs
        for step, state in zip(steps, states, strict=True):
            after = step(x, state)
            x = after[0]
        return x

    return through, lambda h: [h[:, None]]
