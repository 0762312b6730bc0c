# SPDX-License-Identifier: Apache-2.0
"""`starts` and zoneout of the modules of PyTorch: against the engine for NumPy, and what is refused."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the modules are PyTorch's: install the extra `torch`")

import gatewise  # noqa: E402  # after the skip
import gatewise.torch  # noqa: E402

RNG = np.random.default_rng(3)
X = torch.from_numpy(RNG.normal(size=(3, 9, 4)).astype(np.float32))
STARTS = torch.from_numpy(RNG.random((3, 9)) < 0.3)
LENGTHS = torch.tensor([6, 9, 8])
MODULES = [gatewise.torch.GRU, gatewise.torch.LSTM, gatewise.torch.RNN]


def segments(module: Any, x: Any, starts: Any) -> Any:
    """What a module gives for the segments of one row (T, F) as sequences of their own, outputs and h of the last."""
    edges = [0, *(t for t in range(1, len(x)) if starts[t]), len(x)]
    found = [module(x[None, begin:end]) for begin, end in itertools.pairwise(edges)]
    return torch.cat([outputs[0] for outputs, _ in found])


@pytest.mark.parametrize("cls", MODULES)
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_segments_are_as_sequences_of_their_own_in_every_layer(cls: Any, packed: bool) -> None:
    module = cls(4, 5, num_layers=2, bidirectional=True, batch_first=True)
    before = gatewise.native.calls().forward
    if packed:
        given = torch.nn.utils.rnn.pack_padded_sequence(X, LENGTHS, batch_first=True, enforce_sorted=False)
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(module(given, starts=STARTS)[0], batch_first=True)
    else:
        outputs, _ = module(X, starts=STARTS)
    assert gatewise.native.calls().forward == before + 4
    for row, length in enumerate(LENGTHS.tolist() if packed else [9] * 3):
        expected = segments(module, X[row, :length], STARTS[row])
        assert torch.equal(outputs[row, :length], expected), row


def test_the_layout_of_starts_is_that_of_the_input() -> None:
    module = gatewise.torch.GRU(4, 5)
    outputs, state = module(X.transpose(0, 1), starts=STARTS.T)
    alone, last = module(X[1], starts=STARTS[1])
    assert torch.equal(outputs[:, 1], alone)
    assert torch.equal(state[:, 1], last)


def test_gradients_end_at_starts_and_are_compiled_alike() -> None:
    module, x = gatewise.torch.LSTM(4, 5, batch_first=True), X[:1].clone().requires_grad_()
    starts = torch.arange(9)[None] == 4
    module(x, starts=starts)[1][0].sum().backward()
    assert not x.grad[0, :4].any()
    assert x.grad[0, 4:].all()


def test_second_derivatives_are_those_of_the_composition() -> None:
    module = gatewise.torch.GRU(4, 5, batch_first=True, bidirectional=True, zoneout=0.3).eval()
    x = X.clone().requires_grad_()

    def of(apart: bool) -> Any:
        if apart:
            outputs = torch.stack([segments(module, x[row], STARTS[row]) for row in range(3)])
        else:
            outputs = module(x, starts=STARTS)[0]
        (first,) = torch.autograd.grad(outputs.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        return first, second

    for found, expected in zip(of(False), of(True), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_zoneout_draws_in_training_and_keeps_its_expectation_else() -> None:
    module = gatewise.torch.LSTM(4, 64, batch_first=True, zoneout=0.3, zoneout_cell=0.5)
    torch.manual_seed(5)
    x = X.repeat(20, 1, 1)
    outputs, _ = module(x)
    kept = (outputs[:, 1:] == outputs[:, :-1]).float()
    assert abs(kept.mean() - 0.3) < 0.01  # of 30720 draws
    assert (kept[:, 0] != kept[:, 1]).float().mean() > 0.3
    torch.manual_seed(5)
    assert torch.equal(module(x)[0], outputs)
    assert not torch.equal(module(x)[0], outputs)
    module.eval()
    weights = gatewise.LSTMWeights.from_torch(*(module._parameters[n].detach() for n in module._flat_weights_names))
    expected, (_, c) = gatewise.rnn(X.numpy(), weights, zoneout_h=0.3, zoneout_c=0.5)
    outputs, state = module(X)
    np.testing.assert_allclose(outputs.detach(), expected, atol=1e-6)
    np.testing.assert_allclose(state[1][0].detach(), c, atol=1e-6)
    assert "zoneout=0.3, zoneout_cell=0.5" in repr(module)
    assert torch.equal(copy.deepcopy(module)(X)[0], outputs)


@pytest.mark.filterwarnings("ignore::gatewise.fallback.FallbackWarning", "ignore::DeprecationWarning")
def test_what_would_be_dropped_is_refused() -> None:
    module = gatewise.torch.GRU(4, 5, batch_first=True)
    with pytest.raises(ValueError, match=r"GRU: starts has the wrong shape\. Expected \(batch=3, timesteps=9\)"):
        module(X, starts=STARTS.T)
    with pytest.raises(TypeError, match=r"starts has the wrong type\. Expected a tensor of bool; received float32"):
        module(X, starts=STARTS.float())
    with pytest.raises(NotImplementedError, match="GRU: starts cannot be left out"):
        module.double()(X.double(), starts=STARTS)
    zoned = gatewise.torch.GRU(4, 5, zoneout=0.1)
    with pytest.raises(NotImplementedError, match="GRU: zoneout cannot be left out"), gatewise.portable():
        zoned(X)
    with pytest.raises(ValueError, match=r"received GRU ''.*zoneout=0\.1"):
        gatewise.torch.convert(zoned, to="stock")
    with pytest.raises(NotImplementedError, match="TorchScript has no zoneout"):
        torch.jit.script(zoned)
    with pytest.raises(ValueError, match=r"GRU: zoneout is out of range"):
        gatewise.torch.GRU(4, 5, zoneout=-0.5)
    with pytest.raises(TypeError, match="zoneout"):
        gatewise.torch.RNN(4, 5, zoneout=0.1)
