# SPDX-License-Identifier: Apache-2.0
"""The examples and the README's lines run as a reader would run them: each in its own process."""

import doctest
import re
from pathlib import Path

from study_case import EXAMPLES, ROOT, needs_tensorflow, run_script

pytestmark = needs_tensorflow

README = ROOT / "README.md"


def test_quickstart_trains_ten_epochs_and_prints_the_tutorials_shapes(tmp_path: Path) -> None:
    printed = run_script(EXAMPLES / "quickstart.py", tmp_path)
    assert [f"Epoch {epoch}/10" in printed for epoch in range(1, 11)] == [True] * 10
    assert re.search(r"\b7/7 .*loss: \d", printed), "100 sequences at batch 16 make 7 steps, shown by the progress bar"
    assert printed.splitlines()[-2:] == ["sequences: (5, 10, 50)", "state: (5, 50)"]


def test_quickstart_differs_from_stock_by_one_import() -> None:
    source = (EXAMPLES / "quickstart.py").read_text(encoding="utf-8")
    assert [line for line in source.splitlines() if "import" in line and "gatewise" in line] == [
        "from gatewise.keras import GRU  # instead of: from keras.layers import GRU"
    ]
    assert "gatewise" not in source.replace("from gatewise.keras import GRU", "")


def test_text_quickstart_learns_its_sentences_and_judges_new_ones(tmp_path: Path) -> None:
    printed = run_script(EXAMPLES / "text_quickstart.py", tmp_path)
    last_epoch = printed.split("Epoch 20/20")[1]
    assert re.search(r"2/2 .*accuracy: 1\.0000", last_epoch)
    good, bad = (float(line.rsplit(": ", 1)[1]) for line in printed.splitlines()[-2:])
    assert 0 <= bad < 0.5 < good <= 1


def test_readmes_first_lines_run_as_they_stand(tmp_path: Path) -> None:
    first_block = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    script = tmp_path / "first_lines.py"
    script.write_text(first_block, encoding="utf-8")
    assert "Epoch 10/10" in run_script(script, tmp_path)


def test_readmes_numpy_lines_give_what_they_show() -> None:
    results = doctest.testfile(str(README), module_relative=False)
    assert results.attempted >= 8
    assert results.failed == 0
