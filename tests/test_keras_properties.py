# SPDX-License-Identifier: Apache-2.0
"""The layer and its backend's function at random shapes and options, against the specification: values and all
gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_case import MASKS, make_mask
from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

from backends import BACKEND, arrays_of, call, dot, gradient, native_calls, tensor  # noqa: E402  # after the skip
from gatewise import cells, reference  # noqa: E402
from gatewise.keras import GRU  # noqa: E402
from gatewise.keras.engine import operations as engine  # noqa: E402
from gatewise.native import ACTIVATIONS  # noqa: E402
from ops_case import gru  # noqa: E402

Array = npt.NDArray[Any]
# batch, timesteps, features, units; JAX compiles every shape anew, so it gets few
SHAPES = (
    st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 19), st.integers(1, 35))
    if BACKEND != "jax"
    else st.sampled_from([(1, 1, 1, 1), (2, 9, 1, 5), (3, 4, 19, 8), (5, 7, 8, 17), (6, 3, 5, 35)])
)
OPTIONS = st.fixed_dictionaries(
    {
        "reset_after": st.booleans(),
        "go_backwards": st.booleans(),
        "return_sequences": st.booleans(),
        "zero_output_for_mask": st.booleans(),
    }
)
# The others grow without bound or have corners, where rounding decides on which side a gradient is taken.
SMOOTH = st.sampled_from(["tanh", "sigmoid"])
# Gates between 0 and 1: a tanh gate blends states of any sign with a candidate of any size, a rounding grows without
# bound in the steps that follow.
GATES = st.sampled_from(["sigmoid", "hard_sigmoid"])
SEEDS = st.integers(0, 2**31)
# The engine has properties of its own, with all examples and instruction sets; these are about what calls it.
few = settings(max_examples=settings().max_examples // 4)


def random_arrays(rng: np.random.Generator, shape: tuple[int, int, int, int], reset_after: bool) -> dict[str, Array]:
    """Inputs and weights at the scale of a trained layer: pre-activations of size 1."""
    batch, timesteps, features, units = shape
    arrays = {
        "x": rng.normal(size=(batch, timesteps, features)),
        "initial_state": rng.uniform(-1, 1, (batch, units)),
        "kernel": rng.normal(size=(features, 3 * units)) / np.sqrt(features),
        "recurrent_kernel": rng.normal(size=(units, 3 * units)) / np.sqrt(units),
        "bias": rng.normal(size=(2, 3 * units) if reset_after else 3 * units),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@few
@given(
    shape=SHAPES,
    options=OPTIONS,
    activation=SMOOTH,
    recurrent_activation=SMOOTH,
    mask_kind=st.sampled_from(MASKS),
    absent=st.sets(st.sampled_from(["bias", "initial_state"])),
    dropout_masks=st.sampled_from([(0, 0), (1, 0), (3, 0), (0, 3), (3, 3)]),
    training=st.booleans(),
    seed=SEEDS,
)
def test_values_and_gradients_agree_with_the_specification(
    shape: tuple[int, int, int, int],
    options: dict[str, bool],
    activation: str,
    recurrent_activation: str,
    mask_kind: str,
    absent: set[str],
    dropout_masks: tuple[int, int],
    training: bool,
    seed: int,
) -> None:
    batch, timesteps, features, units = shape
    rng = np.random.default_rng(seed)
    arrays = random_arrays(rng, shape, options["reset_after"])
    sources = {name: array for name, array in arrays.items() if name not in absent}
    mask = make_mask(mask_kind, batch, timesteps, rng)
    widths = (features, units)
    factors = [
        None if count == 0 else (rng.integers(0, 2, (count, batch, width)) / 0.5).astype(np.float32)
        for count, width in zip(dropout_masks, widths, strict=True)
    ]
    d_outputs = rng.normal(size=(batch, timesteps, units)).astype(np.float32)
    d_state = rng.normal(size=(batch, units)).astype(np.float32)
    if not options["return_sequences"]:
        d_outputs[:, :-1] = 0

    def loss_of(**sources: Any) -> tuple[Any, tuple[Any, Any]]:
        outputs, state = gru(
            engine,
            **dict.fromkeys(absent),
            **sources,
            mask=None if mask is None else tensor(mask),
            input_dropout=None if factors[0] is None else tensor(factors[0]),
            recurrent_dropout=None if factors[1] is None else tensor(factors[1]),
            activation=activation,
            recurrent_activation=recurrent_activation,
            training=training,
            **options,
        )
        shown = d_outputs if options["return_sequences"] else d_outputs[:, -1:]
        return dot(outputs, shown) + dot(state, d_state), (outputs, state)

    # TensorFlow's inference operation saves nothing: the layer runs once more for its gradient.
    with native_calls(2 if BACKEND == "tensorflow" and not training else 1, 1):
        (outputs, state), gradients = gradient(loss_of)(sources)

    forward = reference.forward(
        **{name: None if name in absent else array for name, array in arrays.items()},
        mask=mask,
        input_dropout=factors[0],
        recurrent_dropout=factors[1],
        activation=activation,
        recurrent_activation=recurrent_activation,
        cell=cells.gru(reset_after=options["reset_after"]),
        **{name: value for name, value in options.items() if name not in {"return_sequences", "reset_after"}},
    )
    expected = reference.backward(forward, d_outputs, d_state)._asdict()
    allowed = tolerance(features + units, timesteps)
    assert_close(
        "outputs", outputs, forward.outputs if options["return_sequences"] else forward.outputs[:, -1:], allowed
    )
    assert_close("state", state, forward.state, allowed)
    for name, value in gradients.items():
        rows = 1 if name in {"x", "initial_state"} else batch
        assert_close(f"d_{name}", value, expected[name], tolerance(features + units, timesteps, rows))


@few
@given(shape=SHAPES, activation=st.sampled_from(ACTIVATIONS), recurrent_activation=GATES, seed=SEEDS)
def test_every_candidate_activation_agrees_with_the_specification(
    shape: tuple[int, int, int, int], activation: str, recurrent_activation: str, seed: int
) -> None:
    arrays = random_arrays(np.random.default_rng(seed), shape, reset_after=True)
    chosen = {"activation": activation, "recurrent_activation": recurrent_activation}
    tensors = {name: tensor(array) for name, array in arrays.items()}
    outputs, state = arrays_of(gru(engine, **tensors, **chosen))
    expected = reference.forward(**arrays, **chosen)
    allowed = tolerance(shape[2] + shape[3], shape[1])
    assert_close("outputs", outputs, expected.outputs, allowed)
    assert_close("state", state, expected.state, allowed)


def layer_of(shape: tuple[int, int, int, int], seed: int, **options: Any) -> Any:
    """A layer with random weights that do not depend on its options."""
    layer = GRU(shape[3], return_state=True, return_sequences=True, recurrent_initializer="zeros", **options)
    layer.build(shape[:3])
    arrays = random_arrays(np.random.default_rng(seed), shape, reset_after=True)
    layer.set_weights([arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]])
    return layer


@few
@given(shape=SHAPES, mask_kind=st.sampled_from(MASKS), seed=SEEDS)
def test_reversed_input_equals_go_backwards(shape: tuple[int, int, int, int], mask_kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape[:3]).astype(np.float32)
    mask = make_mask(mask_kind, *shape[:2], rng)
    backwards = call(layer_of(shape, seed, go_backwards=True), x, mask=mask)
    reversed_mask = None if mask is None else mask[:, ::-1].copy()
    reversed_input = call(layer_of(shape, seed), x[:, ::-1].copy(), mask=reversed_mask)
    for one, other in zip(backwards, reversed_input, strict=True):
        np.testing.assert_array_equal(one, other)


@few
@given(shape=SHAPES, cut=st.floats(0, 1), mask_kind=st.sampled_from(MASKS), seed=SEEDS)
def test_chunks_with_the_state_handed_on_equal_the_whole(
    shape: tuple[int, int, int, int], cut: float, mask_kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape[:3]).astype(np.float32)
    mask = make_mask(mask_kind, *shape[:2], rng)
    at = round(cut * (shape[1] - 1))
    layer = layer_of(shape, seed, zero_output_for_mask=True)
    state, parts = None, []
    for part in (slice(0, at), slice(at, None)):
        if x[:, part].shape[1]:
            outputs, state = call(layer, x[:, part], mask=None if mask is None else mask[:, part], initial_state=state)
            parts.append(outputs)
    whole, last = call(layer, x, mask=mask)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    np.testing.assert_array_equal(state, last)


@few
@given(shape=SHAPES, mask_kind=st.sampled_from(MASKS), seed=SEEDS)
def test_the_order_of_the_batch_does_not_matter(shape: tuple[int, int, int, int], mask_kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape[:3]).astype(np.float32)
    mask = make_mask(mask_kind, *shape[:2], rng)
    order = rng.permutation(shape[0])
    layer = layer_of(shape, seed)
    shuffled = call(layer, x[order], mask=None if mask is None else mask[order])
    for one, other in zip(shuffled, call(layer, x, mask=mask), strict=True):
        np.testing.assert_array_equal(one, other[order])
