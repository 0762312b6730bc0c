# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.RNN` with its layers on the engine."""

from __future__ import annotations

import torch

from gatewise.torch.native import Native


class RNN(Native, torch.nn.RNN):
    """Reads sequences with a simple recurrence: `torch.nn.RNN`, faster on a CPU, with the same numbers.

    Arguments, both nonlinearities included, parameters, call and state dict are those of `torch.nn.RNN`; so is what it
    computes, with the remarks of `gatewise.torch.GRU`.

    Attributes:
        fallback_reason: why PyTorch's own path ran in the latest call; None if the engine ran. The reasons are those of
            `gatewise.torch.GRU`.

    Example:
        >>> import torch
        >>> rnn = RNN(5, 4, nonlinearity="relu", batch_first=True)
        >>> rnn.load_state_dict(torch.nn.RNN(5, 4).state_dict())
        <All keys matched successfully>
        >>> outputs, state = rnn(torch.zeros(2, 3, 5))
        >>> tuple(outputs.shape), tuple(state.shape), rnn.fallback_reason
        ((2, 3, 4), (1, 2, 4), None)
    """

    STOCK = torch.nn.RNN
