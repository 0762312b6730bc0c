# SPDX-License-Identifier: Apache-2.0
"""Recurrent modules of PyTorch with a forward of their own, for its ONNX exporters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Tagger(nn.Module):
    """Ids, two bidirectional LSTM layers, a class for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.norm, self.head = nn.LayerNorm(10), nn.Linear(10, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(self.embedding(ids))
        return self.head(self.norm(outputs)).log_softmax(-1)


class Forecaster(nn.Module):
    """A convolution, a GRU, its last output, and its state in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.gru = nn.Conv1d(6, 8, 3, padding=1), nn.GRU(8, 5, num_layers=2, batch_first=True)
        self.head = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.convolution(x.transpose(1, 2))).transpose(1, 2)
        outputs, state = self.gru(features, state)
        return self.head(outputs[:, -1]).squeeze(-1), state


class TimeFirst(nn.Module):
    """A GRU of both directions whose input has the steps first, their last states side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(6, 5, bidirectional=True), nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs, state = self.gru(x)
        return outputs, self.head(torch.cat([state[0], state[1]], dim=-1)).softmax(-1)


class Attending(nn.Module):
    """An LSTM, weights over its steps, and their mean beside the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.score, self.head = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 1), nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, (h, _) = self.lstm(x)
        weights = torch.softmax(self.score(torch.tanh(outputs)), dim=1)
        pooled = (weights * outputs).sum(dim=1)
        return torch.sigmoid(self.head(torch.cat([pooled, h[-1]], dim=1)))


class Simple(nn.Module):
    """A simple RNN of relu under a batch normalization, its largest output."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rnn = nn.BatchNorm1d(6), nn.RNN(6, 5, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(5, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.rnn(self.norm(x.permute(0, 2, 1)).permute(0, 2, 1))
        return self.head(outputs.amax(dim=1))


class Packed(nn.Module):
    """A GRU over sequences of several lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=True)
        outputs, state = self.gru(packed)
        return pad_packed_sequence(outputs, batch_first=True)[0], state


MODULES: dict[str, type[nn.Module]] = {
    "Tagger": Tagger,
    "Forecaster": Forecaster,
    "TimeFirst": TimeFirst,
    "Attending": Attending,
    "Simple": Simple,
}


def example(name: str, batch: int, steps: int) -> tuple[Any, ...]:
    """Inputs of a module."""
    generator = torch.Generator().manual_seed(batch * steps)
    if name == "Tagger":
        return (torch.randint(0, 11, (batch, steps), generator=generator),)
    sizes = (steps, batch, 6) if name == "TimeFirst" else (batch, steps, 6)
    x = torch.randn(sizes, generator=generator)
    return (x, torch.randn(2, batch, 5, generator=generator)) if name == "Forecaster" else (x,)


def made(name: str) -> nn.Module:
    """A module with random numbers in all of its parameters, moving statistics included."""
    module = {**MODULES, "Packed": Packed}[name]()
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(0.4 * torch.randn(tensor.shape, generator=generator))
        for buffer_name, buffer in module.named_buffers():
            if "var" in buffer_name:
                buffer.abs_().add_(0.5)
    return module.eval()
