# SPDX-License-Identifier: Apache-2.0
"""A package of an extra that is not there: every public name says which, and a command that installs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from own_process import HIDE, LIMIT, run

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = ("keras", "tensorflow", "jax", "torch", "pandas", "polars", "tokenizers", "soundfile")
# Runs a statement; prints the ModuleNotFoundError that it ends in, and whether no other stands above it.
CATCH = """
import json
try:
    {}
except ModuleNotFoundError as error:
    print(json.dumps([str(error), error.name, error.__suppress_context__ or not error.__context__]))
else:
    print(json.dumps("nothing is missing"))
"""


def caught(statement: str, folder: Path, *hidden: str, **environment: str) -> Any:
    """What a statement ends in where modules are hidden: the message, the module, and whether it stands alone."""
    environment.setdefault("KERAS_BACKEND", "tensorflow")
    return run(HIDE.format(hidden) + CATCH.format(statement), folder, **environment)


@pytest.mark.parametrize(
    ("statement", "where", "extra", "missing"),
    [
        ("import gatewise.keras", "gatewise.keras", "tensorflow (or jax, or torch)", "keras"),
        ("from gatewise.keras import GRU", "gatewise.keras", "tensorflow (or jax, or torch)", "keras"),
        ("import gatewise; gatewise.keras", "gatewise.keras", "tensorflow (or jax, or torch)", "keras"),
        ("import gatewise; gatewise.patch_keras()", "gatewise.patch_keras", "tensorflow (or jax, or torch)", "keras"),
        ("from gatewise import unpatch_keras", "gatewise.unpatch_keras", "tensorflow (or jax, or torch)", "keras"),
        ("import gatewise.torch", "gatewise.torch", "torch", "torch"),
        ("import gatewise; gatewise.torch.GRU", "gatewise.torch", "torch", "torch"),
        ("import gatewise; gatewise.patch_torch()", "gatewise.patch_torch", "torch", "torch"),
        ("from gatewise import unpatch_torch", "gatewise.unpatch_torch", "torch", "torch"),
        ("import gatewise.ops.tensorflow", "gatewise.ops.tensorflow", "tensorflow", "tensorflow"),
        ("import gatewise.ops.jax", "gatewise.ops.jax", "jax", "jax"),
        ("import gatewise.ops.torch", "gatewise.ops.torch", "torch", "torch"),
        (
            "import gatewise.data.preprocessing",
            "gatewise.data.preprocessing",
            "tensorflow (or jax, or torch)",
            "keras",
        ),
        (
            "from gatewise.data.text import pad_sequences",
            "gatewise.data.text.pad_sequences",
            "tensorflow (or jax, or torch)",
            "keras",
        ),
        (
            "from gatewise.data.series import *; Windows(TimeSeries([[1], [2]], [0, 1], ('a',)), history=1).batches(4)",
            "Windows.batches",
            "tensorflow (or jax, or torch)",
            "keras",
        ),
        ("from gatewise.data.text import Subwords; Subwords().adapt(['a'])", "Subwords.adapt", "text", "tokenizers"),
        ("from gatewise.data.audio import read_wav; read_wav('a.wav', 8000)", "read_wav", "audio", "soundfile"),
        (
            "from gatewise.data.audio import write_wav; write_wav('a.wav', [0.0], 8000)",
            "write_wav",
            "audio",
            "soundfile",
        ),
        (
            "from gatewise.data.series import read_series; read_series('a.parquet', 'a', 'b')",
            "read_series",
            "data",
            "pandas",
        ),
    ],
    ids=lambda value: None if value.startswith("tensorflow (") else value[-40:],
)
def test_a_public_name_says_which_extra_it_lacks(
    statement: str, where: str, extra: str, missing: str, tmp_path: Path
) -> None:
    message, name, stands_alone = caught(statement, tmp_path, *FRAMEWORKS)
    start = f"{where}: a package is missing. Expected the extra {extra}; not installed: {missing}. Run: "
    assert message.startswith(start)
    assert f"[{extra.partition(' ')[0]}]" in message.removeprefix(start)
    assert name == missing
    assert stands_alone, "the bare error of an inner file would stand above it"


@pytest.mark.parametrize(("backend", "other"), [("tensorflow", "jax"), ("jax", "tensorflow"), ("torch", "tensorflow")])
def test_keras_without_its_backend_names_the_backend_and_one_that_is_there(
    backend: str, other: str, tmp_path: Path
) -> None:
    for statement in ("import gatewise.keras", "import gatewise; gatewise.patch_keras"):
        message, name, _ = caught(statement, tmp_path, backend, KERAS_BACKEND=backend)
        where = statement.rpartition(" ")[2]
        assert message.startswith(f"{where}: a package is missing. Expected the extra {backend} (or ")
        assert f"; not installed: {backend}. Run: " in message
        assert f"[{backend}]" in message
        assert message.endswith(f" Or set KERAS_BACKEND={other}, which is installed.")
        assert name == backend


@pytest.mark.parametrize(
    ("broken", "said", "module"),
    [
        ("import torch.no_such_part", "No module named 'torch.no_such_part'", "torch.no_such_part"),
        ("raise ModuleNotFoundError('a reason of its own')", "a reason of its own", None),
    ],
    ids=["a part", "a reason"],
)
def test_what_an_installed_package_lacks_is_its_own_error(
    broken: str, said: str, module: str | None, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text(broken)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})" + CATCH.format("import gatewise.torch")
    message, name, _ = run(program, tmp_path)
    assert message.startswith(said)
    assert name == module


# --- The command ---


def command(folder: Path, record: Any) -> str:
    """The command in the message of a gatewise whose metadata say that it came from `record` (PEP 610)."""
    info = folder / "gatewise-9.9.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gatewise\nVersion: 9.9\n")
    if record is not None:
        (info / "direct_url.json").write_text(json.dumps(record))
    program = (
        f"import sys, json; from gatewise.extras import missing_message; sys.path.insert(0, {str(folder)!r})\n"
        "print(json.dumps(missing_message('here', ['soundfile'], ['audio', 'data'])))"
    )
    message = run(program, folder)
    return str(message.partition(". Run: ")[2])


def test_installed_from_a_folder_the_command_names_the_folder(tmp_path: Path) -> None:
    checkout = tmp_path / "a check-out"
    checkout.mkdir()
    made = command(tmp_path, {"url": checkout.as_uri(), "dir_info": {}})
    assert made.endswith(f"pip install '{checkout}[audio,data]'")


def test_linked_from_a_folder_the_command_links_again(tmp_path: Path) -> None:
    made = command(tmp_path, {"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    assert made.endswith(f"pip install -e '{tmp_path}[audio,data]'")


def test_installed_from_a_folder_that_is_gone_the_command_names_the_packages(tmp_path: Path) -> None:
    made = command(tmp_path, {"url": (tmp_path / "gone").as_uri(), "dir_info": {}})
    assert made.endswith("pip install soundfile")


@pytest.mark.parametrize(
    ("record", "url"),
    [
        (
            {"url": "https://example.org/gatewise.git", "vcs_info": {"vcs": "git", "commit_id": "1f2e3d"}},
            "git+https://example.org/gatewise.git@1f2e3d",
        ),
        (
            {
                "url": "https://example.org/all.git",
                "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "1f2e3d"},
                "subdirectory": "gatewise",
            },
            "git+https://example.org/all.git@1f2e3d#subdirectory=gatewise",
        ),
        (
            {"url": "https://example.org/gatewise-9.9.tar.gz", "archive_info": {}},
            "https://example.org/gatewise-9.9.tar.gz",
        ),
    ],
    ids=["git", "part of a repository", "archive"],
)
def test_installed_from_elsewhere_the_command_names_that_place(record: Any, url: str, tmp_path: Path) -> None:
    made = re.fullmatch(r".*pip install '(.*)'", command(tmp_path, record))
    assert made is not None
    requirement = Requirement(made[1])
    assert (requirement.name, requirement.extras, requirement.url) == ("gatewise", {"audio", "data"}, url)


def test_installed_from_an_index_the_command_names_the_package(tmp_path: Path) -> None:
    assert command(tmp_path, None).endswith("pip install 'gatewise[audio,data]'")


def test_the_command_installs_into_the_environment_that_runs(tmp_path: Path) -> None:
    first = command(tmp_path, None).partition(" install ")[0]
    own = [sys.executable, "-m", "pip"] if first != "pip" else ["pip"]
    assert first.split() == own
    listed = subprocess.run([*own, "--version"], capture_output=True, text=True, timeout=LIMIT, check=True).stdout
    assert "site-packages/pip" in listed
