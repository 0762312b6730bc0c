# SPDX-License-Identifier: Apache-2.0
"""What the code runs inside of: transforms of torch.func, and forward-mode derivatives. torch asks in private alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._C import _functorch

if TYPE_CHECKING:
    from collections.abc import Sequence


def transforms() -> list[Any]:
    """The transforms of torch.func that the code runs inside, the outermost first."""
    return _functorch.get_interpreter_stack() or []


def unruled() -> str | None:
    """Says what the code runs inside of that the operations have no rule for, a clause; None if there is nothing.

    They have one for `torch.vmap`, and for gradients that are taken backwards. Tangents and the wrapped tensors of the
    others they would drop, in places without a word.
    """
    if _transformed():
        return "the code runs inside torch.func.grad or the like, which the engine's operations have no rule for"
    if _takes_tangents():
        return "the code takes forward-mode derivatives, which the engine's operations have no rule for"
    return None


def _transformed() -> bool:
    return any(t.key() != _functorch.TransformType.Vmap for t in transforms())


# torch.compiler.assume_constant_result sets this: torch.compile cannot trace the question, and asks it while it traces.
# It traces again where the transforms differ.
setattr(_transformed, "_dynamo_marked_constant", True)  # noqa: B010  # mypy knows no such attribute


def _takes_tangents() -> bool:
    return torch.autograd.forward_ad._current_level >= 0  # noqa: SLF001


def refuse_tangents(values: Sequence[torch.Tensor | None]) -> None:
    """Raises if a value carries a tangent: for a program that was exported, which takes no other path any more."""
    if not _takes_tangents():
        return
    unpack: Any = torch.autograd.forward_ad.unpack_dual
    if any(value is not None and unpack(value).tangent is not None for value in values):
        raise NotImplementedError(
            "gatewise: forward-mode derivatives of an exported program are not implemented. Expected inputs "
            "without a tangent; received one with. Take them of the code that was exported."
        )
