# SPDX-License-Identifier: Apache-2.0
"""Padding in front of a convolution, in the two ways in which people write a causal one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatewise.runtime.doors.from_torch.layout import single
from gatewise.runtime.operations.operation import MOST

if TYPE_CHECKING:
    from gatewise.runtime.doors.from_torch.builder import Builder
    from gatewise.runtime.doors.from_torch.values import Tensor


def padded(b: Builder, t: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Adds zeros before and after an axis; takes steps away where a number is negative."""
    t = single(b, t, axis)
    [own] = t.axes[axis]
    value, size = t.value, t.sizes[own] + before + after
    if min(before, after) < 0:
        stop = MOST if after >= 0 else after
        [value] = b.emit("slice", [value], {"axis": own, "start": max(0, -before), "stop": stop})
    if max(before, after) > 0:
        [value] = b.emit("pad", [value], {"axis": own, "before": max(0, before), "after": max(0, after)})
    return replace(t, value=value, sizes=(*t.sizes[:own], size, *t.sizes[own + 1 :]))


def padded_before(b: Builder, value: str, reach: int) -> str | None:
    """Returns what was padded before its first step alone, as a causal convolution does itself."""
    made = b.maker(value)
    if made is None or reach == 0:
        return None
    if made.operation == "pad" and made.all_options == {"axis": 1, "before": reach, "after": 0}:
        return made.inputs[0]
    inner = None if made.operation != "permute" else b.maker(str(made.inputs[0]))
    if inner is None or inner.operation != "pad":
        return None
    axis = made.options["axes"][0]
    if inner.all_options != {"axis": axis, "before": reach, "after": 0}:
        return None
    [moved] = b.emit("permute", [inner.inputs[0]], dict(made.options))
    return moved


def chomped(b: Builder, value: str, steps: int) -> str | None:
    """Returns a causal convolution for one that was padded on both sides, and whose last steps are left out."""
    made = b.maker(value)
    if made is None or made.operation != "conv1d" or made.all_options["strides"] != 1 or steps < 1:
        return None
    reach = (b.tensors[made.weights["kernel"]].shape[0] - 1) * made.all_options["dilation"]
    source, moved = made.inputs[0], None
    inner = b.maker(str(source))
    if inner is not None and inner.operation == "permute":
        moved, inner = inner, b.maker(str(inner.inputs[0]))
    axis = 1 if moved is None else moved.options["axes"][0]
    both = {"axis": axis, "before": steps, "after": steps}
    if inner is None or inner.operation != "pad" or inner.all_options != both or reach != steps:
        return None
    source = inner.inputs[0]
    if moved is not None:
        [source] = b.emit("permute", [source], dict(moved.options))
    return b.again(made, source, {"padding": "causal"})
