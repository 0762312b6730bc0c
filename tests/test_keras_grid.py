# SPDX-License-Identifier: Apache-2.0
"""The layer in every combination of its options, against the specification and against stock Keras: values and all
gradients."""

from __future__ import annotations

import itertools
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from tolerance import disagreement, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

from backends import BACKEND, dot, float64, gradient  # noqa: E402  # after the skip
from gatewise import (  # noqa: E402
    cells,
    native,
    reference,
)
from gatewise.keras import GRU  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

Array = npt.NDArray[Any]
Results = dict[str, Array]

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 5, 3, 6
MASKS: dict[str, list[list[int]] | None] = {
    "none": None,
    "right": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]],
    "left": [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]],
    "holes": [[1, 0, 1, 0, 1], [0, 1, 0, 0, 1], [1, 1, 0, 1, 0], [0, 0, 1, 0, 0]],
    "empty_rows": [[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]],
}
FLAGS = (
    "go_backwards",
    "return_sequences",
    "return_state",
    "initial_state",
    "zero_output_for_mask",
    "use_bias",
    "unroll",
)
CASES = [dict(zip(FLAGS, flags, strict=True)) for flags in itertools.product((False, True), repeat=len(FLAGS))]
# None, each alone, all, and some by seed; the whole grid is long, and the engine's own tests have every combination.
SOME = [options for options in CASES if sum(options.values()) in {0, 1, len(FLAGS)}]
SOME += [CASES[i] for i in np.random.default_rng(5).choice(len(CASES), 7, replace=False)]
Options = dict[str, bool]

of_some_or_all = pytest.mark.parametrize(
    "cases", [pytest.param(SOME, id="some"), pytest.param(CASES, id="all", marks=pytest.mark.deep)]
)

RNG = np.random.default_rng(11)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
STATE = RNG.normal(size=(BATCH, UNITS)).astype(np.float32)
KERNEL = RNG.normal(size=(FEATURES, 3 * UNITS)).astype(np.float32)
RECURRENT_KERNEL = (RNG.normal(size=(UNITS, 3 * UNITS)) / np.sqrt(UNITS)).astype(np.float32)
BIAS = RNG.normal(size=(2, 3 * UNITS)).astype(np.float32)
D_OUTPUTS = RNG.normal(size=(BATCH, TIMESTEPS, UNITS)).astype(np.float32)
D_STATE = RNG.normal(size=(BATCH, UNITS)).astype(np.float32)


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize("mask", MASKS)
@of_some_or_all
def test_the_layer_agrees_with_the_specification_and_runs_natively(
    cases: list[Options], mask: str, reset_after: bool
) -> None:
    problems = []
    for options in cases:
        before = native.calls()
        results, reason = run_layer(GRU, mask, reset_after, options)
        ran = native.calls()
        counts = (ran.forward - before.forward, ran.backward - before.backward)
        expected = run_reference(mask, reset_after, options)
        found = disagreements(results, expected)
        if counts != (1, 1) or reason is not None:
            found.append(f"{counts} native calls forward and backward; fell back because: {reason}")
        problems += [f"{options}: {problem}" for problem in found]
    assert not problems, f"{len(problems)} disagreements:\n" + "\n".join(problems)


def starts_masked(mask: str, options: Options) -> bool:
    """Says whether an output of the case is that of a sequence whose steps so far were all masked."""
    valid = np.array(MASKS[mask] or [[1]])
    first = valid[:, -1 if options["go_backwards"] else 0]
    return not np.all(first if options["return_sequences"] else valid.any(axis=1))


# Where stock is wrong on a backend, by the number that test_keras_bugs.py gives the fault; the rolled loop's alone.
FAULTS_OF_STOCK: dict[str, dict[int, Callable[[str, Options], bool]]] = {
    "tensorflow": {},
    "jax": {  # outputs before the first valid step are the initial state
        7: lambda mask, options: (
            options["initial_state"] and not options["zero_output_for_mask"] and starts_masked(mask, options)
        )
    },
    "torch": {},
}


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize("mask", MASKS)
@of_some_or_all
def test_the_layer_agrees_with_stock_keras_not_unrolled(cases: list[Options], mask: str, reset_after: bool) -> None:
    problems = []
    for options in cases:
        if options["unroll"]:
            continue  # stock's unrolled loop has faults of its own
        if mask == "none" and options["zero_output_for_mask"]:
            continue  # it says nothing without a mask
        with float64():
            stock, _ = run_layer(keras.layers.GRU, mask, reset_after, options, dtype="float64")
        ours, reason = run_layer(GRU, mask, reset_after, options)
        found = disagreements(ours, stock)
        faults = [number for number, applies in FAULTS_OF_STOCK[BACKEND].items() if applies(mask, options)]
        if faults:
            found = [] if found else [f"stock is right, and shall have the faults {faults}"]
        found += [] if reason is None else [f"fell back because: {reason}"]
        problems += [f"{options}: {problem}" for problem in found]
    assert not problems, f"{len(problems)} disagreements:\n" + "\n".join(problems)


