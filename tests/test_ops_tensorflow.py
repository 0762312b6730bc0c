# SPDX-License-Identifier: Apache-2.0
"""The engine as TensorFlow operations: static shapes, gradients inside graphs and loops, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

tf = pytest.importorskip("tensorflow", reason="the operations are TensorFlow's: install the extra `tensorflow`")

from gatewise import reference  # noqa: E402
from gatewise.cells import Cell  # noqa: E402
from gatewise.operands import OPTIONS, Direction  # noqa: E402
from gatewise.ops import tensorflow as engine  # noqa: E402  # after the skip
from gatewise.ops.tensorflow.operations import load  # noqa: E402
from ops_case import gru  # noqa: E402

BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 4, 6
RNG = np.random.default_rng(4)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
KERNEL = RNG.normal(size=(FEATURES, 3 * UNITS)).astype(np.float32)
RECURRENT_KERNEL = (RNG.normal(size=(UNITS, 3 * UNITS)) / UNITS).astype(np.float32)


def run(x: Any, **arguments: Any) -> Any:
    return gru(engine, x, arguments.pop("initial_state", None), KERNEL, RECURRENT_KERNEL, **arguments)


def test_the_operations_are_available() -> None:
    assert engine.available() is None
    assert engine.obstacle(tf.zeros((1, 2, 3))) is None


@pytest.mark.parametrize("training", [False, True])
def test_static_shapes_are_known_as_far_as_those_of_the_input(training: bool) -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, 7, None)), tf.TensorSpec((None, None, FEATURES))])
    def trace(fixed_length: Any, any_length: Any) -> Any:
        outputs, state = run(fixed_length, training=training)
        last, _ = run(any_length, training=training, return_sequences=False)
        assert (outputs.shape.as_list(), state.shape.as_list()) == ([None, 7, UNITS], [None, UNITS])
        assert last.shape.as_list() == [None, 1, UNITS]
        (gradient,) = tf.gradients(last, [any_length])
        assert gradient.shape.as_list() == [None, None, FEATURES]
        return gradient

    assert trace.get_concrete_function().outputs[0].shape.as_list() == [None, None, FEATURES]


def test_gradients_pass_through_a_loop_and_a_persistent_tape() -> None:
    @tf.function
    def thrice(x: Any) -> Any:
        state = tf.zeros((BATCH, UNITS))
        for _ in tf.range(3):
            _, state = run(x, initial_state=state, training=True)
        return state

    x = tf.constant(X)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        state = thrice(x)
    whole = reference.forward(np.tile(X, (1, 3, 1)), KERNEL, RECURRENT_KERNEL)
    allowed = tolerance(FEATURES + UNITS, 3 * TIMESTEPS)
    assert_close("state", state, whole.state, allowed)
    d_x = reference.backward(whole, d_state=np.ones((BATCH, UNITS))).x
    assert_close("d_x", tape.gradient(state, x), d_x.reshape(BATCH, 3, TIMESTEPS, FEATURES).sum(axis=1), allowed)


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
        ("input_dropout", (), r"input_dropout has the wrong shape.*received \(\)"),
        (
            "recurrent_dropout",
            (1, 3, 6),
            r"recurrent_dropout has the wrong shape. Expected \(gates=3, batch=3, units=6\)",
        ),
    ],
)
def test_a_wrong_shape_is_an_invalid_argument(argument: str, shape: tuple[int, ...], expected: str) -> None:
    value = tf.ones(shape, tf.bool if argument == "mask" else tf.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"gatewise: {expected}"):
        run(X, **{argument: value})


def test_kernels_that_do_not_fit_are_invalid_arguments() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"kernel has the wrong shape. Expected \(features=3, "):
        run(X[..., :3])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"kernel has the wrong shape. Expected \(features=4, 3"):
        gru(engine, X, None, KERNEL, RECURRENT_KERNEL[:-1])


ONE_WAY = Direction(kernel=KERNEL, recurrent_kernel=RECURRENT_KERNEL)


def test_static_shapes_of_both_directions_are_known() -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, 7, FEATURES))])
    def trace(x: Any) -> Any:
        outputs, states = engine.rnn(x, [ONE_WAY, ONE_WAY], cell=Cell.GRU)
        last, _ = engine.rnn(x, [ONE_WAY, ONE_WAY], cell=Cell.GRU, return_sequences=False)
        assert outputs.shape.as_list() == [None, 7, 2 * UNITS]
        assert last.shape.as_list() == [None, 1, 2 * UNITS]
        assert [state.shape.as_list() for (state,) in states] == [[None, UNITS]] * 2
        return outputs

    trace.get_concrete_function()


def test_a_wrong_shape_names_its_direction() -> None:
    wrong = ONE_WAY._replace(kernel=KERNEL[:, :-3])
    expected = r"second.kernel has the wrong shape. Expected \(features=4, 3 \* units=18\); received \(4, 15\)"
    with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
        engine.rnn(X, [ONE_WAY, wrong], cell=Cell.GRU)


def test_there_is_no_third_direction() -> None:
    operations, _ = load()
    own = ([() if value is None else value] * 3 for value in ONE_WAY)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"directions are too many. Expected 1 or 2"):
        operations.gatewise_rnn(X, (), (), *own, **dict.fromkeys(OPTIONS, 0))


def test_an_activation_that_the_engine_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"activation is unknown. Expected one of tanh, .*; received 'elu'"):
        run(X, activation="elu")


def test_an_eager_call_takes_the_fast_way_into_its_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that TensorFlow's C code cannot take by itself, as () for a mask, makes it slow."""
    operations = load()[0]
    for name in ("gatewise_rnn", "gatewise_rnn_train", "gatewise_rnn_grad"):
        monkeypatch.setattr(operations, f"{name}_eager_fallback", None)
    for training in (False, True):
        with tf.GradientTape() as tape:
            kernel = tf.Variable(KERNEL)
            outputs, _ = engine.rnn(X, [ONE_WAY._replace(kernel=kernel)] * 2, cell=Cell.GRU, training=training)
        assert tape.gradient(outputs, kernel).shape == KERNEL.shape


def test_a_batch_of_none_and_a_sequence_of_none_are_served() -> None:
    for shape in ((0, TIMESTEPS, FEATURES), (BATCH, 0, FEATURES)):
        outputs, state = run(np.zeros(shape, np.float32))
        assert tuple(outputs.shape) == (*shape[:2], UNITS)
        assert tuple(state.shape) == (shape[0], UNITS)
        assert not np.any(state)


def test_a_library_opened_before_tensorflow_could_register_is_explained() -> None:
    # Registration happens when the file is first opened in a process.
    program = """
import ctypes, importlib.util, pathlib
package = pathlib.Path(importlib.util.find_spec("gatewise").origin).parent
ctypes.CDLL(str(package / "libgatewise_tensorflow.so"))
from gatewise.ops import tensorflow as engine
print(engine.available())
try:
    engine.rnn(None, [], cell=0)
except RuntimeError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    reason, error = done.stdout.splitlines()
    assert "lacks the function TF_" in reason
    assert reason in error
