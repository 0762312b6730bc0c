# SPDX-License-Identifier: Apache-2.0
"""What a cell's file in this folder holds, and what the loop over time hands it.

`step` is written with nothing but arithmetic, so that it is the same for NumPy's arrays and for a framework's tensors;
`backward` is its derivative, written out in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from gatewise.reference.layer_norm import Normal, normal

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from gatewise.reference.activations import Activation

    Array = npt.NDArray[np.float64]

Tensor: TypeAlias = Any  # an array of NumPy or of a framework; with *, +, -


class Recurrent(Protocol):
    """What the recurrent weights make of the first state before the step."""

    def __call__(self, gate: int, factor: Tensor | None = None) -> Tensor:
        """Returns (h * dropout * factor) R + c of a gate, (n, U); without a factor, (h * dropout) R + c.

        Of a cell that normalises its products, recurrent_gain * LN((h * dropout * factor) R).
        """


class KeptRecurrent(Recurrent, Protocol):
    """The same, for the backward pass."""

    def back(self, gate: int, d: Array, factor: Array | None = None) -> Array:
        """Takes a gradient of what it returned back to what stood left of R."""


class StateNormal(NamedTuple):
    """The layer normalisation of a cell's second state."""

    gain: Array  # (U,)
    bias: Array  # (U,)
    epsilon: float

    def normal(self, c: Array) -> Normal:
        """Normalises without gain and bias."""
        return normal(c, self.epsilon)

    def __call__(self, c: Array) -> Array:
        """Normalises."""
        return self.normal(c).value * self.gain + self.bias


class Kept(NamedTuple):
    """What a cell's backward pass is given of a step. Gates are the first axis."""

    x: Array  # (G, n, U), x K + b, or gain * LN(x K) + b
    h: Array  # (G, n, U), the first state after dropout
    recurrent: KeptRecurrent
    states: tuple[Array, ...]  # (n, U) each, before the step
    state_normal: StateNormal
    activation: Activation
    recurrent_activation: Activation


class Gradient(NamedTuple):
    """What a cell's backward pass finds of a step."""

    x: Array  # (G, n, U), of `Kept.x`
    product: Array  # (G, n, U), of what `Recurrent` returned
    left: Array  # (G, n, U), what stood left of R
    h: Array  # (G, n, U), of the first state after dropout
    states: tuple[Array, ...]  # (n, U) each, of the states before, but for what goes through `h`
    state_gain: Array | float = 0.0  # (U,), of a cell that normalises its second state
    state_bias: Array | float = 0.0


class Step(Protocol):
    """What a cell computes at a step."""

    def __call__(
        self,
        x: Tensor,
        recurrent: Recurrent,
        states: tuple[Tensor, ...],
        activation: Callable[[Tensor], Tensor],
        recurrent_activation: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, ...]:
        """Returns the next states, (n, U) each, from x K + b, which is indexed by the gate, and the states before."""


class NormalisingStep(Protocol):
    """The same of a cell that normalises its second state, which `normalised` does."""

    def __call__(
        self,
        x: Tensor,
        recurrent: Recurrent,
        states: tuple[Tensor, ...],
        activation: Callable[[Tensor], Tensor],
        recurrent_activation: Callable[[Tensor], Tensor],
        normalised: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, ...]:
        """Computes the next states."""
