# SPDX-License-Identifier: Apache-2.0
"""A module that takes its states and gives them back streams: the stream has them as its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gatewise
from gatewise.cells import Cell
from gatewise.runtime import Graph, Model, Session, StreamError, from_torch
from gatewise.runtime.states import given_back, state_inputs
from runtime_graphs import FEATURES, Builder

if TYPE_CHECKING:
    from pathlib import Path

BATCH, TIMESTEPS, UNITS = 3, 9, 4
torch = pytest.importorskip("torch", reason="modules to read: install the extra `torch`")


class Speech(torch.nn.Module):  # type: ignore[misc]  # torch may be missing
    """Two layers, whose states come in and go out as PyTorch has them."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.rnn = kind(FEATURES, UNITS, num_layers=2, batch_first=True)
        self.out = torch.nn.Linear(UNITS, 2)

    def forward(self, x: Any, state: Any) -> Any:
        y, state = self.rnn(x, state)
        return self.out(y), state


class Policy(torch.nn.Module):  # type: ignore[misc]
    """One step of an agent."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.lstm = torch.nn.Linear(FEATURES, UNITS), torch.nn.LSTM(UNITS, UNITS)
        self.actor, self.critic = torch.nn.Linear(UNITS, 3), torch.nn.Linear(UNITS, 1)

    def forward(self, observation: Any, h: Any, c: Any) -> Any:
        out, state = self.lstm(torch.tanh(self.body(observation)).unsqueeze(0), (h, c))
        return self.actor(out.squeeze(0)), self.critic(out.squeeze(0)), state


class Cells(torch.nn.Module):  # type: ignore[misc]
    """One step of two cells, one after the other, with a state each."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.GRUCell(FEATURES, UNITS), torch.nn.GRUCell(UNITS, UNITS)

    def forward(self, x: Any, h: Any, k: Any) -> Any:
        h = self.one(x, h)
        k = self.two(h, k)
        return k * 2.0, h, k


def read(module: Any, *example: Any, states: tuple[str, ...] = ()) -> Model:
    torch.manual_seed(0)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return Model(from_torch(module.eval(), example, batch_axes=dict.fromkeys(states, 1)))


