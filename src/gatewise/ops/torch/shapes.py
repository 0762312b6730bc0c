# SPDX-License-Identifier: Apache-2.0
"""What the operations take: the checks of csrc/bind/torch_layer.h once more, for what runs in its kernels' place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from gatewise.ops.torch import signatures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Tensor: TypeAlias = torch.Tensor
Axes: TypeAlias = tuple[tuple[str, int | None], ...]  # name and size of each, None for any

WHERE = "gatewise::gru"


def check_inputs(inputs: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Checks the inputs of a layer.

    Args:
        inputs: those of an operation, in its order.
        options: those of `gru`, of which the layout and `reset_after` matter.

    Raises:
        TypeError: a tensor has the wrong dtype.
        ValueError: a tensor has the wrong shape, or only one bias of two is there.
    """
    each, torch_layout = signatures.of_each_direction(inputs), options["torch_layout"]
    x, mask = inputs[0], inputs[signatures.differentiable(len(each))]
    expect("x", x, (("batch", None), ("timesteps", None), ("features", None)))
    units = _units(f"{whose(len(each))[0]}recurrent_kernel", each[0][3], torch_layout=torch_layout)
    for prefix, own in zip(whose(len(each)), each, strict=True):
        _check_direction(prefix, own, units, reset_after=options["reset_after"], torch_layout=torch_layout)
    expect("mask", mask, (("batch", x.shape[0]), ("timesteps", x.shape[1])), torch.bool)


def refuse_foreign(inputs: Sequence[Any]) -> None:
    """Raises if an input is no dense tensor on the CPU or, like x, on the meta device.

    Raises:
        TypeError: an input is no tensor, or not a dense one.
        ValueError: an input is on another device.
    """
    for name, value in zip(signatures.input_names(signatures.directions_of(inputs)), inputs, strict=True):
        if not isinstance(value, torch.Tensor):
            if value is not None or name.rpartition(".")[2] in {"x", "kernel", "recurrent_kernel"}:
                raise TypeError(_message(name, "type", "a torch.Tensor", type(value).__name__, "Make it one first"))
            continue
        if value.is_nested:
            raise TypeError(_message(name, "layout", "a dense tensor", "a nested one", "Pad it, and give a mask"))
        if value.layout != torch.strided:
            raise TypeError(_message(name, "layout", "a dense tensor", _of(value.layout), "Call to_dense() on it"))
        if value.is_quantized:
            raise TypeError(_message(name, "type", "float32", _of(value.dtype), "Call dequantize() on it"))
        if value.device.type != "cpu" and not value.device == inputs[0].device == torch.device("meta"):
            raise ValueError(_message(name, "device", "cpu", value.device, "Call cpu() on it"))


def _message(name: str, what: str, expected: str, received: object, cure: str) -> str:
    return f"{WHERE}: {name} has the wrong {what}. Expected {expected}; received {received}. {cure}."


def whose(directions: int) -> tuple[str, ...]:
    """Begins the names in errors."""
    return ("first.", "second.") if directions > 1 else ("",)


def expect(name: str, value: Tensor | None, axes: Axes, dtype: torch.dtype = torch.float32) -> None:
    """Raises unless a tensor is of this dtype and shape; an absent tensor passes."""
    if value is None:
        return
    if value.dtype != dtype:
        raise TypeError(_message(name, "type", _of(dtype), _of(value.dtype), "Convert it first"))
    fits = value.dim() == len(axes) and all(
        size is None or size == received for (_, size), received in zip(axes, value.shape, strict=True)
    )
    if not fits:
        expected = ", ".join(name if size is None else f"{name}={size}" for name, size in axes)
        received = f"({', '.join(map(str, value.shape))})"
        raise ValueError(_message(name, "shape", f"({expected})", received, "Check what the layer was given"))


def _units(name: str, recurrent_kernel: Tensor, *, torch_layout: bool) -> int:
    axes: Axes = (("3 * units", None), ("units", None))
    expect(name, recurrent_kernel, axes[:: _way(torch_layout)])
    return recurrent_kernel.shape[1 if torch_layout else 0]


def _check_direction(prefix: str, own: Sequence[Any], units: int, *, reset_after: bool, torch_layout: bool) -> None:
    x, initial_state, kernel, recurrent_kernel, bias, recurrent_bias, _, input_dropout, recurrent_dropout = own
    batch, features = ("batch", x.shape[0]), ("features", x.shape[2])
    own_units, gates = ("units", units), ("3 * units", 3 * units)
    expect(f"{prefix}recurrent_kernel", recurrent_kernel, (gates, own_units)[:: _way(torch_layout)])
    expect(f"{prefix}kernel", kernel, (gates, features)[:: _way(torch_layout)])
    expect(f"{prefix}initial_state", initial_state, (batch, own_units))
    together = reset_after and not torch_layout
    expect(f"{prefix}bias", bias, (("input and recurrent", 2), gates) if together else (gates,))
    expect(f"{prefix}recurrent_bias", recurrent_bias, (gates,))
    if (recurrent_bias is not None) != (bias is not None and reset_after and torch_layout):
        raise ValueError(
            f"{WHERE}: recurrent_bias stands beside bias with reset_after and torch_layout, and nowhere else. Give "
            "or leave out both."
        )
    masks = 3 if input_dropout is not None and input_dropout.dim() == 3 and len(input_dropout) == 3 else 1
    expect(f"{prefix}input_dropout", input_dropout, (("masks", masks), batch, features))
    expect(f"{prefix}recurrent_dropout", recurrent_dropout, (("gates", 3), batch, own_units))


def _way(torch_layout: bool) -> int:
    """The step by which the axes of a kernel are read: PyTorch's layout has the gates first."""
    return 1 if torch_layout else -1


def _of(dtype_or_layout: object) -> str:
    return str(dtype_or_layout).removeprefix("torch.")
