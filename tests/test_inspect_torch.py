# SPDX-License-Identifier: Apache-2.0
"""Attributions of PyTorch's modules: completeness, tokens, directions, and modules whose batch does not come first."""

import numpy as np
import pytest
import torch

import gatewise
from gatewise.inspect import attribute
from inspect_case import data


class Reader(torch.nn.Module):
    """Reads numbers, or ids by an Embedding, in both directions."""

    def __init__(self, ids: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 3) if ids else None
        self.gru = torch.nn.GRU(3, 4, bidirectional=True, batch_first=batch_first)
        self.score = torch.nn.Linear(8, 2)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.embedding is None else self.embedding(x)
        return self.score(self.drop(self.gru(x)[0].mean(dim=1 if self.gru.batch_first else 0)))


def test_the_shares_add_up_and_are_the_modules_own() -> None:
    torch.manual_seed(0)
    module, x = Reader().train(), torch.tensor(data(2, 5, 3))
    found = gatewise.inspect(module, x).attribute(1, target=0)
    assert module.training
    assert module.drop.training
    with torch.no_grad():
        module.eval()
        difference = module(x)[1, 0] - module(torch.zeros(1, 5, 3))[0, 0]
    assert found.values["x"].sum() == pytest.approx(float(difference), rel=0.01)
    # midpoints of the gradients that autograd finds
    way = ((torch.arange(200) + 0.5) / 200)[:, None, None] * x[1]
    way.requires_grad_()
    (gradient,) = torch.autograd.grad(module(way)[:, 0].sum(), way)
    np.testing.assert_allclose(found.values["x"], (gradient.mean(0) * x[1]).numpy(), atol=1e-4)


def test_tokens_have_their_embeddings_share() -> None:
    torch.manual_seed(0)
    module, ids = Reader(ids=True), torch.tensor([[1, 2, 3, 2, 5]])
    with torch.no_grad():
        module.embedding.weight[[1, 2, 5]] = 0
    found = attribute(module, ids.repeat(2, 1))
    shares = found.values["x"]
    assert found.completeness_error <= 0.01
    assert shares[2] != 0
    assert (np.delete(shares, 2) == 0).all()


def test_a_batch_that_does_not_come_first_is_refused() -> None:
    torch.manual_seed(0)
    module, x = Reader(batch_first=False), torch.tensor(data(5, 2, 3))
    with pytest.warns(UserWarning, match="batch"), pytest.raises(ValueError, match="batch"):
        attribute(module, x, 1)
