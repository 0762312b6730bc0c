# SPDX-License-Identifier: Apache-2.0
"""The engine's operations as torch knows them: shapes, kernels, gradients and costs, registered by importing this.

Their kernels are those of csrc/bind/torch.cpp or, where torch lacks its stable C interface, those of `fallback.py`. The
gradients registered here serve what traces operations; `gru` brings its own to eager code, at less overhead.
"""

from __future__ import annotations

import ctypes
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from gatewise.ops.torch import fallback, flops, gradients, signatures

if TYPE_CHECKING:
    from collections.abc import Callable

Tensor: TypeAlias = torch.Tensor

_LIBRARY = Path(__file__).parents[2] / "libgatewise_torch.so"

# --- Shapes, for tensors without numbers ---


def saved_shape(
    directions: int,
    x: Tensor,
    recurrent_kernel: Tensor,
    *,
    reset_after: bool,
    recompute: bool,
    torch_layout: bool,
    **_options: Any,
) -> tuple[int, int, int]:
    """Bounds what the engine saves by a formula that torch can trace: (directions * batch, values, padded units).

    A step and unit saves its gates, 4 or 3 floats, and one state at the most, or with `recompute` one state in the
    square root of all steps; no vector is wider than 16 floats.
    """
    timesteps = x.shape[1]
    values = (5 if reset_after else 4) * timesteps
    if recompute:
        values = torch.sym_int(torch.sym_sqrt(timesteps)) + 1  # type: ignore[no-untyped-call]
    return directions * x.shape[0], values, (_units(recurrent_kernel, torch_layout=torch_layout) + 15) // 16 * 16


def _units(recurrent_kernel: Tensor, *, torch_layout: bool) -> int:
    return recurrent_kernel.shape[1 if torch_layout else 0]


def _gru_shapes(directions: int, *inputs: Any, **options: Any) -> tuple[Tensor, ...]:
    x: Tensor = inputs[0]
    _refuse_other_devices(inputs)
    steps = x.shape[1] if options["return_sequences"] else 1
    units = _units(inputs[3], torch_layout=options["torch_layout"])
    states = (x.new_empty((x.shape[0], units)) for _ in range(directions))
    return x.new_empty((x.shape[0], steps, directions * units)), *states


def _gru_train_shapes(directions: int, *inputs: Any, **options: Any) -> tuple[Tensor, ...]:
    x, recurrent_kernel = inputs[0], inputs[3]
    saved = x.new_empty(saved_shape(directions, x, recurrent_kernel, **options), dtype=torch.int32)
    return *_gru_shapes(directions, *inputs, **options), saved


def _gru_grad_shapes(directions: int, *inputs: Any, **options: Any) -> tuple[Tensor, ...]:
    x = inputs[0]
    _refuse_other_devices(inputs)
    wanted = (x if options["x_gradient"] else None, *inputs[1 : signatures.differentiable(directions)])
    return tuple(x.new_empty((0,) if value is None else value.shape) for value in wanted)


def _refuse_other_devices(inputs: tuple[Any, ...]) -> None:
    """Raises if some tensors have numbers and some have none: the results would have none."""
    devices = {value.device for value in inputs if value is not None}
    if len(devices) > 1:
        received = ", ".join(sorted(map(str, devices)))
        raise RuntimeError(
            f"gatewise::gru: tensors are on different devices. Expected one; received {received}. Move all to the CPU."
        )


# --- torch.vmap ---


def _one_by_one(operation: Any) -> Callable[..., tuple[tuple[Tensor, ...], tuple[int, ...]]]:
    """The rule of `torch.library.register_vmap` that runs an operation on each element in turn."""

    def mapped(info: Any, in_dims: tuple[int | None, ...], *inputs: Any, **options: Any) -> Any:
        results = [
            operation(
                *(value if dim is None else value.select(dim, i) for value, dim in zip(inputs, in_dims, strict=True)),
                **options,
            )
            for i in range(info.batch_size)
        ]
        stacked = tuple(torch.stack(parts) for parts in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)

    return mapped


# --- Registration ---


def _register() -> tuple[Any, str | None]:
    """Registers the operations. Returns what keeps them registered, or the reason why they cannot be."""
    if not hasattr(torch.compiler, "is_exporting"):  # of torch 2.7: what else is used here is older
        return None, f"torch {torch.__version__} is too old; torch 2.9 or later is needed"
    library: Any = torch.library.Library("gatewise", "DEF")  # type: ignore[no-untyped-call]
    for directions in signatures.NAMES:
        for schema in signatures.schemas(directions):
            library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    if _why_not_native() is not None:
        fallback.register(library, saved_shape)
    for directions, name in signatures.NAMES.items():
        for suffix, shapes, keep, way_back in (
            ("", _gru_shapes, gradients.keep, gradients.of_gru),
            ("_train", _gru_train_shapes, gradients.keep, gradients.of_gru_train),
            ("_grad", _gru_grad_shapes, gradients.keep_for_second, gradients.of_gru_grad),
        ):
            full_name, operation = f"gatewise::{name}{suffix}", signatures.operation(directions, suffix)
            torch.library.register_fake(full_name, partial(shapes, directions), lib=library)
            library.impl(f"{name}{suffix}", gradients.differentiable(operation, keep, way_back), "Autograd")
            torch.library.register_vmap(full_name, _one_by_one(operation), lib=library)
    flops.register()
    return library, None


def _why_not_native() -> str | None:
    """Gives the operations their kernels of csrc/bind/torch.cpp. Returns the reason if that cannot be done."""
    try:
        register = ctypes.CDLL(str(_LIBRARY)).gatewise_torch_register
    except OSError as error:
        return str(error)
    register.restype = ctypes.c_char_p
    problem = register()
    return problem.decode() if problem else None


_LIBRARY_OF_TORCH, PROBLEM = _register()
