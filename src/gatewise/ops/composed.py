# SPDX-License-Identifier: Apache-2.0
"""The GRU composed of a framework's own operations: slow, and differentiable as often as the framework likes.

The engine has a first derivative. A second one is the derivative of what stands here: each file of `ops/` brings its
framework's few functions and registers it as the gradient of its way back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewise.ops.direction import Direction

Tensor: TypeAlias = Any  # an array of the framework; with @, *, + and slicing


class Framework(Protocol):
    """The functions that the composition takes from a framework. Each takes and returns its tensors."""

    def activation(self, name: str) -> Callable[[Tensor], Tensor]:
        """Returns tanh, sigmoid, relu, linear or hard_sigmoid, relu6(x + 3) / 6."""

    def zero_state(self, x: Tensor, units: int) -> Tensor:
        """Returns zeros (batch of x, units), float32."""

    def all_valid(self, x: Tensor) -> Tensor:
        """Returns a mask (batch, timesteps, 1) of True for x (batch, timesteps, features)."""

    def where(self, condition: Tensor, value: Tensor, otherwise: Tensor | float) -> Tensor:
        """Chooses element by element."""

    def time_first(self, value: Tensor) -> Tensor:
        """Swaps the first two axes."""

    def flip(self, value: Tensor) -> Tensor:
        """Reverses the first axis."""

    def scan(
        self, step: Callable[[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], tuple[Tensor, Tensor]],
        start: tuple[Tensor, Tensor], sequences: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Carries two tensors along the first axis of the sequences; returns both at every step, stacked."""


class JoiningFramework(Framework, Protocol):
    """What both directions of a layer take besides."""

    def side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        """Joins tensors along the last axis."""


def directions(
    framework: JoiningFramework,
    x: Tensor,
    mask: Tensor | None,
    each: Sequence[Direction],
    *,
    go_backwards: bool,
    return_sequences: bool,
    **options: Any,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Runs a layer of one direction or two, of which the second reads the other way.

    Returns:
        The outputs side by side, in the processing order of the first direction, and the state of each.
    """
    outputs, states = [], []
    for i, (initial_state, kernel, recurrent_kernel, bias, *dropout) in enumerate(each):
        is_second = i > 0
        y, state = gru(
            framework, x, initial_state, kernel, recurrent_kernel, bias, mask, *dropout,
            go_backwards=go_backwards != is_second, return_sequences=return_sequences, **options,
        )  # fmt: skip
        if is_second and return_sequences:
            y = framework.time_first(framework.flip(framework.time_first(y)))
        outputs.append(y)
        states.append(state)
    return framework.side_by_side(outputs), tuple(states)


def gru(
    framework: Framework,
    x: Tensor,
    initial_state: Tensor | None,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    input_dropout: Tensor | None,
    recurrent_dropout: Tensor | None,
    *,
    reset_after: bool,
    activation: str,
    recurrent_activation: str,
    go_backwards: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
    recompute: bool = False,  # noqa: ARG001  # changes no number
) -> tuple[Tensor, Tensor]:
    """Runs a GRU layer over sequences of at least one step. Arguments and results are those of `ops/X.gru`."""
    gate, candidate = framework.activation(recurrent_activation), framework.activation(activation)
    units = recurrent_kernel.shape[0]
    gates = [slice(g * units, (g + 1) * units) for g in range(3)]
    zeros = framework.zero_state(x, units)
    state = zeros if initial_state is None else initial_state
    input_bias, recurrent_bias = (bias[0], bias[1]) if bias is not None and reset_after else (bias, None)

    def drop(value: Tensor, factors: Tensor | None, g: int) -> Tensor:
        return value if factors is None else value * factors[g if factors.shape[0] == 3 else 0]

    def add(value: Tensor, b: Tensor | None, g: int) -> Tensor:
        return value if b is None else value + b[gates[g]]

    def step(carried: tuple[Tensor, Tensor], inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        (h, output), (x_t, valid) = carried, inputs
        z_x, r_x, h_x = (add(drop(x_t, input_dropout, g) @ kernel[:, gates[g]], input_bias, g) for g in range(3))
        z_h, r_h = (
            add(drop(h, recurrent_dropout, g) @ recurrent_kernel[:, gates[g]], recurrent_bias, g) for g in range(2)
        )
        z, r, seen = gate(z_x + z_h), gate(r_x + r_h), drop(h, recurrent_dropout, 2)
        if reset_after:
            h_tilde = candidate(h_x + r * add(seen @ recurrent_kernel[:, gates[2]], recurrent_bias, 2))
        else:
            h_tilde = candidate(h_x + (r * seen) @ recurrent_kernel[:, gates[2]])
        new = z * h + (1 - z) * h_tilde
        repeated = zeros if zero_output_for_mask else output
        return framework.where(valid, new, h), framework.where(valid, new, repeated)

    # A masked x is replaced before it is used: the derivative of a choice made after it would be 0 * NaN.
    valid = framework.all_valid(x) if mask is None else mask[..., None]
    sequence = framework.time_first(framework.where(valid, x, 0.0))
    valid = framework.time_first(valid)
    if go_backwards:
        sequence, valid = framework.flip(sequence), framework.flip(valid)
    states, outputs = framework.scan(step, (state, zeros), (sequence, valid))
    outputs = framework.time_first(outputs if return_sequences else outputs[-1:])
    return outputs, states[-1]
