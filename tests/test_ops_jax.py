# SPDX-License-Identifier: Apache-2.0
"""The engine as a JAX function: values and gradients under JAX's transformations, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine_case import Case, threads
from tolerance import assert_close, disagreement, tolerance

jax = pytest.importorskip("jax", reason="the function is JAX's: install the extra `jax`")

import jax.numpy as jnp  # noqa: E402  # after the skip

from gatewise import native  # noqa: E402
from gatewise.cells import Cell  # noqa: E402
from gatewise.operands import Direction  # noqa: E402
from gatewise.ops import jax as engine  # noqa: E402
from gatewise.ops.jax import xla  # noqa: E402
from gatewise.reference import backward, forward  # noqa: E402
from jax_case import (  # noqa: E402
    arrays_of,
    assert_gradients,
    direction_of,
    function_of,
    loss_of,
    ran,
    specified_slopes,
)
from ops_case import direction as own_of  # noqa: E402
from ops_case import gru  # noqa: E402

BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 4, 6
ALLOWED = tolerance(FEATURES + UNITS, TIMESTEPS, BATCH)
PLAIN = Case(BATCH, TIMESTEPS, FEATURES, UNITS)
MASKED = Case(BATCH, TIMESTEPS, FEATURES, UNITS, mask="holes")  # masked steps of x hold NaN


# --- Values and gradients ---

CASES = [
    PLAIN,
    Case(4, 7, 3, 17, mask="right", cell=Cell.GRU_RESET_BEFORE, go_backwards=True),
    Case(4, 7, 3, 17, mask="empty_rows", use_bias=False, zero_output_for_mask=True, initial_state=False),
    Case(5, 3, 2, 9, mask="left", return_sequences=False, input_dropout_masks=1),
    Case(5, 3, 2, 9, mask="holes", go_backwards=True, input_dropout_masks=3, recurrent_dropout=True),
    Case(2, 4, 3, 5, cell=Cell.GRU_RESET_BEFORE, activation="relu", recurrent_activation="hard_sigmoid"),
    Case(2, 4, 3, 5, activation="linear", recurrent_activation="tanh", return_sequences=False),
    Case(40, 1, 1, 1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_specified(case: Case) -> None:
    before = native.calls()
    (outputs, state), pull = jax.vjp(function_of(case), arrays_of(case))
    (gradients,) = pull((jnp.asarray(case.arrays["d_outputs"]), jnp.asarray(case.arrays["d_state"])))
    assert ran(before, gradients) == (1, 1)
    named = {"outputs": outputs, "state": state} | {f"d_{name}": value for name, value in gradients.items()}
    allowed = tolerance(case.features + case.units, case.timesteps, case.batch)
    expected = case.specified()
    assert not [problem for name in named if (problem := disagreement(name, named[name], expected[name], allowed))]


def test_without_a_gradient_nothing_is_kept() -> None:
    program = jax.jit(function_of(PLAIN)).lower(arrays_of(PLAIN)).as_text()
    assert f"@{xla.FORWARD}(" in program
    assert xla.FORWARD_KEEPING not in program


def test_gradients_that_nobody_wants_are_neither_computed_nor_made_up() -> None:
    # A first layer's x needs no gradient, and an output that was not used has none: no zeros in its shape.
    arrays = arrays_of(PLAIN)

    def loss(kernel: Any) -> Any:
        return jnp.sum(function_of(PLAIN)(arrays | {"kernel": kernel})[1])

    program = jax.jit(jax.grad(loss)).lower(arrays["kernel"]).as_text()
    (call,) = [line for line in program.splitlines() if f"@{xla.BACKWARD}(" in line]
    operands, results = (re.findall(r"tensor<([^>]*)>", side) for side in call.rpartition(" : ")[2].split(" -> "))
    _, _mask, _starts, d_outputs, *_, d_h, d_c = operands
    assert (d_outputs, d_h, d_c) == ("0xf32", f"{BATCH}x{UNITS}xf32", "0xf32")
    d_x, d_initial_h, *_ = results
    assert (d_x, d_initial_h) == ("0xf32", "0xf32")


def test_nan_in_padding_reaches_no_gradient() -> None:
    assert np.isnan(MASKED.arrays["x"]).any()
    gradients = jax.grad(loss_of(MASKED))(arrays_of(MASKED))
    assert_gradients(MASKED, gradients)
    assert not np.any(np.asarray(gradients["x"])[~MASKED.arrays["mask"]])


def test_a_batch_of_none_and_a_sequence_of_none_are_served() -> None:
    kernel, recurrent_kernel = PLAIN.arrays["kernel"], PLAIN.arrays["recurrent_kernel"]
    for shape in ((0, TIMESTEPS, FEATURES), (BATCH, 0, FEATURES)):

        def loss(x: Any, kernel: Any) -> Any:
            outputs, state = gru(engine, x, None, kernel, recurrent_kernel)
            return jnp.sum(outputs) + jnp.sum(state)

        value, (d_x, d_kernel) = jax.value_and_grad(loss, (0, 1))(jnp.zeros(shape), kernel)
        assert value == 0
        assert d_x.shape == shape
        assert not np.any(d_kernel)


# --- Transformations ---


@pytest.mark.parametrize("transform", [jax.jit, lambda loss: jax.jit(jax.checkpoint(loss))], ids=["jit", "checkpoint"])
def test_compiled_and_rematerialised_gradients_are_those_specified(transform: Any) -> None:
    gradient = jax.jit(jax.grad(transform(loss_of(MASKED))))
    before = native.calls()
    gradients = gradient(arrays_of(MASKED))
    assert ran(before, gradients)[1] == 1
    assert_gradients(MASKED, gradients)


@pytest.mark.parametrize("name", ["x", "kernel"])
def test_vmap_runs_one_layer_after_another(name: str) -> None:
    # Over x each example is a batch; over the kernel each is a layer with weights of its own.
    arrays = arrays_of(MASKED)
    other = Case(BATCH, TIMESTEPS, FEATURES, UNITS, mask="holes")
    other.arrays[name] = 2 * other.arrays[name]
    stacked = jnp.stack([arrays[name], other.arrays[name]])
    before = native.calls()
    gradients = jax.vmap(lambda value: jax.grad(loss_of(MASKED))(arrays | {name: value}))(stacked)
    assert ran(before, gradients) == (2, 2)
    for i, case in enumerate((MASKED, other)):
        assert_gradients(case, {key: value[i] for key, value in gradients.items()})


def test_gradients_pass_through_scan() -> None:
    x, arrays = np.asarray(PLAIN.arrays["x"]), PLAIN.arrays

    @jax.jit
    @jax.grad
    def gradient(x: Any) -> Any:
        def thrice(state: Any, _: None) -> Any:
            return gru(engine, x, state, arrays["kernel"], arrays["recurrent_kernel"])[1], None

        return jnp.sum(jax.lax.scan(thrice, jnp.zeros((BATCH, UNITS)), length=3)[0])

    whole = forward(np.tile(x, (1, 3, 1)), arrays["kernel"], arrays["recurrent_kernel"])
    expected = backward(whole, d_state=np.ones((BATCH, UNITS))).x
    expected = expected.reshape(BATCH, 3, TIMESTEPS, FEATURES).sum(axis=1)
    before = native.calls()
    d_x = gradient(x)
    assert ran(before, d_x) == (3, 3)
    assert_close("d_x", d_x, expected, tolerance(FEATURES + UNITS, 3 * TIMESTEPS))


@pytest.mark.parametrize("shape", [(1, 50, 16, 33), (37, 7, 5, 64)], ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(shape: tuple[int, int, int, int]) -> None:
    case = Case(*shape, mask="right")
    gradient = jax.jit(jax.grad(loss_of(case)))
    found = set()
    for n in (1, 2, 3, 4):
        with threads(n):
            found.add(b"".join(np.asarray(value).tobytes() for value in gradient(arrays_of(case)).values()))
    assert len(found) == 1


# --- Second derivatives ---


@pytest.mark.parametrize(
    "case",
    [
        MASKED,
        Case(3, 4, 2, 3, cell=Cell.GRU_RESET_BEFORE, go_backwards=True, mask="left", return_sequences=False),
        Case(3, 4, 2, 3, use_bias=False, initial_state=False, input_dropout_masks=3, recurrent_dropout=True),
    ],
    ids=str,
)
def test_the_second_derivative_is_the_slope_of_the_specified_gradient(case: Case) -> None:
    arrays, direction = arrays_of(case), direction_of(case)

    def product(arrays: dict[str, Any]) -> Any:
        gradients = jax.grad(loss_of(case))(arrays)
        return sum(jnp.sum(gradients[name] * direction[name]) for name in direction), gradients

    before = native.calls()
    found, gradients = jax.jit(jax.grad(product, has_aux=True))(arrays)
    assert ran(before, found) == (1, 1)
    assert_gradients(case, gradients)
    expected = specified_slopes(case, direction)
    allowed = 4 * tolerance(case.features + case.units, case.timesteps, case.batch)  # four passes, there and back twice
    for name, value in found.items():
        assert_close(f"d_{name}", value, expected[f"d_{name}"], allowed)


def test_the_second_derivative_reaches_the_gradient_of_the_outputs() -> None:
    # The backward pass is linear in the gradients that enter it: its derivative there is the layer's own tangent.
    arrays = arrays_of(PLAIN)
    _, pull = jax.vjp(function_of(PLAIN), arrays)
    cotangents = jnp.asarray(PLAIN.arrays["d_outputs"]), jnp.asarray(PLAIN.arrays["d_state"])
    direction = {name: jnp.ones_like(value) for name, value in arrays.items()}
    _, push = jax.vjp(lambda given: pull(given)[0], cotangents)
    ((d_outputs, d_state),) = push(direction)
    step = 1e-5
    sides = [
        forward(
            **{name: np.asarray(value, np.float64) + sign * step for name, value in arrays.items()},
        )
        for sign in (1, -1)
    ]
    assert_close("d_d_outputs", d_outputs, (sides[0].outputs - sides[1].outputs) / (2 * step), ALLOWED)
    assert_close("d_d_state", d_state, (sides[0].state - sides[1].state) / (2 * step), ALLOWED)


# --- Devices ---


def test_where_there_are_other_devices_the_compiler_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xla, "cpu_alone", lambda: False)
    arrays = arrays_of(PLAIN)

    def loss(x: Any) -> Any:
        def on_cpu() -> Any:
            return gru(engine, x, None, arrays["kernel"], arrays["recurrent_kernel"])[1]

        return jnp.sum(engine.by_device(on_cpu, lambda: 3 * x[:, 0, :1] + jnp.zeros((BATCH, UNITS))))

    gradient = jax.jit(jax.grad(loss))
    before = native.calls()
    d_x = gradient(arrays["x"])
    assert ran(before, d_x) == (1, 1)
    result = forward(arrays["x"], arrays["kernel"], arrays["recurrent_kernel"])
    assert_close("d_x", d_x, backward(result, d_state=np.ones((BATCH, UNITS))).x, ALLOWED)
    # What is made for a GPU has none of the engine in it, though no GPU is here to run it.
    assert "gatewise_xla" not in gradient.trace(arrays["x"]).lower(lowering_platforms=("cuda",)).as_text()


def test_what_the_engine_alone_computes_is_refused_on_other_devices() -> None:
    arrays = arrays_of(PLAIN)

    def run(x: Any) -> Any:
        return gru(engine, x, None, arrays["kernel"], arrays["recurrent_kernel"])[1]

    for function in (run, jax.grad(lambda x: jnp.sum(run(x)))):
        with pytest.raises(NotImplementedError, match=r"on the CPU\. Expected .*; received one for cuda\. Compute"):
            jax.jit(function).trace(arrays["x"]).lower(lowering_platforms=("cuda",))
        jax.jit(function).trace(arrays["x"]).lower(lowering_platforms=("cpu",))


def test_an_array_elsewhere_is_an_obstacle_and_a_tracer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xla, "cpu_alone", lambda: False)
    elsewhere = SimpleNamespace(devices=lambda: [SimpleNamespace(platform="gpu")])
    assert engine.obstacle(elsewhere) == "the input is on the device gpu and the engine runs on the CPU"
    assert engine.obstacle(jnp.zeros(3)) is None
    seen = []
    jax.jit(lambda x: seen.append(engine.obstacle(x)) or x)(1.0)
    assert seen == [None]


def test_tracing_is_told_from_running() -> None:
    seen = []
    jax.jit(lambda x: seen.append(engine.tracing()) or x)(1.0)
    assert seen == [True]
    assert not engine.tracing()
    assert engine.obstacle(None) is None


# --- What is refused ---


@pytest.mark.parametrize(
    ("argument", "shape", "expected"),
    [
        ("mask", (3, 4), r"mask has the wrong shape. Expected \(batch=3, timesteps=5\); received \(3, 4\)"),
        (
            "bias",
            (18,),
            r"bias has the wrong shape. Expected \(input and recurrent=2, 3 \* units=18\); received \(18\)",
        ),
        (
            "initial_state",
            (1, 6),
            r"initial_h has the wrong shape. Expected \(batch=3, units=6\); received \(1, 6\)",
        ),
        ("input_dropout", (2, 3, 4), r"input_dropout has the wrong shape. Expected \(masks=1, batch=3, features=4\)"),
        (
            "recurrent_dropout",
            (1, 3, 6),
            r"recurrent_dropout has the wrong shape. Expected \(gates=3, batch=3, units=6\)",
        ),
        ("kernel", (4, 17), r"kernel has the wrong shape. Expected \(features=4, 3 \* units=18\); received \(4, 17\)"),
        ("recurrent_kernel", (6, 17), r"recurrent_kernel has the wrong shape. Expected \(units=6, 3 \* units=18\)"),
    ],
)
@pytest.mark.parametrize("differentiated", [False, True], ids=["value", "gradient"])
def test_a_wrong_shape_is_an_invalid_argument(
    argument: str, shape: tuple[int, ...], expected: str, differentiated: bool
) -> None:
    arrays = arrays_of(PLAIN) | {argument: jnp.ones(shape, bool if argument == "mask" else np.float32)}

    def loss(x: Any) -> Any:
        return jnp.sum(gru(engine, **arrays | {"x": x})[1])

    with pytest.raises(jax.errors.JaxRuntimeError, match=f"INVALID_ARGUMENT: gatewise: {expected}"):
        jax.block_until_ready(jax.jit(jax.grad(loss) if differentiated else loss)(arrays["x"]))


def test_what_cannot_be_traced_is_refused_at_once() -> None:
    x, kernel, recurrent_kernel = (PLAIN.arrays[name] for name in ("x", "kernel", "recurrent_kernel"))
    with pytest.raises(
        ValueError,
        match=r"gatewise: x has the wrong shape. Expected \(batch, timesteps, features\); received \(5, 4\). Check",
    ):
        gru(engine, x[0], None, kernel, recurrent_kernel)
    with pytest.raises(ValueError, match=r"recurrent_kernel has the wrong shape. Expected \(units, 3 \* units\)"):
        gru(engine, x, None, kernel, recurrent_kernel[0])
    with pytest.raises(TypeError, match=r"gatewise: x has the wrong type. Expected float32; received float16. Convert"):
        gru(engine, x.astype(np.float16), None, kernel, recurrent_kernel)
    with pytest.raises(TypeError, match=r"gatewise: mask has the wrong type. Expected bool; received int32."):
        gru(engine, x, None, kernel, recurrent_kernel, mask=np.ones((BATCH, TIMESTEPS), np.int32))
    with pytest.raises(ValueError, match=r"gatewise: activation is unknown. Expected one of tanh, .*; received 'elu'."):
        gru(engine, x, None, kernel, recurrent_kernel, activation="elu")
    one = Direction(kernel=kernel, recurrent_kernel=recurrent_kernel)
    with pytest.raises(ValueError, match=r"first.recurrent_kernel has the wrong shape. .* received \(0\)."):
        engine.rnn(x, [Direction(kernel=kernel), one], cell=Cell.GRU)
    with pytest.raises(TypeError, match=r"second.bias has the wrong type. Expected float32; received int32."):
        engine.rnn(x, [one, one._replace(bias=np.ones((2, 18), np.int32))], cell=Cell.GRU)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (
            {"kernel": None},
            r"second.kernel has the wrong shape. Expected \(features=4, 3 \* units=18\); received \(0\)",
        ),
        ({"bias": np.ones(18, np.float32)}, r"second.bias has the wrong shape. Expected \(input and recurrent=2, 3 \*"),
        (
            {"initial_c": np.ones((3, 6), np.float32)},
            r"second.initial_c has no place in this layer. Expected none; rec",
        ),
        ({"recurrent_bias": np.ones(18, np.float32)}, r"second.recurrent_bias has no place in this layer. Expected no"),
    ],
)
@pytest.mark.parametrize("differentiated", [False, True], ids=["value", "gradient"])
def test_errors_say_whose_array_it_is(second: dict[str, Any], expected: str, differentiated: bool) -> None:
    own = own_of(PLAIN.arrays)

    def loss(x: Any, changed: Any) -> Any:
        return jnp.sum(engine.rnn(x, [own, own._replace(**changed)], cell=Cell.GRU)[0])

    run = jax.jit(jax.grad(loss, (0, 1)) if differentiated else loss)
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"INVALID_ARGUMENT: gatewise: {expected}"):
        jax.block_until_ready(run(PLAIN.arrays["x"], second))


def test_the_reason_for_a_missing_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.available() is None
    monkeypatch.setattr(xla, "available", xla.available.__wrapped__)  # what it says is kept, for a process
    with monkeypatch.context() as patch:
        patch.setattr(jax, "__version_info__", (0, 4, 38))
        assert "is too old; 0.5.0 or later is needed" in str(engine.available())
    monkeypatch.setattr(xla, "_LIBRARY", Path("nowhere") / "libgatewise_xla.so")
    assert engine.available() == "libgatewise_xla.so is missing, because gatewise was built without XLA's headers"
    with pytest.raises(RuntimeError, match=r"gatewise: the engine is not available. libgatewise_xla.so is missing"):
        gru(engine, PLAIN.arrays["x"], None, PLAIN.arrays["kernel"], PLAIN.arrays["recurrent_kernel"])
