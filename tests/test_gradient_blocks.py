# SPDX-License-Identifier: Apache-2.0
"""Gradients gate by gate where gates saturate, against float64, on every face: a block errs as in stock Keras, or less.

The states are ones in which a trained layer may be: gates next to 0 or 1, candidates next to -1 or 1, small weights.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from blocks import block_disagreements
from engine_case import Case

keras = pytest.importorskip("keras", reason="stock Keras is what is compared with: install the extra of KERAS_BACKEND")

import gatewise.keras  # noqa: E402  # after the skip
from backends import dot, gradient  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

Gradients = dict[str, npt.NDArray[Any]]

NAMES = ("x", "initial_state", "kernel", "recurrent_kernel", "bias")
# The biases of z, r and h, and what the weights are multiplied with.
STATES = {
    "plain": ((0, 0, 0), 1),
    "reset shut": ((0, -8, 0), 1),
    "reset shut tight": ((0, -12, 0), 1),
    "all saturated": ((8, 4, 6), 0.1),
    "nothing kept": ((-8, -20, 6), 0.05),
    "all kept": ((12, 0, 0), 1),
    "reset open": ((-4, 12, -4), 0.1),
}
# Batch and timesteps, with 32 MB of gates in between, from where on memory is taken afresh for every call.
SMALL, LARGE = (8, 60), (64, 257)
SIZES = [(*SMALL, True), (*SMALL, False), (*LARGE, True)]


@cache
def case_of(state: str, batch: int, timesteps: int, reset_after: bool) -> Case:
    case = Case(batch, timesteps, 3, 128, reset_after=reset_after)
    biases, factor = STATES[state]
    row = np.repeat(np.float32(biases), case.units)
    case.arrays["bias"] = np.stack([row, np.zeros_like(row)]) if reset_after else row
    for name in ("kernel", "recurrent_kernel"):
        case.arrays[name] = case.arrays[name] * np.float32(factor)
    return case


@cache
def in_float64(state: str, batch: int, timesteps: int, reset_after: bool) -> Gradients:
    found = case_of(state, batch, timesteps, reset_after).specified()
    return {name: found[f"d_{name}"] for name in NAMES}


def of_layer(case: Case, kind: type) -> Gradients:
    layer = kind(case.units, return_sequences=True, return_state=True, reset_after=case.reset_after)
    layer.build(case.arrays["x"].shape)
    layer.set_weights([case.arrays[name] for name in NAMES[2:]])

    def loss(x: Any, initial_state: Any) -> tuple[Any, Any]:
        outputs, state = layer(x, initial_state=initial_state, training=True)
        return dot(outputs, case.arrays["d_outputs"]) + dot(state, case.arrays["d_state"]), outputs

    run = gradient(loss, layer.trainable_variables, compiled=True)
    return run({name: case.arrays[name] for name in NAMES[:2]})[1]


@cache
def of_stock(state: str, batch: int, timesteps: int, reset_after: bool) -> Gradients:
    return of_layer(case_of(state, batch, timesteps, reset_after), keras.layers.GRU)


def of_numpy(case: Case) -> Gradients:
    found = case.run()
    return {name: found[f"d_{name}"] for name in NAMES}


def of_keras(case: Case) -> Gradients:
    return of_layer(case, gatewise.keras.GRU)


def of_tensorflow(case: Case) -> Gradients:
    tf = pytest.importorskip("tensorflow", reason="the operation is TensorFlow's: install the extra `tensorflow`")
    from gatewise.ops import tensorflow as engine

    given = {name: tf.constant(case.arrays[name]) for name in NAMES}
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs, state = engine.gru(**given, reset_after=case.reset_after, training=True)
        loss = tf.reduce_sum(outputs * case.arrays["d_outputs"]) + tf.reduce_sum(state * case.arrays["d_state"])
    return {name: value.numpy() for name, value in tape.gradient(loss, given).items()}


def of_jax(case: Case) -> Gradients:
    jax = pytest.importorskip("jax", reason="the operation is JAX's: install the extra `jax`")
    from gatewise.ops import jax as engine

    def loss(given: dict[str, Any]) -> Any:
        outputs, state = engine.gru(**given, reset_after=case.reset_after)
        return (outputs * case.arrays["d_outputs"]).sum() + (state * case.arrays["d_state"]).sum()

    found: Gradients = jax.tree.map(np.asarray, jax.grad(loss)({name: case.arrays[name] for name in NAMES}))
    return found


def of_torch(case: Case) -> Gradients:
    torch = pytest.importorskip("torch", reason="the operation is PyTorch's: install the extra `torch`")
    from gatewise.ops import torch as engine

    given = {name: torch.tensor(case.arrays[name], requires_grad=True) for name in NAMES}
    outputs, state = engine.gru(**given, reset_after=case.reset_after)
    d_outputs, d_state = (torch.tensor(case.arrays[name]) for name in ("d_outputs", "d_state"))
    ((outputs * d_outputs).sum() + (state * d_state).sum()).backward()
    return {name: value.grad.numpy() for name, value in given.items()}


FACES: dict[str, Callable[[Case], Gradients]] = {
    "numpy": of_numpy,
    "keras": of_keras,
    "tensorflow": of_tensorflow,
    "jax": of_jax,
    "torch": of_torch,
}


@pytest.mark.parametrize("size", SIZES, ids=["small", "small, reset before", "large"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("face", FACES)
def test_no_gate_errs_more_than_in_stock_keras(face: str, state: str, size: tuple[int, int, bool]) -> None:
    found, stock, expected = FACES[face](case_of(state, *size)), of_stock(state, *size), in_float64(state, *size)
    problems = block_disagreements(found, stock, expected)
    assert not problems, "\n".join(problems)
