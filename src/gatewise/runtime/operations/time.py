# SPDX-License-Identifier: Apache-2.0
"""What looks at several steps: convolutions, pools, reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.runtime.operations.operation import (
    Operation,
    Option,
    Problem,
    axis_of,
    checked_mask,
    fits,
    numbers,
    rank,
    weight,
)

if TYPE_CHECKING:
    from gatewise.runtime.operations.operation import Array, Known

PADDINGS = ("valid", "same", "causal")


def length_after(length: int | None, size: int, options: dict[str, Any]) -> int | None:
    """How many steps a window of `size` steps leaves; None where the length is not known."""
    if length is None:
        return None
    reach = (size - 1) * options.get("dilation", 1)
    given: int = length - (reach if options["padding"] == "valid" else 0)
    strides: int = options["strides"]
    return max(0, -(-given // strides))


def _conv1d(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> list[Known]:
    numbers(given[0], "x")
    batch, length, channels = rank(given[0], 3, "x")
    kernel = weight(weights, "kernel", None, None, None)
    size, per_group, filters = (0, 0, 0) if kernel is None else kernel.shape
    weight(weights, "bias", filters)
    fits(channels, per_group * options["groups"], "the number of channels of x")
    if filters % options["groups"] or not size:
        raise Problem(f"weight kernel has {filters} filters. Expected a multiple of groups, {options['groups']}.")
    return [((batch, length_after(length, size, options), filters), "float32")]


def _pool(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    numbers(given[0], "x")
    batch, length, channels = rank(given[0], 3, "x")
    return [((batch, length_after(length, options["size"], options), channels), "float32")]


def _reduce(given: list[Any], options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    shape = numbers(given[0], "x")
    axis = axis_of(options, shape)
    checked_mask(given[1] if len(given) > 1 else None, shape)
    if len(given) > 1 and given[1] is not None and axis != 1:
        raise Problem(f"option axis is {axis}. Expected 1, which the mask is of.")
    return [((*shape[:axis], *((1,) if options["keepdims"] else ()), *shape[axis + 1 :]), "float32")]


_WINDOW = {
    "strides": Option(1, int, least=1),
    "padding": Option("valid", str, names=PADDINGS),
}

ROWS = {
    # y[t] = bias + sum over k of x[t * strides + (k - before) * dilation] kernel[k]; kernel (size, channels a group,
    # filters). "causal" pads before the first step alone, "same" on both sides, the odd one behind
    "conv1d": Operation(
        ("x",),
        ("y",),
        _conv1d,
        ("kernel", "bias?"),
        _WINDOW | {"dilation": Option(1, int, least=1), "groups": Option(1, int, least=1)},
    ),
    "max_pool1d": Operation(("x",), ("y",), _pool, (), _WINDOW | {"size": Option(2, int, least=1)}),
    # of the steps that are there: padding counts for nothing
    "average_pool1d": Operation(("x",), ("y",), _pool, (), _WINDOW | {"size": Option(2, int, least=1)}),
    # over an axis; with a mask (of axis 1, by "mean" and "sum") of the steps that are valid
    "reduce": Operation(
        ("x", "mask?"),
        ("y",),
        _reduce,
        (),
        {
            "function": Option("mean", str, names=("mean", "sum", "max", "min")),
            "axis": Option(1, int, least=-8, most=8),
            "keepdims": Option(default=False, kind=bool),
        },
    ),
}
