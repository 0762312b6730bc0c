# SPDX-License-Identifier: Apache-2.0
"""A case of the engine through the operations of each framework: every result and gradient under its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from ops_case import OTHERS, d_results, differentiable, direction, layer, named, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_case import Case

Results = dict[str, npt.NDArray[Any]]


def _arrays(case: Case, results: Any, gradients: dict[str, Any]) -> Results:
    return {name: np.asarray(value) for name, value in named(case, results, gradients).items()}


def on_numpy(case: Case) -> Results:
    return case.run()


def on_tensorflow(case: Case) -> Results:
    tf = pytest.importorskip("tensorflow", reason="the operation is TensorFlow's: install the extra `tensorflow`")
    from gatewise.ops import tensorflow as engine

    given = {name: tf.constant(value) for name, value in differentiable(case).items()}
    with tf.GradientTape() as tape:
        tape.watch(given)
        results = layer(engine, case, case.arrays | given, training=True)
        loss = sum(tf.reduce_sum(value * d) for value, d in zip(results, d_results(case), strict=True))
    return _arrays(case, results, tape.gradient(loss, given))


def on_jax(case: Case) -> Results:
    jax = pytest.importorskip("jax", reason="the operation is JAX's: install the extra `jax`")
    from gatewise.ops import jax as engine

    results, pull = jax.vjp(lambda given: layer(engine, case, case.arrays | given), differentiable(case))
    (gradients,) = pull(tuple(d_results(case)))
    return _arrays(case, results, gradients)


def on_torch(case: Case) -> Results:
    torch = pytest.importorskip("torch", reason="the operation is PyTorch's: install the extra `torch`")
    from gatewise.ops import torch as engine

    return _on_torch(torch, case, lambda values: layer(engine, case, values))


def composed_in_float32(case: Case) -> Results:
    """The same by torch's own operations, one by one: what a computation in float32 errs that is no engine's.

    Initial states that are absent are zeros, and have a gradient.
    """
    torch = pytest.importorskip("torch", reason="it is composed of torch's operations: install the extra `torch`")
    from gatewise.ops import composed
    from gatewise.ops.torch.composition import _Torch

    def run(values: dict[str, Any]) -> Any:
        own = direction(values)
        outputs, states = composed.direction(
            _Torch(), values["x"], values["mask"], values["starts"], own, **options(case)
        )
        return outputs, *states

    zeros = np.zeros((case.batch, case.units), np.float32)
    absent = {name: zeros for name in case.state_names("initial_state") if case.arrays[name] is None}
    return _on_torch(torch, case, run, **absent)


def _on_torch(torch: Any, case: Case, run: Callable[[dict[str, Any]], Any], **more: Any) -> Results:
    given = {n: torch.tensor(value, requires_grad=True) for n, value in (differentiable(case) | more).items()}
    fixed = {name: None if case.arrays.get(name) is None else torch.tensor(case.arrays[name]) for name in OTHERS}
    results = run(given | fixed)
    of = [torch.tensor(d) for d in d_results(case)]
    gradients = torch.autograd.grad(results, list(given.values()), of, materialize_grads=True)
    found = [value.detach() for value in results]
    return _arrays(case, found, dict(zip(given, gradients, strict=True)))


FACES: dict[str, Callable[[Case], Results]] = {
    "numpy": on_numpy,
    "tensorflow": on_tensorflow,
    "jax": on_jax,
    "torch": on_torch,
}
