# SPDX-License-Identifier: Apache-2.0
"""`gatewise check` and `gatewise info`: what they print, where, and how they end."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from own_process import HIDE, LIMIT

for _name in ("typer", "rich", "keras"):
    pytest.importorskip(_name, reason="the command needs the extra cli and one that brings Keras")

import keras  # noqa: E402  # after the skips
from typer.testing import CliRunner  # noqa: E402

import gatewise  # noqa: E402
from gatewise.cli.app import app  # noqa: E402
from gatewise.keras import GRU  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAIN = "import sys; from gatewise.cli import main; sys.argv[0] = 'gatewise'; main()"
# A layer that a model's file only names.
OWN = """
import keras
from gatewise.keras import GRU
@keras.saving.register_keras_serializable(package="mine")
class Own(GRU):
    pass
"""
L = keras.layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with saved models, and the module that own.keras needs."""
    path = tmp_path_factory.mktemp("models")
    first = {"name": "first", "return_sequences": True}
    for name, layers in {
        "native.keras": [GRU(2, **first), L.Bidirectional(GRU(2, name="g"), name="second")],
        "stock.keras": [L.GRU(2, **first)],
        "mixed.keras": [GRU(2, activation="selu", **first), L.LSTM(2, name="last")],
        "none.keras": [L.Flatten()],
        "lambda.keras": [L.Lambda(lambda x: x)],
    }.items():
        keras.Sequential([keras.Input((5, 3)), *layers]).save(path / name)
    keras.saving.load_model(path / "stock.keras").save(path / "stock.h5")
    keras.Sequential([keras.Input((5, 3)), GRU(2)]).save_weights(path / "only.weights.h5")
    (path / "text.keras").write_text("text")
    (path / "own_layers.py").write_text(OWN)
    own: dict[str, Any] = {}
    exec(OWN, own)  # noqa: S102  # a text of this file
    keras.Sequential([keras.Input((5, 3)), own["Own"](2, name="own")]).save(path / "own.keras")
    keras.saving.get_custom_objects().pop("mine>Own")
    return path


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs a test inside the folder, and leaves Keras as it was."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    gatewise.unpatch_keras()
    sys.modules.pop("own_layers", None)
    keras.saving.get_custom_objects().pop("mine>Own", None)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "COLUMNS": "80", **changes}


