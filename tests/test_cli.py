# SPDX-License-Identifier: Apache-2.0
"""The command line, run as a user runs it: each call in its own process with a hard timeout."""

import importlib.util
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT = 240  # seconds; the demo in small takes about twenty
RUN_MAIN = "import sys; from gatewise.cli import main; sys.argv[0] = 'gatewise'; main()"


def run_gatewise(*arguments: str, folder: Path, without: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `gatewise` with the arguments, in the folder; `without` names a module that shall look uninstalled."""
    hide = f"import sys; sys.modules[{without!r}] = None; " if without else ""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", hide + RUN_MAIN, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )


def need(*modules: str) -> None:
    """Skips where the command's extras are not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install '.[cli,tensorflow]'")


def need_demo() -> None:
    """Skips where the demo cannot run."""
    need("typer", "rich", "matplotlib", "tensorflow")


def read_png_size(path: Path) -> tuple[int, int]:
    """Reads width and height from a PNG's header chunk (PNG specification, 11.2.1)."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert header[12:16] == b"IHDR"
    width, height = struct.unpack(">II", header[16:24])
    return width, height


def test_help_lists_the_commands_and_loads_no_framework(tmp_path: Path) -> None:
    need("typer", "rich")
    heavy = "{'keras', 'tensorflow', 'matplotlib'}"
    report = f"import atexit, sys; atexit.register(lambda: print(sorted({heavy} & set(sys.modules)))); "
    done = subprocess.run(
        [sys.executable, "-c", report + RUN_MAIN, "--help"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_demo_help_names_its_options(tmp_path: Path) -> None:
    need("typer", "rich")
    done = run_gatewise("demo", "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for option in ("--output", "--epochs", "--seed", "--no-stock"):
        assert option in done.stdout


@pytest.mark.parametrize("module", ["typer", "rich", "matplotlib", "tensorflow"])
def test_missing_extra_is_a_message_with_the_cure(module: str, tmp_path: Path) -> None:
    if module != "typer":
        need("typer", "rich")
    done = run_gatewise("demo", folder=tmp_path, without=module)
    assert done.returncode == 1
    assert module in done.stderr
    assert re.search(r"pip install '[^']*\[cli,tensorflow\]", done.stderr)
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_folder_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    need_demo()
    (tmp_path / "a-file").write_text("not a folder", encoding="utf-8")
    done = run_gatewise("demo", "--output", "a-file/below", folder=tmp_path)
    assert done.returncode == 1
    assert "gatewise demo: the output folder cannot be written." in done.stderr
    assert "a-file/below" in done.stderr
    assert "--output" in done.stderr
    assert "Epoch" not in done.stdout


def test_no_epochs_are_refused(tmp_path: Path) -> None:
    need_demo()
    done = run_gatewise("demo", "--epochs", "0", folder=tmp_path)
    assert done.returncode == 2
    assert "--epochs" in done.stderr


def test_demo_trains_forecasts_saves_and_draws(tmp_path: Path) -> None:
    need_demo()
    done = run_gatewise("demo", "--epochs", "1", "--output", "made/here", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for claim in (
        "48/48",
        "last year + growth",
        "(5, 104, 64)",
        "(5, 64), equal",
        "speed-up",
        "equal, bit for bit",
    ):
        assert claim in done.stdout
    calls = re.search(r"(\d+) forward and (\d+) backward calls", done.stdout)
    assert calls is not None
    assert int(calls[1]) > 2 * 48, "two layers, 48 batches, and the validation part"
    assert int(calls[2]) == 2 * 48
    assert "Keras's own path" not in done.stdout
    assert read_png_size(tmp_path / "made/here/demo.png") == (1600, 1200)
    assert (tmp_path / "made/here/demo.png").stat().st_size > 50_000
    assert (tmp_path / "made/here/co2.keras").stat().st_size > 100_000


def test_demo_without_stock_skips_the_comparison(tmp_path: Path) -> None:
    need_demo()
    done = run_gatewise("demo", "--epochs", "1", "--no-stock", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "keras.layers.GRU" not in done.stdout
    assert (tmp_path / "gatewise-demo/demo.png").exists()
