# SPDX-License-Identifier: Apache-2.0
"""A layer composed of a framework's own operations: slow, and differentiable as often as the framework likes.

The engine has a first derivative. A second one is the derivative of what stands here: each framework brings its few
functions and registers it as the gradient of its backward pass. What a cell computes at a step says `reference/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from gatewise.operands import facts
from gatewise.reference import EQUATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Tensor: TypeAlias = Any  # an array of the framework; with @, *, + and slicing
Tensors: TypeAlias = tuple[Tensor, ...]


class Framework(Protocol):
    """The functions that the composition takes from a framework. Each takes and returns its tensors."""

    def activation(self, name: str) -> Callable[[Tensor], Tensor]:
        """Returns tanh, sigmoid, relu, linear or hard_sigmoid, relu6(x + 3) / 6."""

    def zero_state(self, x: Tensor, units: int) -> Tensor:
        """Returns zeros (batch of x, units), float32."""

    def all_valid(self, x: Tensor) -> Tensor:
        """Returns a mask (batch, timesteps, 1) of True for x (batch, timesteps, features)."""

    def normal(self, value: Tensor, epsilon: Tensor | float) -> Tensor:
        """Returns (value - mean) / sqrt(variance + epsilon) along the last axis; epsilon is (1,), or a number."""

    def where(self, condition: Tensor, value: Tensor, otherwise: Tensor | float) -> Tensor:
        """Chooses element by element."""

    def time_first(self, value: Tensor) -> Tensor:
        """Swaps the first two axes."""

    def flip(self, value: Tensor) -> Tensor:
        """Reverses the first axis."""

    def roll(self, value: Tensor) -> Tensor:
        """Moves what stands along the first axis on by one place, the last to the first."""

    def scan(self, step: Callable[[Tensors, Tensors], Tensors], start: Tensors, sequences: Tensors) -> Tensors:
        """Carries tensors along the first axis of the sequences; returns each at every step, stacked."""

    def side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        """Joins tensors along the last axis."""


def layer(
    framework: Framework,
    x: Tensor,
    mask: Tensor | None,
    starts: Tensor | None,
    directions: Sequence[Any],
    *,
    go_backwards: bool,
    return_sequences: bool,
    **options: Any,
) -> tuple[Tensor, tuple[Tensors, ...]]:
    """Runs a layer of one direction or two, of which the second reads the other way.

    Args:
        framework: the framework's functions.
        x: (batch, timesteps, features), of at least one step.
        mask: (batch, timesteps), or None.
        starts: (batch, timesteps), or None.
        directions: an `operands.Direction` each, in Keras's layout.
        go_backwards: of the first.
        return_sequences: as everywhere.
        options: those of `direction`.

    Returns:
        The outputs side by side, in the processing order of the first direction, and the states of each.
    """
    outputs, states = [], []
    for i, own in enumerate(directions):
        is_second = i > 0
        y, own_states = direction(
            framework, x, mask, starts, own, go_backwards=go_backwards != is_second, return_sequences=return_sequences,
            **options,
        )  # fmt: skip
        if is_second and return_sequences:
            y = framework.time_first(framework.flip(framework.time_first(y)))
        outputs.append(y)
        states.append(own_states)
    return framework.side_by_side(outputs), tuple(states)


def direction(
    framework: Framework,
    x: Tensor,
    mask: Tensor | None,
    starts: Tensor | None,
    own: Any,
    *,
    cell: int,
    activation: str,
    recurrent_activation: str,
    go_backwards: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
    recompute: bool = False,  # noqa: ARG001  # changes no number
    zoneout_h: float = 0.0,
    zoneout_c: float = 0.0,
) -> tuple[Tensor, Tensors]:
    """Runs one direction of a layer: its outputs and its states after the last step."""
    equations, n = EQUATIONS[cell], facts(cell).gates
    activate, of_gates = framework.activation(activation), framework.activation(recurrent_activation)
    units = own.recurrent_kernel.shape[0]
    gates = [slice(g * units, (g + 1) * units) for g in range(n)]
    zeros = framework.zero_state(x, units)
    given = (own.initial_h, own.initial_c)[: facts(cell).states]
    start = tuple(zeros if state is None else state for state in given)
    both = own.bias is not None and equations.recurrent_bias
    input_bias, recurrent_bias = (own.bias[0], own.bias[1]) if both else (own.bias, None)

    normal = _Normal(framework, own)
    more = (normal.of_state,) if equations.normalises_state else ()

    def product(left: Tensor, weights: Tensor, gain: Tensor | None, g: int) -> Tensor:
        found = left @ weights[:, gates[g]]
        return normal(found, gain, gates[g]) if equations.normalises else found

    def drop(value: Tensor, factors: Tensor | None, g: int) -> Tensor:
        return value if factors is None else value * factors[g if factors.shape[0] == n else 0]

    def add(value: Tensor, b: Tensor | None, g: int) -> Tensor:
        return value if b is None else value + b[gates[g]]

    def step(carried: Tensors, inputs: Tensors) -> Tensors:
        (*states, output, crossed), (x_t, valid, boundary, *kept) = carried, inputs
        if starts is not None:  # what is behind a boundary is gone: the states at the next valid step, outputs at once
            crossed, output = crossed | boundary, framework.where(boundary, zeros, output)
            again = crossed & valid
            states = [framework.where(again, first, state) for first, state in zip(start, states, strict=True)]
            crossed = crossed & ~valid

        def recurrent(gate: int, factor: Tensor | None = None) -> Tensor:
            left = drop(states[0], own.recurrent_dropout, gate)
            left = left if factor is None else left * factor
            return add(product(left, own.recurrent_kernel, own.recurrent_gain, gate), recurrent_bias, gate)

        of_inputs = [product(drop(x_t, own.input_dropout, g), own.kernel, own.gain, g) for g in range(n)]
        of_x = [add(value, input_bias, g) for g, value in enumerate(of_inputs)]
        made = equations.step(of_x, recurrent, tuple(states), activate, of_gates, *more)
        draws = iter(kept)
        new = [
            _zoned_out(framework, before, after, next(draws) if is_drawn else None, part)
            for before, after, is_drawn, part in zip(states, made, drawn, (zoneout_h, zoneout_c), strict=False)
        ]
        repeated = zeros if zero_output_for_mask else output
        next_states = (framework.where(valid, value, state) for value, state in zip(new, states, strict=True))
        return *next_states, framework.where(valid, new[0], repeated), crossed

    # A masked x is replaced before it is used: the derivative of a choice made after it would be 0 * NaN.
    valid = framework.all_valid(x) if mask is None else mask[..., None]
    boundaries = valid if starts is None else starts[..., None]  # without starts not looked at
    drawn = [kept is not None for kept in (own.kept_h, own.kept_c)[: facts(cell).states]]
    draws = [kept for kept in (own.kept_h, own.kept_c) if kept is not None]
    sequences = [framework.time_first(each) for each in (framework.where(valid, x, 0.0), valid, boundaries, *draws)]
    if go_backwards:
        sequences = [framework.flip(each) for each in sequences]
        sequences[2] = framework.roll(sequences[2])  # before a step in time is after it in reading order
    *states, outputs, _ = framework.scan(step, (*start, zeros, sequences[2][0]), tuple(sequences))
    outputs = framework.time_first(outputs if return_sequences else outputs[-1:])
    return outputs, tuple(state[-1] for state in states)


class _Normal:
    """What a cell that normalises does to its products and its second state."""

    def __init__(self, framework: Framework, own: Any) -> None:
        self._framework, self._own = framework, own
        self._epsilon = 1e-3 if own.epsilon is None else own.epsilon

    def __call__(self, value: Tensor, gain: Tensor | None, of: slice = slice(None)) -> Tensor:
        found = self._framework.normal(value, self._epsilon)
        return found if gain is None else found * gain[of]

    def of_state(self, c: Tensor) -> Tensor:
        value = self(c, self._own.state_gain)
        return value if self._own.state_bias is None else value + self._own.state_bias


def _zoned_out(framework: Framework, before: Tensor, after: Tensor, kept: Tensor | None, part: float) -> Tensor:
    """A state after a step: by units that keep it where they were drawn, else by the part that is kept of each."""
    if kept is not None:
        return framework.where(kept, before, after)
    return part * before + (1 - part) * after if part else after
