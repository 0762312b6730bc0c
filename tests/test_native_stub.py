# SPDX-License-Identifier: Apache-2.0
"""What Python sees of the engine is what it is meant to see: the stub that the build writes is the one checked in."""

from pathlib import Path

import gatewise

CHECKED_IN = Path(__file__).with_name("native_stub.txt")


def test_the_generated_stub_is_the_one_checked_in() -> None:
    generated = Path(gatewise.__file__).with_name("_native.pyi").read_text(encoding="utf-8")
    assert generated == CHECKED_IN.read_text(encoding="utf-8"), (
        f"if the change is meant, copy the new stub to {CHECKED_IN.name}"
    )
