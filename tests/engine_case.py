# SPDX-License-Identifier: Apache-2.0
"""One call of the engine, run forward and backward beside the specification."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import gatewise
from gatewise import _native, reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
from blocks import blocks
from tolerance import disagreement, mean_tolerance, tolerance

Array = npt.NDArray[Any]

LANES = {"generic": 4, "avx2": 8, "avx512": 16}


def _available() -> list[str]:
    current = gatewise.isa()
    names = [name for name in LANES if _native.set_isa(name)]
    _native.set_isa(current)
    return names


ISAS = _available()
MASKS = ("none", "right", "left", "holes", "empty_rows")


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Runs the engine on one instruction set."""
    current = gatewise.isa()
    assert _native.set_isa(name)
    try:
        yield
    finally:
        _native.set_isa(current)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Runs the engine on so many threads."""
    gatewise.set_num_threads(n)
    try:
        yield
    finally:
        gatewise.set_num_threads(None)


def assert_same_bits(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises unless both hold the same arrays by the same names, bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.asarray(found[name]).tobytes() == value.tobytes(), f"{name} differs"


def make_mask(kind: str, batch: int, timesteps: int, rng: np.random.Generator) -> Array | None:
    """A mask (batch, timesteps) of a kind, or None."""
    steps = np.arange(timesteps)
    if kind == "none":
        return None
    edge = rng.integers(1, timesteps + 1, (batch, 1))
    if kind == "right":
        return steps < edge
    if kind == "left":
        return steps >= timesteps - edge
    holes = rng.random((batch, timesteps)) < 0.6
    return holes & (rng.random((batch, 1)) < 0.5) if kind == "empty_rows" else holes


@dataclass
class Case:
    """Shapes and options; the arrays follow from them and the seed. Masked steps of x hold NaN."""

    batch: int
    timesteps: int
    features: int
    units: int
    reset_after: bool = True
    use_bias: bool = True
    mask: str = "none"
    initial_state: bool = True
    return_sequences: bool = True
    go_backwards: bool = False
    zero_output_for_mask: bool = False
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    input_dropout_masks: int = 0
    recurrent_dropout: bool = False
    seed: int = 0
    arrays: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        b, t, f, u = self.batch, self.timesteps, self.features, self.units

        def normal(*shape: int) -> Array:
            return rng.normal(size=shape).astype(np.float32)

        def factors(*shape: int) -> Array:
            return ((rng.random(shape) < 0.75) / 0.75).astype(np.float32)

        mask = make_mask(self.mask, b, t, rng)
        x = normal(b, t, f)
        bias = normal(2, 3 * u) if self.reset_after else normal(3 * u)
        self.arrays = {
            "x": x if mask is None else np.where(mask[..., None], x, np.float32(np.nan)),
            "kernel": normal(f, 3 * u) / np.float32(np.sqrt(f)),
            "recurrent_kernel": normal(u, 3 * u) / np.float32(np.sqrt(u)),
            "bias": bias / 2 if self.use_bias else None,
            "mask": mask,
            "initial_state": normal(b, u) if self.initial_state else None,
            "input_dropout": factors(self.input_dropout_masks, b, f) if self.input_dropout_masks else None,
            "recurrent_dropout": factors(3, b, u) if self.recurrent_dropout else None,
            "d_outputs": normal(b, t if self.return_sequences else 1, u),
            "d_state": normal(b, u),
        }

    @property
    def weights(self) -> gatewise.GRUWeights:
        a = self.arrays
        return gatewise.GRUWeights(a["kernel"], a["recurrent_kernel"], a["bias"], reset_after=self.reset_after)

    @property
    def _inputs(self) -> dict[str, Any]:
        names = ("initial_state", "mask", "input_dropout", "recurrent_dropout")
        return {name: self.arrays[name] for name in names} | {
            "go_backwards": self.go_backwards,
            "zero_output_for_mask": self.zero_output_for_mask,
            "activation": self.activation,
            "recurrent_activation": self.recurrent_activation,
        }

    def outputs(self) -> tuple[Array, Array]:
        """Runs the engine forward without saving."""
        return gatewise.gru(self.arrays["x"], self.weights, return_sequences=self.return_sequences, **self._inputs)

    def run(self) -> dict[str, Array]:
        """Runs the engine forward and backward: every result under its name."""
        outputs, state, vjp = gatewise.gru_vjp(
            self.arrays["x"], self.weights, return_sequences=self.return_sequences, **self._inputs
        )
        d = vjp(self.arrays["d_outputs"], self.arrays["d_state"])
        named = {f"d_{name}": value for name, value in d._asdict().items() if value is not None}
        return {"outputs": outputs, "state": state} | named

    def specified(self) -> dict[str, Array]:
        """Runs the specification."""
        a = self.arrays
        forward = reference.gru_forward(
            a["x"], a["kernel"], a["recurrent_kernel"], a["bias"], reset_after=self.reset_after, **self._inputs
        )
        d_outputs = a["d_outputs"]
        if not self.return_sequences:
            d_outputs = np.zeros(forward.outputs.shape)
            d_outputs[:, -1] = a["d_outputs"][:, 0]
        d = reference.gru_backward(forward, d_outputs, a["d_state"])
        outputs = forward.outputs if self.return_sequences else forward.last_output[:, None]
        named = {f"d_{name}": value for name, value in d._asdict().items() if value is not None}
        return {"outputs": outputs, "state": forward.state} | named

    def disagreements(self) -> list[str]:
        """Where the engine and the specification lie further apart than rounding explains."""
        found = []
        expected = self.specified()
        results = self.run()
        assert results.keys() == expected.keys()
        for name, value in results.items():
            weight = name in {"d_kernel", "d_recurrent_kernel", "d_bias"}
            allowed = tolerance(self.features + self.units, self.timesteps, self.batch if weight else 1)
            problem = disagreement(name, value, expected[name], allowed)
            if problem:
                found.append(f"{self}: {problem}")
            if weight:
                found += self._mean_disagreements(name, value, expected[name])
        return found

    def _mean_disagreements(self, name: str, value: Array, expected: Array) -> list[str]:
        """Where the root mean square of what a gate's gradients err by is more than rounding explains."""
        allowed = mean_tolerance(self.features + self.units, self.timesteps, self.batch)
        found = []
        for (block, got), (_, want) in zip(blocks({name: value}), blocks({name: expected}), strict=True):
            size = max(1.0, math.sqrt(np.mean(want**2) / max(self.timesteps * self.batch, 1)))
            error = math.sqrt(np.mean((got - want) ** 2)) / size
            if not error <= allowed:
                found.append(f"{self}: {block} errs by {error:.3g} in the mean, allowed {allowed:.3g}")
        return found
