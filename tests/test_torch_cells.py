# SPDX-License-Identifier: Apache-2.0
"""`gatewise.torch.LSTM` and `RNN`: PyTorch's modules in float64, with every option, and the doors to them."""

import itertools
import warnings
from typing import Any

import pytest

from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the modules are PyTorch's: install the extra `torch`")

import gatewise  # noqa: E402  # after the skip
from gatewise import fallback  # noqa: E402
from gatewise.torch import LSTM, RNN, convert, patch_torch, unpatch_torch  # noqa: E402

KINDS = [LSTM, RNN]
BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 5, 7
LENGTHS = torch.tensor([6, 4, 3, 1])


def states_of(module: Any, dtype: Any) -> Any:
    """Initial states for a module, the same numbers in any dtype."""
    generator = torch.Generator().manual_seed(3)
    n = module.num_layers * (2 if module.bidirectional else 1)
    made = [torch.randn(n, BATCH, UNITS, generator=generator).to(dtype).requires_grad_() for _ in range(2)]
    return tuple(made) if isinstance(module, torch.nn.LSTM) else made[0]


def results(module: Any, x: Any, *, start: bool, packed: bool) -> dict[str, Any]:
    """What a module gives, and its gradients."""
    x = x.clone().requires_grad_()
    hx = states_of(module, x.dtype) if start else None
    given = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, module.batch_first) if packed else x
    outputs, last = module(given, hx)
    outputs = outputs.data if packed else outputs
    states = list(last) if isinstance(last, tuple) else [last]
    loss = (outputs**2).sum() + sum((state * (i + 2)).sum() for i, state in enumerate(states))
    starts = [] if hx is None else list(hx) if isinstance(hx, tuple) else [hx]
    named = {"x": x, **{f"start {i}": s for i, s in enumerate(starts)}, **dict(module.named_parameters())}
    gradients = torch.autograd.grad(loss, list(named.values()))
    found = {"outputs": outputs, **{f"state {i}": state for i, state in enumerate(states)}}
    found |= {f"d_{name}": value for name, value in zip(named, gradients, strict=True)}
    return {name: value.detach() for name, value in found.items()}