def run_layer(
    layer_class: Any, mask: str, reset_after: bool, options: Options, dtype: str = "float32"
) -> tuple[Results, str | None]:
    """Runs a layer and all its gradients. Returns the arrays by name, and why it fell back, if it did."""
    layer, run = layer_and_gradient(layer_class, dtype, reset_after, *options.values())
    sources = {"x": X.astype(dtype)} | ({"initial_state": STATE.astype(dtype)} if options["initial_state"] else {})
    valid = MASKS[mask]
    results, gradients = run(sources, mask=None if valid is None else np.array(valid, bool))
    named = {f"d_{name}": value for name, value in gradients.items()}
    return results | named, getattr(layer, "fallback_reason", None)


@cache
def layer_and_gradient(layer_class: Any, dtype: str, reset_after: bool, *flags: bool) -> tuple[Any, Any]:
    """Builds a layer that has no state of its own, once. Returns it, and what runs it and its gradients."""
    options = dict(zip(FLAGS, flags, strict=True))
    arguments = {name: value for name, value in options.items() if name != "initial_state"}
    layer = layer_class(UNITS, reset_after=reset_after, recurrent_initializer="zeros", dtype=dtype, **arguments)
    layer.build(X.shape)
    bias = [BIAS if reset_after else BIAS[0]] if options["use_bias"] else []
    layer.set_weights([KERNEL, RECURRENT_KERNEL, *bias])

    def loss_of(x: Any, mask: Any, initial_state: Any = None) -> tuple[Any, dict[str, Any]]:
        result = layer(x, mask=mask, initial_state=initial_state, training=True)
        outputs, *last_state = result if options["return_state"] else (result,)
        loss = dot(outputs, D_OUTPUTS if options["return_sequences"] else D_OUTPUTS[:, -1])
        if last_state:
            loss = loss + dot(last_state[0], D_STATE)
        return loss, {"outputs": outputs} | dict(zip(["state"], last_state, strict=False))

    # Stock's loop is compiled anew at every eager call of JAX; the engine is one operation.
    return layer, gradient(loss_of, layer.trainable_weights, compiled=layer_class is not GRU)


def run_reference(mask: str, reset_after: bool, options: Options) -> Results:
    """What the specification says of the same case, float64."""
    forward = reference.forward(
        X,
        KERNEL,
        RECURRENT_KERNEL,
        (BIAS if reset_after else BIAS[0]) if options["use_bias"] else None,
        cell=cells.gru(reset_after=reset_after),
        initial_state=STATE if options["initial_state"] else None,
        mask=MASKS[mask],
        go_backwards=options["go_backwards"],
        zero_output_for_mask=options["zero_output_for_mask"],
    )
    d_outputs = D_OUTPUTS.copy()
    if not options["return_sequences"]:
        d_outputs[:, :-1] = 0
    gradients = reference.backward(forward, d_outputs, D_STATE if options["return_state"] else None)
    results = {"outputs": forward.outputs if options["return_sequences"] else forward.last_output}
    if options["return_state"]:
        results["state"] = forward.state
    wanted = {"bias": options["use_bias"], "initial_state": options["initial_state"]}
    return results | {f"d_{name}": value for name, value in gradients._asdict().items() if wanted.get(name, True)}


def disagreements(actual: Results, expected: Results) -> list[str]:
    """Where two runs of a case differ by more than rounding."""
    if actual.keys() != expected.keys():
        return [f"returned {sorted(actual)}, expected {sorted(expected)}"]
    found = []
    for name, value in actual.items():
        rows = BATCH if name in {"d_kernel", "d_recurrent_kernel", "d_bias"} else 1
        found.append(disagreement(name, value, expected[name], tolerance(FEATURES + UNITS, TIMESTEPS, rows)))
    return [problem for problem in found if problem]
