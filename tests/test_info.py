# SPDX-License-Identifier: Apache-2.0
"""`gatewise.info` says what is there, as the frameworks themselves say it, and imports none of them for it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gatewise
from own_process import LIMIT, run

FRAMEWORKS = ("keras", "tensorflow", "jax", "torch")


def test_versions_are_those_that_the_frameworks_give_and_none_is_imported(tmp_path: Path) -> None:
    for name in FRAMEWORKS:
        pytest.importorskip(name, reason="every framework is asked for its version")
    found, early, told = run(
        "import gatewise, json, sys\n"
        "found = gatewise.info().packages\n"
        f"early = [name for name in {FRAMEWORKS!r} if name in sys.modules]\n"
        "import jax, jaxlib, keras, numpy, safetensors, tensorflow, torch\n"
        "modules = (numpy, safetensors, keras, tensorflow, jax, jaxlib, torch)\n"
        "print(json.dumps([found, early, {module.__name__: module.__version__ for module in modules}]))",
        tmp_path,
    )
    assert early == []
    assert {name: found[name] for name in told} == told


def test_what_is_not_installed_is_none() -> None:
    found = gatewise.info().packages
    assert {"numpy", "keras", "tf_keras", "tensorflow", "jax", "torch"} <= found.keys()
    for name, version in found.items():
        assert (version is None) == (importlib.util.find_spec(name) is None), name


def test_where_numpy_and_safetensors_alone_are_installed_the_rest_is_said_to_be_absent(tmp_path: Path) -> None:
    for name in ("numpy", "safetensors", "gatewise"):
        site = Path(str(importlib.util.find_spec(name).origin)).parents[1]  # type: ignore[union-attr]
        for path in (site / name, site / f"{name}.libs", *site.glob(f"{name}-*.dist-info")):
            if path.exists():
                (tmp_path / path.name).symlink_to(path)
    program = f"import sys; sys.path.append({str(tmp_path)!r}); import gatewise; print(gatewise.info().to_json())"
    command = [sys.executable, "-S", "-c", program]  # -S: without the folder that everything is installed in
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT).stdout)
    assert {name for name, version in found["packages"].items() if version is not None} == {"numpy", "safetensors"}
    assert found["keras_backend"] == {"name": None, "chosen_by": None}
    assert {name: face["problem"] for name, face in found["faces"].items()} == {
        "TensorFlow": "tensorflow is not installed",
        "JAX": "jax is not installed",
        "PyTorch": "torch is not installed",
    }
    assert found["gatewise"]["version"] == gatewise.__version__


@pytest.mark.parametrize(
    ("variable", "file", "backend", "chosen_by"),
    [
        ("jax", '{"backend": "torch"}', "jax", "KERAS_BACKEND"),
        ("", '{"backend": "torch"}', "torch", "keras.json"),
        (None, '{"backend": ', "tensorflow", "Keras's default"),
    ],
)
def test_the_backend_is_the_one_that_keras_takes(
    variable: str | None,
    file: str,
    backend: str,
    chosen_by: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    (tmp_path / "keras.json").write_text(file)
    said, taken, after = run(
        "import gatewise, json\n"
        "said = gatewise.info().keras_backend\n"
        "import keras\n"
        "print(json.dumps([said, keras.backend.backend(), gatewise.info().keras_backend]))",
        tmp_path,
        KERAS_HOME=str(tmp_path),
        **({} if variable is None else {"KERAS_BACKEND": variable}),
    )
    assert said["name"] == taken == backend
    assert said["chosen_by"].endswith(chosen_by)
    assert after == {"name": backend, "chosen_by": "in use"}


def test_the_engine_is_as_it_is_set_and_has_counted(tmp_path: Path) -> None:
    found = run(
        "import gatewise, json, numpy as np\n"
        "weights = gatewise.GRUWeights(np.zeros((2, 6)), np.zeros((2, 6)))\n"
        "gatewise.rnn(np.zeros((1, 3, 2)), weights)\n"
        "print(gatewise.info().to_json().replace('\\n', ' '))",
        tmp_path,
        GATEWISE_ISA="generic",
        GATEWISE_NUM_THREADS="3",
    )
    assert found["engine"] == {"instruction_set": "generic", "threads": 3, "forward_calls": 1, "backward_calls": 0}
    assert found["environment"] == {**found["environment"], "GATEWISE_ISA": "generic", "GATEWISE_NUM_THREADS": "3"}


def test_only_variables_that_matter_are_told_and_not_whose_machine_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (
        ("TF_TOKEN_app", "secret"),
        ("KERAS_HOME", str(tmp_path / "k")),
        ("OMP_NUM_THREADS", "1"),
        ("TF_USE_LEGACY_KERAS", "1"),
    ):
        monkeypatch.setenv(name, value)
    environment = gatewise.info().environment
    assert "TF_TOKEN_app" not in environment
    expected = {"KERAS_HOME": "~/k", "OMP_NUM_THREADS": "1", "TF_USE_LEGACY_KERAS": "1"}
    assert {name: environment[name] for name in expected} == expected


def test_a_face_says_what_was_left_out_and_what_failed(tmp_path: Path) -> None:
    shutil.copytree(Path(gatewise.__file__).parent, tmp_path / "gatewise")
    (tmp_path / "gatewise" / "libgatewise_xla.so").unlink()
    (tmp_path / "gatewise" / "libgatewise_tensorflow.so").unlink()
    before, after, folder = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import gatewise, dataclasses, json\n"
        "before = dataclasses.asdict(gatewise.info())\n"
        "import gatewise.keras\n"
        "after = dataclasses.asdict(gatewise.info())\n"
        "print(json.dumps([before['faces'], after['faces'], after['gatewise']['folder']]))",
        tmp_path,
        KERAS_BACKEND="tensorflow",
    )
    left_out = {"built": False, "problem": "this build left it out"}
    assert (before["JAX"], before["TensorFlow"]) == (left_out, left_out)
    assert before["PyTorch"]["built"]
    assert after["TensorFlow"]["problem"].startswith("libgatewise_tensorflow.so cannot be loaded (")
    assert folder.endswith("/gatewise")


def test_text_and_json_hold_the_same() -> None:
    found = gatewise.info()
    text, document = str(found), json.loads(found.to_json())
    assert document == dataclasses.asdict(found)
    for value in (
        *(f"{name} {version}" for name, version in found.packages.items() if version),
        platform.python_version(),
        gatewise.isa(),
        f"{found.cpu['usable_cpus']} of {os.cpu_count()} CPUs",
        *(f"{name:6}" for name in ("gatewise", "Python", "CPU", "engine")),
    ):
        assert value in text
    assert max(map(len, text.splitlines())) < 160
