# SPDX-License-Identifier: Apache-2.0
"""The shapes that tensors have in a layer, and the checks of csrc/bind/layer.h for what runs in its kernels' place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from gatewise.operands import INPUTS, axes_of, exists, facts, label_of, sizes_of
from gatewise.ops.torch import signatures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewise.operands import Operand

Tensor: TypeAlias = torch.Tensor
Shape: TypeAlias = "Sequence[int]"
Axes: TypeAlias = "Sequence[tuple[str, int | None]]"  # the name and the size of each, None for any

_X, _RECURRENT_KERNEL = (next(row for row in INPUTS if row.name == name) for name in ("x", "recurrent_kernel"))


class Layer:
    """A layer of so many directions, its cell and the shapes that follow.

    Attributes:
        facts: of its cell.
        options: a `signatures.Options`.
        sizes: of its axes by their letters, once they are taken; they may be symbols.
    """

    def __init__(self, directions: int, options: Any) -> None:
        self.directions, self.options, self.facts = directions, options, facts(options.cell)
        self.sizes: Mapping[str, Any] = {}

    def take_sizes(self, x: Shape, recurrent_kernel: Shape) -> None:
        """Takes the sizes from the shapes of x and of a recurrent kernel."""
        options, (batch, timesteps, features) = self.options, x
        others = sizes_of(
            options.cell, directions=self.directions, timesteps=timesteps, return_sequences=options.return_sequences,
            units=recurrent_kernel[1 if options.torch_layout else 0],
        )  # fmt: skip
        self.sizes = {"b": batch, "f": features, **others}

    def exists(self, row: Operand) -> bool:
        """Says whether it may have an input, or has an output."""
        return exists(row, self.options.cell, torch_layout=self.options.torch_layout)

    def of_output(self, row: Operand) -> tuple[Any, ...]:
        """Returns the shape of an output; (0,) of one that it has not."""
        return tuple([self.sizes[axis] for axis in row.axes]) if self.exists(row) else (0,)

    def of_workspace(self) -> tuple[Any, Any, Any]:
        """Bounds what the engine keeps by a formula that torch can trace: (directions * batch, values, padded units).

        A step and unit keeps what the cell says or, with `recompute`, its states in the square root of all steps; no
        vector is wider than 16 floats.
        """
        timesteps = self.sizes["t"]
        values = self.facts.workspace * timesteps
        if self.options.recompute:
            values = self.facts.states * (torch.sym_int(torch.sym_sqrt(timesteps)) + 1)  # type: ignore[no-untyped-call]
        return self.directions * self.sizes["b"], values, (self.sizes["u"] + 15) // 16 * 16

    # --- Checks ---

    def check(self, inputs: Sequence[Any]) -> None:
        """Checks the inputs of an operation, and takes the sizes from them.

        Raises:
            TypeError: a tensor has the wrong dtype.
            ValueError: a tensor has the wrong shape or no place in the layer, or a second bias stands alone.
        """
        shared, directions = signatures.parted(inputs)
        given = [shared._asdict() | own._asdict() for own in directions]
        sizing = [(row, self.name_of(row, 0), given[0][row.name]) for row in (_X, _RECURRENT_KERNEL)]
        for row, name, value in sizing:
            _expect_dtype(name, value, row.dtype)
        for row, name, value in sizing:
            self._expect_shape(name, value, row)
        self.take_sizes(*(value.shape for *_, value in sizing))
        for i, values in enumerate(given):
            for row in INPUTS:
                self.expect(self.name_of(row, i), values[row.name], row)
                if row.presence == "beside bias" and values[row.name] is not None and values["bias"] is None:
                    name = self.name_of(row, i)
                    raise ValueError(complaint(name, "stands alone", "it beside bias", "it without", "Give both."))

    def expect(self, name: str, value: Tensor | None, row: Operand) -> None:
        """Raises unless a tensor is of a row's dtype and shape; an absent tensor passes."""
        if value is not None:
            _expect_dtype(name, value, row.dtype)
            self._expect_shape(name, value, row)

    def expect_workspace(self, value: Tensor) -> None:
        """Raises unless a tensor is what the engine keeps of this layer."""
        _expect_dtype("workspace", value, "int32")
        _expect_axes(
            "workspace", value, tuple(zip(("rows", "values", "padded units"), self.of_workspace(), strict=True))
        )

    def _expect_shape(self, name: str, value: Tensor, row: Operand) -> None:
        if not self.exists(row):
            raise ValueError(complaint(name, "has no place in this layer", "none", _shape(value), "Leave it out."))
        gates, options = self.facts.gates, self.options
        sizes = {**self.sizes, "m": gates if value.dim() and value.shape[0] == gates else 1}
        axes = axes_of(row, options.cell, torch_layout=options.torch_layout)
        _expect_axes(name, value, [(label_of(axis, options.cell, self.directions), sizes.get(axis)) for axis in axes])

    def name_of(self, row: Operand, direction: int, prefix: str = "") -> str:
        """What errors call an operand: kernel, or first.kernel where there are two."""
        whose = "" if row.owner == "shared" else signatures.WHOSE[self.directions][direction]
        return f"{whose}{prefix}{row.name}"


def complaint(
    name: str, what: str, expected: str, received: object, cure: str = "Check what the layer was given."
) -> str:
    """What is said of a tensor, in the one form that all faces have."""
    return f"gatewise: {name} {what}. Expected {expected}; received {received}. {cure}"


def _expect_dtype(name: str, value: Tensor, dtype: str) -> None:
    if _of(value.dtype) != dtype:
        raise TypeError(complaint(name, "has the wrong type", dtype, _of(value.dtype), "Convert it first."))


def _expect_axes(name: str, value: Tensor, axes: Axes) -> None:
    fits = value.dim() == len(axes) and all(n is None or n == m for (_, n), m in zip(axes, value.shape, strict=True))
    if not fits:
        expected = ", ".join(axis if n is None else f"{axis}={n}" for axis, n in axes)
        raise ValueError(complaint(name, "has the wrong shape", f"({expected})", _shape(value)))


def _shape(value: Tensor) -> str:
    return f"({', '.join(map(str, value.shape))})"


def refuse_foreign(inputs: Sequence[Any]) -> None:
    """Raises if an input is no dense tensor on the CPU or, like x, on the meta device.

    Raises:
        TypeError: an input is no tensor, or not a dense one.
        ValueError: an input is on another device.
    """
    for (name, row), value in zip(signatures.of(inputs).inputs, inputs, strict=True):
        if not isinstance(value, torch.Tensor):
            if value is not None or row.presence == "required":
                raise TypeError(_wrong(name, "type", "a torch.Tensor", type(value).__name__, "Make it one first"))
            continue
        if value.is_nested:
            raise TypeError(_wrong(name, "layout", "a dense tensor", "a nested one", "Pad it, and give a mask"))
        if value.layout != torch.strided:
            raise TypeError(_wrong(name, "layout", "a dense tensor", _of(value.layout), "Call to_dense() on it"))
        if value.is_quantized:
            raise TypeError(_wrong(name, "type", "float32", _of(value.dtype), "Call dequantize() on it"))
        if value.device.type != "cpu" and not value.device == inputs[0].device == torch.device("meta"):
            raise ValueError(_wrong(name, "device", "cpu", value.device, "Call cpu() on it"))


def _wrong(name: str, what: str, expected: str, received: object, cure: str) -> str:
    return complaint(name, f"has the wrong {what}", expected, received, f"{cure}.")


def _of(dtype_or_layout: object) -> str:
    return str(dtype_or_layout).removeprefix("torch.")
