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
from gatewise.cells import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
from blocks import blocks
from cells import by_name, has_two_biases, nested, state_names, weights_of
from tolerance import NORMALISED, disagreement, mean_tolerance, tolerance

Array = npt.NDArray[Any]

LANES = {"generic": 4, "avx2": 8, "avx512": 16}


def _available() -> list[str]:
    current = gatewise.isa()
    names = [name for name in LANES if _native.set_isa(name)]
    _native.set_isa(current)
    return names


ISAS = _available()
MASKS = ("none", "right", "left", "holes", "empty_rows")
STARTS = ("none", "few", "many", "every", "padding")


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


def make_starts(kind: str, batch: int, timesteps: int, mask: Array | None, rng: np.random.Generator) -> Array | None:
    """Boundaries (batch, timesteps) of a kind, or None."""
    if kind == "none":
        return None
    if kind == "every":
        return np.ones((batch, timesteps), bool)
    if kind == "padding":  # alone; without a mask there are none
        return np.zeros((batch, timesteps), bool) if mask is None else ~mask
    return rng.random((batch, timesteps)) < (0.3 if kind == "many" else 0.05)


@dataclass
class Case:
    """Shapes and options; the arrays follow from them and the seed. Masked steps of x hold NaN."""

    batch: int
    timesteps: int
    features: int
    units: int
    cell: Cell = Cell.GRU
    use_bias: bool = True
    mask: str = "none"
    initial_state: bool = True
    return_sequences: bool = True
    go_backwards: bool = False
    zero_output_for_mask: bool = False
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    input_dropout_masks: int = 0  # none, one for all gates, or one for each
    recurrent_dropout: bool = False
    starts: str = "none"
    zoneout: str = "none"  # "part" of every state, or "kept", draws
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
        gates = len(self.cell.row.gates)
        g, masks = gates * u, gates if self.input_dropout_masks > 1 else self.input_dropout_masks
        bias = normal(2, g) if has_two_biases(self.cell) else normal(g)
        self.arrays = {
            "x": x if mask is None else np.where(mask[..., None], x, np.float32(np.nan)),
            "kernel": normal(f, g) / np.float32(np.sqrt(f)),
            # Where there is no gate to damp errors, they would grow from step to step with a kernel twice as large.
            "recurrent_kernel": normal(u, g) / np.float32(np.sqrt(u) * (1 if gates > 1 else 2)),
            "bias": bias / 2 if self.use_bias else None,
            "mask": mask,
            **{name: normal(b, u) if self.initial_state else None for name in self.state_names("initial_state")},
            "input_dropout": factors(masks, b, f) if masks else None,
            "recurrent_dropout": factors(gates, b, u) if self.recurrent_dropout else None,
            "d_outputs": normal(b, t if self.return_sequences else 1, u),
            **{name: normal(b, u) for name in self.state_names("d_state")},
            **{
                name: self.of_norm(name, normal(u if name.startswith("state") else g)) for name in self.cell.row.weights
            },
        }
        self.arrays["starts"] = make_starts(self.starts, b, t, mask, rng)
        for name in ("h", "c"):
            drawn = self.zoneout == "kept" and name in self.cell.row.states
            self.arrays[f"kept_{name}"] = rng.random((b, t, u)) < 0.4 if drawn else None

    def of_norm(self, name: str, noise: Array) -> Array | None:
        """The gains of a cell that normalises, or a bias, absent where the bias of the gates is.

        Over many steps those of the states are below 1: errors would grow from step to step, whatever the kernel is.
        """
        steadies = name == "recurrent_gain" and self.timesteps > 2
        if not self.use_bias and not steadies:
            return None
        return noise / 2 if name.endswith("bias") else (1 + noise / 4) / (2 if steadies else 1)

    def state_names(self, name: str) -> list[str]:
        """What the states are called: "state", and "state_c" of a cell with two."""
        return state_names(self.cell, name)

    def states(self, name: str) -> Any:
        """The states under a name as a caller gives them: an array, a tuple of arrays, or None."""
        return nested(self.cell, [self.arrays[each] for each in self.state_names(name)])

    @property
    def weights(self) -> gatewise.weights.Weights:
        a = self.arrays
        return weights_of(self.cell, a["kernel"], a["recurrent_kernel"], a["bias"], **self._of_norm)

    @property
    def _of_norm(self) -> dict[str, Any]:
        return {name: self.arrays[name] for name in self.cell.row.weights}

    @property
    def parts(self) -> dict[str, float]:
        """What part of each state a step keeps, by the option's name."""
        if self.zoneout != "part":
            return {}
        return {f"zoneout_{name}": part for name, part in zip(self.cell.row.states, (0.3, 0.15), strict=False)}

    @property
    def _inputs(self) -> dict[str, Any]:
        kept = [f"kept_{name}" for name in self.cell.row.states]
        names = ("mask", "starts", "input_dropout", "recurrent_dropout", *kept)
        return (
            {name: self.arrays[name] for name in names}
            | self.parts
            | {
                "initial_state": self.states("initial_state"),
                "go_backwards": self.go_backwards,
                "zero_output_for_mask": self.zero_output_for_mask,
                "activation": self.activation,
                "recurrent_activation": self.recurrent_activation,
            }
        )

    def outputs(self) -> tuple[Array, Any]:
        """Runs the engine forward without saving."""
        return gatewise.rnn(self.arrays["x"], self.weights, return_sequences=self.return_sequences, **self._inputs)

    def run(self) -> dict[str, Array]:
        """Runs the engine forward and backward: every result under its name."""
        outputs, state, vjp = gatewise.rnn_vjp(
            self.arrays["x"], self.weights, return_sequences=self.return_sequences, **self._inputs
        )
        return self._named(outputs, state, vjp(self.arrays["d_outputs"], self.states("d_state")))

    def _named(self, outputs: Array, state: Any, d: Any) -> dict[str, Array]:
        named = {f"d_{name}": value for name, value in d._asdict().items() if value is not None}
        initial = by_name(self.cell, "d_initial_state", named.pop("d_initial_state"))
        return {"outputs": outputs} | by_name(self.cell, "state", state) | initial | named

    def specified(self) -> dict[str, Array]:
        """Runs the specification."""
        a = self.arrays
        forward = reference.forward(
            a["x"],
            a["kernel"],
            a["recurrent_kernel"],
            a["bias"],
            cell=self.cell,
            **self._inputs,
            **self._of_norm,
        )
        d_outputs = a["d_outputs"]
        if not self.return_sequences:
            d_outputs = np.zeros(forward.outputs.shape)
            d_outputs[:, -1] = a["d_outputs"][:, 0]
        d = reference.backward(forward, d_outputs, self.states("d_state"))
        outputs = forward.outputs if self.return_sequences else forward.last_output[:, None]
        return self._named(outputs, forward.state, d)

    def disagreements(self) -> list[str]:
        """Where the engine and the specification lie further apart than rounding explains."""
        found = []
        expected = self.specified()
        results = self.run()
        assert results.keys() == expected.keys()
        for name, value in results.items():
            weight = name in {
                "d_kernel",
                "d_recurrent_kernel",
                "d_bias",
                *(f"d_{each}" for each in self.cell.row.weights),
            }
            allowed = tolerance(self.features + self.units, self.timesteps, self.batch if weight else 1) * self.grows
            problem = disagreement(name, value, expected[name], allowed)
            if problem:
                found.append(f"{self}: {problem}")
            if weight:
                found += self._mean_disagreements(name, value, expected[name])
        return found

    @property
    def grows(self) -> float:
        """How much more rounding grows in a cell that normalises."""
        if not self.cell.row.weights:
            return 1.0
        return NORMALISED * (4 if self.units < 8 else 1)  # deviations of a few units come nearer to nothing

    def _mean_disagreements(self, name: str, value: Array, expected: Array) -> list[str]:
        """Where the root mean square of what a gate's gradients err by is more than rounding explains."""
        allowed = mean_tolerance(self.features + self.units, self.timesteps, self.batch) * self.grows
        found = []
        for (block, got), (_, want) in zip(*(blocks({name: of}, self.cell) for of in (value, expected)), strict=True):
            size = max(1.0, math.sqrt(np.mean(want**2) / max(self.timesteps * self.batch, 1)))
            error = math.sqrt(np.mean((got - want) ** 2)) / size
            if not error <= allowed:
                found.append(f"{self}: {block} errs by {error:.3g} in the mean, allowed {allowed:.3g}")
        return found
