# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own modules on the engine: every one of the process follows, whoever made it and whenever."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import torch

from gatewise.torch import loop
from gatewise.torch.kinds import KINDS, Kind


def patch_torch() -> None:
    """Lets every `torch.nn.GRU`, `LSTM` and `RNN` of this process run on the engine, as those of `gatewise.torch` do.

    Modules that exist already follow, subclasses that do not define `forward`, and the libraries that use them. What
    they save stays PyTorch's. A second call changes nothing; `unpatch_torch()` undoes it.

    A `torch.nn.GRUCell` stays as it is, in a loop of your own as well, and so do the other cells, quantised modules
    and what TorchScript has compiled. A call that the engine cannot run takes PyTorch's own path, as the module's
    `fallback_reason` says: on another device, in float64, in forward-mode derivatives; see `gatewise.torch.GRU`.

    Example:
        >>> import gatewise, torch
        >>> from gatewise.torch import patch_torch, unpatch_torch
        >>> module = torch.nn.GRU(5, 4)
        >>> patch_torch()
        >>> before = gatewise.native.calls().forward
        >>> _ = module(torch.zeros(3, 2, 5))
        >>> gatewise.native.calls().forward - before
        1
        >>> unpatch_torch()
    """
    if not is_patched():
        for kind in KINDS:
            kind.module.forward = _PATCHED[kind]
            kind.module.fallback_reason = None
        _forget_compiled()


def unpatch_torch() -> None:
    """Gives PyTorch's modules their own forward back; see `patch_torch`. Without a patch, it changes nothing."""
    if is_patched():
        for kind in KINDS:
            kind.module.forward = kind.forward
            del kind.module.fallback_reason
        _forget_compiled()


def is_patched() -> bool:
    """Says whether the modules of PyTorch run on the engine now."""
    return "fallback_reason" in vars(torch.nn.GRU)


def _forget_compiled() -> None:
    """Lets `torch.compile` trace again what it traced through the other forward."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def _in_place_of(stock: Any) -> Any:
    """Makes our forward look like stock's to who reads it: `torch.jit.script` compiles the source of what it wraps.

    It looks names up in the function's globals, which therefore are stock's; ours is in the closure.
    """
    run = loop.forward

    def forward(self: Any, input: Any, hx: Any = None) -> Any:  # noqa: A002
        return run(self, input, hx)

    code, defaults, closure = forward.__code__, forward.__defaults__, forward.__closure__
    return functools.update_wrapper(types.FunctionType(code, stock.__globals__, "forward", defaults, closure), stock)


_PATCHED: dict[Kind, Any] = {kind: _in_place_of(kind.forward) for kind in KINDS}
