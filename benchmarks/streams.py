# SPDX-License-Identifier: Apache-2.0
"""What streams cost: a step, a chunk, many threads, and pools of thousands, on models of 40 features and a Dense head.

    python benchmarks/streams.py

Everything runs in this one process, so that differences are differences; a quiet machine is needed. The tables show
how latencies are distributed. `deployment.py --publish` measures this too, and writes it into docs/deploy.md.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

import gatewise
from gatewise.runtime import Graph, Model, Node, Value
from subjects import litert_interpreter, onnxruntime_session
from subjects.weights import weights_of
from tables import Table
from workloads import Case, make_input, make_states

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES, CLASSES, FRAMES = 40, 10, 4000
CAPACITY, OPEN = 16_384, 10_000
QUANTILES = (0.5, 0.9, 0.99, 0.999)
TOLERANCE = 1e-5
STEPS = (
    "Peers take and give states, as gatewise.Step does: onnxruntime's are bound; LiteRT's are set and fetched at each "
    "step, or, alone, stand where they stood. LiteRT runs on XNNPACK; its model is two products and what joins them."
)


def main() -> None:
    """Measures and prints."""
    console = Console(width=140)
    for table in every_table():
        console.print(table.for_terminal())


def every_table() -> list[Table]:
    """Measures everything."""
    latencies = ["median", "p90", "p99", "p99.9", ""]
    steps = Table("A step of one row on one thread", ["", *latencies], remark=STEPS)
    many = Table("Chunks, sixteen Python threads, and pools", ["", *latencies])
    threads = gatewise.num_threads()
    gatewise.set_num_threads(1)
    for units in (128, 256, 512):
        add_steps(steps, units)
    gatewise.set_num_threads(threads)
    add_chunk(many)
    add_threads(many)
    for count in (1000, OPEN):
        add_pool(many, count)
    return [steps, many]


def model_of(units: int, *, head: bool = True) -> tuple[Model, gatewise.GRUWeights]:
    """A GRU over 40 features, with a Dense head or without, and its weights."""
    rng, wide = np.random.default_rng(0), 3 * units
    shapes = {"kernel": (FEATURES, wide), "recurrent_kernel": (units, wide), "bias": (2, wide)}
    arrays = {name: rng.normal(scale=shape[0] ** -0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}
    tensors = arrays | {"head": rng.normal(size=(units, CLASSES)).astype(np.float32)}
    gru = Node("gru", "gru", ("x",), ("h",), {"return_sequences": True}, {name: name for name in shapes})
    dense = Node("dense", "dense", ("h",), ("y",), {}, {"kernel": "head"})
    nodes, output = ((gru, dense), "y") if head else ((gru,), "h")
    graph = Graph({"x": Value((None, None, FEATURES), "float32")}, nodes, {"y": output}, tensors)
    return Model(graph), gatewise.GRUWeights(**arrays)


def microseconds(call: Callable[[], Any], times: int) -> list[float]:
    """Times single calls."""
    for _ in range(max(3, times // 20)):
        call()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        found.append(1e6 * (time.perf_counter() - begin))
    return found


def row(table: Table, name: str, found: list[float]) -> float:
    """Adds the distribution of latencies; returns their median."""
    quantiles = [float(np.quantile(found, q)) for q in QUANTILES]
    table.rows.append([name, *(f"{q:,.1f} us" if q < 1000 else f"{q / 1000:,.2f} ms" for q in quantiles), ""])
    return quantiles[0]


def note(table: Table, remark: str) -> None:
    """Adds to the last row what follows from it and those above."""
    table.rows[-1][-1] = remark


def add_steps(table: Table, units: int) -> None:
    """One step of one row on one thread, by the engine's Step, a stream without and with a head, and the peers."""
    plain, weights = model_of(units, head=False)
    step, state = gatewise.Step(weights), np.zeros((1, units), np.float32)
    x, times = np.ones((1, FEATURES), np.float32), 20_000
    base = row(table, f"step, GRU({units}): gatewise.Step", microseconds(lambda: step(x, state, state), times))
    stream, headed = plain.stream(), model_of(units)[0].stream()
    one = row(table, "stream of a GRU", microseconds(lambda: stream.step(x), times))
    two = row(table, "stream of a GRU and Dense(10)", microseconds(lambda: headed.step(x), times))
    theirs = {name: row(table, name, microseconds(run, times)) for name, run in peers(units).items()}
    ratios = ", ".join(f"{name.partition(',')[0]} {median / base:.2f}x" for name, median in theirs.items())
    note(table, f"stream + {one - base:.1f} us, head + {two - one:.1f} us; of Step: {ratios}")


