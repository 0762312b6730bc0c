# SPDX-License-Identifier: Apache-2.0
"""Modules of PyTorch with a forward of their own, as people write them, and inputs of any batch and length for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # as everybody does
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import gatewise.torch

if TYPE_CHECKING:
    from collections.abc import Callable

    Tensors = tuple[Any, ...]

FEATURES, UNITS, CLASSES, WORDS = 6, 8, 5, 17


class Case(NamedTuple):
    """A module, and what it takes.

    Attributes:
        module: makes one, with parameters as PyTorch draws them.
        inputs: makes its inputs, for a batch and a number of steps.
        batch_axes: of each input, where the batch is, if not first.
        output_axes: of each output by name, likewise.
    """

    module: Callable[[], nn.Module]
    inputs: Callable[[int, int], Tensors]
    batch_axes: dict[str, int] = {}  # noqa: RUF012  # never changed
    output_axes: dict[str, int] = {}  # noqa: RUF012


def drawn(module: nn.Module, seed: int) -> nn.Module:
    """Draws every parameter and buffer of numbers at the scale that training leaves: gains and offsets too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if not tensor.is_floating_point():
                continue
            normal = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() >= 2:
                tensor.copy_(normal / math.sqrt(tensor[0].numel()))
            elif name.endswith(("running_var", "original0")):
                tensor.copy_((0.5 * normal).exp())
            elif "norm" in name and name.endswith("weight"):
                tensor.copy_(1 + 0.3 * normal)
            else:
                tensor.copy_(0.3 * normal)
    return module.eval()


def series(batch: int, steps: int, width: int = FEATURES) -> torch.Tensor:
    return torch.randn(batch, steps, width, generator=torch.Generator().manual_seed(batch * steps + width))


def words(batch: int, steps: int) -> torch.Tensor:
    return torch.randint(0, WORDS, (batch, steps), generator=torch.Generator().manual_seed(batch * steps))


