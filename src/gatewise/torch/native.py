# SPDX-License-Identifier: Apache-2.0
"""What makes a recurrent module of PyTorch one of ours. Parameters, checks and packing stay PyTorch's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch

from gatewise.options import fraction
from gatewise.torch import loop, zoneout
from gatewise.torch.quantization import warn_if_passed_over

# What a module of ours holds besides what stock's does. torch.fx keeps a module whole whose `__module__` is in
# torch.nn: it asks the module, pickle asks the class.
OWN_STATE = {"__module__": torch.nn.GRU.__module__, "fallback_reason": None}


class Native:
    """Stands before a recurrent module of PyTorch among the bases of ours.

    Attributes:
        STOCK: that module's class.
        ZONEOUT: the arguments of its constructor that stock's has not.
        fallback_reason: why PyTorch's own path ran in the latest call; None if the engine ran.
    """

    STOCK: Any
    ZONEOUT: tuple[str, ...] = ()
    fallback_reason: str | None = None

    if not TYPE_CHECKING:  # whose signatures stay stock's

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            where = type(self).__name__
            own = {name: fraction(where, name, kwargs.pop(name)) for name in self.ZONEOUT if name in kwargs}
            super().__init__(*args, **kwargs)
            vars(self).update(OWN_STATE, **own)

        def extra_repr(self) -> str:
            """Returns what the module's text says of it."""
            return super().extra_repr() + zoneout.described(self)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "qconfig":  # torch.ao.quantization asks nothing else of a module that it passes over
            warn_if_passed_over(self.STOCK, value, sys._getframe(1).f_locals)  # noqa: SLF001

    def forward(self, input: Any, hx: Any = None, starts: Any = None) -> tuple[Any, Any]:  # noqa: A002
        """Runs the layers over sequences.

        Args:
            input: (T, B, F), (B, T, F) with `batch_first`, (T, F) for a single sequence, or a PackedSequence.
            hx: (L * D, B, U), or (L * D, U) for a single sequence; None for zeros. An LSTM takes a pair of such.
            starts: (T, B) bool or, with `batch_first`, (B, T), of a PackedSequence too, in the order of the rows that
                were packed; (T,) for a single sequence. True = a boundary before that step in time, which no state and
                no gradient crosses, in any layer: rows that hold several sequences, one after the other. The step
                begins with hx; the direction that reads backwards does so behind it. Or None.

        Returns:
            The last layer's outputs, (T, B, D * U) or as the input, and every layer's last state, in the shape of hx.

        Raises:
            NotImplementedError: there are starts or zoneout, and PyTorch's own path would run.
            RuntimeError: a shape does not fit; it is PyTorch's own check, as for ValueError.
            TypeError: starts is no tensor of bool.
            ValueError: the input has the wrong rank or dtype, or starts the wrong shape.
        """
        return loop.forward(self, input, hx, starts)

    def __prepare_scriptable__(self) -> Any:  # torch.jit.script compiles what this returns
        if zoneout.parts(self):
            raise NotImplementedError(
                f"{type(self).__name__}: TorchScript has no zoneout. Expected a module without; received one"
                f"{zoneout.described(self)}. Set zoneout to 0 first."
            )
        stock = self.STOCK.__new__(self.STOCK)
        stock.__dict__ = {name: value for name, value in vars(self).items() if name not in (*OWN_STATE, *self.ZONEOUT)}
        return stock
