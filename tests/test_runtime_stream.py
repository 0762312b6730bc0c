# SPDX-License-Identifier: Apache-2.0
"""A stream gives the bits of the whole sequence, whatever the chunks; its states are its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.cells import Cell
from gatewise.reference import operations
from gatewise.runtime import Graph, Model, StreamError
from runtime_graphs import FEATURES, Builder, both_directions, classifier, decoder, joined, recogniser, strided, tagger
from tolerance import NORMALISED

BATCH, TIMESTEPS = 3, 24
CHUNKS = ([24], [1] * 24, [5, 1, 11, 7], [16, 8])


def inputs_of(graph: Graph, timesteps: int = TIMESTEPS) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    drawn = {
        "float32": lambda shape: rng.normal(size=shape).astype(np.float32),
        "int64": lambda shape: rng.integers(0, 5, shape),
        "bool": lambda shape: rng.random(shape) > 0.4,
    }
    sizes = {name: tuple(size or timesteps for size in value.shape[1:]) for name, value in graph.inputs.items()}
    return {name: drawn[value.dtype]((BATCH, *sizes[name])) for name, value in graph.inputs.items()}


def part(given: dict[str, Any], begin: int, end: int) -> dict[str, Any]:
    return {name: array[:, begin:end] for name, array in given.items()}


GRAPHS = {
    **{f"recogniser, {cell.name}": recogniser(cell) for cell in Cell},
    **{f"recogniser with a mask, {cell.name}": recogniser(cell, mask=True) for cell in Cell},
    **{f"classifier, {cell.name}": classifier(cell) for cell in Cell},
    **{f"classifier with a mask, {cell.name}": classifier(cell, mask=True) for cell in Cell},
    **{f"recogniser with starts, {cell.name}": recogniser(cell, starts=True) for cell in Cell},
    **{
        f"classifier with a mask and starts, {c.name}": classifier(c, mask=True, starts=True)
        for c in (Cell.GRU, Cell.LSTM)
    },
    "recogniser with a mask, starts and zoneout": recogniser(
        Cell.LSTM, mask=True, starts=True, zoneout_h=0.1, zoneout_c=0.3
    ),
    "tagger": tagger(),
    "last outputs joined": joined(),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_predict_agrees_with_the_formulas(graph: Graph) -> None:
    given = inputs_of(graph)
    expected = operations.run(graph, given)["y"]
    error = np.abs(Model(graph).predict(given) - expected).max()
    grows = NORMALISED if any("layer_norm_" in node.operation for node in graph.nodes) else 1
    assert error <= 1e-6 * grows * np.abs(expected).max()


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_chunks_of_any_size_give_the_bits_of_the_whole(graph: Graph, chunks: list[int]) -> None:
    model, given = Model(graph), inputs_of(graph)
    every = {name for name, value in graph.values.items() if len(value.shape) == 3} >= {graph.outputs["y"]}
    stream, found, begin = model.stream(BATCH), [], 0
    for size in chunks:
        found.append(stream.run(part(given, begin, begin + size)))
        begin += size
        if not every:
            assert (found[-1] == model.predict(part(given, 0, begin))).all()
    if every:
        assert (np.concatenate(found, axis=1) == model.predict(given)).all()


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_steps_give_what_chunks_give(graph: Graph) -> None:
    given = inputs_of(graph)
    steps, chunk = Model(graph).stream(BATCH), Model(graph).stream(BATCH)
    found = [steps.step({name: array[:, t] for name, array in given.items()}) for t in range(TIMESTEPS)]
    assert (np.stack(found, axis=1) == chunk.run(given, every_step=True)).all()
    assert all((steps.state[name] == array).all() for name, array in chunk.state.items())


def test_a_stream_begins_with_zeros_behind_a_start_and_refuses_another_state() -> None:
    b = Builder()
    x, begins, h = b.input("x", None, FEATURES), b.input("begins", None, dtype="bool"), b.input("h", 4)
    model = Model(b.graph(y=b.cell("gru", Cell.GRU, x, None, FEATURES, 4, return_sequences=True, h=h, starts=begins)))
    with pytest.raises(StreamError, match=r"goes back to the state 'h' at each start.*stream\.reset\(rows\)"):
        model.stream(BATCH, initial_state={"h": np.ones((BATCH, 4), np.float32)})
    given = inputs_of(model.graph)
    given["h"] = np.ones((BATCH, 4), np.float32)
    expected = operations.run(model.graph, given)["y"]
    assert np.abs(model.predict(given) - expected).max() < 1e-6


def test_what_the_error_says_streams_as_predict_with_starts_and_a_state() -> None:
    graphs = []
    for with_starts in (True, False):
        b = Builder()
        x, h = b.input("x", None, FEATURES), b.input("h", 4)
        more = {"starts": b.input("begins", None, dtype="bool")} if with_starts else {}
        graphs.append(b.graph(y=b.cell("gru", Cell.GRU, x, None, FEATURES, 4, return_sequences=True, h=h, **more)))
    given = inputs_of(graphs[0])
    whole = Model(graphs[0]).predict(given)
    stream, found = Model(graphs[1]).stream(BATCH, initial_state={"h": given["h"]}), []
    for t in range(TIMESTEPS):
        stream.reset(given["begins"][:, t])
        found.append(stream.step(given["x"][:, t]))
    assert given["begins"][:, 1:].any()
    assert (np.stack(found, axis=1) == whole).all()


def test_behind_a_start_the_state_of_a_stream_is_what_the_next_valid_step_begins_with() -> None:
    b = Builder()
    x, valid, begins = b.input("x", None, FEATURES), *(b.input(n, None, dtype="bool") for n in ("valid", "begins"))
    graph = b.graph(y=b.cell("gru", Cell.GRU, x, valid, FEATURES, 4, return_sequences=True, starts=begins))
    given = inputs_of(graph, 6)
    given["valid"] = np.broadcast_to(np.arange(6) != 2, (BATCH, 6)).copy()
    given["begins"] = np.broadcast_to(np.arange(6) == 2, (BATCH, 6)).copy()
    stream = Model(graph).stream(BATCH)
    stream.run(part(given, 0, 2))
    [name] = [name for name in stream.state if name.endswith("/h")]
    assert stream.state[name].all()
    masked = stream.step({name: array[:, 2] for name, array in given.items()})
    assert not stream.state[name].any()
    later = Model(graph).stream(BATCH)
    later.state = stream.state
    rest = part(given, 3, 6)
    found = later.run(rest)
    assert (found == stream.run(rest)).all()
    assert (found == Model(graph).stream(BATCH).run(rest)).all()  # as a new sequence
    assert (np.concatenate([masked[:, None], found], axis=1) == Model(graph).predict(given)[:, 2:]).all()


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        (np.zeros((4, BATCH, FEATURES)), r"received \(4, 3, 5\)\. The first two axes stand the other way round"),
        (np.zeros((BATCH, FEATURES)), r"It has 2 axes: give 3, the batch first\."),
        (np.zeros((BATCH, 4, FEATURES + 1)), r"Check axis 2\."),
        ([["a"]], r"received dtype <U1\. Make numbers of it\."),
        (np.ma.zeros((BATCH, 4, FEATURES)), r"received a masked array\. Make an array of it: x\.filled\(number\)\."),
        ({"y": 1}, r"received y\. Give these with each step"),
    ],
    ids=range(6),
)
def test_errors_say_what_to_do(given: Any, cure: str) -> None:
    stream = Model(recogniser(Cell.GRU)).stream(BATCH)
    with pytest.raises((TypeError, ValueError), match=rf"run: .*Expected .*{cure}"):
        stream.run(given)


def test_an_id_out_of_range_is_one_of_a_layer_by_its_name() -> None:
    model, ids = Model(tagger()), np.full((2, 3), 99)
    pool = model.stream_pool(2)
    opened = [pool.open(), pool.open()]
    calls = {
        "predict": lambda: model.predict(ids),
        "run": lambda: model.stream(2).run(ids),
        "step": lambda: pool.step(opened, ids[:, 0]),
    }
    for where, call in calls.items():
        wanted = rf"^{where}: layer 'embedding': id 99 in row 0.* Expected 0 to \d+\. Number ids as in training\.$"
        with pytest.raises(ValueError, match=wanted):
            call()


def test_a_stream_takes_blocks_where_the_model_has_strides() -> None:
    model, given = Model(strided()), inputs_of(strided())
    stream = model.stream(BATCH)
    assert stream.block == 4
    found = [stream.step(given["x"][:, t : t + 4]) for t in range(0, TIMESTEPS, 4)]
    assert (np.stack(found, axis=1) == model.predict(given)).all()
    with pytest.raises(ValueError, match="multiple of 4"):
        stream.run(given["x"][:, :6])


def test_a_decoder_streams_over_what_is_given_once() -> None:
    model, given = Model(decoder()), inputs_of(decoder())
    stream = model.stream(BATCH, context={"source": given["source"]})
    found = [stream.step(given["target"][:, t]) for t in range(TIMESTEPS)]
    assert (np.stack(found, axis=1) == model.predict(given)).all()
    stream.reset()
    assert (stream.run(given["target"]) == model.predict(given)).all()
    with pytest.raises(StreamError, match=r"reads 'encoder:h'.*in context="):
        model.stream(BATCH, context={})
    encoder = model.part(inputs=["source"], outputs=["encoder", "encoder:h"])
    encoded = encoder.predict(given["source"])
    apart = model.part(inputs=["target", "encoder", "encoder:h"], outputs=["y"])
    stream = apart.stream(
        BATCH, context={"encoder": encoded["encoder"]}, initial_state={"encoder:h": encoded["encoder:h"]}
    )
    assert (stream.run(given["target"]) == model.predict(given)).all()


@pytest.mark.parametrize("shape", [(1, 1, FEATURES), (1, FEATURES)], ids=str)
def test_constants_are_the_same_at_every_step(shape: tuple[int, ...]) -> None:
    b = Builder()
    b.add("offset", "constant", [], {"value": b.draw(*shape)})
    model = Model(b.graph(y=b.add("sum", "add", [b.input("x", None, FEATURES), "offset"])))
    x = inputs_of(model.graph)["x"]
    stream, pool = model.stream(BATCH), model.stream_pool(BATCH)
    ids = [pool.open() for _ in range(BATCH)]
    for t in range(TIMESTEPS):
        expected = model.predict(x[:, : t + 1])[:, t]
        assert (stream.step(x[:, t]) == expected).all()
        assert (pool.step(ids, x[:, t]) == expected).all()


def test_a_context_with_steps_of_its_own_is_no_mask_and_no_summand() -> None:
    b = Builder()
    x, mask, other = b.input("x", None, FEATURES), b.input("mask", None, dtype="bool"), b.input("other", None, FEATURES)
    gru = b.cell("gru", Cell.GRU, x, mask, FEATURES, FEATURES, return_sequences=True)
    model = Model(b.graph(y=b.add("sum", "add", [gru, other])))
    given = inputs_of(model.graph)
    for name, layer in (("mask", "gru"), ("other", "sum")):
        with pytest.raises(StreamError, match=rf"layer '{layer}' reads '{name}', whose steps do not go on"):
            model.stream(BATCH, context={name: given[name]})


def test_what_looks_ahead_cannot_stream_and_says_which_layer_does() -> None:
    with pytest.raises(StreamError, match=r"layer 'back' reads from the end"):
        Model(both_directions()).stream()


def test_states_are_read_written_and_reset_by_row() -> None:
    graph = recogniser(Cell.LSTM)
    model, given = Model(graph), inputs_of(graph)
    stream, other = model.stream(BATCH), model.stream(BATCH)
    stream.run(part(given, 0, 9))
    kept = stream.state
    assert {name.partition("/")[0] for name in kept} == {"conv", "first", "second"}
    expected = stream.run(part(given, 9, 20))
    other.state = kept
    assert (other.run(part(given, 9, 20)) == expected).all()
    other.reset(rows=[1])
    after = other.run(part(given, 0, 4))
    assert (after[1] == model.predict(part(given, 0, 4))[1]).all()
    assert (after[0] == stream.run(part(given, 0, 4))[0]).all()
    before = other.state
    other.reset(rows=[])
    assert all((other.state[name] == array).all() for name, array in before.items())
    other.reset(rows=np.arange(BATCH) == 1)
    assert all((other.state[name][0] == array[0]).all() for name, array in before.items())
    assert not (other.state["first/h"][1] == before["first/h"][1]).any()
    for odd, error in (
        (True, TypeError),
        ([0.5], TypeError),
        ([[0]], TypeError),
        ({0}, TypeError),
        (BATCH, IndexError),
    ):
        with pytest.raises(error, match=r"reset: .*Expected .*received"):
            other.reset(rows=odd)
    with pytest.raises(ValueError, match="rows of different length"):
        other.run([[[0.0]], [[0.0], [1.0]]])
    with pytest.raises(ValueError, match="states do not fit"):
        other.state = {"first/h": kept["first/h"]}


def test_a_bad_step_changes_nothing() -> None:
    graph = tagger()
    stream = Model(graph).stream(BATCH)
    stream.step([1, 2, 3])
    before = stream.state
    with pytest.raises(ValueError, match="11"):
        stream.step([1, 11, 3])
    with pytest.raises(TypeError, match="whole numbers"):
        stream.step([0.5, 1, 2])
    with pytest.raises(ValueError, match="shape"):
        stream.step([1, 2])
    assert all((stream.state[name] == array).all() for name, array in before.items())


def test_streams_of_one_model_do_not_know_of_each_other() -> None:
    graph = recogniser(Cell.GRU)
    model, given = Model(graph), inputs_of(graph)
    expected = model.predict(given)
    found: dict[int, Any] = {}

    def read(number: int) -> None:
        stream = model.stream(BATCH)
        found[number] = np.stack([stream.step(given["x"][:, t]) for t in range(TIMESTEPS)], axis=1)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[number] == expected).all() for number in range(8))


# --- Pools ---


def test_a_pool_gives_each_stream_the_bits_it_has_alone() -> None:
    model = Model(recogniser(Cell.LSTM))
    rng = np.random.default_rng(0)
    pool, alone, open_ids = model.stream_pool(40), {}, []
    for _ in range(60):
        if len(open_ids) < 40 and rng.random() < 0.7:
            open_ids.append(pool.open())
            alone[open_ids[-1]] = model.stream()
        elif open_ids:
            pool.close(open_ids.pop(int(rng.integers(len(open_ids)))))
        if not open_ids:
            continue
        ids = rng.permutation(open_ids)[: rng.integers(1, len(open_ids) + 1)]
        x = rng.normal(size=(len(ids), FEATURES)).astype(np.float32)
        if rng.random() < 0.2:
            x[0] = np.nan  # a neighbour's
            pool.reset([])
        found = pool.step(ids, x)
        for i, stream in enumerate(ids):
            np.testing.assert_array_equal(found[i], alone[int(stream)].step(x[i : i + 1])[0])


def test_ids_never_come_twice_and_errors_advance_nothing() -> None:
    pool = Model(classifier(Cell.GRU)).stream_pool(3)
    seen = {pool.open() for _ in range(3)}
    with pytest.raises(RuntimeError, match="at most 3"):
        pool.open()
    for _ in range(100):
        gone = next(iter(pool.ids.tolist()))
        pool.close(gone)
        new = pool.open()
        assert new not in seen
        seen.add(new)
        with pytest.raises(KeyError, match="not open"):
            pool.step([gone], np.zeros((1, FEATURES)))
    a, b, c = pool.ids.tolist()
    before = [pool.snapshot(one) for one in (a, b, c)]
    for ids, error in (([a, a], ValueError), ([a, 10**9], KeyError), ([-1], KeyError), (["a"], TypeError)):
        with pytest.raises(error):
            pool.step(ids, np.zeros((len(ids), FEATURES)))
    with pytest.raises(ValueError, match="shape"):
        pool.step([a, b], np.zeros((3, FEATURES)))
    assert [pool.snapshot(one) for one in (a, b, c)] == before


def test_memory_stays_as_it_is_over_300_000_opens_and_closes() -> None:
    capacity, rounds = 100, 3000
    pool, x = Model(classifier(Cell.GRU)).stream_pool(capacity), np.zeros((capacity, FEATURES), np.float32)
    given_out = np.full(rounds * capacity, -1)
    resident = lambda: 4096 * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])  # noqa: E731
    for i in range(rounds):
        if i == rounds // 10:
            before = resident()
        ids = [pool.open() for _ in range(capacity - 1)]
        if i % 10 == 0:
            pool.step(ids, x[1:])
            ids.append(pool.restore(pool.snapshot(ids[0])) if i % 20 else pool.fork(ids[0]))
        else:
            ids.append(pool.open())
        given_out[i * capacity : (i + 1) * capacity] = ids
        pool.close(ids)
    assert resident() - before < 2**20, "4 bytes for each of them would be more"
    assert len(np.unique(given_out)) == len(given_out)
    assert given_out.min() >= 0
    assert len(pool) == 0


def test_a_stream_is_forked_and_goes_on_in_another_pool() -> None:
    model = Model(recogniser(Cell.LSTM))
    pool, x = model.stream_pool(4), np.random.default_rng(0).normal(size=(6, 1, FEATURES)).astype(np.float32)
    one = pool.open()
    for t in range(3):
        pool.step([one], x[t])
    two, snapshot = pool.fork(one), pool.snapshot(one)
    other = Model(recogniser(Cell.LSTM)).stream_pool(2)
    three = other.restore(snapshot)
    for t in range(3, 6):
        expected = pool.step([one], x[t])
        assert (pool.step([two], x[t]) == expected).all()
        assert (other.step([three], x[t]) == expected).all()
    with pytest.raises(ValueError, match="another model"):
        Model(recogniser(Cell.GRU)).stream_pool(2).restore(snapshot)
    for damaged in (snapshot[:-1], b"", b"{}" * 20, snapshot[:40] + b"\xff" + snapshot[41:]):
        with pytest.raises(ValueError, match="restore"):
            other.restore(damaged)
    assert len(other) == 1


def test_calls_that_name_the_same_stream_wait_for_each_other() -> None:
    model = Model(recogniser(Cell.GRU))
    pool = model.stream_pool(8)
    ids = [pool.open() for _ in range(8)]
    x = np.ones((8, FEATURES), np.float32)

    def turn() -> None:
        for _ in range(200):
            pool.step(ids, x)

    threads = [threading.Thread(target=turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = model.stream().run(np.ones((1, 801, FEATURES), np.float32))[0, -1]
    assert (pool.step(ids, x) == expected).all()


def test_the_threads_change_no_bit() -> None:
    graph = recogniser(Cell.GRU)
    model, given = Model(graph), inputs_of(graph)
    before = gatewise.num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            gatewise.set_num_threads(threads)
            found.append(model.stream(BATCH).run(given))
        assert all((one == found[0]).all() for one in found)
    finally:
        gatewise.set_num_threads(before)
