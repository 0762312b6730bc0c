# SPDX-License-Identifier: Apache-2.0
"""The cells of the package are those of the engine, under the same numbers."""

import re
from pathlib import Path

from gatewise.cells import Cell

HEADER = Path(__file__).parents[1] / "csrc" / "engine.h"


def test_the_numbers_of_the_cells_are_those_of_the_engine() -> None:
    body = HEADER.read_text(encoding="utf-8").partition("enum gatewise_cell {")[2].partition("};")[0]
    engine = {name: int(number) for name, number in re.findall(r"GATEWISE_(\w+) = (\d+)", body)}
    assert engine
    assert {cell.name: cell.value for cell in Cell} == engine