def run(folder: Path, *arguments: str, before: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own, in a folder; `before` is what the process does first."""
    return subprocess.run(
        [sys.executable, "-c", before + MAIN, *arguments],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore::gatewise.FallbackWarning")
@pytest.mark.parametrize(
    ("arguments", "status", "rows"),
    [
        (("native.keras",), 0, {"first": True, "second/forward_g": True, "second/backward_g": True}),
        (("stock.keras",), 1, {"first": False}),
        (("stock.keras", "--patch"), 0, {"first": True}),
        (("--patch", "stock.h5"), 0, {"first": True}),
        (("mixed.keras", "--patch"), 1, {"first": False, "last": True}),
        (("none.keras",), 0, {}),
        (("own.keras", "--import", "own_layers"), 0, {"own": True}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_status_and_the_json_say_which_layers_run_natively(
    arguments: tuple[str, ...], status: int, rows: dict[str, bool]
) -> None:
    done = CliRunner().invoke(app, ["check", "--json", *arguments])
    assert (done.exit_code, done.stderr) == (status, "")
    document = json.loads(done.stdout)
    assert {row["path"]: row["native"] for row in document["layers"]} == rows
    assert document["native"] is (status == 0)


def test_in_a_process_of_its_own_nothing_else_is_printed(folder: Path) -> None:
    done = run(folder, "check", "native.keras", KERAS_BACKEND="tensorflow")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "layer              class               native  why not, and what to change"
    assert lines[1] == "first              gatewise.keras.GRU  yes"
    assert lines[5] == "All 3 recurrent layers run natively, unless"


def in_terminal(columns: int, **changes: str) -> str:
    """What is written to a terminal of a width for a model of two layers."""
    program = """
from gatewise.explain import Explanation, Row
from gatewise.cli import check_screen
reason = "the engine has no activation 'selu', only tanh, sigmoid, relu, linear, hard_sigmoid"
first = Row("first", "gatewise.keras.GRU", False, reason, "Choose one of those.")
check_screen.show(Explanation((first, Row("last", "gatewise.keras.GRU", True, unless=("it is exported",)))))
"""
    ours, theirs = pty.openpty()
    variables = {**environment(**changes), "COLUMNS": str(columns), "TERM": "xterm-256color"}
    process = subprocess.Popen([sys.executable, "-c", program], env=variables, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # Linux's way to say that the other end is closed
        pass
    finally:
        os.close(ours)
        process.wait(timeout=LIMIT)
    return written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [120, 60, 30])
def test_in_a_terminal_it_fits_and_breaks_no_word(columns: int) -> None:
    written = in_terminal(columns)
    text = re.sub(r"\x1b\[[0-9;]*m", "", written)
    assert max(map(len, text.splitlines())) <= columns
    for word in ("first", "gatewise.keras.GRU", "'selu',", "hard_sigmoid.", "last", "exported.", "1", "unless"):
        assert word in text.split()
    assert "\x1b[33mno" in written
    assert "\x1b[32myes" in written
    assert not re.search(r"\x1b\[3\dm", in_terminal(columns, NO_COLOR="1"))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no.keras",), "gatewise check: there is no such file. Expected a saved model; received no.keras."),
        (
            ("own_layers.py",),
            "gatewise check: the file has the wrong suffix. Expected .keras or .h5; received own_layers.py.",
        ),
        (
            ("text.keras",),
            "gatewise check: the file cannot be loaded. Expected a whole model that Keras saved; received",
        ),
        (("only.weights.h5",), "gatewise check: the file cannot be loaded. Expected a whole model that Keras saved;"),
        (
            ("own.keras",),
            "gatewise check: the file cannot be loaded. Expected a whole model that Keras saved; received",
        ),
        (("lambda.keras",), "gatewise check: the file cannot be loaded. Expected a whole model that Keras saved;"),
        (("own.keras", "--import", "nowhere"), "gatewise check: --import failed. Expected a module; received nowhere."),
        ((), "Usage: gatewise check [OPTIONS] {file}"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_without_an_answer_the_status_is_2_and_stdout_empty(arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["check", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.lstrip().startswith(message)
    assert len(done.stderr) < 800
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("here")
def test_what_keras_says_comes_without_its_configuration() -> None:
    said = CliRunner().invoke(app, ["check", "own.keras"]).stderr.partition("Keras said: ")[2]
    assert said.startswith("Could not locate class 'Own'.")
    assert "config" not in said


@pytest.mark.parametrize(
    ("hidden", "variables", "expected"),
    [
        (("keras",), {}, "Expected the extras cli and tensorflow (or jax, or torch); not installed: keras."),
        (("jax",), {"KERAS_BACKEND": "jax"}, "Expected the extra jax (or tensorflow, or torch); not installed: jax."),
    ],
    ids=["without Keras", "without its backend"],
)
def test_a_missing_backend_is_a_message_with_the_cure(
    hidden: tuple[str, ...], variables: dict[str, Any], expected: str, folder: Path
) -> None:
    done = run(folder, "check", "native.keras", before=HIDE.format(hidden), **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"gatewise check: a package is missing. {expected} Run: ")
    assert len(done.stderr.splitlines()) == 1


def test_info_shows_text_or_json_without_a_framework(tmp_path: Path) -> None:
    hide = HIDE.format(("keras", "tensorflow", "jax", "torch", "matplotlib"))
    text, document = (run(tmp_path, "info", *flags, before=hide) for flags in ((), ("--json",)))
    assert (text.returncode, text.stderr, document.returncode, document.stderr) == (0, "", 0, "")
    found = json.loads(document.stdout)
    assert f"{found['cpu']['model']}, " in text.stdout
    assert re.match(rf"gatewise +{re.escape(found['gatewise']['version'])}, from ", text.stdout)
    assert {"engine", "faces", "environment", "packages"} <= found.keys()


@pytest.mark.parametrize("arguments", [(), ("--help",)], ids=["nothing", "--help"])
def test_without_a_command_all_are_listed(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, *arguments, COLUMNS="80")
    listed = done.stdout + done.stderr
    for words in (
        "demo   Forecasts",
        "check  Says which layers",
        "info   Shows versions",
        "python -m gatewise script.py",
    ):
        assert words in listed
    assert max(map(len, listed.splitlines())) <= 80
