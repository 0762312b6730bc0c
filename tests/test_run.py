# SPDX-License-Identifier: Apache-2.0
"""`python -m gatewise` runs a program as the interpreter does: names, arguments, exit status, tracebacks, Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from own_process import LIMIT

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = "gatewise: no call ran natively: the program imported neither Keras nor PyTorch.\n"
# What a program can see of how it was started.
LOOK = """'''A docstring.'''
from __future__ import annotations
import os, sys
import inspect
def f(): "Found by its source"
print(__name__, __doc__, __file__, __package__, __spec__ and __spec__.name, __builtins__)
print(type(__loader__).__name__, __cached__ and os.path.basename(__cached__))
print(sys.argv, sys.path[0], sys.modules["__main__"].f is f, vars(sys.modules["__main__"]) is globals())
print(inspect.getsource(f), sorted(name for name in globals() if name != "__annotations__"))
print(sorted({"keras", "tensorflow", "jax", "torch"} & set(sys.modules)))
"""


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the interpreter with the arguments in a folder."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False
    )


def both(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """Runs a program by gatewise, and by the interpreter alone."""
    return call(folder, "-m", "gatewise", *arguments), call(folder, *arguments)


def prepare(folder: Path) -> None:
    """Writes one program in every form that Python runs."""
    (folder / "script.py").write_text(LOOK)
    (folder / "package").mkdir()
    (folder / "link.py").symlink_to(folder / "package" / "module.py")
    for name in ("__init__.py", "module.py", "__main__.py"):
        (folder / "package" / name).write_text("" if name == "__init__.py" else LOOK)
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", LOOK.replace("inspect.getsource(f)", "''"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("script.py", "-m", "--help", "a b"),
        ("package/module.py",),
        ("link.py",),
        ("package", "x"),
        ("archive.zip",),
        ("-m", "script", "-h"),
        ("-m", "package.module", "-m", "x"),
        ("-m", "package"),
    ],
    ids=" ".join,
)
def test_a_program_sees_what_it_sees_without_gatewise(arguments: tuple[str, ...], tmp_path: Path) -> None:
    prepare(tmp_path)
    ours, plain = both(tmp_path, *arguments)
    assert plain.stdout.splitlines()[-1] == "[]"
    assert ours.stdout == plain.stdout
    assert (ours.returncode, ours.stderr) == (0, NOTHING)


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit()",
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a message')",
        "import os; os._exit(4)",
        "raise SystemExit(True)",
        "def f():\n    1 / 0\ntry:\n    f()\nexcept ZeroDivisionError as e:\n    raise ValueError('why') from e",
        "import json\njson.loads('{')",
        "x = (",
        "import no_such_module",
        "raise KeyboardInterrupt",
        "import sys\ndef hook(*error): print('hooked', *error[:2], error[2].tb_lineno)\nsys.excepthook = hook\n1 / 0",
        "import threading\nthreading.Thread(target=lambda: 1 / 0).start()",
        "import atexit, sys\natexit.register(lambda: sys.stderr.write('last words\\n'))\n1 / 0",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import sys; sys.stderr = open('log', 'w'); sys.stderr.write('x'); print('y')",
        "import os\nif os.fork() == 0:\n    print('child')\nelse:\n    os.wait()",
        "import warnings; warnings.warn('as a program warns')",
    ],
)
def test_a_program_ends_as_it_ends_without_gatewise(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").write_text(program)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ours, plain = both(tmp_path, "script.py")
    assert not list(tmp_path.glob("gatewise-run-*")), "something was left behind"
    assert ours.returncode == plain.returncode
    assert ours.stdout == plain.stdout
    silent = any(how in program for how in ("SIGKILL", "os._exit", "x = "))  # it did not end, or did not begin
    assert ours.stderr == plain.stderr + ("" if silent else NOTHING)


def test_an_interrupt_ends_a_program_as_the_shell_expects(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import time; print('ready', flush=True); time.sleep(60)")
    for command in ([], ["-m", "gatewise"]):
        process = subprocess.Popen(
            [sys.executable, *command, "script.py"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=LIMIT)[1]
        finally:
            process.kill()
        assert process.returncode == -signal.SIGINT
        assert said.startswith(
            f'Traceback (most recent call last):\n  File "{tmp_path}/script.py", line 1, in <module>\n'
        )
        assert said.endswith("\nKeyboardInterrupt\n" + (NOTHING if command else ""))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "usage: python -m gatewise script.py [ARGS]\n"),
        (("-m",), 2, "usage: python -m gatewise script.py [ARGS]\n"),
        (("--nonsense", "x.py"), 2, "usage: python -m gatewise script.py [ARGS]\n"),
        (
            ("x.py",),
            2,
            "python -m gatewise: the script cannot be read. Expected",
        ),
        (("empty",), 2, "python -m gatewise: the script cannot be read. Expected a Python file"),
        (("-m", "no.such"), 1, "python -m gatewise: there is no such module. Expected"),
        (("-m", "empty"), 1, "python -m gatewise: there is no such module. Expected"),
        (("-m", "_json"), 1, "python -m gatewise: the module cannot be run. Expected"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_run_gets_a_message_and_no_report(
    arguments: tuple[str, ...], status: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = call(tmp_path, "-m", "gatewise", *arguments)
    assert done.returncode == status
    assert done.stderr.startswith(message)
    assert "ran natively" not in done.stderr.replace("natively. Processes", "")
    assert "Traceback" not in done.stderr


def test_help_goes_to_stdout(tmp_path: Path) -> None:
    for flag in ("-h", "--help"):
        done = call(tmp_path, "-m", "gatewise", flag)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: python -m gatewise script.py [ARGS]\n")
        assert max(map(len, done.stdout.splitlines())) <= 82


def test_keras_2_is_named_where_a_program_imported_it_alone(tmp_path: Path) -> None:
    (tmp_path / "tf_keras.py").touch()  # what runs is stock, whatever is in it
    (tmp_path / "script.py").write_text("import tf_keras")
    said = call(tmp_path, "-m", "gatewise", "script.py").stderr
    assert said == "gatewise: no call ran natively: tf_keras is Keras 2, which stays as it is.\n"