def drawn(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def close(found: Any, expected: Any) -> bool:
    expected = expected.detach().numpy()
    return bool(np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max())


X = drawn(BATCH, TIMESTEPS, FEATURES)


@pytest.mark.parametrize("states", [1, 2])
def test_a_module_whose_states_go_in_and_out_streams(states: int) -> None:
    module = Speech(torch.nn.GRU if states == 1 else torch.nn.LSTM)
    start = [drawn(2, BATCH, UNITS) + i for i in range(states)]
    h = [torch.from_numpy(one) for one in start]
    names = ("state",) if states == 1 else ("state_0", "state_1")
    model = read(module, torch.from_numpy(X), h[0] if states == 1 else tuple(h), states=names)
    given = {name: one.swapaxes(0, 1) for name, one in zip(names, start, strict=True)}
    with torch.no_grad():
        expected = module(torch.from_numpy(X), h[0] if states == 1 else tuple(h))[0]
    whole = model.predict({"x": X, **given})
    assert close(whole["output_0"], expected)
    stream = model.stream(BATCH, initial_state=given)
    assert (stream.outputs, [*stream.inputs]) == (("output_0",), ["x"])
    found = [stream.run(X[:, :4]), *(stream.step(X[:, t])[:, None] for t in range(4, TIMESTEPS))]
    assert (np.concatenate(found, axis=1) == whole["output_0"]).all()
    last = whole[next(name for name in whole if name != "output_0")]
    layers = [array for name, array in stream.state.items() if name.endswith("/h")]
    assert (np.stack(layers, axis=1) == last).all()
    stream.reset()
    assert (stream.run(X) == whole["output_0"]).all()
    zeros = model.predict({"x": X, **{name: one * 0 for name, one in given.items()}})["output_0"]
    assert (model.stream(BATCH).run(X) == zeros).all()
    pool = model.stream_pool(BATCH)
    ids = [pool.open() for _ in range(BATCH)]
    assert (np.stack([pool.step(ids, X[:, t]) for t in range(TIMESTEPS)], axis=1) == zeros).all()


def test_one_step_of_a_policy_streams() -> None:
    module = Policy()
    h, c = torch.from_numpy(drawn(1, BATCH, UNITS)), torch.from_numpy(drawn(1, BATCH, UNITS) - 1)
    model = read(module, torch.from_numpy(X[:, 0]), h, c, states=("h", "c"))
    start = {"h": h.numpy().swapaxes(0, 1), "c": c.numpy().swapaxes(0, 1)}
    stream, chunk = (model.stream(BATCH, initial_state=start) for _ in range(2))
    found = chunk.run(X)
    for t in range(TIMESTEPS):
        now = stream.step(X[:, t])
        with torch.no_grad():
            actions, value, (h, c) = module(torch.from_numpy(X[:, t]), h, c)
        assert close(now["output_0"], actions)
        assert close(now["output_1"], value)
        assert all((found[name][:, t] == now[name]).all() for name in now)
    assert close(stream.state["lstm/c"], c[0])
    before = model.predict({"observation": X[:, 0], **start})
    assert (before["output_0"] == found["output_0"][:, 0]).all()
    pool = model.stream_pool(2)
    one = pool.open()
    zeros = {name: array[:1] * 0 for name, array in start.items()}
    expected = model.predict({"observation": X[:1, 0], **zeros})["output_0"]
    assert (pool.step([one], X[:1, 0])["output_0"] == expected).all()


def test_one_step_of_cells_streams() -> None:
    module = Cells()
    h, k = torch.from_numpy(drawn(BATCH, UNITS)), torch.from_numpy(drawn(BATCH, UNITS) - 1)
    model = read(module, torch.from_numpy(X[:, 0]), h, k)
    stream = model.stream(BATCH, initial_state={"h": h.numpy(), "k": k.numpy()})
    for t in range(TIMESTEPS):
        with torch.no_grad():
            expected, h, k = module(torch.from_numpy(X[:, t]), h, k)
        assert close(stream.step(X[:, t]), expected)


def test_a_session_has_the_states_once(tmp_path: Path) -> None:
    module = Speech(torch.nn.GRU)
    model = read(module, torch.from_numpy(X), torch.zeros(2, BATCH, UNITS), states=("state",))
    gatewise.save(model, tmp_path / "m")
    session = Session(tmp_path / "m", states=True)
    names = [arg.name for arg in session.get_inputs()]
    assert names == ["x", "rnn/l0/h", "rnn/l1/h"]
    zeros = dict.fromkeys(names[1:], np.zeros((BATCH, UNITS), np.float32))
    found = session.run(["output_0"], {"x": X, **zeros})[0]
    assert (found == model.stream(BATCH).run(X)).all()


# --- What would compute something else ---


def one_step(change: str) -> Graph:
    """One step of a layer whose state goes in and out; and something that a stream would carry on."""
    b = Builder()
    x, h = b.input("x", FEATURES), b.input("h", UNITS)
    steps = b.add("steps", "expand", [x], axis=1)
    first = b.cell("first", Cell.GRU, steps, None, FEATURES, UNITS, h=h, return_sequences=True)
    if change == "a cell that begins anew":
        first = b.cell("other", Cell.GRU, first, None, UNITS, UNITS, return_sequences=True)
    if change == "a window":
        first = b.add("other", "conv1d", [first], {"kernel": b.draw(2, UNITS, UNITS)}, padding="causal")
    if change == "a learned state":
        b.add("start", "constant", [], {"value": b.draw(1, UNITS)})
        first = b.cell("other", Cell.GRU, first, None, UNITS, UNITS, h="start", return_sequences=True)
    y = b.add("y", "take", [first], axis=1, index=0)
    outputs = {"y": y} if change == "no state out" else {"y": y, "next": "first:h"}
    return b.graph(**outputs)


def two_layers(*, swapped: bool) -> Graph:
    """One step of two layers, whose states lie in one array; on the way out they may have changed places."""
    b = Builder()
    x, h = b.input("x", 1, FEATURES), b.input("h", 2, UNITS)
    starts = [b.add(f"start_{i}", "take", [h], axis=1, index=i) for i in range(2)]
    one = b.cell(
        "one", Cell.GRU, b.add("flat", "reshape", [x], shape=[1, FEATURES]), None, FEATURES, UNITS, h=starts[0]
    )
    again = b.add("again", "expand", [one], axis=1)
    b.cell("two", Cell.GRU, again, None, UNITS, UNITS, h=starts[1])
    order = ["two:h", "one:h"] if swapped else ["one:h", "two:h"]
    ends = [b.add(f"end_{name[:3]}", "expand", [name], axis=1) for name in order]
    return b.graph(y=b.dense("y", "two", UNITS, 2), next=b.add("next", "concatenate", ends, axis=1))


def test_states_that_change_places_are_no_states_of_a_stream() -> None:
    for swapped in (False, True):
        graph = two_layers(swapped=swapped)
        states = {"h"}
        assert state_inputs(graph) == states
        assert given_back(graph, states) == ({} if swapped else {"h": "next"}, {"one", "two"})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("nothing", None),
        ("a cell that begins anew", r"layer 'other' begins anew at each step"),
        ("a learned state", r"layer 'other' begins anew at each step"),
        ("a window", r"layer 'other' looks back, where a model of one step begins anew"),
        ("no state out", r"input 'h' is a state of a model of one step, and no output gives it back"),
    ],
)
def test_what_a_module_begins_anew_at_each_step_is_no_state_of_a_stream(change: str, what: str | None) -> None:
    model = Model(one_step(change))
    if what is not None:
        with pytest.raises(StreamError, match=what):
            model.stream(BATCH)
        return
    stream, h = model.stream(BATCH), np.zeros((BATCH, UNITS), np.float32)
    for t in range(TIMESTEPS):
        found = model.predict({"x": X[:, t], "h": h})
        assert (stream.step(X[:, t]) == found["y"]).all()
        h = found["next"]


def test_an_input_that_is_read_otherwise_too_is_no_state() -> None:
    b = Builder()
    x, h = b.input("x", None, FEATURES), b.input("h", 1, UNITS)
    start = b.add("start", "take", [h], axis=1, index=0)
    gru = b.cell("gru", Cell.GRU, x, None, FEATURES, UNITS, h=start, return_sequences=True)
    model = Model(b.graph(y=b.add("sum", "add", [gru, b.dense("dense", h, UNITS, UNITS)])))
    given = {"x": X, "h": drawn(BATCH, 1, UNITS)}
    with pytest.raises(StreamError):
        model.stream(BATCH)
    stream = model.stream(BATCH, context={"h": given["h"]})
    assert (stream.run(X) == model.predict(given)).all()
