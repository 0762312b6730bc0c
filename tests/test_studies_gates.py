# SPDX-License-Identifier: Apache-2.0
"""The study of gates: in small it looks into a model of each kind, on made data, and writes everything."""

from pathlib import Path

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("sklearn")

from study_case import run_study  # after the skips
from test_studies_series import make_digits, write_digits, write_series
from test_studies_text import make_names


@pytest.mark.deep
def test_gates_of_four_models_are_looked_at_and_shares_add_up(tmp_path: Path) -> None:
    make_names(tmp_path / "surnames")
    write_digits(tmp_path, make_digits(range(0, 12, 2)))
    write_series(tmp_path)
    printed, facts, out = run_study("gates", tmp_path, "--data", tmp_path)
    for name in ("temperature", "sunspots", "surnames", "spoken digits"):
        assert facts[name]["explained"] > 0
        assert facts[name]["completeness_error"] <= 0.01
        assert sum(facts[name]["thirds"]) == pytest.approx(1)
        assert name in printed
        assert (out / f"gates_{name.replace(' ', '_')}.html").stat().st_size > 10_000
