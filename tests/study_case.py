# SPDX-License-Identifier: Apache-2.0
"""Scripts of `examples/`, run in a process of their own, as a reader would run them; studies in small."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from own_process import FRAMEWORKS, HIDE, run

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TIMEOUT = 180  # seconds; a script takes about fifteen

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="the examples need the extra tensorflow: pip install '.[tensorflow]'",
)


class Ran(NamedTuple):
    """A study that was run with --quick: what it printed, its figures by name, and the folder of its results."""

    printed: str
    facts: dict[str, Any]
    out: Path


def run_script(script: Path, folder: Path, *arguments: object) -> str:
    """Runs a script in a folder; returns what it printed, without terminal colours."""
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2", "COLUMNS": "120"},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


PREDICT = f"""{HIDE.format(FRAMEWORKS)}
import json, gatewise
model = gatewise.load("{{name}}.safetensors")
print(json.dumps(model.predict({{raw!r}}).tolist()))
"""


def check_raw(name: str, out: Path, raw: Any, by: str) -> None:
    """Checks that a study's saved model reads raw input where no framework is, and gives what Keras gives.

    Args:
        name: of its files, .safetensors and .keras.
        out: the folder that they lie in.
        raw: what `predict` is given there, as a program would write it.
        by: the name of what makes Keras's input of it, among what the model keeps.
    """
    import keras

    import gatewise.keras  # noqa: F401  # a model's file names its layer
    from gatewise.data.preprocessing import find_preprocessing

    model = keras.saving.load_model(out / f"{name}.keras")
    expected = model.predict(find_preprocessing(model)[by](raw), verbose=0)
    found = run(PREDICT.format(name=name, raw=raw), out)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def run_study(name: str, out: Path, *arguments: object) -> Ran:
    """Runs a study with --quick and checks that it wrote what every study writes, and nothing else than it should."""
    page = ROOT / "docs" / f"{name}.md"
    before = page.read_text(encoding="utf-8")
    printed = run_script(EXAMPLES / f"{name}.py", out, "--quick", "--out", out, *arguments)
    facts = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    assert facts["quick"]
    assert min(facts["forward"], facts["backward"]) > 0, "the engine did not run"
    for picture in (out / f"{name}.svg", out / f"{name}.png"):
        assert picture.stat().st_size > 5000
    assert page.read_text(encoding="utf-8") == before
    return Ran(printed, facts, out)
