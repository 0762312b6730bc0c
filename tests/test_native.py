# SPDX-License-Identifier: Apache-2.0
"""The NumPy face: what it takes, what it refuses and how, and that it may be called from anywhere."""

from __future__ import annotations

import mmap
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from engine_case import Case, threads
from gatewise import _native
from gatewise.operands import INPUTS, engine_options

X = np.random.default_rng(1).normal(size=(4, 6, 5)).astype(np.float32)
WEIGHTS = gatewise.GRUWeights(
    *(np.random.default_rng(2).normal(size=shape) for shape in ((5, 9), (3, 9), (2, 9))), reset_after=True
)


def test_calls_count_what_ran() -> None:
    before = gatewise.native.calls()
    gatewise.rnn(X, WEIGHTS)
    _, _, vjp = gatewise.rnn_vjp(X, WEIGHTS)
    vjp(None, np.ones((4, 3)))
    vjp(np.ones((4, 6, 3)))
    after = gatewise.native.calls()
    assert (after.forward - before.forward, after.backward - before.backward) == (2, 2)


def test_float32_contiguous_input_is_read_in_place() -> None:
    x = X.copy()
    *_, vjp = gatewise.rnn_vjp(x, WEIGHTS)
    x[...] = -X  # the way back reads x again: a copy would not show this
    seen = vjp(np.ones((4, 6, 3))).kernel
    x[...] = X
    np.testing.assert_array_equal(vjp(np.ones((4, 6, 3))).kernel, -seen)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8, np.bool_])
def test_other_real_dtypes_are_converted(dtype: Any) -> None:
    x = (X > 0).astype(dtype)
    np.testing.assert_array_equal(gatewise.rnn(x, WEIGHTS)[0], gatewise.rnn(x.astype(np.float32), WEIGHTS)[0])


@pytest.mark.parametrize(
    "view",
    [np.asfortranarray(X), X[::-1], np.repeat(X, 2, axis=2)[..., ::2], X.transpose(1, 0, 2).copy().transpose(1, 0, 2)],
    ids=["fortran", "negative stride", "every second", "time first"],
)
def test_other_strides_are_copied(view: np.ndarray[Any, Any]) -> None:
    expected = gatewise.rnn(np.ascontiguousarray(view), WEIGHTS)[0]
    np.testing.assert_array_equal(gatewise.rnn(view, WEIGHTS)[0], expected)


def test_a_mask_of_any_real_dtype_means_nonzero() -> None:
    mask = np.array([[1, 1, 0, 1, 0, 0]] * 4)
    expected = gatewise.rnn(X, WEIGHTS, mask=mask.astype(bool))[0]
    for same in (mask, mask * 2.5, mask.astype(np.uint8), mask.tolist()):
        np.testing.assert_array_equal(gatewise.rnn(X, WEIGHTS, mask=same)[0], expected)


def call_of(x: Any, weights: gatewise.GRUWeights, mask: Any = None) -> _native.Call:
    """A call of the engine on arrays that are ready."""
    given = {"x": x, "mask": mask, "kernel": weights.kernel, "recurrent_kernel": weights.recurrent_kernel}
    inputs = given | {"bias": weights.bias}
    options = engine_options(cell=weights.cell, recurrent_activation=1, return_sequences=True)
    return _native.Call(tuple(inputs.get(row.name) for row in INPUTS), options)


