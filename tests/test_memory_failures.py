# SPDX-License-Identifier: Apache-2.0
"""Memory that runs out at any allocation of a call, in every hook: an error, and the next call gives the same bits.

A library that is preloaded fails one allocation of gatewise's own after another; what frameworks allocate is theirs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SETUP = """
import ctypes, sys
import numpy as np
import gatewise

memory = ctypes.CDLL(None)
rng = np.random.default_rng(0)
arrays = [rng.normal(size=s).astype("float32") for s in [(16, 40, 5), (16, 64), (5, 192), (64, 192), (2, 192)]]
mask = rng.random((16, 40)) < 0.7
gatewise.set_num_threads(2)


def attempt(n):
    memory.fail_allocation(n)
    try:
        found = [np.asarray(value).tobytes() for value in step()]
    except Exception as error:
        assert "memory" in str(error).lower() or "bad_alloc" in str(error), repr(error)
        found = None
    left = memory.allocations_left()
    memory.fail_allocation(0)
    return found, left == 0
"""
# One allocation after another, until a call has no more.
EVERY = """
expected, failed, errors, n = attempt(0)[0], True, 0, 0
while failed:
    n += 1
    found, failed = attempt(n)
    errors += found is None
    assert found in (None, expected), f"allocation {n}: other bits"
    assert attempt(0)[0] == expected, f"after allocation {n}: other bits"
print(n - 1, errors)
"""
STEPS = {
    "numpy": """
def step():
    weights = gatewise.GRUWeights(*arrays[2:])
    outputs, state, vjp = gatewise.rnn_vjp(arrays[0], weights, arrays[1], mask)
    return outputs, state, *vjp(outputs, state)
""",
    "step": """
def step():
    return [gatewise.Step(gatewise.GRUWeights(*arrays[2:]))(arrays[0][:, 0], arrays[1])]
""",
    "program": """
from gatewise import _native

kernel = rng.normal(size=(64, 40)).astype("float32")
cell = dict(zip(("kernel", "recurrent_kernel", "bias"), arrays[2:], strict=True))
operations = [
    ("gru", (0, 1), (2,), {"return_sequences": True}, cell),
    ("dense", (2,), (3,), {}, {"kernel": kernel}),
    ("conv1d", (3,), (4,), {"padding": "causal"}, {"kernel": rng.normal(size=(3, 40, 130)).astype("float32")}),
    ("softmax", (4,), (5,), {}, {}),
]


def step():
    program = _native.Program(operations, [(0, 5, "float32"), (1, 1, "bool")], [2, 5])
    states = tuple(np.zeros((16, (width + 15) // 16 * 16), np.float32) for _, width in program.states)
    given = arrays[0], mask[:, :, None]
    return *program.run(given, states, None), *program.run(given, None, None), *states
""",
    "tensorflow": """
import tensorflow as tf
from gatewise.cells import Cell
from gatewise.operands import Direction
from gatewise.ops.tensorflow import rnn

given = [tf.constant(value) for value in arrays]
names = ("initial_h", "kernel", "recurrent_kernel", "bias")


def step():
    with tf.GradientTape() as tape:
        tape.watch(given)
        one = Direction(**dict(zip(names, given[1:], strict=True)))
        outputs, ((state,),) = rnn(given[0], [one], mask, cell=Cell.GRU, training=True)
        both, states = rnn(given[0], [one, one], mask, cell=Cell.GRU, training=True)
        loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(state) + tf.reduce_sum(both**2)
    return outputs, state, both, *tape.gradient(loss, given)
""",
    "jax": """
import jax
from gatewise.cells import Cell
from gatewise.operands import Direction
from gatewise.ops.jax import rnn

names = ("initial_h", "kernel", "recurrent_kernel", "bias")


def loss(x, h, *weights):
    one = Direction(**dict(zip(names, (h, *weights), strict=True)))
    outputs, ((state,),) = rnn(x, [one], mask, cell=Cell.GRU)
    both, states = rnn(x, [one, one], mask, cell=Cell.GRU)
    return (outputs**2).sum() + state.sum() + (both**2).sum()


gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4)))


def step():
    return jax.block_until_ready(gradients(*arrays))
""",
    "torch": """
import torch
from gatewise.torch import GRU

torch.manual_seed(0)
layer = GRU(5, 64, batch_first=True, bidirectional=True)
x = torch.tensor(arrays[0])


def step():
    outputs, state = layer(x)
    layer.zero_grad()
    ((outputs**2).sum() + state.sum()).backward()
    return outputs.detach(), state.detach(), *(parameter.grad for parameter in layer.parameters())
""",
}


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CXX") or shutil.which("c++")
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("a library is preloaded: Linux and a C++ compiler, c++ or that of CXX, are needed")
    library = tmp_path_factory.mktemp("preloaded") / "failing_memory.so"
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-o", str(library)]
    subprocess.run([compiler, *flags, str(HERE / "failing_memory.cpp"), "-ldl"], check=True)
    return library


def run(program: str, library: Path) -> str:
    environment = os.environ | {"LD_PRELOAD": str(library), "KERAS_BACKEND": "tensorflow", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-P", "-c", SETUP + program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("hook", STEPS)
def test_every_allocation_may_fail(hook: str, preloaded: Path) -> None:
    if hook in {"tensorflow", "jax", "torch"}:
        pytest.importorskip(hook, reason=f"the hook is {hook}'s: install the extra `{hook}`")
    tried, errors = run(STEPS[hook] + EVERY, preloaded).split()[-2:]
    assert int(tried) >= 3
    assert int(errors) >= 2


def test_the_first_call_of_a_process_may_fail(preloaded: Path) -> None:
    first = "found, failed = attempt(int(sys.argv[1])); print(failed, attempt(0)[0] == attempt(0)[0])"
    for n in range(1, 25):
        program = f"{STEPS['numpy']}import sys; sys.argv = ['', '{n}']\n{first}"
        assert run(program, preloaded).split() == ["True", "True"]
