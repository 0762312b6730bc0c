# SPDX-License-Identifier: Apache-2.0
"""Under `python -m gatewise` what a program imports is patched, in its processes too, and the calls are counted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from own_process import LIMIT

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch", reason="the programs are PyTorch's: install the extra `torch`")

TORCH = """
import multiprocessing, os, signal, sys
import torch
def train(steps):
    torch.manual_seed(0)
    gru = torch.nn.GRU(3, 4)
    for _ in range(steps):
        gru(torch.ones(5, 2, 3))[0].sum().backward()
    return float(gru.weight_ih_l0.grad.sum())
"""
MAIN = TORCH + "if __name__ == '__main__':\n    "
KERAS = """
import sys
import numpy as np
{}
model = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(4), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((8, 5, 3), "float32"), np.ones((8, 1)), batch_size=2, epochs=3, verbose=0)
print(*sorted({{"keras", "tensorflow", "jax", "torch"}} & set(sys.modules)))
"""


def run(folder: Path, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program as a script, or by `arguments` of its own, under gatewise."""
    (folder / "script.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "gatewise", *(arguments or ["script.py"])],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert not list(folder.glob("gatewise-run-*")), "something was left behind"
    return done


def counted(done: subprocess.CompletedProcess[str]) -> tuple[int, int, int]:
    """The forward and backward calls and the processes in the last words of a program that ended well."""
    assert done.returncode == 0, done.stderr
    pattern = r"^gatewise: ([\d,]+) forward and ([\d,]+) backward calls ran natively(?: in (\d+) processes)? \(\w+\)\."
    found = re.search(pattern, done.stderr, re.MULTILINE)
    assert found is not None, done.stderr
    return int(found[1].replace(",", "")), int(found[2].replace(",", "")), int(found[3] or 1)


def test_a_torch_program_runs_natively_with_the_same_results(tmp_path: Path) -> None:
    ours = run(tmp_path, MAIN + "print(train(3), 'keras' in sys.modules)")
    plain = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=True
    ).stdout.split()
    assert counted(ours) == (3, 3, 1)
    assert float(ours.stdout.split()[0]) == pytest.approx(float(plain[0]), rel=1e-5)
    assert ours.stdout.split()[1] == "False"


@pytest.mark.parametrize(
    ("backend", "imports", "loaded"),
    [
        ("tensorflow", "import keras", ["keras", "tensorflow"]),
        ("tensorflow", "import tensorflow as tf; keras = tf.keras", ["keras", "tensorflow"]),
        ("jax", "import keras", ["jax", "keras"]),
        ("torch", "import keras", ["keras", "torch"]),
    ],
    ids=["tensorflow", "tf.keras", "jax", "torch"],
)
def test_a_keras_program_runs_natively(backend: str, imports: str, loaded: list[str], tmp_path: Path) -> None:
    if backend == "jax":
        pytest.importorskip("jax", reason="this case is JAX's: install the extra `jax`")
    done = run(tmp_path, KERAS.format(imports), KERAS_BACKEND=backend)
    assert counted(done) == (12, 12, 1)  # a step is one call each way
    assert set(loaded) <= set(done.stdout.split())


@pytest.mark.parametrize(
    "arguments", [("script.py", "fork"), ("script.py", "spawn"), ("script.py", "forkserver"), ("-m", "script", "spawn")]
)
def test_processes_of_multiprocessing_are_patched_and_counted(arguments: tuple[str, ...], tmp_path: Path) -> None:
    program = MAIN + (
        "context = multiprocessing.get_context(sys.argv[1])\n"
        "    processes = [context.Process(target=train, args=(n,)) for n in (1, 2)]\n"
        "    processes.append(context.Process(target=os.getpid))\n"
        "    train(4)\n"
        "    [process.start() for process in processes]\n"
        "    [process.join() for process in processes]\n"
        "    sys.exit(any(process.exitcode for process in processes))\n"
    )
    assert counted(run(tmp_path, program, *arguments)) == (7, 7, 3)


def test_a_process_that_is_killed_is_said_not_to_be_counted(tmp_path: Path) -> None:
    killed = (
        "process = multiprocessing.get_context('fork').Process(target=os.abort)\n    process.start(); process.join()"
    )
    done = run(tmp_path, MAIN + "train(1)\n    " + killed)
    assert counted(done) == (1, 1, 1)
    assert "Not counted: 1 processes that ended before they could tell." in done.stderr


def test_a_thread_that_outlives_the_main_one_is_counted(tmp_path: Path) -> None:
    program = MAIN + (
        "import threading\n    threading.Thread(target=lambda: (threading.main_thread().join(), train(2))).start()\n"
    )
    assert counted(run(tmp_path, program)) == (2, 2, 1)


def test_what_ran_stock_is_said_with_the_reason(tmp_path: Path) -> None:
    program = "import torch\ntorch.nn.GRU(3, 4, dtype=torch.float64)(torch.zeros(5, 2, 3, dtype=torch.float64))"
    done = run(tmp_path, program)
    assert done.returncode == 0
    last = done.stderr.splitlines()[-2:]
    assert last[0] == "gatewise: no call ran natively."
    assert last[1].startswith("gatewise: gatewise.torch.GRU: PyTorch's own path runs, because ")
    assert "float64" in last[1]


def test_a_program_without_a_gru_is_told_that_none_ran(tmp_path: Path) -> None:
    done = run(tmp_path, "import torch\nprint(torch.nn.Linear(2, 1)(torch.zeros(1, 2)).shape)")
    assert (done.returncode, done.stderr) == (0, "gatewise: no call ran natively.\n")


def test_a_framework_that_cannot_be_patched_stays_as_it_is_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("version = 'of another kind'")
    done = run(tmp_path, "import torch\nprint(torch.version)")
    assert (done.returncode, done.stdout) == (0, "of another kind\n")
    assert "RuntimeWarning: python -m gatewise: PyTorch stays as it is. " in done.stderr
    assert done.stderr.endswith("\ngatewise: no call ran natively.\n")


def test_a_program_that_imported_a_framework_before_we_could_wait_is_patched(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import torch")
    assert counted(run(tmp_path, MAIN + "train(1)", PYTHONPATH=str(tmp_path / "site"))) == (1, 1, 1)


def test_a_question_for_a_framework_imports_and_patches_nothing(tmp_path: Path) -> None:
    program = (
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec('torch')\n"
        "print(found.name, 'torch' in sys.modules)\n"
        "import torch\n"
        "print(type(torch.__loader__).__name__, torch.__spec__.loader is torch.__loader__, vars(torch.__loader__))\n"
        "torch.nn.GRU(2, 2)(torch.zeros(1, 1, 2))"
    )
    done = run(tmp_path, program)
    assert counted(done) == (1, 0, 1)
    asked, imported = done.stdout.splitlines()
    assert asked == "torch False"
    assert imported.startswith("SourceFileLoader True ")
    assert "exec_module" not in imported
