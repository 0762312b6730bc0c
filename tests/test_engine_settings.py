# SPDX-License-Identifier: Apache-2.0
"""The engine in its process: threads and instruction set, from the environment and by call, and the process's end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from engine_case import ISAS, LANES, threads

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the threads of a process")


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (5000, ValueError), ("2", TypeError)])
def test_a_wrong_number_of_threads_is_refused(n: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="set_num_threads: n"):
        gatewise.set_num_threads(n)


def test_a_number_of_threads_is_honoured_as_given() -> None:
    with threads(7):
        assert gatewise.num_threads() == 7
    assert gatewise.num_threads() == len(os.sched_getaffinity(0)) or os.environ.get("GATEWISE_NUM_THREADS")


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False,
                          env=os.environ | environment)  # fmt: skip


def test_the_environment_sets_threads_and_instruction_set() -> None:
    program = "import gatewise; print(gatewise.num_threads(), gatewise.isa())"
    ran = run_python(program, GATEWISE_NUM_THREADS="3", GATEWISE_ISA="generic")
    assert ran.stdout.split() == ["3", "generic"]


@pytest.mark.parametrize("value", ["0", "-1", "4097", "99999999999", "2 ", "1e1", "two", "\u0663"])
def test_a_variable_that_is_no_number_of_threads_is_an_error(value: str) -> None:
    ran = run_python("import gatewise", GATEWISE_NUM_THREADS=value)
    assert ran.returncode == 1
    assert "GATEWISE_NUM_THREADS: it is no number of threads. Expected 1 to 4096; received" in ran.stderr


def test_an_instruction_set_that_does_not_exist_is_an_error() -> None:
    ran = run_python("import gatewise", GATEWISE_ISA="sse")
    assert ran.returncode == 1
    assert "there is no such instruction set. Expected one of generic, avx2, avx512; received 'sse'" in ran.stderr


@pytest.mark.skipif(len(ISAS) == len(LANES), reason="this CPU runs every instruction set")
def test_an_instruction_set_that_the_cpu_lacks_is_an_error() -> None:
    missing = next(name for name in LANES if name not in ISAS)
    ran = run_python("import gatewise", GATEWISE_ISA=missing)
    assert ran.returncode == 1
    assert f"GATEWISE_ISA: this CPU, or this build of gatewise, cannot run it. Expected {gatewise.isa()}" in ran.stderr


def test_the_default_number_of_threads_follows_affinity() -> None:
    program = "import os; os.sched_setaffinity(0, {0}); import gatewise; print(gatewise.num_threads())"
    assert run_python(program, GATEWISE_NUM_THREADS="").stdout.strip() == "1"


def test_a_forked_child_runs_on_threads_of_its_own() -> None:
    program = """
import os, sys, numpy as np, gatewise
weights = gatewise.GRUWeights(np.ones((5, 48)), np.ones((16, 48)))
x = np.ones((64, 20, 5), np.float32)
gatewise.set_num_threads(4)
expected = gatewise.rnn(x, weights)[0]
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(gatewise.rnn(x, weights)[0], expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
print("ok", np.array_equal(gatewise.rnn(x, weights)[0], expected))
"""
    ran = run_python(program)
    assert ran.stdout.strip() == "ok True", ran.stderr


@linux_only
def test_the_default_number_of_threads_follows_affinity_as_it_changes() -> None:
    program = """
import os, time, gatewise
allowed = os.sched_getaffinity(0)
def becomes(n):
    end = time.monotonic() + 20
    while gatewise.num_threads() != n:
        assert time.monotonic() < end
assert gatewise.num_threads() == len(allowed)
os.sched_setaffinity(0, {min(allowed)})
becomes(1)
os.sched_setaffinity(0, allowed)
becomes(len(allowed))
"""
    ran = run_python(program, GATEWISE_NUM_THREADS="")
    assert ran.returncode == 0, ran.stderr


@linux_only
def test_threads_that_are_no_longer_wanted_end() -> None:
    weights, x = gatewise.GRUWeights(np.ones((5, 48)), np.ones((16, 48))), np.ones((2048, 8, 5), np.float32)

    def of_process() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    with threads(1):
        before = of_process()
        for _ in range(2):
            gatewise.set_num_threads(40)
            gatewise.rnn(x, weights)
            assert of_process() >= before + 30
            gatewise.set_num_threads(1)
            end = time.monotonic() + 20
            while of_process() > before:
                assert time.monotonic() < end
    with threads(3):
        expected = gatewise.rnn(x, weights)[0]  # new ones are hired
    np.testing.assert_array_equal(gatewise.rnn(x, weights)[0], expected)


@pytest.mark.parametrize(
    "call", ["gatewise.rnn(x, weights)", "gatewise.rnn_vjp(x, weights)[2]()", "step(x[:, 0], state)"]
)
def test_a_daemon_thread_inside_a_call_may_outlive_python(call: str) -> None:
    program = f"""
import threading, numpy as np, gatewise
weights = gatewise.GRUWeights(np.zeros((5, 192)), np.zeros((64, 192)))
x, state = np.zeros((16, 50, 5), np.float32), np.zeros((16, 64), np.float32)
step, runs = gatewise.Step(weights), threading.Event()
def loop():
    while True:
        {call}
        runs.set()
for _ in range(2):
    threading.Thread(target=loop, daemon=True).start()
runs.wait()
"""
    for _ in range(5):
        ran = run_python(program)
        assert (ran.returncode, ran.stderr) == (0, "")