def pair(kind: Any, **options: Any) -> tuple[Any, Any]:
    """Our module, and PyTorch's in float64 with the same weights."""
    torch.manual_seed(1)
    ours = kind(FEATURES, UNITS, **options)
    stock = kind.STOCK(FEATURES, UNITS, **options).double()
    stock.load_state_dict(ours.state_dict())
    return ours, stock


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_pytorch_s_with_every_option(kind: Any, nonlinearity: str) -> None:
    if kind is LSTM and nonlinearity == "relu":
        return  # an LSTM has no such option
    more = {"nonlinearity": nonlinearity} if kind is RNN else {}
    for layers, both, bias, first, start, packed in itertools.product((1, 2), *[(False, True)] * 5):
        ours, stock = pair(kind, num_layers=layers, bidirectional=both, bias=bias, batch_first=first, **more)
        shape = (BATCH, TIMESTEPS, FEATURES) if first else (TIMESTEPS, BATCH, FEATURES)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        before = gatewise.native.calls()
        found = results(ours, x, start=start, packed=packed)
        after = gatewise.native.calls()
        directions = layers * (1 + both)
        assert (after.forward - before.forward, after.backward - before.backward) == (directions, directions)
        assert ours.fallback_reason is None
        expected = results(stock, x.double(), start=start, packed=packed)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            size = max(1.0, float(value.abs().max()))
            allowed = 8 * tolerance(FEATURES + 2 * UNITS, TIMESTEPS, BATCH)
            assert_close(name, found[name] / size, value / size, allowed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_sequence_has_no_batch_axis(kind: Any) -> None:
    ours, stock = pair(kind)
    x = torch.randn(TIMESTEPS, FEATURES)
    found, expected = ours(x), stock(x.double())
    for value, wanted in zip(
        torch.utils._pytree.tree_leaves(found), torch.utils._pytree.tree_leaves(expected), strict=True
    ):
        assert value.shape == wanted.shape
        assert_close("a result", value.detach(), wanted.detach(), 4 * tolerance(FEATURES + UNITS, TIMESTEPS))


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # PyTorch's own
def test_projections_run_pytorch_s_own_path_and_a_warning_says_so() -> None:
    module = LSTM(FEATURES, UNITS, proj_size=3)
    fallback._warned.clear()
    with pytest.warns(gatewise.FallbackWarning, match="the engine has no projections, and proj_size is 3"):
        outputs, (h, c) = module(torch.zeros(TIMESTEPS, BATCH, FEATURES))
    assert module.fallback_reason == "the engine has no projections, and proj_size is 3"
    assert (outputs.shape[2], h.shape[2], c.shape[2]) == (3, 3, UNITS)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers_is_drawn_as_pytorch_draws_it(kind: Any) -> None:
    torch.manual_seed(1)
    ours = kind(FEATURES, UNITS, num_layers=3, dropout=0.4, batch_first=True)
    stock = kind.STOCK(FEATURES, UNITS, num_layers=3, dropout=0.4, batch_first=True)
    stock.load_state_dict(ours.state_dict())
    x = torch.randn(BATCH, TIMESTEPS, FEATURES)
    found = []
    for module in (ours, stock):
        torch.manual_seed(9)
        found.append(module(x)[0].detach())
    assert_close("outputs", found[0], found[1], 8 * tolerance(FEATURES + UNITS, TIMESTEPS))


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(FEATURES, UNITS, 2, batch_first=True, bidirectional=True)
        self.rnn = torch.nn.RNN(2 * UNITS, 4, batch_first=True)
        self.gru = torch.nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.gru(self.rnn(self.lstm(x)[0])[0])[0]


def losses(model: Any) -> list[float]:
    x = torch.randn(16, TIMESTEPS, FEATURES, generator=torch.Generator().manual_seed(5))
    optimizer, found = torch.optim.Adam(model.parameters(), 0.01), []
    for _ in range(8):
        optimizer.zero_grad()
        loss = ((model(x) - x[..., :3]) ** 2).mean()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def made() -> Model:
    torch.manual_seed(6)
    return Model()


def test_the_patch_and_conversion_train_with_equal_losses() -> None:
    expected = losses(made())
    before = gatewise.native.calls().backward
    assert losses(convert(made())) == pytest.approx(expected, rel=1e-4)
    model = made()
    patch_torch()
    try:
        assert losses(model) == pytest.approx(expected, rel=1e-4)
    finally:
        unpatch_torch()
    assert gatewise.native.calls().backward - before == 2 * 8 * 6
    assert type(convert(convert(made()), to="stock").lstm) is torch.nn.LSTM
    assert losses(made()) == expected


class Inside(torch.nn.Module):
    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)[0]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_scripted_and_exported_modules_give_the_same(kind: Any) -> None:
    ours, _ = pair(kind, batch_first=True)
    x = torch.randn(BATCH, TIMESTEPS, FEATURES)
    expected = ours(x)[0].detach()
    allowed = 4 * tolerance(FEATURES + UNITS, TIMESTEPS)
    assert_close("compiled", torch.compile(ours, backend="eager")(x)[0].detach(), expected, 0.0)
    scripted = torch.jit.script(Inside(ours))  # which cannot call one by itself, stock's neither
    assert_close("scripted", scripted(x).detach(), expected, allowed)
    with warnings.catch_warnings():  # torch's own, of stock's modules too
        warnings.simplefilter("ignore", UserWarning)
        exported = torch.export.export(ours, (x,))
    assert "gatewise" not in str(exported.graph)
    assert_close("exported", exported.module()(x)[0].detach(), expected, allowed)


def test_a_state_alone_is_explained() -> None:
    with pytest.raises((AttributeError, IndexError, RuntimeError, TypeError, ValueError)) as caught:
        LSTM(FEATURES, UNITS)(torch.zeros(TIMESTEPS, BATCH, FEATURES), torch.zeros(1, BATCH, UNITS))
    notes = " ".join(caught.value.__notes__)
    assert "the initial state has the wrong kind. Expected a tuple (h, c), or None; received Tensor" in notes
