# SPDX-License-Identifier: Apache-2.0
"""GRUWeights: what it takes, what it holds, what it refuses and how."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gatewise.weights import GRUWeights

Array = npt.NDArray[Any]

FEATURES, UNITS = 5, 4


def make_weights(*, reset_after: bool = True, use_bias: bool = True) -> GRUWeights:
    rng = np.random.default_rng(40)
    bias = rng.normal(size=(2, 3 * UNITS) if reset_after else 3 * UNITS)
    kernels = rng.normal(size=(FEATURES, 3 * UNITS)), rng.normal(size=(UNITS, 3 * UNITS))
    return GRUWeights(*kernels, bias if use_bias else None, reset_after=reset_after)


def assert_same_weights(received: GRUWeights, expected: GRUWeights) -> None:
    assert received.reset_after is expected.reset_after
    for name in ("kernel", "recurrent_kernel", "bias"):
        np.testing.assert_array_equal(getattr(received, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_sizes_and_repr_tell_what_is_held(reset_after: bool, use_bias: bool) -> None:
    weights = make_weights(reset_after=reset_after, use_bias=use_bias)
    assert (weights.features, weights.units, weights.reset_after) == (FEATURES, UNITS, reset_after)
    assert repr(weights) == f"GRUWeights(features=5, units=4, bias={use_bias}, reset_after={reset_after})"


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, np.int8, np.uint32, np.bool_, ">f4"])
def test_real_dtypes_are_cast_to_float32(dtype: npt.DTypeLike) -> None:
    kernel = (np.arange(FEATURES * 3 * UNITS).reshape(FEATURES, -1) % 2).astype(dtype)
    weights = GRUWeights(kernel, np.zeros((UNITS, 3 * UNITS), dtype), np.ones((2, 3 * UNITS), dtype))
    for array in (weights.kernel, weights.recurrent_kernel, weights.bias):
        assert array is not None
        assert array.dtype == np.dtype("float32")
        assert array.flags.c_contiguous
        assert array.flags.aligned
    np.testing.assert_array_equal(weights.kernel, kernel.astype(np.float64))


def test_lists_and_strides_are_copied() -> None:
    kernel = np.arange(15 * FEATURES * UNITS, dtype=np.float32).reshape(3 * UNITS, -1)[:, ::5].T
    assert not kernel.flags.c_contiguous
    assert kernel.shape == (FEATURES, 3 * UNITS)
    weights = GRUWeights(kernel, [[0.5] * 12] * 4, [[1] * 12, [2] * 12])
    np.testing.assert_array_equal(weights.kernel, kernel)
    assert weights.kernel.flags.c_contiguous
    np.testing.assert_array_equal(weights.recurrent_kernel, np.full((4, 12), 0.5))
    np.testing.assert_array_equal(weights.bias, np.repeat([[1], [2]], 12, axis=1))


def test_unaligned_arrays_are_copied() -> None:
    raw = np.zeros(4 * UNITS * 3 * UNITS + 1, np.uint8)[1:]
    unaligned = raw.view(np.float32).reshape(UNITS, 3 * UNITS)
    assert not unaligned.flags.aligned
    assert GRUWeights(np.zeros((1, 3 * UNITS)), unaligned).recurrent_kernel.flags.aligned


def test_contiguous_float32_is_held_in_place_and_stays_writable_for_its_owner() -> None:
    kernel, recurrent_kernel = np.zeros((FEATURES, 3 * UNITS), np.float32), np.zeros((UNITS, 3 * UNITS), np.float32)
    weights = GRUWeights(kernel, recurrent_kernel)
    assert np.shares_memory(weights.kernel, kernel)
    assert np.shares_memory(weights.recurrent_kernel, recurrent_kernel)
    kernel[0, 0] = 1
    assert weights.kernel[0, 0] == 1


def test_nan_and_infinity_are_allowed() -> None:
    kernel = np.full((FEATURES, 3 * UNITS), np.nan)
    kernel[0, 0] = np.inf
    np.testing.assert_array_equal(GRUWeights(kernel, np.zeros((UNITS, 3 * UNITS))).kernel, kernel)


def remade(weights: GRUWeights, how: str) -> GRUWeights:
    made = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda w: pickle.loads(pickle.dumps(w)),  # noqa: S301 - our own bytes
        "itself": lambda w: w,
    }[how](weights)
    assert isinstance(made, GRUWeights)
    return made


@pytest.mark.parametrize("how", ["itself", "copy", "deepcopy", "pickle"])
def test_weights_and_their_copies_are_immutable(how: str) -> None:
    original = make_weights()
    weights = remade(original, how)
    assert_same_weights(weights, original)
    for name in ("kernel", "recurrent_kernel", "bias"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(weights, name)[0, 0] = 1
        with pytest.raises(AttributeError, match=name):
            setattr(weights, name, np.zeros(1))
    with pytest.raises(AttributeError, match="kernel"):
        del weights.kernel


KERNEL, RECURRENT, BIAS = np.zeros((5, 12)), np.zeros((4, 12)), np.zeros((2, 12))
KERNEL_SHAPE = "(features, 3 * units=12)"
RECURRENT_SHAPE = "(units, 3 * units) with units >= 1"
BIAS_SHAPE = "(input and recurrent=2, 3 * units=12)"


@pytest.mark.parametrize(
    ("arguments", "problem", "expected", "received", "cure"),
    [
        ((np.zeros((5, 13)), RECURRENT), "kernel has the wrong shape", KERNEL_SHAPE, "(5, 13)", "Check the last axis"),
        ((np.zeros(5), RECURRENT), "kernel has the wrong rank", KERNEL_SHAPE, "(5,)", "Check the number of axes"),
        (
            (np.zeros((0, 12)), RECURRENT),
            "kernel has no features",
            f"{KERNEL_SHAPE} with features >= 1",
            "(0, 12)",
            "Check axis 0",
        ),
        (
            (KERNEL, np.zeros((12, 4))),
            "recurrent_kernel has the wrong shape",
            RECURRENT_SHAPE,
            "(12, 4)",
            "Check that it holds all of the 3 gates",
        ),
        (
            (KERNEL, np.zeros((0, 0))),
            "recurrent_kernel has the wrong shape",
            RECURRENT_SHAPE,
            "(0, 0)",
            "Check that it holds all of the 3 gates",
        ),
        ((KERNEL, 7.0), "recurrent_kernel has the wrong rank", "(units, 3 * units)", "()", "Check the number of axes"),
        (
            (KERNEL, RECURRENT, np.zeros(12)),
            "bias has the wrong rank",
            BIAS_SHAPE,
            "(12,)",
            "With reset_after=True a bias has rank 2: check that option too",
        ),
        (
            (KERNEL, RECURRENT, BIAS, False),
            "bias has the wrong rank",
            "(3 * units=12,)",
            "(2, 12)",
            "With reset_after=False a bias has rank 1: check that option too",
        ),
        ((KERNEL, RECURRENT, np.zeros((3, 12))), "bias has the wrong shape", BIAS_SHAPE, "(3, 12)", "Check axis 0"),
    ],
)
def test_wrong_shapes_are_named_with_the_cure(
    arguments: tuple[Any, ...], problem: str, expected: str, received: str, cure: str
) -> None:
    with pytest.raises(ValueError, match=r"^GRUWeights: ") as caught:
        GRUWeights(*arguments)
    assert str(caught.value) == f"GRUWeights: {problem}. Expected {expected}; received {received}. {cure}."


@pytest.mark.parametrize(
    ("arguments", "name", "dtype"),
    [
        ((np.full((5, 12), "1.5"), RECURRENT), "kernel", "<U3"),
        ((np.full((5, 12), b"1.5"), RECURRENT), "kernel", "|S3"),
        ((KERNEL, np.zeros((4, 12), complex)), "recurrent_kernel", "complex128"),
        ((KERNEL, RECURRENT, np.zeros((2, 12), object)), "bias", "object"),
        ((KERNEL, RECURRENT, np.zeros((2, 12), "m8[s]")), "bias", "timedelta64[s]"),
        ((np.full((5, 12), "1.5", object), RECURRENT), "kernel", "object, which holds '1.5'"),
    ],
)
def test_what_holds_no_real_numbers_is_named_with_the_cure(arguments: tuple[Any, ...], name: str, dtype: str) -> None:
    with pytest.raises(TypeError) as caught:
        GRUWeights(*arguments)
    received = f"Expected real numbers; received dtype {dtype}. Convert it to float32 first."
    assert str(caught.value) == f"GRUWeights: {name} has the wrong type. {received}"


@pytest.mark.parametrize("reset_after", ["False", 1, None])
def test_reset_after_must_be_a_bool(reset_after: Any) -> None:
    with pytest.raises(
        TypeError, match=f"reset_after has the wrong type. Expected True or False; received {reset_after!r}"
    ):
        GRUWeights(KERNEL, RECURRENT, BIAS, reset_after)


def test_what_is_no_array_is_named_by_its_class() -> None:
    with pytest.raises(TypeError) as caught:
        GRUWeights(None, RECURRENT)  # type: ignore[arg-type]
    received = "Expected real numbers; received NoneType. Give it as an array of float32."
    assert str(caught.value) == f"GRUWeights: kernel has the wrong type. {received}"


class Named(GRUWeights):
    pass


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle"])
def test_a_copy_of_a_subclass_is_one(how: str) -> None:
    weights = remade(Named(KERNEL, RECURRENT, BIAS), how)
    assert type(weights) is Named
    assert_same_weights(weights, GRUWeights(KERNEL, RECURRENT, BIAS))


def test_ragged_lists_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"^GRUWeights: kernel is not an array\. .*features, 3 \* units=12.*received list"
    ):
        GRUWeights([[1.0] * 12, [1.0] * 11], RECURRENT)