def some_lengths(batch: int, steps: int) -> torch.Tensor:
    """Lengths of which one is all steps, as packing counts them, and one is 1."""
    return torch.tensor([1 + (steps - 1) * ((i + 1) % batch) // max(1, batch - 1) for i in range(batch)])


class LastStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)
        self.fc = nn.Linear(UNITS, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.gru(x)
        return self.fc(out[:, -1, :])


class BothEnds(nn.Module):
    """The last states of both directions of a stack."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, UNITS, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(2 * UNITS, UNITS), nn.ReLU(), nn.Linear(UNITS, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (h, _) = self.lstm(x)
        joined = torch.cat((h[-2], h[-1]), dim=1)
        return F.softmax(self.head(self.dropout(joined)), dim=-1)


class BahdanauAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Linear(3 * UNITS, UNITS)
        self.v = nn.Linear(UNITS, 1, bias=False)

    def forward(self, hidden: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        repeated = hidden.unsqueeze(1).repeat(1, encoded.shape[1], 1)
        energy = torch.tanh(self.attn(torch.cat((repeated, encoded), dim=2)))
        return F.softmax(self.v(energy).squeeze(2), dim=1)


class Seq2Seq(nn.Module):
    """A translator that decodes its own scores, with attention over both directions of the encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.encoder = nn.GRU(FEATURES, UNITS, bidirectional=True, batch_first=True)
        self.bridge = nn.Linear(2 * UNITS, UNITS)
        self.attention = BahdanauAttention()
        self.decoder = nn.GRU(WORDS + 2 * UNITS, UNITS, batch_first=True)
        self.out = nn.Linear(3 * UNITS, WORDS)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        encoded, hidden = self.encoder(self.embedding(ids))
        hidden = torch.tanh(self.bridge(torch.cat((hidden[-2], hidden[-1]), dim=1))).unsqueeze(0)
        given = encoded.new_zeros(ids.size(0), 1, WORDS)
        outputs = []
        for _ in range(4):
            weights = self.attention(hidden[-1], encoded)
            context = torch.bmm(weights.unsqueeze(1), encoded)
            output, hidden = self.decoder(torch.cat((given, context), dim=2), hidden)
            scores = self.out(torch.cat((output, context), dim=2))
            given = F.softmax(scores, dim=-1)
            outputs.append(scores.squeeze(1))
        return torch.stack(outputs, dim=1)


class SpeechMask(nn.Module):
    """A mask for noisy speech: (B, F, T) in and out, a convolution in front."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(FEATURES, UNITS, 3, padding=1)
        self.norm = nn.BatchNorm1d(UNITS)
        self.act = nn.PReLU(UNITS)
        self.gru = nn.GRU(UNITS, UNITS, num_layers=2, batch_first=True)
        self.mask = nn.Conv1d(UNITS, FEATURES, 1)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(noisy)))
        x, _ = self.gru(x.transpose(1, 2))
        return noisy * torch.sigmoid(self.mask(x.permute(0, 2, 1)))


class VoiceActivity(nn.Module):
    """A block of samples and the state in, a probability and the state out."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(1, UNITS, 8, stride=4), nn.ReLU(), nn.Conv1d(UNITS, UNITS, 3, stride=2), nn.ReLU()
        )
        self.lstm = nn.LSTM(UNITS, UNITS, batch_first=True)
        self.decoder = nn.Sequential(nn.ReLU(), nn.Conv1d(UNITS, 1, 1), nn.Sigmoid())

    def forward(self, samples: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.encoder(samples.unsqueeze(1)).permute(0, 2, 1)
        x, (h, c) = self.lstm(x, (state[0:1], state[1:2]))
        speech = self.decoder(x.permute(0, 2, 1)).mean(dim=2)
        return speech.squeeze(-1), torch.cat([h, c])


class Forecaster(nn.Module):
    """All of a horizon at once, from the last state, normalised by the window's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, UNITS, 2, batch_first=True)
        self.fc = nn.Linear(UNITS, 3 * FEATURES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = x.mean(dim=1, keepdim=True)
        batch = x.size(0)
        h0 = torch.zeros(2, batch, UNITS)
        c0 = torch.zeros(2, batch, UNITS)
        out, _ = self.lstm((x - level) / 2.0, (h0, c0))
        return self.fc(out[:, -1]).view(batch, 3, FEATURES) + level


class DeepAR(nn.Module):
    """The parameters of a distribution at each step, from a series, its covariates and its category."""

    def __init__(self) -> None:
        super().__init__()
        self.category = nn.Embedding(WORDS, 3)
        self.lstm = nn.LSTM(1 + FEATURES + 3, UNITS, num_layers=2, batch_first=True, dropout=0.1)
        self.mu = nn.Linear(UNITS, 1)
        self.sigma = nn.Linear(UNITS, 1)

    def forward(self, target: torch.Tensor, covariates: torch.Tensor, item: torch.Tensor) -> dict[str, torch.Tensor]:
        scale = 1 + target.abs().mean(dim=1, keepdim=True)
        item = self.category(item).unsqueeze(1).expand(-1, target.shape[1], -1)
        x = torch.cat([(target / scale).unsqueeze(-1), covariates, item], dim=-1)
        h, _ = self.lstm(x)
        return {"mu": self.mu(h).squeeze(-1) * scale, "sigma": F.softplus(self.sigma(h)).squeeze(-1) * scale}


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES, padding_idx=0)
        self.lstm = nn.LSTM(FEATURES, UNITS, batch_first=True, bidirectional=True)
        self.hidden2tag = nn.Linear(2 * UNITS, CLASSES)

    def forward(self, sentence: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        embeds = F.dropout(self.embedding(sentence), 0.2, training=self.training)
        packed = pack_padded_sequence(embeds, lengths.cpu(), batch_first=True, enforce_sorted=False)
        packed_out, _ = self.lstm(packed)
        out, _ = pad_packed_sequence(packed_out, batch_first=True)
        return F.log_softmax(self.hidden2tag(out), dim=2)


class PackedStates(nn.Module):
    """The last states of packed sequences, states given, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, num_layers=2, bidirectional=True)
        self.start = nn.Linear(3, 4 * UNITS)
        self.fc = nn.Linear(4 * UNITS, CLASSES)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        h0 = self.start(speaker).view(-1, 4, UNITS).permute(1, 0, 2).contiguous()
        _, h = self.gru(pack_padded_sequence(x, lengths, enforce_sorted=False), h0)
        return self.fc(h.permute(1, 0, 2).reshape(h.size(1), -1))


class LanguageModel(nn.Module):
    """(T, B) ids, hidden states in and out, tied weights: PyTorch's own example."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(WORDS, UNITS)
        self.rnn = nn.LSTM(UNITS, UNITS, 2, dropout=0.2)
        self.decoder = nn.Linear(UNITS, WORDS)
        self.decoder.weight = self.encoder.weight
        self.drop = nn.Dropout(0.2)

    def forward(
        self, ids: torch.Tensor, hidden: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        emb = self.drop(self.encoder(ids))
        output, hidden = self.rnn(emb, hidden)
        decoded = self.decoder(self.drop(output))
        return F.log_softmax(decoded, dim=-1), hidden


class ResidualBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(UNITS)
        self.gru = nn.GRU(UNITS, UNITS, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(UNITS, 2 * UNITS), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * UNITS, UNITS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x + self.gru(self.norm(x))[0]
        return y + self.ff(y)


class ResidualStack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(FEATURES, UNITS)
        self.blocks = nn.ModuleList([ResidualBlock() for _ in range(3)])
        self.norm = nn.LayerNorm(UNITS)
        self.out = nn.Linear(UNITS, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inp(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


class Decision(NamedTuple):
    logits: torch.Tensor
    value: torch.Tensor
    state: tuple[torch.Tensor, torch.Tensor]


class Policy(nn.Module):
    """One step of an agent: observation and state in, action scores, value and state out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, UNITS), nn.Tanh())
        self.lstm = nn.LSTM(UNITS, UNITS)
        self.actor = nn.Linear(UNITS, CLASSES)
        self.critic = nn.Linear(UNITS, 1)

    def forward(self, observation: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Decision:
        features = self.body(observation).unsqueeze(0)
        out, state = self.lstm(features, (h, c))
        out = out.squeeze(0)
        return Decision(self.actor(out), self.critic(out).flatten(), state)


class Chomp(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, : -self.size].contiguous()


class TemporalConvolutions(nn.Module):
    """Dilated causal convolutions, padded by hand in two ways, with normalised weights; then a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        normalised = nn.utils.parametrizations.weight_norm
        self.first = nn.Sequential(normalised(nn.Conv1d(FEATURES, UNITS, 3, padding=2)), Chomp(2), nn.ReLU())
        self.second = nn.Conv1d(UNITS, UNITS, 3, dilation=2, groups=2)
        self.rnn = nn.RNN(UNITS, UNITS, nonlinearity="relu", batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x.transpose(1, 2))
        y = y + F.elu(self.second(F.pad(y, (4, 0))))
        return self.rnn(y.transpose(1, 2))[0]


class AttentionPool(nn.Module):
    """A weighted sum over time with a learned query, of a stack whose first state is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True, bidirectional=True)
        self.h0 = nn.Parameter(torch.zeros(2, 1, UNITS))
        self.query = nn.Parameter(torch.zeros(2 * UNITS))
        self.fc = nn.Linear(2 * UNITS, CLASSES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h, _ = self.gru(x, self.h0.expand(-1, x.size(0), -1).contiguous())
        scores = torch.matmul(torch.tanh(h), self.query)
        alpha = torch.softmax(scores, dim=1).unsqueeze(-1)
        return self.fc(torch.sum(alpha * h, dim=1)), alpha.squeeze(-1)


class HeadsOverStates(nn.Module):
    """`nn.MultiheadAttention` over a recurrent layer's outputs, padding left out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, UNITS, padding_idx=0)
        self.gru = nn.GRU(UNITS, UNITS, batch_first=True)
        self.attention = nn.MultiheadAttention(UNITS, 2, batch_first=True)
        self.norm = nn.LayerNorm(UNITS)
        self.fc = nn.Linear(UNITS, CLASSES)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h, _ = self.gru(self.embedding(ids))
        attended, weights = self.attention(h, h, h, key_padding_mask=ids == 0)
        return self.fc(self.norm(h + attended)), weights


class Encoder(nn.Module):
    """A layer of a transformer over a recurrent one."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(FEATURES, UNITS)
        self.layer = nn.TransformerEncoderLayer(UNITS, 2, 2 * UNITS, batch_first=True, norm_first=True)
        self.gru = nn.GRU(UNITS, UNITS, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(self.layer(self.inp(x)))[1].squeeze(0)


class Pools(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = gatewise.torch.LSTM(FEATURES, UNITS, batch_first=True, bidirectional=True)
        self.fc1 = nn.Linear(6 * UNITS, UNITS)
        self.bn = nn.BatchNorm1d(UNITS)
        self.fc2 = nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.lstm(x)
        mean, most = torch.mean(out, 1), torch.max(out, 1)[0]
        x = torch.cat((mean, most, out[:, -1]), 1)
        x = F.leaky_relu(self.bn(self.fc1(x)), 0.1)
        return torch.sigmoid(self.fc2(x)).squeeze()


class MaskedMean(nn.Module):
    """A mean over the valid steps, by a mask of lengths made by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)
        self.fc = nn.Linear(UNITS, CLASSES)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        out, _ = self.gru(x)
        mask = (torch.arange(x.size(1)).unsqueeze(0) < lengths.unsqueeze(1)).unsqueeze(-1).float()
        return self.fc((out * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-6))


class CellDecoder(nn.Module):
    """Cells, one after the other: a decoder of three steps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(FEATURES, UNITS, batch_first=True)
        self.cell = nn.LSTMCell(FEATURES, UNITS)
        self.gru = nn.GRUCell(UNITS, UNITS)
        self.out = nn.Linear(UNITS, FEATURES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (h, c) = self.encoder(x)
        h, c = h.squeeze(0), c.squeeze(0)
        step, outputs, top = x[:, -1, :], [], torch.zeros_like(h)
        for _ in range(3):
            h, c = self.cell(step, (h, c))
            top = self.gru(h, top)
            step = step + self.out(top)
            outputs.append(step.unsqueeze(1))
        return torch.cat(outputs, dim=1)


class ViewedStates(nn.Module):
    """h_n as its documentation splits it."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, num_layers=3, bidirectional=True)
        self.fc = nn.Linear(2 * UNITS, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, h_n = self.gru(x.permute(1, 0, 2))
        batch = x.size(0)
        final = h_n.view(3, 2, batch, UNITS)[-1]
        both = output.view(-1, batch, 2, UNITS).sum(dim=2)
        return self.fc(final.transpose(0, 1).reshape(batch, 2 * UNITS)) + both[-1].mean(dim=-1, keepdim=True)


class ConvRecurrent(nn.Module):
    """Convolutions that halve the time, pooling, and a recurrent layer on what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv1d(FEATURES, UNITS, 5, padding="same"), nn.BatchNorm1d(UNITS), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(UNITS, UNITS, 3), nn.Hardswish(), nn.AvgPool1d(2, stride=1),
        )  # fmt: skip
        self.gru = nn.GRU(UNITS, UNITS, batch_first=True)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Linear(UNITS, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cnn(x.permute(0, 2, 1)).permute(0, 2, 1)
        x, _ = self.gru(x)
        return self.fc(torch.flatten(self.pool(x.transpose(1, 2)), 1))


class TimeDistributed(nn.Module):
    """Steps folded into the batch around a layer, and folded out again."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(FEATURES, UNITS), nn.BatchNorm1d(UNITS), nn.SiLU())
        self.gru = nn.GRU(UNITS, UNITS, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, steps, features = x.size()
        y = self.inner(x.contiguous().view(batch * steps, features))
        out, _ = self.gru(y.view(batch, steps, -1))
        return out


class DualPath(nn.Module):
    """A layer along chunks of four steps, and one across the chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.intra = nn.GRU(FEATURES, UNITS, batch_first=True, bidirectional=True)
        self.project = nn.Linear(2 * UNITS, FEATURES)
        self.inter = nn.GRU(FEATURES, FEATURES, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, chunks, size, features = x.shape
        y, _ = self.intra(x.reshape(batch * chunks, size, features))
        x = x + self.project(y).view(batch, chunks, size, features)
        return self.inter(x.mean(dim=2))[0]


class OwnHeads(nn.Module):
    """Attention of several heads by hand, causal."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(UNITS, 3 * UNITS)
        self.inp = nn.GRU(FEATURES, UNITS, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, _ = self.inp(x)
        b, t, c = x.shape
        q, k, v = self.qkv(x).split(c, dim=2)
        q, k, v = (part.view(b, t, 2, c // 2).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).contiguous().view(b, t, c)


class LastValid(nn.Module):
    """The outputs at each row's last step, in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)
        self.fc = nn.Linear(UNITS, CLASSES)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out, _ = self.gru(x)
        last = out[torch.arange(out.size(0)), lengths - 1]
        index = (lengths - 1).view(-1, 1, 1).expand(-1, 1, out.size(2))
        return self.fc(last), out.gather(1, index).squeeze(1)


class Conditioned(nn.Module):
    """A series whose features a vector scales and shifts, through gates."""

    def __init__(self) -> None:
        super().__init__()
        self.film = nn.Linear(3, 2 * FEATURES)
        self.gate = nn.Linear(FEATURES, 2 * UNITS)
        self.gru = nn.GRU(UNITS, UNITS, batch_first=True)
        self.scale = nn.Parameter(torch.ones(UNITS))

    def forward(self, x: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        gamma, beta = self.film(speaker).chunk(2, dim=-1)
        x = (1 + gamma[:, None]) * x + beta.unsqueeze(1)
        out, _ = self.gru(F.glu(self.gate(x), dim=-1))
        return out.pow(2) * self.scale - 0.5


class MaskedScores(nn.Module):
    """Dot products of a question with a text, padding filled with minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.text = nn.GRU(FEATURES, UNITS, batch_first=True)
        self.question = nn.GRU(FEATURES, UNITS, batch_first=True)

    def forward(self, text: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        encoded, _ = self.text(self.embedding(text))
        _, h = self.question(self.embedding(question))
        scores = torch.einsum("bth,bh->bt", encoded, h[-1])
        scores = scores.masked_fill(text == 0, float("-inf"))
        return torch.einsum("bt,bth->bh", scores.softmax(-1), encoded)


def _packed(batch: int, steps: int) -> Tensors:
    return words(batch, steps), some_lengths(batch, steps)


def _hidden(batch: int, steps: int) -> Tensors:
    return words(batch, steps).T.contiguous(), (series(2, batch, UNITS), series(2, batch, UNITS) * 0.5)


def _alone(batch: int, steps: int) -> Tensors:
    return (series(batch, steps),)


CASES: dict[str, Case] = {
    "last step": Case(LastStep, _alone),
    "states of both directions": Case(BothEnds, _alone),
    "encoder and decoder with attention": Case(Seq2Seq, lambda b, t: (words(b, t),)),
    "speech mask": Case(SpeechMask, lambda b, t: (series(b, FEATURES, t),)),
    "voice activity": Case(
        VoiceActivity,
        lambda b, t: (series(b, 1, 8 * t + 20)[:, 0], series(2, b, UNITS)),
        {"state": 1},
        {"output_1": 1},
    ),
    "forecaster": Case(Forecaster, _alone),
    "distribution": Case(DeepAR, lambda b, t: (series(b, 1, t)[:, 0], series(b, t), words(b, 1)[:, 0])),
    "tagger": Case(Tagger, _packed),
    "packed states": Case(
        PackedStates, lambda b, t: (series(t, b), some_lengths(b, t), series(b, 1, 3)[:, 0]), {"x": 1}
    ),
    "language model": Case(
        LanguageModel,
        _hidden,
        {"ids": 1, "hidden_0": 1, "hidden_1": 1},
        {"output_0": 1, "output_1_0": 1, "output_1_1": 1},
    ),
    "residual stack": Case(ResidualStack, _alone),
    "policy": Case(
        Policy,
        lambda b, _: (series(b, 1)[:, 0], series(1, b, UNITS), series(1, b, UNITS) * 0.5),
        {"h": 1, "c": 1},
        {"state_0": 1, "state_1": 1},
    ),
    "temporal convolutions": Case(TemporalConvolutions, _alone),
    "attention pool": Case(AttentionPool, _alone),
    "heads over states": Case(HeadsOverStates, lambda b, t: (words(b, t).clamp(min=0) * (torch.arange(t) < t - 1),)),
    "encoder layer": Case(Encoder, _alone),
    "pools": Case(Pools, _alone),
    "masked mean": Case(MaskedMean, lambda b, t: (series(b, t), some_lengths(b, t))),
    "cells": Case(CellDecoder, _alone),
    "viewed states": Case(ViewedStates, _alone),
    "convolutional": Case(ConvRecurrent, _alone),
    "time distributed": Case(TimeDistributed, _alone),
    "dual path": Case(DualPath, lambda b, t: (series(b, 4 * t).view(b, t, 4, FEATURES),)),
    "own heads": Case(OwnHeads, _alone),
    "last valid step": Case(LastValid, lambda b, t: (series(b, t), some_lengths(b, t))),
    "conditioned": Case(Conditioned, lambda b, t: (series(b, t), series(b, 1, 3)[:, 0])),
    "masked scores": Case(MaskedScores, lambda b, t: (words(b, t), words(b, 5))),
}
