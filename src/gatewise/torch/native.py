# SPDX-License-Identifier: Apache-2.0
"""What makes a recurrent module of PyTorch one of ours. Parameters, checks and packing stay PyTorch's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch

from gatewise.torch import loop
from gatewise.torch.quantization import warn_if_passed_over

# What a module of ours holds besides what stock's does. torch.fx keeps a module whole whose `__module__` is in
# torch.nn: it asks the module, pickle asks the class.
OWN_STATE = {"__module__": torch.nn.GRU.__module__, "fallback_reason": None}


class Native:
    """Stands before a recurrent module of PyTorch among the bases of ours.

    Attributes:
        STOCK: that module's class.
        fallback_reason: why PyTorch's own path ran in the latest call; None if the engine ran.
    """

    STOCK: Any
    fallback_reason: str | None = None

    if not TYPE_CHECKING:  # whose signatures stay stock's

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            vars(self).update(OWN_STATE)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "qconfig":  # torch.ao.quantization asks nothing else of a module that it passes over
            warn_if_passed_over(self.STOCK, value, sys._getframe(1).f_locals)  # noqa: SLF001

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:  # noqa: A002
        """Runs the layers over sequences.

        Args:
            input: (T, B, F), (B, T, F) with `batch_first`, (T, F) for a single sequence, or a PackedSequence.
            hx: (L * D, B, U), or (L * D, U) for a single sequence; None for zeros. An LSTM takes a pair of such.

        Returns:
            The last layer's outputs, (T, B, D * U) or as the input, and every layer's last state, in the shape of hx.

        Raises:
            RuntimeError: a shape does not fit; it is PyTorch's own check, as for ValueError.
            ValueError: the input has the wrong rank or dtype.
        """
        return loop.forward(self, input, hx)

    def __prepare_scriptable__(self) -> Any:  # torch.jit.script compiles what this returns
        stock = self.STOCK.__new__(self.STOCK)
        stock.__dict__ = {name: value for name, value in vars(self).items() if name not in OWN_STATE}
        return stock
