# SPDX-License-Identifier: Apache-2.0
"""Both directions in one operation of the backend: against the specification, and the same bits as one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from engine_case import ISAS, MASKS, Case, assert_same_bits, instruction_set, threads
from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the operations are those of Keras's backends: install an extra")

import gatewise  # noqa: E402  # after the skip
from backends import arrays_of, dot, gradient, gradient_of_gradient, tensor  # noqa: E402  # after the skip
from gatewise.cells import Cell  # noqa: E402
from gatewise.keras.engine import operations as engine  # noqa: E402
from gatewise.operands import Direction  # noqa: E402
from ops_case import layer, options  # noqa: E402

SINGLE = Case(5, 7, 6, 9)
FACTORS = ("input_dropout", "recurrent_dropout")
KINDS = ((True, Cell.GRU, False), (True, Cell.GRU_RESET_BEFORE, True), (False, Cell.GRU, True))
CASES = [
    dataclasses.replace(
        SINGLE, cell=cell, mask=mask, return_sequences=return_sequences, zero_output_for_mask=return_sequences,
        go_backwards=go_backwards, seed=seed,
    )
    for seed, (mask, return_sequences, cell, go_backwards) in enumerate(
        (mask, return_sequences, cell, go_backwards)
        for mask in MASKS
        for return_sequences, cell, go_backwards in KINDS
    )
] + [
    dataclasses.replace(SINGLE, mask="holes", input_dropout_masks=3, recurrent_dropout=True, seed=15),
    Case(1, 40, 5, 110, seed=16),  # the directions side by side, each on threads of its own
    Case(37, 20, 8, 24, mask="right", seed=17),  # several slabs
]  # fmt: skip


class Both:
    """A case and the same sequences read the other way with other weights; the specification of both together."""

    def __init__(self, case: Case) -> None:
        self.first = case
        self.second = dataclasses.replace(case, go_backwards=not case.go_backwards, seed=case.seed + 1000)
        for name in ("x", "mask"):
            self.second.arrays[name] = case.arrays[name]

    def joined(self, name: str, first: Any, second: Any) -> Any:
        """Joins what the two have of outputs or their gradient: in the processing order of the first."""
        return np.concatenate([first[name], second[name][:, ::-1]], axis=-1)

    def specified(self) -> dict[str, Any]:
        return self._together(self.first.specified(), self.second.specified())

    def one_by_one(self) -> dict[str, Any]:
        return self._together(self.first.run(), self.second.run())

    def _together(self, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        own = {
            f"{name}_{i}": value
            for i, results in enumerate((first, second))
            for name, value in results.items()
            if name not in {"outputs", "d_x"}
        }
        return own | {"outputs": self.joined("outputs", first, second), "d_x": first["d_x"] + second["d_x"]}

    def run(self, *, training: bool = True) -> dict[str, Any]:
        """Runs the operation and its gradient."""
        a = self.first.arrays
        d_outputs = self.joined("d_outputs", a, self.second.arrays)
        of = ("initial_state", "kernel", "recurrent_kernel", "bias")
        given = {"x": a["x"]} | {
            f"{name}_{i}": case.arrays[name] for i, case in enumerate((self.first, self.second)) for name in of
        }

        def loss(x: Any, **own: Any) -> tuple[Any, Any]:
            outputs, states = self.outputs(x, [[own[f"{name}_{i}"] for name in of] for i in range(2)], training)
            d_states = [case.arrays["d_state"] for case in (self.first, self.second)]
            total = dot(outputs, d_outputs) + sum(dot(s, d) for s, d in zip(states, d_states, strict=True))
            return total, (outputs, states)

        (outputs, states), gradients = gradient(loss)(given)
        results = {f"d_{name}": value for name, value in gradients.items()}
        return results | {"outputs": outputs, "state_0": states[0], "state_1": states[1]}

    def outputs(self, x: Any, own: list[list[Any]], training: bool) -> tuple[Any, Any]:
        """Runs the operation on tensors: x, and the state and the weights of each direction."""
        names = ("initial_h", "kernel", "recurrent_kernel", "bias")
        directions = [
            Direction(**dict(zip(names, values, strict=True)), **{n: self._tensor(case, n) for n in FACTORS})
            for values, case in zip(own, (self.first, self.second), strict=True)
        ]
        case = self.first
        outputs, states = engine.rnn(x, directions, self._tensor(case, "mask"), training=training, **options(case))
        return outputs, [state for (state,) in states]

    @staticmethod
    def _tensor(case: Case, name: str) -> Any:
        return None if case.arrays[name] is None else tensor(case.arrays[name])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.mask}-{case.seed}")
def test_values_and_gradients_agree_with_the_specification(case: Case, isa: str) -> None:
    both = Both(case)
    with instruction_set(isa):
        results = both.run()
    expected = both.specified()
    assert results.keys() == expected.keys()
    for name, value in results.items():
        rows = case.batch if "kernel" in name or "bias" in name else 1
        assert_close(name, value, expected[name], 2 * tolerance(case.features + case.units, case.timesteps, rows))


# The gradient of x is summed in another order where each gate has one of its own.
@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.input_dropout_masks], ids=lambda c: f"{c.mask}-{c.seed}"
)
def test_the_bits_are_those_of_one_direction_after_the_other_on_any_number_of_threads(case: Case) -> None:
    both = Both(case)
    with threads(1):
        expected = both.one_by_one()
    for n in (1, 2, 3, 5):
        with threads(n):
            assert_same_bits(both.run(), expected)


def test_long_sequences_that_are_computed_again_have_the_same_bits() -> None:
    both = Both(Case(3, 300, 4, 17, mask="right"))
    with gatewise.recompute():
        found = both.run()
    assert_same_bits(found, both.one_by_one())


def test_large_layers_have_the_same_bits() -> None:
    both = Both(Case(64, 300, 8, 112, mask="right"))  # more than 8 million floats of gates a direction
    assert_same_bits(both.run(), both.one_by_one())


def test_inference_gives_the_same_bits_and_has_a_gradient() -> None:
    both = Both(CASES[0])
    assert_same_bits(both.run(training=False), both.run(training=True))


@pytest.mark.parametrize("case", [CASES[0], CASES[4], CASES[2]], ids=["sequences", "backwards", "last"])
def test_the_second_derivative_is_that_of_both_layers(case: Case) -> None:
    both = Both(dataclasses.replace(case, mask="none"))
    own = [
        [tensor(part.arrays[name]) for name in ("initial_state", "kernel", "recurrent_kernel", "bias")]
        for part in (both.first, both.second)
    ]
    d_outputs = both.joined("d_outputs", both.first.arrays, both.second.arrays)

    def of_both(x: Any) -> Any:
        return dot(both.outputs(x, own, training=True)[0], d_outputs)

    def of_each(x: Any) -> Any:
        total = 0.0
        for part, values in zip((both.first, both.second), own, strict=True):
            names = ("initial_state", "kernel", "recurrent_kernel", "bias")
            outputs, _ = layer(engine, part, {"x": x} | dict(zip(names, values, strict=True)), training=True)
            total = total + dot(outputs, part.arrays["d_outputs"])
        return total

    x = both.first.arrays["x"]
    allowed = tolerance(case.features + case.units, case.timesteps) * 4
    assert_close("d_x", gradient_of_gradient(of_both, x), gradient_of_gradient(of_each, x), allowed)


def test_a_batch_of_none_is_served() -> None:
    both = Both(SINGLE)
    empty = dataclasses.replace(SINGLE, batch=0)
    outputs, states = Both(empty).outputs(
        tensor(empty.arrays["x"]),
        [
            [None, *(tensor(part.arrays[n]) for n in ("kernel", "recurrent_kernel", "bias"))]
            for part in (both.first, both.second)
        ],
        training=False,
    )
    assert arrays_of(outputs).shape == (0, SINGLE.timesteps, 2 * SINGLE.units)
    assert [arrays_of(state).shape for state in states] == [(0, SINGLE.units)] * 2
