# SPDX-License-Identifier: Apache-2.0
"""Keras's own tests of its recurrent layers pass with the engine under every layer, and it is the engine that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")
pytest.importorskip("absl.testing", reason="Keras's tests need absl-py")

from backends import BACKEND  # noqa: E402  # after the skips

FOLDER = Path(keras.__file__).parent / "src" / "layers" / "rnn"
FILES = [
    f"{name}_test.py"
    for name in ("gru", "lstm", "simple_rnn", "bidirectional", "rnn", "stacked_rnn_cells", "time_distributed")
]  # in the wheels of Keras 3.15 and later
TIMEOUT = 900  # seconds; on two quiet cores a run takes 5 (torch) to 60 (JAX)

pytestmark = pytest.mark.skipif(not (FOLDER / FILES[0]).exists(), reason="this Keras ships no tests: use 3.15 or later")

SKIPPED_BY_KERAS = {
    "gru_test.py::test_torch_cudnn_dispatch_fires",  # needs torch with cuDNN
    "bidirectional_test.py::test_torch_cudnn_bidirectional_gru_dispatch_fires",  # the same
}
ON_TENSORFLOW_ALONE = {"gru_test.py::test_stateful_with_symbolic_batch_size"}
# Every test that calls a layer which the engine has; the files hold tests of other layers too.
CALLS_A_LAYER = {
    "gru_test.py::test_basics",
    "gru_test.py::test_correctness0",
    "gru_test.py::test_correctness1",
    "gru_test.py::test_legacy_implementation_argument",
    "gru_test.py::test_masking",
    "gru_test.py::test_pass_initial_state",
    "gru_test.py::test_pass_return_state",
    "gru_test.py::test_statefulness",
    *(
        f"lstm_test.py::test_{name}"
        for name in (
            *("basics", "correctness0", "correctness1", "masking"),
            *("pass_initial_state", "statefulness"),
        )
    ),
    *(
        f"simple_rnn_test.py::test_{name}"
        for name in ("basics", "correctness", "masking", "pass_initial_state", "statefulness")
    ),
    *(
        f"bidirectional_test.py::test_{name}"
        for name in (
            *("basics", "correctness", "fused_gru_matches_unfused", "fused_lstm_matches_unfused", "masking"),
            *("output_shape", "pass_initial_state", "return_state", "statefulness"),
        )
    ),
}
if BACKEND == "tensorflow":
    CALLS_A_LAYER |= ON_TENSORFLOW_ALONE
else:
    SKIPPED_BY_KERAS |= ON_TENSORFLOW_ALONE
CELLS_IN_A_STACK = "stacked_rnn_cells_test.py::test_basics"
# Those of stacks, whose cells patch_keras() reaches too
CALLS_CELLS = {
    CELLS_IN_A_STACK,
    "stacked_rnn_cells_test.py::test_return_state_stacked_lstm_cell",
    "stacked_rnn_cells_test.py::test_stacked_lstm_cell_mask",
}
SYMBOLIC = "called with a KerasTensor only"
# Where a layer did not run on the engine in every call of a test, and why.
REASONS = {f"{name}_test.py::test_basics": {SYMBOLIC} for name in ("gru", "lstm", "simple_rnn", "bidirectional")}
REASONS_PATCHED = REASONS | {CELLS_IN_A_STACK: {SYMBOLIC}}
if BACKEND != "torch":  # where Keras tries mixed precision
    REASONS_PATCHED[CELLS_IN_A_STACK] = {SYMBOLIC, "the layer computes in float16 and its cell in float32"}


@pytest.fixture(scope="module", params=[pytest.param("instead", marks=pytest.mark.deep), "patched"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the engine is: in the layers of `gatewise.keras` instead of stock's, or in the patched Keras."""
    return str(request.param)


@pytest.fixture(scope="module")
def notes(place: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ran in each of Keras's tests; they run once for each place, in a process of their own."""
    folder = tmp_path_factory.mktemp(place)
    python_path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "KERAS_BACKEND": BACKEND,
        "GATEWISE_PLACE": place,
        "GATEWISE_NOTES": str(folder / "notes.json"),
        "PYTHONPATH": os.pathsep.join(python_path),
    }
    plugins = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "keras_own_suites_plugin"]
    command = [sys.executable, "-m", "pytest", *plugins, "-c", os.devnull, "--rootdir", str(FOLDER), "-q"]
    done = subprocess.run(
        [*command, "--disable-warnings", *(str(FOLDER / file) for file in FILES)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads((folder / "notes.json").read_text(encoding="utf-8")))


def test_keras_own_tests_pass_and_skip_only_what_they_skip_with_stock(notes: dict[str, Any]) -> None:
    assert {note["outcome"] for note in notes.values()} == {"passed", "skipped"}
    assert {name for name, note in notes.items() if note["outcome"] == "skipped"} == SKIPPED_BY_KERAS
    assert {name.split("::")[0] for name in notes} == set(FILES)


def test_every_test_that_calls_a_layer_runs_on_the_engine(place: str, notes: dict[str, Any]) -> None:
    expected = CALLS_A_LAYER | (CALLS_CELLS if place == "patched" else set())
    assert {name for name, note in notes.items() if note["layers"]} == expected
    assert {name for name, note in notes.items() if note["calls"]} == expected


def test_every_call_that_is_not_native_has_its_known_reason(place: str, notes: dict[str, Any]) -> None:
    found = {name: set(note["reasons"]) for name, note in notes.items() if note["reasons"]}
    assert found == (REASONS_PATCHED if place == "patched" else REASONS)
