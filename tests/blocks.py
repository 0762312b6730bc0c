# SPDX-License-Identifier: Apache-2.0
"""Gradients gate by gate: a whole tensor's norm hides a gate whose gradients are small, and wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatewise.cells import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

TINY = 1e-33  # the norm of a block that has subnormal numbers of float32 in it, which are zeros to the engine


def blocks(
    gradients: Mapping[str, npt.ArrayLike], cell: Cell = Cell.GRU
) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Cuts the gradients of kernels, bias and gains by gate; anything else stays whole."""
    for name, value in gradients.items():
        array = np.asarray(value, np.float64)
        if name not in {"d_kernel", "d_recurrent_kernel", "d_bias", "d_gain", "d_recurrent_gain"}:
            yield name, array
            continue
        rows = ("input", "recurrent") if name == "d_bias" and array.ndim == 2 else ("",)
        for row, values in zip(rows, array if len(rows) == 2 else [array], strict=True):
            for gate, block in zip(cell.row.gates, np.split(values, len(cell.row.gates), axis=-1), strict=True):
                yield " ".join(filter(None, (name, row, gate))), block


def block_disagreements(
    found: Mapping[str, npt.ArrayLike],
    plain: Mapping[str, npt.ArrayLike],
    expected: Mapping[str, npt.ArrayLike],
    *,
    times: float,
    least: float,
    cell: Cell = Cell.GRU,
) -> list[str]:
    """Says which blocks err too much, or are zeros where they should not be.

    Args:
        found: results and gradients by name, as they are to be judged.
        plain: the same, by a plain computation in float32.
        expected: the same, in float64.
        times: how many times what `plain` errs a block may err.
        least: what it always may, of its norm.
        cell: the layer's.
    """
    problems = []
    of_plain, of_expected = dict(blocks(plain, cell)), dict(blocks(expected, cell))
    for name, block in blocks(found, cell):
        want = of_expected[name]
        size, error, of_it = (np.linalg.norm(value) for value in (want, block - want, of_plain[name] - want))
        allowed = max(times * of_it, least * size, TINY)
        vanished = size > TINY and not block.any() and of_it < size / 8
        if not error <= allowed or vanished:  # NaN is not
            problems.append(
                f"{name} errs by {error / (size or 1):.2g} of its norm, allowed {allowed / (size or 1):.2g}"
            )
    return problems
