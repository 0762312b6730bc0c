# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/format.md that follow from the table of operations; run as a program it writes them again.

What an operation computes is written by hand in the last column, and stays.
"""

from __future__ import annotations

import re
from pathlib import Path

from gatewise.reference.operations import FUNCTIONS
from gatewise.runtime.operations import (
    MOST,
    OPERATIONS,
    Operation,
    Option,
    attention,
    features,
    merging,
    moving,
    recurrent,
    time,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "format.md"
FAMILIES = {
    "recurrent": recurrent.ROWS,
    "features": features.ROWS,
    "time": time.ROWS,
    "merging": merging.ROWS,
    "moving": moving.ROWS,
    "attention": attention.ROWS,
}
KINDS = {bool: "bool", int: "whole number", float: "number", str: "name", list: "list of whole numbers"}
HEAD = "| operation | inputs | outputs | weights | options | what it computes |\n|---|---|---|---|---|---|"


def value_of(value: object) -> str:
    return (
        str(value).lower() if isinstance(value, bool) else f"{value:.10g}" if isinstance(value, float) else str(value)
    )


def option(name: str, row: Option) -> str:
    text = f"`{name}`: {KINDS[row.kind]}"
    if row.names == features.FUNCTIONS:
        text += ", one of the functions below"
    elif row.names:
        text += f", {' or '.join(row.names)}"
    elif row.kind in {int, float, list} and (row.least, row.most) != (-MOST, MOST):
        text += f", {row.least} to {row.most}" if row.most != MOST else f", {row.least} at least"
    return f"{text}, = {value_of(row.default)}"


def columns(row: Operation) -> list[str]:
    """What the page says of a row, but for its name and what it computes."""
    lists = [", ".join(f"`{name}`" for name in names) or "none" for names in (row.inputs, row.outputs, row.weights)]
    return [*lists, "; ".join(option(name, one) for name, one in row.options.items()) or "none"]


def section(page: str, name: str) -> list[list[str]]:
    """The cells of the table between two marks, without its head."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert found, name
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()[2:]]


def computed(page: str) -> dict[str, str]:
    """What each operation computes, as the page says."""
    return {row[0].strip("`"): row[-1] for family in FAMILIES for row in section(page, f"operations:{family}")}


def rewritten(page: str) -> str:
    """The page with its tables of operations as they should be."""
    formulas = computed(page)
    for family, rows in FAMILIES.items():
        lines = [f"| {' | '.join([f'`{n}`', *columns(row), formulas.get(n, 'TO WRITE')])} |" for n, row in rows.items()]
        table = "\n".join([HEAD, *lines])
        mark = f"<!-- operations:{family} -->"
        page = re.sub(
            rf"{mark}\n.*?<!-- end -->", lambda _, t=f"{mark}\n{table}\n<!-- end -->": t, page, flags=re.DOTALL
        )
    return page


assert {name for rows in FAMILIES.values() for name in rows} == OPERATIONS.keys(), "a family is missing"
assert FUNCTIONS.keys() == set(features.FUNCTIONS)

if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
