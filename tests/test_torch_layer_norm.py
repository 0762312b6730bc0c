# SPDX-License-Identifier: Apache-2.0
"""`gatewise.torch.LayerNormGRU` and `LayerNormLSTM`: the specification's numbers, and PyTorch's own operations'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewise import native, reference
from tolerance import NORMALISED, assert_close, tolerance

torch = pytest.importorskip("torch", reason="the modules are PyTorch's: install the extra `torch`")

import gatewise  # noqa: E402  # after the skip
from gatewise.torch import LayerNormGRU, LayerNormLSTM  # noqa: E402

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gru": (LayerNormGRU, {}),
    "gru, reset before": (LayerNormGRU, {"reset_after": False}),
    "lstm": (LayerNormLSTM, {}),
}
kinds = pytest.mark.parametrize("kind", KINDS)
BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 5, 7
LENGTHS = torch.tensor([6, 4, 3, 1])
ALLOWED = NORMALISED * tolerance(FEATURES + UNITS, TIMESTEPS, BATCH)


def make(kind: str, **options: Any) -> Any:
    cls, own = KINDS[kind]
    torch.manual_seed(1)
    module = cls(FEATURES, UNITS, **own, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return module


def make_x() -> Any:
    return torch.randn(BATCH, TIMESTEPS, FEATURES, generator=torch.Generator().manual_seed(2))


def in_keras_order(cell: Any, value: Any) -> Any:
    blocks = np.split(value.detach().numpy(), len(cell.row.gates))
    return np.concatenate([blocks[place] for place in cell.row.torch]).T


@kinds
def test_values_are_the_specification_s(kind: str) -> None:
    module, x = make(kind, batch_first=True), make_x()
    before = native.calls().forward
    outputs, last = module(x)
    assert native.calls().forward == before + 1
    names = {"kernel": "weight_ih", "recurrent_kernel": "weight_hh", "bias": "bias", "gain": "gain_ih"}
    names |= {"recurrent_gain": "gain_hh"}
    given = {name: in_keras_order(module.cell, getattr(module, f"{own}_l0")) for name, own in names.items()}
    if kind == "lstm":
        given |= {"state_gain": module.gain_c_l0.detach().numpy(), "state_bias": module.bias_c_l0.detach().numpy()}
    expected = reference.forward(x.numpy(), **given, cell=module.cell)
    assert_close("outputs", outputs.detach(), expected.outputs, ALLOWED)
    states, wanted = (s if isinstance(s, tuple) else (s,) for s in (last, expected.state))
    for got, want in zip(states, wanted, strict=True):
        assert_close("state", got[0].detach(), want, ALLOWED)


@kinds
def test_starts_and_zoneout_are_those_of_float64(kind: str) -> None:
    zoneout = {"zoneout": 0.25, **({"zoneout_cell": 0.5} if kind == "lstm" else {})}
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True, **zoneout}
    module, wide = make(kind, **options).eval(), make(kind, **options).double().eval()
    assert "zoneout=0.25" in str(module)
    x, starts = make_x(), torch.zeros(BATCH, TIMESTEPS, dtype=torch.bool)
    starts[0, 3] = starts[2, 1] = starts[2, 4] = True
    before = native.calls().forward
    found, _ = module(x, None, starts)
    assert native.calls().forward == before + 4
    with gatewise.portable():
        expected, _ = wide(x.double(), None, starts)
        without, _ = make(kind, num_layers=2, bidirectional=True, batch_first=True).double()(x.double(), None, starts)
    assert_close("outputs", found.detach(), expected.detach(), 4 * ALLOWED)
    assert (without - expected).abs().max() > 0.05


@kinds
def test_zoneout_of_everything_keeps_the_first_state_in_training(kind: str) -> None:
    module = make(kind, batch_first=True, zoneout=1.0)
    assert not module(make_x())[0].any()


def results(module: Any, x: Any, *, packed: bool) -> dict[str, Any]:
    x = x.clone().requires_grad_()
    given = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, module.batch_first) if packed else x
    outputs, last = module(given)
    outputs = outputs.data if packed else outputs
    states = list(last) if isinstance(last, tuple) else [last]
    loss = (outputs**2).sum() + sum(((i + 2) * state).sum() for i, state in enumerate(states))
    named = {"x": x, **dict(module.named_parameters())}
    gradients = torch.autograd.grad(loss, list(named.values()))
    found = {"outputs": outputs, **{f"state {i}": state for i, state in enumerate(states)}}
    found |= {f"d_{name}": value for name, value in zip(named, gradients, strict=True)}
    return {name: value.detach() for name, value in found.items()}


@pytest.mark.parametrize("packed", [False, True], ids=["", "packed"])
@kinds
def test_values_and_gradients_are_those_of_float64(kind: str, packed: bool) -> None:
    options = {"num_layers": 2, "bidirectional": True, "bias": not packed, "batch_first": packed}
    module, x = make(kind, **options), make_x()
    x = x if packed else x.transpose(0, 1)
    before = native.calls()
    found = results(module, x, packed=packed)
    assert native.calls().backward - before.backward == 4
    assert module.fallback_reason is None
    wide = make(kind, **options).double()
    with gatewise.portable():
        expected = results(wide, x.double(), packed=packed)
    assert wide.fallback_reason == "gatewise.portable() is active"
    for name, value in expected.items():
        assert_close(name, found[name], value, 4 * ALLOWED)


@kinds
def test_float64_is_computed_by_pytorch_and_says_so(kind: str) -> None:
    module = make(kind).double()
    gatewise.fallback._warned.clear()
    with pytest.warns(gatewise.FallbackWarning, match="a composition of PyTorch's own operations runs"):
        outputs, _ = module(make_x().double())
    assert outputs.dtype == torch.float64
    assert module.fallback_reason == "the engine computes in float32, and not in torch.float64"


@kinds
def test_state_dicts_and_single_sequences(kind: str) -> None:
    module, other = make(kind, batch_first=True), KINDS[kind][0](FEATURES, UNITS, batch_first=True, **KINDS[kind][1])
    other.load_state_dict(module.state_dict())
    x = make_x()
    outputs, last = module(x)
    single, of_single = other(x[1])
    assert torch.equal(single, outputs[1])
    assert torch.equal(
        *((s[0] if isinstance(s, tuple) else s).reshape(-1, UNITS)[0] for s in (of_single, other(x[1:2])[1]))
    )
    again, _ = other(x, last)
    assert not torch.equal(again, outputs)


def test_wrong_arguments_are_named() -> None:
    module = make("gru")
    with pytest.raises(ValueError, match=r"LayerNormGRU: input has the wrong shape\. Expected a last axis of 5"):
        module(torch.zeros(3, 2, 4))
    with pytest.raises(ValueError, match=r"LayerNormGRU: hx has the wrong shape"):
        module(torch.zeros(3, 2, 5), torch.zeros(1, 3, 7))
    with pytest.raises(TypeError, match=r"LayerNormLSTM: hx has the wrong kind\. Expected a tuple \(h, c\)"):
        make("lstm")(torch.zeros(3, 2, 5), torch.zeros(1, 2, 7))
    with pytest.raises(ValueError, match=r"eps|epsilon is out of range"):
        LayerNormGRU(3, 4, eps=-1.0)
    with pytest.raises(ValueError, match=r"hidden_size is out of range"):
        LayerNormGRU(3, 0)


@kinds
def test_compiled_modules_and_second_derivatives(kind: str) -> None:
    module, x = make(kind, batch_first=True), make_x()
    before = native.calls().forward
    assert torch.equal(torch.compile(module, backend="eager")(x)[0], module(x)[0])
    assert native.calls().forward == before + 2

    def twice(of: Any, given: Any) -> Any:
        given = given.clone().requires_grad_()
        (first,) = torch.autograd.grad((of(given)[0] ** 2).sum(), given, create_graph=True)
        return torch.autograd.grad((first**2).sum(), given)[0]

    with gatewise.portable():
        expected = twice(make(kind, batch_first=True).double(), x.double())
    assert_close("second", twice(module, x), expected, NORMALISED * ALLOWED)
