# SPDX-License-Identifier: Apache-2.0
"""The engine as a JAX function in forward mode: tangents, and how they mix with gradients, vmap and the rest of JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine_case import Case
from tolerance import assert_close, tolerance

jax = pytest.importorskip("jax", reason="the function is JAX's: install the extra `jax`")

import jax.numpy as jnp  # noqa: E402  # after the skip
from jax import export  # noqa: E402

import gatewise  # noqa: E402
from gatewise import native  # noqa: E402
from gatewise.cells import Cell  # noqa: E402
from gatewise.ops import jax as engine  # noqa: E402
from gatewise.ops.jax import xla  # noqa: E402
from jax_case import (  # noqa: E402
    WEIGHTS,
    arrays_of,
    assert_blocks,
    direction_of,
    function_of,
    loss_of,
    moved,
    ran,
    specified_slopes,
)
from ops_case import direction as own_of  # noqa: E402
from ops_case import gru  # noqa: E402

PLAIN = Case(3, 5, 4, 6)
MASKED = Case(3, 5, 4, 6, mask="holes")  # masked steps of x hold NaN
SMALL = Case(2, 3, 2, 3, mask="right", cell=Cell.GRU_RESET_BEFORE)
CASES = [
    MASKED,
    Case(4, 7, 3, 17, mask="right", cell=Cell.GRU_RESET_BEFORE, go_backwards=True),
    Case(4, 7, 3, 17, mask="empty_rows", use_bias=False, zero_output_for_mask=True, initial_state=False),
    Case(5, 3, 2, 9, mask="left", return_sequences=False, input_dropout_masks=1),
    Case(5, 3, 2, 9, mask="holes", go_backwards=True, input_dropout_masks=3, recurrent_dropout=True),
    Case(2, 4, 3, 5, cell=Cell.GRU_RESET_BEFORE, activation="linear", recurrent_activation="hard_sigmoid"),
]


def allowed_for(case: Case, passes: int = 1) -> float:
    """The error allowed after so many passes through time."""
    return passes * tolerance(case.features + case.units, case.timesteps, case.batch)


# --- Tangents ---


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tangents_are_the_slope_of_what_is_specified(case: Case) -> None:
    arrays, direction = arrays_of(case), direction_of(case)
    before = native.calls()
    (outputs, state), tangents = jax.jit(lambda *at: jax.jvp(function_of(case), *at))((arrays,), (direction,))
    assert ran(before, tangents) == (1, 0)
    for found, expected in zip((outputs, state), function_of(case)(arrays), strict=True):
        np.testing.assert_array_equal(found, expected)  # the layer's own bits
    slopes = specified_slopes(case, direction)
    for name, tangent in zip(("outputs", "state"), tangents, strict=True):
        assert_close(name, tangent, slopes[name], allowed_for(case, 2))


@pytest.mark.parametrize("name", ["x", "initial_state", "kernel", "recurrent_kernel", "bias"])
def test_one_array_may_move_alone(name: str) -> None:
    arrays, direction = arrays_of(MASKED), direction_of(MASKED)
    alone = {name: direction[name]}
    tangents = jax.jvp(lambda of_one: function_of(MASKED)(arrays | of_one), ({name: arrays[name]},), (alone,))[1]
    slopes = specified_slopes(MASKED, alone)
    for result, tangent in zip(("outputs", "state"), tangents, strict=True):
        assert_close(result, tangent, slopes[result], allowed_for(MASKED, 2))


@pytest.mark.parametrize("bias", [(0, 0, 0), (0, -8, 0), (0, -12, 0)], ids=str)
def test_each_gate_s_gradient_in_forward_mode_is_right(bias: tuple[int, int, int]) -> None:
    # A saturated gate has small gradients, which a whole array would drown.
    case = Case(4, 9, 3, 5)
    case.arrays["bias"] = case.arrays["bias"] + np.repeat(np.array(bias, np.float32), case.units)
    arrays = arrays_of(case)
    weights = {name: arrays[name] for name in WEIGHTS}
    found = jax.jit(jax.jacfwd(lambda given: loss_of(case)(arrays | given)))(weights)
    specified = case.specified()
    assert_blocks(found, {name: specified[f"d_{name}"] for name in WEIGHTS}, 2e-5)


def test_tangents_of_both_directions_are_those_of_two_layers() -> None:
    first, second = Case(3, 5, 4, 6, mask="right"), Case(3, 5, 4, 6, mask="right", go_backwards=True, seed=1)
    for name in ("x", "mask"):
        second.arrays[name] = first.arrays[name]
    cases, directions = (first, second), (direction_of(first), direction_of(second, 8))
    directions[1]["x"] = directions[0]["x"]
    given = [arrays_of(case) for case in cases]

    def run(x: Any, own: list[dict[str, Any]]) -> Any:
        return engine.rnn(x, own, first.arrays["mask"], cell=Cell.GRU)

    def split(of_each: Any) -> Any:
        return of_each[0]["x"], [own_of(of_one) for of_one in of_each]

    before = native.calls()
    outputs, states = jax.jvp(run, split(given), split(directions))[1]
    assert ran(before, outputs) == (2, 0)
    slopes = [specified_slopes(case, direction) for case, direction in zip(cases, directions, strict=True)]
    joined = np.concatenate([slopes[0]["outputs"], slopes[1]["outputs"][:, ::-1]], axis=-1)
    assert_close("outputs", outputs, joined, allowed_for(first, 2))
    for (h,), slope in zip(states, slopes, strict=True):
        assert_close("h", h, slope["state"], allowed_for(first, 2))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)], ids=["no rows", "no steps"])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_a_batch_of_none_and_a_sequence_of_none_have_tangents(shape: tuple[int, int], return_sequences: bool) -> None:
    kernel, recurrent_kernel = (PLAIN.arrays[name] for name in ("kernel", "recurrent_kernel"))
    x, state = jnp.zeros((*shape, PLAIN.features)), jnp.ones((shape[0], PLAIN.units))

    def run(x: Any, state: Any) -> Any:
        return gru(engine, x, state, kernel, recurrent_kernel, return_sequences=return_sequences)

    results, (outputs, last) = jax.jvp(run, (x, state), (x, 2 * state))
    assert outputs.shape == results[0].shape
    assert not np.any(outputs)
    np.testing.assert_array_equal(last, 2 * state)  # nothing was read: the state moves as it did


def test_recomputing_and_what_is_constant_change_no_tangent() -> None:
    case = Case(3, 5, 4, 6, input_dropout_masks=3, recurrent_dropout=True)
    arrays, direction = arrays_of(case), direction_of(case)
    expected = jax.jvp(function_of(case), (arrays,), (direction,))
    with gatewise.recompute():
        found = jax.jvp(function_of(case), (arrays,), (direction,))
    jax.tree.map(np.testing.assert_array_equal, found, expected)

    def of_factors(factors: Any) -> Any:  # documented to be constants
        return gru(engine, **arrays, input_dropout=factors)

    factors = jnp.asarray(case.arrays["input_dropout"])
    assert not any(np.any(tangent) for tangent in jax.jvp(of_factors, (factors,), (factors,))[1])


# --- Derivatives of higher order ---

ORDERS = {
    "forward over reverse": lambda loss: jax.jacfwd(jax.grad(loss)),
    "reverse over forward": lambda loss: jax.jacrev(jax.jacfwd(loss)),
    "forward over forward": lambda loss: jax.jacfwd(jax.jacfwd(loss)),
    "reverse over reverse": lambda loss: jax.jacrev(jax.grad(loss)),
    "hessian": jax.hessian,
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_every_mix_of_modes_has_the_specified_second_derivatives(order: Any) -> None:
    # Each row of the Hessian by itself, and in it the block of each gate.
    arrays = arrays_of(SMALL)
    weights = {name: arrays[name] for name in WEIGHTS}
    found = jax.jit(order(lambda given: loss_of(SMALL)(arrays | given)))(weights)
    rows: list[Any] = []
    for i in range(arrays["bias"].size):
        unit = np.zeros(arrays["bias"].size, np.float32)
        unit[i] = 1
        slopes = specified_slopes(SMALL, {"bias": unit})
        rows.append([slopes[f"d_{name}"] for name in WEIGHTS])
    for name, *expected in zip(WEIGHTS, *rows, strict=True):
        assert_blocks({name: found["bias"][name]}, {name: np.stack(expected)}, 1e-4)
        assert_blocks({name: np.moveaxis(found[name]["bias"], -1, 0)}, {name: np.stack(expected)}, 1e-4)


def test_a_product_with_the_hessian_takes_one_native_call_each_way() -> None:
    arrays, direction = arrays_of(MASKED), direction_of(MASKED)
    before = native.calls()
    gradients, found = jax.jit(lambda *at: jax.jvp(jax.grad(loss_of(MASKED)), *at))((arrays,), (direction,))
    assert ran(before, found) == (1, 1)
    slopes, specified = specified_slopes(MASKED, direction), MASKED.specified()
    for name, value in found.items():
        assert_close(f"d_{name}", gradients[name], specified[f"d_{name}"], allowed_for(MASKED))
        assert_close(f"slope of d_{name}", value, slopes[f"d_{name}"], allowed_for(MASKED, 4))


def test_third_derivatives_are_those_specified() -> None:
    arrays, direction, step = arrays_of(SMALL), direction_of(SMALL), 1e-4

    def curvature(gradient: Any) -> Any:
        def slope(arrays: Any) -> Any:
            return jax.jvp(gradient, (arrays,), (direction,))[1]

        return jax.jit(lambda arrays: jax.jvp(slope, (arrays,), (direction,))[1])(arrays)

    ahead, here, behind = (moved(SMALL, direction, sign * step) for sign in (1, 0, -1))
    for gradient in (jax.grad(loss_of(SMALL)), jax.jacfwd(loss_of(SMALL))):
        for name, value in curvature(gradient).items():
            expected = (ahead[f"d_{name}"] - 2 * here[f"d_{name}"] + behind[f"d_{name}"]) / step**2
            assert_close(f"d_{name}", value, expected, allowed_for(SMALL, 8))


# --- Transposes ---


def test_the_tangent_and_the_gradient_are_each_other_s_transposes() -> None:
    arrays, direction = arrays_of(MASKED), direction_of(MASKED)
    cotangents = jnp.asarray(MASKED.arrays["d_outputs"]), jnp.asarray(MASKED.arrays["d_state"])
    _, push = jax.linearize(function_of(MASKED), arrays)
    before = native.calls()
    (gradients,) = jax.linear_transpose(push, arrays)(cotangents)
    assert ran(before, gradients) == (0, 1)
    specified = MASKED.specified()
    for name, value in gradients.items():
        assert_close(f"d_{name}", value, specified[f"d_{name}"], allowed_for(MASKED))
    _, pull = jax.vjp(function_of(MASKED), arrays)
    (tangents,) = jax.linear_transpose(pull, cotangents)((direction,))
    slopes = specified_slopes(MASKED, direction)
    for name, tangent in zip(("outputs", "state"), tangents, strict=True):
        assert_close(name, tangent, slopes[name], allowed_for(MASKED, 2))


def test_the_gradient_of_incoming_gradients_alone_is_the_engine_s() -> None:
    # Only what the map is linear in moves: no derivative of the layer's numbers is needed.
    arrays = arrays_of(MASKED)
    cotangents = jnp.asarray(MASKED.arrays["d_outputs"]), jnp.asarray(MASKED.arrays["d_state"])
    _, pull = jax.vjp(function_of(MASKED), arrays)
    before = native.calls()
    gradients, moves = jax.jvp(pull, (cotangents,), (cotangents,))
    assert ran(before, moves) == (0, 2)
    jax.tree.map(np.testing.assert_array_equal, moves, gradients)


# --- vmap ---


def test_directions_are_mapped_over_at_once() -> None:
    arrays, direction = arrays_of(MASKED), direction_of(MASKED)
    several = {name: np.stack([value, -2 * value, np.zeros_like(value)], axis=1) for name, value in direction.items()}
    _, push = jax.linearize(function_of(MASKED), arrays)
    found = jax.vmap(push, in_axes=1)(several)
    for tangents, one in zip(found, push(direction), strict=True):
        for tangent, factor in zip(tangents, (1, -2, 0), strict=True):
            assert_close("tangent", tangent, factor * one, allowed_for(MASKED))


@pytest.mark.parametrize("mapped", [("x",), ("kernel",), ("x", "kernel")], ids="+".join)
def test_derivatives_of_layers_that_are_mapped_over(mapped: tuple[str, ...]) -> None:
    # Forward and reverse, inside of vmap and around it; what the layers share gets the sum of their gradients.
    arrays, cases = arrays_of(PLAIN), (PLAIN, Case(3, 5, 4, 6))
    for name in mapped:
        cases[1].arrays[name] = 2 * cases[1].arrays[name]
    stacked = {name: jnp.stack([case.arrays[name] for case in cases]) for name in mapped}
    direction = {name: direction_of(PLAIN)[name] for name in ("bias", *mapped)}
    both = {name: jnp.stack([direction[name]] * 2) if name in mapped else direction[name] for name in direction}
    axes = {name: 0 if name in mapped else None for name in direction}
    given = {"bias": arrays["bias"]} | stacked

    def each(of_one: Any) -> Any:
        return loss_of(PLAIN)(arrays | of_one)

    def whole(given: Any) -> Any:
        return jnp.sum(jax.vmap(each, in_axes=(axes,))(given))

    slopes = [specified_slopes(case, direction) for case in cases]
    expected = sum(
        np.sum(slope["outputs"] * PLAIN.arrays["d_outputs"]) + np.sum(slope["state"] * PLAIN.arrays["d_state"])
        for slope in slopes
    )
    inside = jax.vmap(lambda *at: jax.jvp(each, at[:1], at[1:])[1], in_axes=(axes, axes))(given, both)
    around = jax.jvp(whole, (given,), (both,))[1]
    for found in (jnp.sum(inside), around):
        assert_close("tangent", found, expected, 2 * allowed_for(PLAIN, 2) * PLAIN.units)
    before = native.calls()
    gradients, products = jax.jit(lambda *at: jax.jvp(jax.grad(whole), *at))((given,), (both,))
    assert ran(before, products) == (2, 2)
    specified = [case.specified() for case in cases]
    for name in given:
        for found, of_cases in ((gradients[name], specified), (products[name], slopes)):
            values = [of_case[f"d_{name}"] for of_case in of_cases]
            assert_close(f"d_{name}", found, np.stack(values) if name in mapped else sum(values), allowed_for(PLAIN, 8))


# --- The rest of JAX ---


@pytest.mark.parametrize("wrap", [jax.checkpoint, jax.jit], ids=["checkpoint", "jit"])
def test_rematerialised_and_compiled_layers_have_tangents(wrap: Any) -> None:
    arrays, direction = arrays_of(MASKED), direction_of(MASKED)
    wrapped = wrap(loss_of(MASKED))
    slopes = specified_slopes(MASKED, direction)
    for name, value in jax.jvp(jax.grad(wrapped), (arrays,), (direction,))[1].items():
        assert_close(f"d_{name}", value, slopes[f"d_{name}"], allowed_for(MASKED, 4))
    expected = sum(np.sum(slopes[of] * MASKED.arrays[f"d_{of}"]) for of in ("outputs", "state"))
    assert_close("d_loss", jax.jvp(wrapped, (arrays,), (direction,))[1], expected, allowed_for(MASKED, 2))


def test_derivatives_pass_through_scan() -> None:
    # A mask and a state that go round: what is no number has no tangent.
    arrays, x = PLAIN.arrays, np.asarray(PLAIN.arrays["x"])
    weights = {name: arrays[name] for name in WEIGHTS}
    thrice = Case(3, 15, 4, 6)
    thrice.arrays |= weights | {"x": np.tile(x, (1, 3, 1)), "initial_state": arrays["initial_state"]}
    d_state = thrice.arrays["d_state"]

    def loss(kernel: Any) -> Any:
        def step(carried: Any, _: None) -> Any:
            state, mask = carried
            _, state = gru(engine, **weights | {"kernel": kernel}, x=x, initial_state=state, mask=mask)
            return (state, mask & (state[:, :1] < 2)), None  # a state is below 1

        start = jnp.asarray(arrays["initial_state"]), jnp.ones(x.shape[:2], bool)
        return jnp.sum(jax.lax.scan(step, start, length=3)[0][0] * d_state)

    direction = direction_of(PLAIN)["kernel"]
    slope = jax.jvp(loss, (arrays["kernel"],), (direction,))[1]
    expected = np.sum(specified_slopes(thrice, {"kernel": direction})["state"] * d_state)
    assert_close("tangent", slope, expected, allowed_for(thrice, 2))
    before = native.calls()
    gradient, product = jax.jit(lambda *at: jax.jvp(jax.grad(loss), *at))((arrays["kernel"],), (direction,))
    assert ran(before, product) == (3, 3)
    assert_close("gradient", jnp.vdot(gradient, direction), expected, allowed_for(thrice, 2))
    thrice.arrays["d_outputs"] = np.zeros_like(thrice.arrays["d_outputs"])
    slopes = specified_slopes(thrice, {"kernel": direction})
    assert_close("product", product, slopes["d_kernel"], allowed_for(thrice, 4))


def test_tangents_do_without_compilation_and_beside_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, direction = arrays_of(PLAIN), direction_of(PLAIN)
    expected = jax.jvp(function_of(PLAIN), (arrays,), (direction,))
    with jax.disable_jit():
        found = jax.jvp(function_of(PLAIN), (arrays,), (direction,))
    monkeypatch.setattr(xla, "cpu_alone", lambda: False)

    def chosen(arrays: Any) -> Any:
        def other() -> Any:
            return jnp.zeros((3, 5, 6)) + arrays["x"][..., :1], jnp.zeros((3, 6)) + arrays["x"][:, 0, :1]

        return engine.by_device(lambda: function_of(PLAIN)(arrays), other)

    beside = jax.jit(lambda *at: jax.jvp(chosen, *at))((arrays,), (direction,))
    for tangents in (found, beside):
        for got, want in zip(jax.tree.leaves(tangents), jax.tree.leaves(expected), strict=True):
            assert_close("a result", got, want, allowed_for(PLAIN, 2))


def test_a_program_is_exported_and_buffers_are_donated() -> None:
    arrays, direction = arrays_of(PLAIN), direction_of(PLAIN)

    def step(arrays: Any, direction: Any) -> Any:
        gradients, products = jax.jvp(jax.grad(loss_of(PLAIN)), (arrays,), (direction,))
        return jax.tree.map(jnp.subtract, arrays, gradients), products

    expected = jax.jit(step)(arrays, direction)
    checks = [export.DisabledSafetyCheck.custom_call(name) for name in (xla.FORWARD_KEEPING, xla.BACKWARD)]
    exported = export.export(jax.jit(step), disabled_checks=checks)(arrays, direction)
    jax.tree.map(np.testing.assert_array_equal, exported.call(arrays, direction), expected)
    found = jax.jit(step, donate_argnums=0)(jax.tree.map(jnp.copy, arrays), direction)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
