# SPDX-License-Identifier: Apache-2.0
"""A case of the engine through the operations of each framework: every result and gradient under its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_case import Case

Results = dict[str, npt.NDArray[Any]]

DIFFERENTIABLE = ("x", "initial_state", "kernel", "recurrent_kernel", "bias")


def _inputs(case: Case) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Those of a case that have a gradient and are there, the others, and the options."""
    given = {name: case.arrays[name] for name in DIFFERENTIABLE if case.arrays[name] is not None}
    others = {name: case.arrays[name] for name in ("mask", "input_dropout", "recurrent_dropout")}
    flags = ("reset_after", "go_backwards", "return_sequences", "zero_output_for_mask")
    options = {name: getattr(case, name) for name in (*flags, "activation", "recurrent_activation")}
    return given, others, options


def _named(outputs: Any, state: Any, gradients: dict[str, Any]) -> Results:
    named = {"outputs": outputs, "state": state} | {f"d_{name}": value for name, value in gradients.items()}
    return {name: np.asarray(value) for name, value in named.items()}


def on_numpy(case: Case) -> Results:
    return case.run()


def on_tensorflow(case: Case) -> Results:
    tf = pytest.importorskip("tensorflow", reason="the operation is TensorFlow's: install the extra `tensorflow`")
    from gatewise.ops import tensorflow as engine

    arrays, others, options = _inputs(case)
    given = {name: tf.constant(value) for name, value in arrays.items()}
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs, state = engine.gru(**{"initial_state": None} | given | others, **options, training=True)
        loss = tf.reduce_sum(outputs * case.arrays["d_outputs"]) + tf.reduce_sum(state * case.arrays["d_state"])
    return _named(outputs, state, tape.gradient(loss, given))


def on_jax(case: Case) -> Results:
    jax = pytest.importorskip("jax", reason="the operation is JAX's: install the extra `jax`")
    from gatewise.ops import jax as engine

    arrays, others, options = _inputs(case)

    def run(given: dict[str, Any]) -> Any:
        return engine.gru(**{"initial_state": None} | given | others, **options)

    (outputs, state), pull = jax.vjp(run, arrays)
    (gradients,) = pull((case.arrays["d_outputs"], case.arrays["d_state"]))
    return _named(outputs, state, gradients)


def on_torch(case: Case) -> Results:
    torch = pytest.importorskip("torch", reason="the operation is PyTorch's: install the extra `torch`")
    from gatewise.ops import torch as engine

    arrays, others, options = _inputs(case)
    given = {name: torch.tensor(value, requires_grad=True) for name, value in arrays.items()}
    fixed = {name: None if value is None else torch.tensor(value) for name, value in others.items()}
    outputs, state = engine.gru(**{"initial_state": None} | given | fixed, **options)
    d_results = [torch.tensor(case.arrays[name]) for name in ("d_outputs", "d_state")]
    gradients = torch.autograd.grad([outputs, state], list(given.values()), d_results)
    return _named(outputs.detach(), state.detach(), dict(zip(given, gradients, strict=True)))


FACES: dict[str, Callable[[Case], Results]] = {
    "numpy": on_numpy,
    "tensorflow": on_tensorflow,
    "jax": on_jax,
    "torch": on_torch,
}


def composed_in_float32(case: Case) -> Results:
    """The same by torch's own operations, one by one: what a computation in float32 errs that is no engine's.

    An initial state that is absent is zeros, and has a gradient.
    """
    torch = pytest.importorskip("torch", reason="it is composed of torch's operations: install the extra `torch`")
    from gatewise.ops import composed
    from gatewise.ops.torch.composition import _Torch

    arrays, others, options = _inputs(case)
    arrays = {"initial_state": np.zeros((case.batch, case.units), np.float32)} | arrays
    given = {name: torch.tensor(value, requires_grad=True) for name, value in arrays.items()}
    fixed = {name: None if value is None else torch.tensor(value) for name, value in others.items()}
    outputs, state = composed.gru(_Torch(), **{"bias": None} | given | fixed, **options)
    d_results = [torch.tensor(case.arrays[name]) for name in ("d_outputs", "d_state")]
    gradients = torch.autograd.grad([outputs, state], list(given.values()), d_results, materialize_grads=True)
    return _named(outputs.detach(), state.detach(), dict(zip(given, gradients, strict=True)))
