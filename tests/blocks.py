# SPDX-License-Identifier: Apache-2.0
"""Gradients gate by gate: a whole tensor's norm hides a gate whose gradients are small, and wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

GATES = ("z", "r", "h")
# Of a block's norm: what float32 may always err, and how many times what a plain computation in float32 errs.
LEAST, TIMES = 2e-5, 4.0


def blocks(gradients: Mapping[str, npt.ArrayLike]) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Cuts the gradients of kernel, recurrent_kernel and bias by gate; those of anything else stay whole."""
    for name, value in gradients.items():
        array = np.asarray(value, np.float64)
        if name not in {"kernel", "recurrent_kernel", "bias"}:
            yield name, array
            continue
        rows = ("input", "recurrent") if name == "bias" and array.ndim == 2 else ("",)
        for row, values in zip(rows, array if len(rows) == 2 else [array], strict=True):
            for gate, block in zip(GATES, np.split(values, 3, axis=-1), strict=True):
                yield " ".join(filter(None, (name, row, gate))), block


def block_disagreements(
    found: Mapping[str, npt.ArrayLike],
    plain: Mapping[str, npt.ArrayLike],
    expected: Mapping[str, npt.ArrayLike],
) -> list[str]:
    """Says which blocks err too much, or are zeros where they should not be.

    Args:
        found: gradients by name, as they are to be judged.
        plain: the same, by another computation in float32.
        expected: the same, in float64.
    """
    problems = []
    of_plain, of_expected = dict(blocks(plain)), dict(blocks(expected))
    for name, block in blocks(found):
        want = of_expected[name]
        size, error = np.linalg.norm(want), np.linalg.norm(block - want)
        allowed = max(TIMES * np.linalg.norm(of_plain[name] - want), LEAST * size)
        if not error <= allowed or (want.any() and not block.any()):
            problems.append(
                f"{name} errs by {error / (size or 1):.2g} of its norm, allowed {allowed / (size or 1):.2g}"
            )
    return problems
