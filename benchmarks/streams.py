# SPDX-License-Identifier: Apache-2.0
"""What streams cost: a step, a chunk, many threads, and pools of thousands, on models of 40 features and a Dense head.

    python benchmarks/streams.py

Everything runs in this one process, so that differences are differences; a quiet machine is needed. The table shows
the median and, of what is called once a frame, how latencies are distributed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

import gatewise
from gatewise.runtime import Graph, Model, Node, Value
from subjects import onnxruntime_session
from workloads import Case

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES, CLASSES, FRAMES = 40, 10, 4000
CAPACITY, OPEN = 16_384, 10_000


def main() -> None:
    """Measures and prints."""
    table = Table("", "median", "p90", "p99", "p99.9", "")
    threads = gatewise.num_threads()
    gatewise.set_num_threads(1)
    for units in (128, 256, 512):
        add_steps(table, units)
    gatewise.set_num_threads(threads)
    add_chunk(table)
    add_threads(table)
    for count in (1000, OPEN):
        add_pool(table, count)
    Console(width=120).print(table)


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
    quantiles = [float(np.quantile(found, q)) for q in (0.5, 0.9, 0.99, 0.999)]
    table.add_row(name, *(f"{q:,.1f} us" if q < 1000 else f"{q / 1000:,.2f} ms" for q in quantiles), "")
    return quantiles[0]


def add_steps(table: Table, units: int) -> None:
    """One step of one row on one thread, by the engine's Step, a stream without and with a head, and onnxruntime."""
    plain, weights = model_of(units, head=False)
    step, state = gatewise.Step(weights), np.zeros((1, units), np.float32)
    x, times = np.ones((1, FEATURES), np.float32), 20_000
    base = row(table, f"step, GRU({units}): gatewise.Step", microseconds(lambda: step(x, state, state), times))
    stream, headed = plain.stream(), model_of(units)[0].stream()
    one = row(table, "stream of a GRU", microseconds(lambda: stream.step(x), times))
    two = row(table, "stream of a GRU and Dense(10)", microseconds(lambda: headed.step(x), times))
    case = Case("step", "step", 1, 1, FEATURES, units)
    run, _ = onnxruntime_session.prepare(case, 1, bound=True)
    theirs = row(table, "onnxruntime, bound, the GRU alone", microseconds(run, times))
    remark = f"stream + {one - base:.1f} us, head + {two - one:.1f} us, onnxruntime {theirs / one:.2f}x"
    table.add_row("", "", "", "", "", remark, end_section=True)


def add_chunk(table: Table) -> None:
    """A chunk of 4,000 frames, beside what the engine takes for it."""
    plain, weights = model_of(256, head=False)
    x = np.random.default_rng(0).normal(size=(1, FRAMES, FEATURES)).astype(np.float32)
    stream = plain.stream()
    base = row(table, f"{FRAMES:,} frames, GRU(256): gatewise.rnn", microseconds(lambda: gatewise.rnn(x, weights), 60))
    own = row(table, "stream.run", microseconds(lambda: stream.run(x), 60))
    table.add_row("", "", "", "", "", f"{own / base:.2f} times", end_section=True)


def add_threads(table: Table) -> None:
    """Sixteen Python threads, each with a stream: chunks of 50 frames of GRU(512), single steps of GRU(128)."""
    for name, units, frames in (("chunks of 50, GRU(512)", 512, 50), ("steps, GRU(128)", 128, 1)):
        model = model_of(units)[0]
        x = np.ones((1, frames, FEATURES), np.float32)
        rates = [frames_a_second(model, x, threads) for threads in (1, 16)]
        remark = f"{rates[0]:,.0f} frames/s with 1 thread, {rates[1]:,.0f} with 16: {rates[1] / rates[0]:.2f} times"
        table.add_row(name, "", "", "", "", remark, end_section=True)


def frames_a_second(model: Model, x: Any, threads: int) -> float:
    """How many frames a second threads read together, each from a stream of its own, in a second."""
    counts, until = [0] * threads, time.perf_counter() + 1.2

    def read(i: int) -> None:
        stream = model.stream()
        while time.perf_counter() < until:
            stream.run(x)
            counts[i] += x.shape[1]

    begin = time.perf_counter()
    workers = [threading.Thread(target=read, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begin)


def add_pool(table: Table, count: int) -> None:
    """Steps of some of 10,000 open streams, by ids in random order."""
    pool, rng = model_of(128)[0].stream_pool(CAPACITY), np.random.default_rng(0)
    ids = np.array([pool.open() for _ in range(OPEN)])
    picks = [rng.permutation(ids)[:count] for _ in range(40)]
    x = rng.normal(size=(count, FEATURES)).astype(np.float32)
    calls = iter(range(10**9))
    found = microseconds(lambda: pool.step(picks[next(calls) % len(picks)], x), 200_000 // count + 100)
    median = row(table, f"pool, GRU(128) and Dense(10): {count:,} of {OPEN:,}", found)
    table.add_row("", "", "", "", "", f"{count / median * 1e6:,.0f} stream-steps a second", end_section=True)


if __name__ == "__main__":
    main()
