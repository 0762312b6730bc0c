# SPDX-License-Identifier: Apache-2.0
"""The kinds of recurrent modules that PyTorch and the engine both have: a row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gatewise.cells import Cell

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(NamedTuple):
    """PyTorch's class of a kind, its own forward, and what its layers compute."""

    module: Any
    cell: Cell
    activation: Callable[[Any], str]
    forward: Callable[..., Any]

    @property
    def states(self) -> int:
        """How many states a layer carries on; a module takes and returns several as a tuple."""
        return len(self.cell.row.states)


def _tanh(_module: Any) -> str:
    return "tanh"


def _nonlinearity(module: Any) -> str:
    return "relu" if module.mode == "RNN_RELU" else "tanh"


KINDS = (
    Kind(torch.nn.GRU, Cell.GRU, _tanh, torch.nn.GRU.forward),
    Kind(torch.nn.LSTM, Cell.LSTM, _tanh, torch.nn.LSTM.forward),
    Kind(torch.nn.RNN, Cell.SIMPLE_RNN, _nonlinearity, torch.nn.RNN.forward),
)
MODULES = tuple(kind.module for kind in KINDS)


def kind_of(cls: type) -> Kind:
    """Returns the kind that a class of modules is of."""
    return next(kind for kind in KINDS if issubclass(cls, kind.module))
