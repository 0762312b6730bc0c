# SPDX-License-Identifier: Apache-2.0
"""The kernels for AVX-512 where there is none: their tiles, panels and masks, built of AVX2 instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewise import _native
from other_build import build, run_tests

if TYPE_CHECKING:
    from pathlib import Path

TESTS = [
    "test_engine",
    "test_properties",
    "test_same_bits",
    "test_native",
    "test_recompute",
    "test_starts",
    "test_step",
    "test_step_streams",
    "test_runtime_program",
    "test_zoneout",
]


@pytest.mark.deep
@pytest.mark.skipif(_native.isa() == "avx512", reason="has AVX-512: the other tests run these kernels")
@pytest.mark.skipif(_native.isa() == "generic", reason="needs AVX2")
def test_kernels_for_avx512_do_what_is_specified(tmp_path: Path) -> None:
    run_tests(build(tmp_path, "GATEWISE_EMULATE=ON"), TESTS, {"GATEWISE_ISA": "avx512"}, deep=True)
