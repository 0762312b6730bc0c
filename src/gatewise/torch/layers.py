# SPDX-License-Identifier: Apache-2.0
"""Our modules, each in the place of one of PyTorch's, its attribute `STOCK`."""

from gatewise.torch.gru import GRU
from gatewise.torch.lstm import LSTM
from gatewise.torch.rnn import RNN

__all__ = ["GRU", "LAYERS", "LSTM", "RNN"]

LAYERS = (GRU, LSTM, RNN)
