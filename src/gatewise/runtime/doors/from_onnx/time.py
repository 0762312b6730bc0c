# SPDX-License-Identifier: Apache-2.0
"""Nodes that look at several steps: convolutions and pools over one axis, reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.values import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.runtime.doors.from_onnx.node import Read


class _Window:
    """What a node slides over one axis, from its attributes; axes of size one beside it vanish."""

    def __init__(self, node: Read, t: Tensor, sizes: list[int]) -> None:
        space = len(t.axes) - 2
        ones = [1] * space
        strides, dilations = (list(node.attribute(name, ones)) for name in ("strides", "dilations"))
        pads = list(node.attribute("pads", [0] * 2 * space))
        wide = [i for i in range(space) if t.axes[2 + i]]
        if not {len(sizes), len(strides), len(dilations), len(pads) / 2} == {space} or space < 1:
            raise node.fail("its attributes do not fit", f"one number for each of {space} axes", "others")
        self.along = wide[0] if wide else space - 1
        for i in range(space):
            if i != self.along and (t.axes[2 + i] or (sizes[i], pads[i], pads[i + space]) != (1, 0, 0)):
                raise node.fail("it slides over several axes", "one axis, others of size one", f"{len(wide)} axes")
        i = self.along
        self.size, self.stride, self.dilation = sizes[i], strides[i], dilations[i]
        self.before, self.after = pads[i], pads[i + space]
        self.given = self.before, self.after
        auto = node.attribute("auto_pad", "NOTSET")
        reach = (self.size - 1) * self.dilation
        fits = self.stride == 1 and self.before + self.after == reach
        if auto == "SAME_UPPER" or (fits and auto == "NOTSET" and self.before == reach // 2):
            self.padding, self.before, self.after = "same" if reach else "valid", 0, 0
        elif auto == "NOTSET" and fits and not self.after:
            self.padding, self.before = "causal", 0
        elif auto in {"NOTSET", "VALID"}:
            self.padding = "valid"
        else:
            raise node.fail("attribute auto_pad is not supported", "NOTSET, SAME_UPPER or VALID", auto)
        # channels last, and the axis before it
        self.x = layout.laid(node, t, [2 + i, 1])
        ours = len(node.builder.sizes[self.x.value])
        if ours != 3:
            raise node.fail("x has more axes", "(batch, channels, steps)", f"{ours} axes, of other sizes than one")

    def made(self, value: str) -> Tensor:
        """A value (batch, steps, channels) with ONNX's axes."""
        return Tensor(value, self.x.axes)

    def options(self) -> dict[str, Any]:
        """Those of all windows."""
        return {"strides": self.stride, "padding": self.padding}


def _convolution(node: Read) -> list[Any]:
    t, kernel, bias = node.tensor(0), node.floats(1), node.floats(2)
    if kernel is None or kernel.ndim != len(t.axes) or kernel.ndim < 3:
        raise node.fail("the kernel has the wrong rank", f"{len(t.axes)} axes", "others")
    window = _Window(node, t, list(kernel.shape[2:]))
    value, padding = window.x.value, window.padding
    reach = (window.size - 1) * window.dilation
    made = node.builder.maker(value)
    if window.before or window.after:
        options = {"axis": 1, "before": window.before, "after": window.after}
        (value,) = node.emit("pad", (value,), options, part="pad")
    elif padding == "valid" and made is not None and made.operation == "pad":
        padded = [made.all_options[name] for name in ("axis", "before", "after")]
        if padded == [1, reach, 0]:
            value, padding = str(made.inputs[0]), "causal"  # which streams
    options = window.options() | {"padding": padding, "dilation": window.dilation}
    options["groups"] = int(node.attribute("group", 1))
    flat = kernel.reshape(*kernel.shape[:2], -1).transpose(2, 1, 0)
    weights = {"kernel": flat} | ({} if bias is None else {"bias": bias})
    keys = {"kernel": (node.inputs[1], "convolution")}
    return [window.made(node.result("conv1d", (value,), options, weights, keys=keys))]


def _pool(node: Read) -> list[Any]:
    t = node.tensor(0)
    if node.wants(1):
        raise node.fail("the indices are used", "the first output alone", "both")
    node.only("ceil_mode", 0)
    window = _Window(node, t, list(node.attribute("kernel_shape", [])))
    if window.dilation != 1:
        raise node.fail("attribute dilations is not supported", "1", str(window.dilation))
    value, average = window.x.value, node.op == "AveragePool"
    if average and node.attribute("count_include_pad", 0):
        if node.attribute("auto_pad", "NOTSET") == "SAME_UPPER" and window.size > 1:
            raise node.fail("zeros that pad are counted", "count_include_pad=0", "1")
        window.padding, (window.before, window.after) = "valid", window.given
        if window.before or window.after:
            options = {"axis": 1, "before": window.before, "after": window.after}
            (value,) = node.emit("pad", (value,), options, part="pad")
    elif window.before or window.after:
        raise node.fail(
            "attribute pads is not supported",
            "none, those of 'same' with a stride of 1, or size - 1 before",
            f"{window.before} before and {window.after} after",
        )
    operation = "average_pool1d" if average else "max_pool1d"
    return [window.made(node.result(operation, (value,), window.options() | {"size": window.size}))]


_REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min",
               "ReduceL1": "sum", "ReduceL2": "sum", "ReduceSumSquare": "sum"}  # fmt: skip


def _reduction(node: Read) -> list[Any]:
    t = node.tensor(0)
    rank = len(t.axes)
    as_input = node.opset >= (13 if node.op == "ReduceSum" else 18)
    axes = node.integers(1 if as_input else -1, "axes")
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return [t]
    reduced = {node.axis(axis, rank) for axis in axes or range(rank)}
    if node.op in {"ReduceL2", "ReduceSumSquare"}:
        t = Tensor(node.emit("multiply", (t.value, t.value), part="square")[0], t.axes)
    if node.op == "ReduceL1":
        t = Tensor(node.emit("activation", (t.value,), {"function": "absolute"}, part="absolute")[0], t.axes)
    t = _reduced(node, t, reduced, _REDUCTIONS[node.op])
    if node.op == "ReduceL2":
        t = Tensor(node.emit("activation", (t.value,), {"function": "sqrt"}, part="root")[0], t.axes)
    if not node.attribute("keepdims", 1):
        t = Tensor(t.value, tuple(ours for axis, ours in enumerate(t.axes) if axis not in reduced))
    return [t]


def _reduced(node: Read, t: Tensor, reduced: set[int], function: str) -> Tensor:
    """A value with these axes reduced to one, which ours has not."""
    for axis in sorted(reduced):
        while t.axes[axis]:
            ours = t.axes[axis][-1]
            if ours == 0:
                raise node.fail(f"it reduces axis {axis}, the batch's", "another axis", "the batch", layout.BATCH_APART)
            options = {"axis": ours, "function": function}
            (value,) = node.emit("reduce", (t.value,), options, part=function)
            t = Tensor(value, layout.dropped(t.axes, ours))
    return t


def _global_pool(node: Read) -> list[Any]:
    t = node.tensor(0)
    function = {"GlobalAveragePool": "mean", "GlobalMaxPool": "max"}[node.op]
    return [_reduced(node, t, set(range(2, len(t.axes))), function)]


HANDLERS: dict[str, Callable[[Read], list[Any]]] = {
    "Conv": _convolution,
    "MaxPool": _pool,
    "AveragePool": _pool,
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
}