def test_results_are_written_in_full_and_nothing_beyond() -> None:
    batch, timesteps, units = 4, 6, 3
    guarded = [np.full(n + 64, np.nan, np.float32) for n in (batch * timesteps * units, batch * units)]
    outputs, state = guarded[0][32:-32].reshape(batch, timesteps, units), guarded[1][32:-32].reshape(batch, units)
    mask = np.array([[1, 0, 1, 1, 0, 0]] * 3 + [[0] * 6], bool)
    _native.forward(call_of(X, WEIGHTS, mask), (outputs, state, None), None)
    assert not np.isnan(outputs).any()
    assert not np.isnan(state).any()
    for array in guarded:
        assert np.isnan(array[:32]).all()
        assert np.isnan(array[-32:]).all()


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has no large pages")
def test_large_results_are_written_to_large_pages() -> None:
    # Memory of our own: NumPy asks for large pages too.
    batch, timesteps, units = 64, 500, 48
    memory = mmap.mmap(-1, batch * timesteps * units * 4, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    outputs = np.frombuffer(memory, np.float32).reshape(batch, timesteps, units)
    inside = int(outputs.ctypes.data) + outputs.nbytes // 2

    def wishes() -> list[str]:
        """The flags of the pages in the middle of the array; "hg" are those that are wanted large."""
        place = None
        for line in Path("/proc/self/smaps").read_text().splitlines():
            if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
                place = int(found[1], 16) <= inside < int(found[2], 16)
            elif place and line.startswith("VmFlags:"):
                return line.split()[1:]
        raise AssertionError("the array lies in no mapping")

    weights = gatewise.GRUWeights(np.ones((5, 3 * units)), np.ones((units, 3 * units)))
    x = np.zeros((batch, timesteps, 5), np.float32)
    call = call_of(x, weights)
    assert "hg" not in wishes()
    _native.forward(call, (outputs, np.empty((batch, units), np.float32), None), None)
    assert "hg" in wishes()


def refused(error: type[Exception], *parts: str, **arguments: Any) -> None:
    with pytest.raises(error) as caught:
        gatewise.rnn(**{"x": X, "weights": WEIGHTS} | arguments)
    message = str(caught.value)
    assert message.startswith("rnn: ")
    for part in (*parts, "Expected", "received"):
        assert part in message


def test_bad_arguments_are_named_with_what_was_expected_and_what_came() -> None:
    refused(TypeError, "x has the wrong type", "<U5", x=["hello", "world"])
    refused(TypeError, "x has the wrong type", "complex64", x=X.astype(np.complex64))
    refused(ValueError, "x has the wrong rank", "(6, 5)", "x[None]", x=X[0])
    refused(ValueError, "x has the wrong shape", "features=5", "(4, 6, 4)", x=X[..., :4])
    refused(ValueError, "initial_state has the wrong shape", "units=3", "(4, 2)", initial_state=np.zeros((4, 2)))
    refused(ValueError, "mask has the wrong shape", "timesteps=6", "(4, 5)", mask=np.ones((4, 5), bool))
    refused(TypeError, "mask has the wrong type", mask=np.full((4, 6), "yes"))
    refused(ValueError, "activation is unknown", "hard_sigmoid", "'swish'", activation="swish")
    refused(ValueError, "recurrent_activation is unknown", "'swish'", recurrent_activation="swish")
    refused(ValueError, "input_dropout has the wrong shape", "1 or 3", input_dropout=np.ones((2, 4, 5)))
    refused(ValueError, "recurrent_dropout has the wrong shape", "gates=3", recurrent_dropout=np.ones((1, 4, 3)))
    refused(TypeError, "unrol is no argument", unrol=True)
    refused(TypeError, "weights has the wrong type", "ndarray", weights=np.zeros((5, 9)))


def test_a_gradient_of_the_wrong_shape_is_named() -> None:
    vjp = gatewise.rnn_vjp(X, WEIGHTS)[2]
    with pytest.raises(ValueError, match=re.escape("rnn_vjp: d_outputs has the wrong shape. Expected (batch=4,")):
        vjp(np.ones((4, 5, 3)))


def test_callers_on_many_threads_get_their_own_results() -> None:
    cases = [Case(9 + i, 12, 8, 20 + i, mask="holes", seed=i) for i in range(8)]
    with threads(1):
        expected = [case.run() for case in cases]
    with threads(4), ThreadPoolExecutor(8) as executor:
        for _ in range(5):
            for results, wanted in zip(executor.map(Case.run, cases), expected, strict=True):
                for name, value in results.items():
                    np.testing.assert_array_equal(value, wanted[name])


@pytest.mark.parametrize("n", [2, 4])
def test_large_and_small_calls_at_once_all_end_with_the_same_bits(n: int) -> None:
    # A large call has work for a millisecond and more, and waits while calls of its size have every CPU.
    cases = [
        Case(64, 20, 64, 128, mask="holes", seed=1),
        Case(80, 20, 64, 128),
        Case(20, 6, 5, 20),
        Case(1, 40, 5, 150),
    ]
    with threads(1):
        expected = [case.run() for case in cases]
    with threads(n), ThreadPoolExecutor(8) as executor:
        for results, wanted in zip(executor.map(Case.run, cases * 6), expected * 6, strict=True):
            for name, value in results.items():
                np.testing.assert_array_equal(value, wanted[name])
