# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.LSTM` with its layers on the engine."""

from __future__ import annotations

import torch

from gatewise.torch.native import Native


class LSTM(Native, torch.nn.LSTM):
    """Reads sequences with long short-term memory: `torch.nn.LSTM`, faster on a CPU, with the same numbers.

    Arguments, parameters, call and state dict are those of `torch.nn.LSTM`; so is what it computes, with the remarks of
    `gatewise.torch.GRU`. With `proj_size` PyTorch's own path runs.

    Zoneout of h is `zoneout`, that of c `zoneout_cell`; the new h follows from the new c before zoneout, as in the
    paper.

    Attributes:
        fallback_reason: why PyTorch's own path ran in the latest call; None if the engine ran. The reasons are those of
            `gatewise.torch.GRU`, and `proj_size`.

    Example:
        >>> import torch
        >>> lstm = LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        >>> lstm.load_state_dict(torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True).state_dict())
        <All keys matched successfully>
        >>> outputs, (h, c) = lstm(torch.zeros(2, 3, 5))
        >>> tuple(outputs.shape), tuple(h.shape), tuple(c.shape), lstm.fallback_reason
        ((2, 3, 8), (4, 2, 4), (4, 2, 4), None)
    """

    STOCK = torch.nn.LSTM
    ZONEOUT = ("zoneout", "zoneout_cell")
    zoneout: float = 0.0
    zoneout_cell: float = 0.0
