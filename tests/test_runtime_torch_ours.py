# SPDX-License-Identifier: Apache-2.0
"""What gatewise's modules have beyond PyTorch's goes into a graph: layer normalisation, `starts`, zoneout.

The numbers are those of the module's own forward, and of the loop below, in float64 by PyTorch's own functions: row by
row and step by step, segments apart.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the modules are PyTorch's: install the extra `torch`")

from torch import nn  # noqa: E402  # after the skip

import gatewise.torch as ours  # noqa: E402
from gatewise.runtime import Model, load, save  # noqa: E402
from gatewise.runtime.doors.from_torch import from_torch  # noqa: E402
from gatewise.runtime.graph import GraphError  # noqa: E402
from runtime_modules import FEATURES, UNITS, drawn, series, some_lengths  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

LSTM_PARTS = {"zoneout": 0.3, "zoneout_cell": 0.45}
KINDS: dict[str, Callable[..., Any]] = {
    "gru": lambda **o: ours.LayerNormGRU(FEATURES, UNITS, zoneout=0.3, **o),
    "gru, reset before": lambda **o: ours.LayerNormGRU(FEATURES, UNITS, reset_after=False, eps=0.1, **o),
    "lstm": lambda **o: ours.LayerNormLSTM(FEATURES, UNITS, eps=0.1, **LSTM_PARTS, **o),
    "plain gru": lambda **o: ours.GRU(FEATURES, UNITS, zoneout=0.3, **o),
    "plain lstm": lambda **o: ours.LSTM(FEATURES, UNITS, **LSTM_PARTS, **o),
    "plain rnn": lambda **o: ours.RNN(FEATURES, UNITS, **o),
}
kinds = pytest.mark.parametrize("kind", KINDS)
BATCH, STEPS = 3, 8


def some_starts(batch: int, steps: int) -> Any:
    return torch.rand(batch, steps, generator=torch.Generator().manual_seed(steps)) < 0.3


# --- The loop ---


def step(module: Any, suffix: str, x: Any, states: list[Any]) -> list[Any]:
    """A step (F,) of one direction, from PyTorch's and the specification's formulas."""
    p = {name.removesuffix(suffix): value.detach().double() for name, value in module.named_parameters()
         if name.endswith(f"_{suffix}")}  # fmt: skip
    p = {name.removesuffix("_"): value for name, value in p.items()}
    layer_norm, h = hasattr(module, "eps"), states[0]
    gates = len(p["weight_hh"]) // len(h)

    def part(side: str, value: Any, gate: int) -> Any:
        product = p[f"weight_{side}"].chunk(gates)[gate] @ value
        if not layer_norm:
            return product + p[f"bias_{side}"].chunk(gates)[gate]
        product = nn.functional.layer_norm(product, product.shape, eps=module.eps)
        product = product * p[f"gain_{side}"].chunk(gates)[gate]
        return product + p["bias"].chunk(gates)[gate] if side == "ih" else product

    if gates == 1:
        return [torch.tanh(part("ih", x, 0) + part("hh", h, 0))]
    if gates == 3:
        r, z = (torch.sigmoid(part("ih", x, k) + part("hh", h, k)) for k in range(2))
        before = layer_norm and "BEFORE" in module.cell.name
        recurrent = part("hh", r * h, 2) if before else r * part("hh", h, 2)
        new = [(1 - z) * torch.tanh(part("ih", x, 2) + recurrent) + z * h]
    else:
        i, f, g, o = (part("ih", x, k) + part("hh", h, k) for k in range(4))
        c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
        seen = c
        if layer_norm:
            seen = nn.functional.layer_norm(c, c.shape, p["gain_c"], p["bias_c"], module.eps)
        new = [torch.sigmoid(o) * torch.tanh(seen), c]
    kept = (module.zoneout, getattr(module, "zoneout_cell", 0.0))
    return [k * old + (1 - k) * value for k, old, value in zip(kept, states, new, strict=False)]


def one_direction(module: Any, suffix: str, x: Any, starts: Any, initial: list[Any]) -> tuple[Any, list[Any]]:
    """A row (T, F) read by one direction: outputs in time, and the states after what was read last."""
    edges = [0, *(t for t in range(1, len(x)) if starts[t]), len(x)]
    outputs: list[Any] = [None] * len(x)
    segments = list(itertools.pairwise(edges))
    backwards = suffix.endswith("reverse")
    for begin, end in segments[::-1] if backwards else segments:
        states = initial
        for t in reversed(range(begin, end)) if backwards else range(begin, end):
            states = step(module, suffix, x[t], states)
            outputs[t] = states[0]
    return torch.stack(outputs), states


def oracle(module: Any, x: Any, starts: Any, initial: list[Any], lengths: list[int]) -> tuple[Any, list[Any]]:
    """Outputs (B, T, D * U), zeros behind the lengths, and each state (L * D, B, U)."""
    n, rows, last = 2 if module.bidirectional else 1, [], []
    for row, length in enumerate(lengths):
        y, own, first = x[row, :length].double(), [], [state[:, row].double() for state in initial]
        for layer in range(module.num_layers):
            found = [
                one_direction(module, f"l{layer}{end}", y, starts[row], [s[layer * n + d] for s in first])
                for d, end in enumerate(("", "_reverse")[:n])
            ]
            y = torch.cat([outputs for outputs, _ in found], -1)
            own += [states for _, states in found]
        rows.append(nn.functional.pad(y, (0, 0, 0, x.shape[1] - length)))
        last.append(own)
    states = [torch.stack([torch.stack([place[i] for place in own]) for own in last], 1) for i in range(len(initial))]
    return torch.stack(rows), states


# --- Values ---


class Wrapped(nn.Module):
    """A module with everything given: starts, states and, packed, lengths."""

    def __init__(self, module: Any, *, packed: bool) -> None:
        super().__init__()
        self.module, self.packed = module, packed

    def forward(self, x: Any, starts: Any, h: Any, c: Any, lengths: Any) -> Any:
        several = len(h_and_c(self.module)) == 2
        given = x
        if self.packed:
            first = self.module.batch_first
            given = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
        y, last = self.module(given, (h, c) if several else h, starts)
        if self.packed:
            y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=self.module.batch_first)
        return y, *(last if several else (last,))


def h_and_c(module: Any) -> tuple[str, ...]:
    return ("h", "c") if "LSTM" in type(module).__name__ else ("h",)


@pytest.mark.parametrize("packed", [False, True], ids=["time first", "packed"])
@kinds
def test_layers_directions_starts_states_and_zoneout_go_into_the_graph(kind: str, packed: bool, tmp_path: Any) -> None:
    options = {"num_layers": 2, "bidirectional": True, "batch_first": packed}
    module = drawn(KINDS[kind](**options), seed=3)

    def inputs(batch: int, steps: int) -> tuple[Any, ...]:
        x, starts = series(batch, steps), some_starts(batch, steps)
        h, c = (series(4, batch + i, UNITS)[:, :batch] for i in range(2))
        return x, starts, h, c, some_lengths(batch, steps)

    def laid(x: Any, starts: Any, *others: Any) -> tuple[Any, ...]:
        return (x, starts, *others) if packed else (x.transpose(0, 1), starts.T, *others)

    names = ("x", "starts", "h", "c", "lengths")
    axes = {name: 1 for name in names if name in {"h", "c"} or (not packed and name in {"x", "starts"})}
    wrapped = Wrapped(module, packed=packed)
    graph = from_torch(wrapped, laid(*inputs(2, 5)), batch_axes=axes)
    assert graph.inputs["starts"] == ((None, None), "bool")

    given = inputs(BATCH, STEPS)
    with torch.no_grad():
        own = wrapped(*laid(*given))
    own = (own[0] if packed else own[0].transpose(0, 1), *own[1:])
    x, starts, *states, lengths = given
    wanted, last = oracle(module, x, starts, states[: len(own) - 1], lengths.tolist() if packed else [STEPS] * BATCH)
    arrays = dict(zip(names, (x, starts, *(s.transpose(0, 1) for s in states), lengths), strict=True))
    arrays = {name: arrays[name].contiguous().numpy() for name in graph.inputs}
    save(Model(graph), tmp_path / "model.gatewise")
    found = load(tmp_path / "model.gatewise").predict(arrays)
    last, of_module = ([state.transpose(0, 1) for state in states] for states in (last, own[1:]))
    for source in ((wanted, *last), (own[0], *of_module)):
        for (name, got), expected in zip(found.items(), source, strict=True):
            np.testing.assert_allclose(got, expected.numpy(), atol=1e-5, err_msg=name)
    assert np.abs(wanted.numpy()).max() > 0.3


class Head(nn.Module):
    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module, self.head = module, nn.Linear(UNITS, 3)

    def forward(self, x: Any, starts: Any = None) -> Any:
        return self.head(self.module(x, starts=starts)[0])


@pytest.mark.parametrize("started", [False, True], ids=["", "starts"])
@kinds
def test_chunks_of_a_stream_give_what_the_whole_gives(kind: str, started: bool, tmp_path: Any) -> None:
    module = drawn(Head(KINDS[kind](batch_first=True)), seed=4)
    x, starts = series(BATCH, STEPS), some_starts(BATCH, STEPS)
    given = (x, starts) if started else (x,)
    save(Model(from_torch(module, given)), tmp_path / "model.gatewise")
    model = load(tmp_path / "model.gatewise")
    arrays = dict(zip(("x", "starts"), (t.numpy() for t in given), strict=False))
    whole = model.predict(arrays)
    stream = model.stream(BATCH)
    parts = [stream.run({name: array[:, a:b] for name, array in arrays.items()}) for a, b in ((0, 1), (1, 6), (6, 8))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    with torch.no_grad():
        np.testing.assert_allclose(whole, module(*given).numpy(), atol=1e-5)


def test_starts_of_whole_numbers_and_of_ids_are_boundaries_where_they_are_not_zero() -> None:
    class Ids(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = ours.GRU(FEATURES, UNITS, batch_first=True)

        def forward(self, x: Any, marks: Any) -> Any:
            none = torch.zeros(x.shape[:2], dtype=torch.bool)
            return self.gru(x, starts=marks)[0] + self.gru(x, None, marks != 0)[0] + self.gru(x, None, none)[0]

    module, marks = drawn(Ids(), seed=2), some_starts(BATCH, STEPS).long() * 7
    model = Model(from_torch(module, (series(2, 5), torch.zeros(2, 5, dtype=torch.int64))))
    with torch.no_grad():
        expected = module(series(BATCH, STEPS), marks).numpy()
    found = model.predict({"x": series(BATCH, STEPS).numpy(), "marks": marks.numpy()})
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_example_may_have_one_row_and_weights_may_be_computed() -> None:
    gru = ours.LayerNormGRU(FEATURES, UNITS, batch_first=True, bias=False)
    module = drawn(Head(nn.utils.parametrizations.weight_norm(gru, "weight_hh_l0")), seed=5)
    model = Model(from_torch(module, (series(1, 5), some_starts(1, 5))))
    x, starts = series(BATCH, STEPS), some_starts(BATCH, STEPS)
    with torch.no_grad():
        expected = module(x, starts).numpy()
    np.testing.assert_allclose(model.predict({"x": x.numpy(), "starts": starts.numpy()}), expected, atol=1e-5)


# --- What cannot go ---


class OwnNormalised(ours.LayerNormGRU):
    def forward(self, input: Any, hx: Any = None, starts: Any = None) -> Any:  # noqa: A002  # stock's name
        return super().forward(2 * input, hx, starts)


class OwnZoned(ours.GRU):
    def forward(self, input: Any, hx: Any = None, starts: Any = None) -> Any:  # noqa: A002  # stock's name
        return super().forward(2 * input, hx, starts)


class Reading(nn.Module):
    def __init__(self, module: Any, then: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self.then = module, then

    def forward(self, x: Any, starts: Any) -> Any:
        return self.then(self, x, starts)


@pytest.mark.parametrize(
    ("module", "then", "message"),
    [
        (
            OwnNormalised(FEATURES, UNITS, batch_first=True),
            lambda m, x, starts: m.module(x, None, starts)[0],
            "OwnNormalised has a forward of its own",
        ),
        (
            OwnZoned(FEATURES, UNITS, batch_first=True, zoneout=0.1),
            lambda m, x, _: m.module(x)[0],
            "OwnZoned has a forward of its own",
        ),
        (
            OwnZoned(FEATURES, UNITS, batch_first=True),
            lambda m, x, starts: m.module(x, None, starts)[0],
            "OwnZoned has a forward of its own, and gives it starts",
        ),
        (
            ours.GRU(FEATURES, UNITS, batch_first=True),
            lambda m, x, _: m.module(x, None, x.new_ones(x.shape[:2], dtype=torch.bool))[0],
            "its starts are no truth values of the input's rows",
        ),
        (
            ours.GRU(FEATURES, UNITS, batch_first=True),
            lambda m, x, starts: m.module(x, None, starts[:, 1:])[0],
            r"GRU: starts has the wrong shape\. Expected \(batch=2, timesteps=5\)",
        ),
        (
            ours.LayerNormLSTM(FEATURES, UNITS, batch_first=True),
            lambda m, x, starts: m.module(x, x[:, :1], starts)[0],
            r"LayerNormLSTM: hx has the wrong kind\. Expected a tuple \(h, c\)",
        ),
    ],
    ids=["own forward", "own forward, zoneout", "own forward, starts", "fixed starts", "wrong starts", "wrong states"],
)
def test_what_cannot_go_is_named_with_its_line(module: Any, then: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        from_torch(Reading(module, then), (series(2, 5), some_starts(2, 5)))
    assert re.search(rf"{re.escape(str(Path(__file__)))}:\d+, '", str(caught.value)), caught.value


def test_a_forward_of_its_own_around_layers_that_pytorch_has_is_read() -> None:
    module = drawn(Reading(OwnZoned(FEATURES, UNITS, batch_first=True), lambda m, x, _: m.module(x)[0]), seed=1)
    model = Model(from_torch(module, (series(2, 5), some_starts(2, 5))))
    with torch.no_grad():
        expected = module(series(BATCH, STEPS), None).numpy()
    given = {"x": series(BATCH, STEPS).numpy(), "starts": some_starts(BATCH, STEPS).numpy()}
    np.testing.assert_allclose(model.predict({name: given[name] for name in model.inputs}), expected, atol=1e-5)
