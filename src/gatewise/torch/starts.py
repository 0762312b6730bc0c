# SPDX-License-Identifier: Apache-2.0
"""The call argument `starts` of our modules, brought to what the engine reads."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence


def engine_starts(where: str, module: Any, input: Any, starts: Any) -> torch.Tensor | None:  # noqa: A002
    """Checks starts, and brings them to (batch, timesteps) bool, in the order of the rows that the engine reads.

    Args:
        where: opens the error: the module's class.
        module: the module called.
        input: its input, of a rank that it takes.
        starts: (T, B) or, with `batch_first`, (B, T), of a packed sequence too; (T,) for a single sequence; or None.

    Raises:
        TypeError: starts is no tensor of truth values or whole numbers.
        ValueError: it has the wrong shape.
    """
    if starts is None:
        return None
    if not isinstance(starts, torch.Tensor) or starts.is_floating_point() or starts.is_complex():
        received = str(starts.dtype).removeprefix("torch.") if isinstance(starts, torch.Tensor) else type(starts)
        raise TypeError(
            f"{where}: starts has the wrong type. Expected a tensor of bool; received {received}. Give True at each "
            "step that begins anew."
        )
    packed = isinstance(input, PackedSequence)
    if packed:
        sizes = {"timesteps": len(input.batch_sizes), "batch": int(input.batch_sizes[0])}
    else:
        batch_first = module.batch_first and input.dim() == 3
        names = ("batch", "timesteps") if batch_first else ("timesteps", "batch")
        sizes = dict(zip(names, input.shape[:-1], strict=False))
    if packed and module.batch_first:
        sizes = {"batch": sizes["batch"], "timesteps": sizes["timesteps"]}
    if tuple(starts.shape) != tuple(sizes.values()):
        expected = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(
            f"{where}: starts has the wrong shape. Expected ({expected}); received ({', '.join(map(str, starts.shape))}"
            "). Give one value for each step of each sequence."
        )
    rows: torch.Tensor = starts != 0
    if rows.dim() == 1:
        return rows[None]
    rows = rows if next(iter(sizes)) == "batch" else rows.transpose(0, 1)
    return rows[input.sorted_indices] if packed and input.sorted_indices is not None else rows
