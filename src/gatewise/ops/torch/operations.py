# SPDX-License-Identifier: Apache-2.0
"""The engine's operations as torch knows them: shapes, kernels, gradients and costs, registered by importing this.

Their kernels are those of csrc/bind/torch.cpp or, where torch lacks its stable C interface, those of `fallback.py`. The
gradients registered here serve what traces operations; `rnn` brings its own to eager code, at less overhead.
"""

from __future__ import annotations

import ctypes
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from gatewise.ops.torch import fallback, flops, gradients, signatures
from gatewise.ops.torch.shapes import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewise.ops.torch.signatures import Signature

Tensor: TypeAlias = torch.Tensor

_LIBRARY = Path(__file__).parents[2] / "libgatewise_torch.so"

# --- Shapes, for tensors without numbers ---


def _shapes(signature: Signature, *arguments: Any, keeps: bool = False) -> tuple[Tensor, ...]:
    n, x = len(signature.inputs), arguments[0]
    _refuse_other_devices(arguments[:n])
    layer = Layer(signature.directions, signatures.Options(*arguments[n:]))
    layer.take_sizes(x.shape, arguments[signatures.RECURRENT_KERNEL].shape)
    results = [x.new_empty(layer.of_output(row)) for _, row in signature.outputs]
    return *results, *([x.new_empty(layer.of_workspace(), dtype=torch.int32)] if keeps else [])


def _gradient_shapes(signature: Signature, *arguments: Any) -> tuple[Tensor, ...]:
    inputs, _, _, _, x_gradient = signature.of_grad(arguments)
    _refuse_other_devices(inputs)
    wanted = (inputs[i] if i or x_gradient else None for i in signature.differentiable)
    return tuple(inputs[0].new_empty((0,) if value is None else value.shape) for value in wanted)


def _refuse_other_devices(tensors: Sequence[Any]) -> None:
    """Raises if some tensors have numbers and some have none: the results would have none."""
    devices = {value.device for value in tensors if value is not None}
    if len(devices) > 1:
        received = ", ".join(sorted(map(str, devices)))
        raise RuntimeError(
            f"gatewise: tensors are on different devices. Expected one; received {received}. Move all to the CPU."
        )


# --- torch.vmap ---


def _one_by_one(operation: Any) -> Callable[..., tuple[tuple[Tensor, ...], tuple[int, ...]]]:
    """The rule of `torch.library.register_vmap` that runs an operation on each element in turn."""

    def mapped(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        results = [
            operation(*(v if dim is None else v.select(dim, i) for v, dim in zip(arguments, in_dims, strict=True)))
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
    for signature in signatures.SIGNATURES.values():
        signature.declare(library)
    if _why_not_native() is not None:
        fallback.register(library)
    for signature in signatures.SIGNATURES.values():
        n = len(signature.inputs)
        for suffix, tensors, shapes, keep, backward in (
            ("", n, _shapes, gradients.keep, gradients.of_rnn),
            ("_train", n, partial(_shapes, keeps=True), gradients.keep, gradients.of_rnn_train),
            (
                "_grad",
                n + 1 + len(signature.outputs),
                _gradient_shapes,
                gradients.keep_for_second,
                gradients.of_rnn_grad,
            ),
        ):
            name, operation = signature.name + suffix, signature.operations[suffix]
            torch.library.register_fake(f"gatewise::{name}", partial(shapes, signature), lib=library)
            library.impl(name, gradients.differentiable(operation, tensors, keep, backward), "Autograd")
            torch.library.register_vmap(f"gatewise::{name}", _one_by_one(operation), lib=library)
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
