# SPDX-License-Identifier: Apache-2.0
"""The notebook runs from its first cell to its last, and shows what its sentences say."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from study_case import EXAMPLES, needs_tensorflow

pytestmark = needs_tensorflow

NOTEBOOK = EXAMPLES / "seven_steps.ipynb"
TIMEOUT = 300  # seconds; on two idle cores it takes about thirty
# In a process of its own: the client's sockets live as long as it does. The kernel is this interpreter, whatever is
# installed.
EXECUTE = """
import json, sys
from pathlib import Path
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
kernel = Path("kernels", "tests")
kernel.mkdir(parents=True)
command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
(kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "", "language": "python"}))
manager = AsyncKernelManager(kernel_name="tests")
manager.kernel_spec_manager.kernel_dirs = ["kernels"]
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, km=manager, timeout=None).execute()
nbformat.write(notebook, "executed.ipynb")
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("notebook")
    folders = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"), str(folder))
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK)],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2", **folders},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return nbformat.read(folder / "executed.ipynb", as_version=4)


def printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def share(pattern: str, text: str) -> list[float]:
    found = re.findall(pattern, text)
    assert found, pattern
    return [float(one) for one in found]


def test_our_loops_are_the_layers(executed: Any) -> None:
    differences = share(r"largest difference.*: (\S+)\n", printed(executed))
    assert len(differences) == 3
    assert max(differences) < 1e-5


def test_the_gru_reads_the_order_of_words(executed: Any) -> None:
    text = printed(executed)
    assert share(r"mean of the words: +(\d+)%", text) == [50]
    assert share(r"GRU: +(\d+)%", text)[0] > 80


def test_the_simple_rnn_forgets_and_the_gates_listen_at_the_mark(executed: Any) -> None:
    text = printed(executed)
    by_distance = share(r"steps ago: +(\d+)% right", text)
    assert len(by_distance) == 6
    assert max(by_distance[2:]) < 75
    before, mark, after = re.search(r"before the mark (\S+), at the mark (\S+), after it (\S+)\n", text).groups()  # type: ignore[union-attr]
    assert float(mark) < float(after)
    assert float(before) < 1


def test_every_layer_beats_the_forecasts_without_a_network(executed: Any) -> None:
    text = printed(executed)
    naive = share(r"growth: error (\S+) ppm", text)[0]
    for kind in ("GRU", "LSTM"):
        errors = re.search(rf"{kind} of \d+ units, \S+ weights: error \[(.*?)\] ppm", text)
        assert errors
        assert max(map(float, errors[1].split())) < naive


def test_it_is_kept_without_outputs_and_shows_four_pictures(executed: Any) -> None:
    kept = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(kept)
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    data = [output.get("data", {}) for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in one for one in data) == 4


def test_it_has_seven_steps_and_each_says_what_was_seen() -> None:
    text = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "markdown"]
    steps = [source.splitlines()[0] for source in text if source.startswith("## ")]
    assert [step[3] for step in steps] == list("1234567")
    assert sum(source.startswith("Seen: ") for source in text) == 7


def test_it_names_no_path_of_a_machine() -> None:
    assert not re.search(r"/home|/work|/tmp|C:\\\\", Path(NOTEBOOK).read_text(encoding="utf-8"))