def peers(units: int) -> dict[str, Callable[[], Any]]:
    """A step of the GRU by each peer, when it has given what gatewise.Step gives."""
    case = Case("step", "step", 1, 1, FEATURES, units)
    prepared = {
        "onnxruntime, bound": onnxruntime_session.prepare(case, 1, bound=True),
        "LiteRT, XNNPACK": litert_interpreter.prepare(case, 1),
        "LiteRT alone, XNNPACK": litert_interpreter.prepare(case, 1, alone=True),
    }
    want = gatewise.Step(weights_of(case))(make_input(case)[:, 0], make_states(case)[0][0])
    for name, (run, results) in prepared.items():
        error = float(np.abs(results(run())[0][:, 0] - want).max())
        if error > TOLERANCE:
            message = f"{name}: gives another state than gatewise.Step, by {error}."
            raise RuntimeError(message)
    return {name: run for name, (run, _) in prepared.items()}


def add_chunk(table: Table) -> None:
    """A chunk of 4,000 frames, beside what the engine takes for it."""
    plain, weights = model_of(256, head=False)
    x = np.random.default_rng(0).normal(size=(1, FRAMES, FEATURES)).astype(np.float32)
    stream = plain.stream()
    base = row(table, f"{FRAMES:,} frames, GRU(256): gatewise.rnn", microseconds(lambda: gatewise.rnn(x, weights), 60))
    own = row(table, "stream.run", microseconds(lambda: stream.run(x), 60))
    note(table, f"{own / base:.2f} times")


def add_threads(table: Table) -> None:
    """Sixteen Python threads, each with a stream: chunks of 50 frames of GRU(512), single steps of GRU(128)."""
    for name, units, frames in (("chunks of 50, GRU(512)", 512, 50), ("steps, GRU(128)", 128, 1)):
        model = model_of(units)[0]
        x = np.ones((1, frames, FEATURES), np.float32)
        alone, _ = read_together(model, x, 1)
        rate, found = read_together(model, x, 16)
        row(table, f"16 threads, {name}", found)
        note(table, f"{alone:,.0f} frames/s with 1 thread, {rate:,.0f} with 16: {rate / alone:.2f} times")


def read_together(model: Model, x: Any, threads: int) -> tuple[float, list[float]]:
    """Threads read for a second, each from a stream of its own: frames a second of all, microseconds of each call."""
    found: list[list[float]] = [[] for _ in range(threads)]
    until = time.perf_counter() + 1.2

    def read(mine: list[float]) -> None:
        stream, now = model.stream(), time.perf_counter()
        while now < until:
            begin = now
            stream.run(x)
            now = time.perf_counter()
            mine.append(1e6 * (now - begin))

    begin = time.perf_counter()
    workers = [threading.Thread(target=read, args=(mine,)) for mine in found]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - begin
    return sum(map(len, found)) * x.shape[1] / seconds, [one for mine in found for one in mine]


def add_pool(table: Table, count: int) -> None:
    """Steps of some of 10,000 open streams, by ids in random order."""
    pool, rng = model_of(128)[0].stream_pool(CAPACITY), np.random.default_rng(0)
    ids = np.array([pool.open() for _ in range(OPEN)])
    picks = [rng.permutation(ids)[:count] for _ in range(40)]
    x = rng.normal(size=(count, FEATURES)).astype(np.float32)
    calls = iter(range(10**9))
    found = microseconds(lambda: pool.step(picks[next(calls) % len(picks)], x), 200_000 // count + 100)
    median = row(table, f"pool, GRU(128) and Dense(10): {count:,} of {OPEN:,}", found)
    note(table, f"{count / median * 1e6:,.0f} stream-steps a second")


if __name__ == "__main__":
    main()
