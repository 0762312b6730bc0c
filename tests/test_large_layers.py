# SPDX-License-Identifier: Apache-2.0
"""Who finds the candidates again: large layers on TensorFlow and JAX, whose outputs nobody can change."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import gatewise
from engine_case import Case, assert_same_bits

LARGE = Case(64, 257, 3, 128, mask="right")  # 4 floats a unit and step are 33.7 MB
DIFFERENTIABLE = ("x", "initial_state", "kernel", "recurrent_kernel", "bias")


@pytest.fixture(scope="module")
def expected() -> dict[str, npt.NDArray[np.float32]]:
    found, _ = LARGE.run_again()
    return {name: found[f"d_{name}"] for name in DIFFERENTIABLE}


@pytest.mark.parametrize("training", [True, False])
def test_tensorflow(expected: dict[str, npt.NDArray[np.float32]], training: bool) -> None:
    tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: install the extra `tensorflow`")
    from gatewise.ops import tensorflow as engine

    given = {name: tf.constant(LARGE.arrays[name]) for name in DIFFERENTIABLE}
    with tf.GradientTape() as tape:
        tape.watch(list(given.values()))
        outputs, state = engine.gru(**given, mask=tf.constant(LARGE.arrays["mask"]), training=training)
        loss = tf.reduce_sum(outputs * LARGE.arrays["d_outputs"]) + tf.reduce_sum(state * LARGE.arrays["d_state"])
    assert_same_bits(tape.gradient(loss, given), expected)


def test_tensorflow_saves_three_values_for_two_units() -> None:
    pytest.importorskip("tensorflow", reason="the operation is TensorFlow's: install the extra `tensorflow`")
    from gatewise.ops.tensorflow.operations import load

    operations, _ = load()
    options = {"reset_after": True, "go_backwards": False, "zero_output_for_mask": False, "recompute": False}
    options |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
    x, *own = (LARGE.arrays[name] for name in DIFFERENTIABLE)
    inputs = [x, *([value] for value in own), (), [()], [()]]

    def saved_bytes(*, return_sequences: bool) -> int:
        saved = operations.gatewise_gru_train(*inputs, return_sequences=return_sequences, **options).saved[0]
        return int(saved.shape[0])

    floats = LARGE.batch * LARGE.timesteps * LARGE.units
    assert saved_bytes(return_sequences=True) == 3 * 4 * floats // 2
    assert saved_bytes(return_sequences=False) >= 4 * 4 * floats


def test_jax(expected: dict[str, npt.NDArray[np.float32]]) -> None:
    jax = pytest.importorskip("jax", reason="the layer is JAX's: install the extra `jax`")
    from gatewise.ops import jax as engine

    def loss(given: dict[str, Any], rows: int) -> Any:
        a = {name: LARGE.arrays[name][:rows] for name in ("mask", "d_outputs", "d_state")}
        outputs, state = engine.gru(**given, mask=a["mask"])
        return jax.numpy.sum(outputs * a["d_outputs"]) + jax.numpy.sum(state * a["d_state"])

    whole, half = 64, 32
    given = {name: jax.numpy.asarray(LARGE.arrays[name]) for name in DIFFERENTIABLE}
    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    assert_same_bits(gradient(given, whole), expected)
    floats = 2 * LARGE.timesteps * LARGE.units
    assert f"u32[64,{floats}]" in str(jax.make_jaxpr(gradient, static_argnums=1)(given, whole))

    # The second derivative goes through the outputs as well; half of the batch saves all.
    def of_x(x: Any, state: Any, rows: int) -> Any:
        others = given | {"initial_state": state}
        return jax.numpy.sum(jax.grad(lambda x: loss(others | {"x": x}, rows))(x) ** 2)

    x, state = (np.nan_to_num(LARGE.arrays[name]) for name in ("x", "initial_state"))
    second = jax.jit(jax.grad(of_x), static_argnums=2)
    of_half = np.asarray(second(x[:half], state[:half], half))
    rounding = 1e-6 * np.abs(of_half).max()  # of what is found again
    np.testing.assert_allclose(second(x, state, whole)[:half], of_half, rtol=1e-4, atol=rounding)


def test_numpy_keeps_all_since_callers_may_change_the_outputs() -> None:
    outputs, _, vjp = gatewise.gru_vjp(np.nan_to_num(LARGE.arrays["x"]), LARGE.weights)
    assert vjp.saved_bytes >= 16 * outputs.size
    expected = vjp(LARGE.arrays["d_outputs"])
    outputs[:] = np.nan
    found = vjp(LARGE.arrays["d_outputs"])
    assert found.kernel.tobytes() == expected.kernel.tobytes()
