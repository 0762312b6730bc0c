# SPDX-License-Identifier: Apache-2.0
"""The layer in every combination of its options, against the specification and against stock Keras: values and all
gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tolerance import disagreement, tolerance

tf = pytest.importorskip("tensorflow", reason="the layer runs on TensorFlow: install the extra `tensorflow`")
keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra `tensorflow`")

from gatewise import native  # noqa: E402  # after the skips
from gatewise.keras import GRU  # noqa: E402
from gatewise.reference import gru_backward, gru_forward  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="set KERAS_BACKEND=tensorflow")

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
Options = dict[str, bool]

RNG = np.random.default_rng(11)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
STATE = RNG.normal(size=(BATCH, UNITS)).astype(np.float32)
KERNEL = RNG.normal(size=(FEATURES, 3 * UNITS)).astype(np.float32)
RECURRENT_KERNEL = (RNG.normal(size=(UNITS, 3 * UNITS)) / np.sqrt(UNITS)).astype(np.float32)
BIAS = RNG.normal(size=(2, 3 * UNITS)).astype(np.float32)
D_OUTPUTS = RNG.normal(size=(BATCH, TIMESTEPS, UNITS)).astype(np.float32)
D_STATE = RNG.normal(size=(BATCH, UNITS)).astype(np.float32)


def test_the_grid_has_a_thousand_cases() -> None:
    assert len(MASKS) * 2 * len(CASES) >= 1000


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize("mask", MASKS)
def test_the_layer_agrees_with_the_specification_and_runs_natively(mask: str, reset_after: bool) -> None:
    problems = []
    for options in CASES:
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


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize("mask", MASKS)
def test_the_layer_agrees_with_stock_keras_not_unrolled(mask: str, reset_after: bool) -> None:
    problems = []
    for options in CASES:
        if options["unroll"] or not options["return_state"]:
            continue  # stock's unrolled loop has faults of its own, and return_state=False only returns less
        stock, _ = run_layer(keras.layers.GRU, mask, reset_after, options, dtype="float64")
        ours, reason = run_layer(GRU, mask, reset_after, options)
        found = disagreements(ours, stock) + ([] if reason is None else [f"fell back because: {reason}"])
        problems += [f"{options}: {problem}" for problem in found]
    assert not problems, f"{len(problems)} disagreements:\n" + "\n".join(problems)


def run_layer(
    layer_class: Any, mask: str, reset_after: bool, options: Options, dtype: str = "float32"
) -> tuple[Results, str | None]:
    """Runs a layer and all its gradients eagerly. Returns the arrays by name, and why it fell back, if it did."""
    arguments = {name: value for name, value in options.items() if name != "initial_state"}
    layer = layer_class(UNITS, reset_after=reset_after, recurrent_initializer="zeros", dtype=dtype, **arguments)
    layer.build(X.shape)
    bias = [BIAS if reset_after else BIAS[0]] if options["use_bias"] else []
    layer.set_weights([KERNEL, RECURRENT_KERNEL, *bias])
    x, state = tf.constant(X, dtype), tf.constant(STATE, dtype)
    sources = {"x": x, "kernel": layer.cell.kernel.value, "recurrent_kernel": layer.cell.recurrent_kernel.value}
    if options["use_bias"]:
        sources["bias"] = layer.cell.bias.value
    if options["initial_state"]:
        sources["initial_state"] = state
    with tf.GradientTape() as tape:
        tape.watch([x, state])
        result = layer(
            x,
            mask=None if MASKS[mask] is None else np.array(MASKS[mask], bool),
            initial_state=state if options["initial_state"] else None,
            training=True,
        )
        outputs, last_state = result if options["return_state"] else (result, None)
        loss = tf.reduce_sum(outputs * (D_OUTPUTS if options["return_sequences"] else D_OUTPUTS[:, -1]))
        if last_state is not None:
            loss += tf.reduce_sum(last_state * D_STATE)
    gradients = tape.gradient(loss, sources)
    results = {"outputs": outputs.numpy()} | {f"d_{name}": value.numpy() for name, value in gradients.items()}
    if last_state is not None:
        results["state"] = last_state.numpy()
    return results, getattr(layer, "fallback_reason", None)


def run_reference(mask: str, reset_after: bool, options: Options) -> Results:
    """What the specification says of the same case, float64."""
    forward = gru_forward(
        X,
        KERNEL,
        RECURRENT_KERNEL,
        (BIAS if reset_after else BIAS[0]) if options["use_bias"] else None,
        reset_after=reset_after,
        initial_state=STATE if options["initial_state"] else None,
        mask=MASKS[mask],
        go_backwards=options["go_backwards"],
        zero_output_for_mask=options["zero_output_for_mask"],
    )
    d_outputs = D_OUTPUTS.copy()
    if not options["return_sequences"]:
        d_outputs[:, :-1] = 0
    gradients = gru_backward(forward, d_outputs, D_STATE if options["return_state"] else None)
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
