# SPDX-License-Identifier: Apache-2.0
"""JAX on two devices: each runs its part of the batch, and the sums are those of one device.

The number of devices is settled when JAX starts, so every claim runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax", reason="the devices are JAX's: install the extra `jax`")

SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from engine_case import Case
from gatewise import native
from gatewise.cells import Cell
from gatewise.ops import jax as engine
from jax.sharding import NamedSharding, PartitionSpec
from ops_case import gru
from tolerance import disagreement, tolerance

names = ("x", "initial_state", "kernel", "recurrent_kernel", "bias", "mask", "input_dropout", "recurrent_dropout")
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
cut = {"x": ("rows",), "initial_state": ("rows",), "mask": ("rows",), "input_dropout": (None, "rows")}
cut["recurrent_dropout"] = (None, "rows")
problems, calls, texts = [], [], []
for case in (
    Case(10, 60, 4, 6, mask="holes"),  # a row keeps more in a half of this batch than in the whole
    Case(6, 5, 4, 6, input_dropout_masks=3, recurrent_dropout=True, return_sequences=False, cell=Cell.GRU_RESET_BEFORE),
    Case(6, 5, 4, 6, use_bias=False, initial_state=False, go_backwards=True),
):
    given = {name: case.arrays[name] for name in names if case.arrays[name] is not None}
    fixed = {name: given.pop(name) for name in ("mask", "input_dropout", "recurrent_dropout") if name in given}
    place = lambda name, value: jax.device_put(value, NamedSharding(mesh, PartitionSpec(*cut.get(name, ()))))
    given, fixed = ({name: place(name, value) for name, value in group.items()} for group in (given, fixed))

    def loss(given, fixed):
        outputs, state = gru(
            engine,
            **{"initial_state": None} | given | fixed,
            reset_after=case.cell is Cell.GRU,
            go_backwards=case.go_backwards,
            return_sequences=case.return_sequences,
        )
        return jnp.sum(outputs * case.arrays["d_outputs"]) + jnp.sum(state * case.arrays["d_state"])

    step = jax.jit(jax.grad(loss)).lower(given, fixed).compile()
    texts.append(step.as_text())
    before = native.calls()
    gradients = jax.block_until_ready(step(given, fixed))
    calls.append([native.calls().forward - before.forward, native.calls().backward - before.backward])
    expected = case.specified()
    allowed = tolerance(case.features + case.units, case.timesteps, case.batch)
    problems += [disagreement(name, value, expected["d_" + name], allowed) for name, value in gradients.items()]
# A partitioned call has no rule for vmap of its own: here each kernel's layer runs after the other's.
mapped = jax.jit(jax.vmap(lambda kernel: jax.grad(loss)(given | {"kernel": kernel}, fixed)["kernel"]))
for value in mapped(jnp.stack([given["kernel"]] * 2)):
    problems.append(disagreement("mapped", value, expected["d_kernel"], allowed))
report = {"problems": [problem for problem in problems if problem], "calls": calls}
report |= {word: sum(text.count(f" {word}(") for text in texts) for word in ("all-gather", "all-reduce")}
"""

BOTH = """
import jax, jax.numpy as jnp, numpy as np
from engine_case import Case
from gatewise import native
from gatewise.ops import jax as engine
from gatewise.cells import Cell
from jax.sharding import NamedSharding, PartitionSpec
from ops_case import direction
from jax_case import arrays_of
from tolerance import disagreement, tolerance

first = Case(6, 7, 4, 5)
second = Case(6, 7, 4, 5, go_backwards=True, seed=1)
second.arrays["x"] = first.arrays["x"]
rows = NamedSharding(jax.sharding.Mesh(np.array(jax.devices()), ("rows",)), PartitionSpec("rows"))
own = [direction(arrays_of(case)) for case in (first, second)]

def loss(x, own):
    outputs, states = engine.rnn(x, own, cell=Cell.GRU)
    d_outputs = np.concatenate([first.arrays["d_outputs"], second.arrays["d_outputs"][:, ::-1]], -1)
    d_states = [case.arrays["d_state"] for case in (first, second)]
    return jnp.sum(outputs * d_outputs) + sum(jnp.sum(h * d) for (h,), d in zip(states, d_states))

before = native.calls()
step = jax.jit(jax.grad(loss, argnums=(0, 1)))
d_x, d_own = jax.block_until_ready(step(jax.device_put(first.arrays["x"], rows), own))
calls = [native.calls().forward - before.forward, native.calls().backward - before.backward]
expected, allowed = [case.specified() for case in (first, second)], tolerance(9, 7, 6)
problems = [disagreement("d_x", d_x, expected[0]["d_x"] + expected[1]["d_x"], allowed)]
for found, wanted in zip(d_own, expected):
    wanted = direction({name.removeprefix("d_"): value for name, value in wanted.items()})
    pairs = [(name, *pair) for name, *pair in zip(found._fields, found, wanted) if pair[0] is not None]
    assert len(pairs) == 4
    problems += [disagreement(*pair, allowed) for pair in pairs]
report = {"problems": [problem for problem in problems if problem], "calls": calls}
"""

TANGENTS = """
import jax, jax.numpy as jnp, numpy as np
from engine_case import Case
from gatewise import native
from jax.sharding import NamedSharding, PartitionSpec as P
from jax_case import arrays_of, direction_of, function_of, loss_of, specified_slopes
from tolerance import disagreement, tolerance

case = Case(6, 5, 4, 3)
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
specs = {name: P("rows") if name in ("x", "initial_state") else P() for name in arrays_of(case)}
arrays, direction = (
    {name: jax.device_put(value, NamedSharding(mesh, specs[name])) for name, value in group.items()}
    for group in (arrays_of(case), direction_of(case))
)
slopes, allowed = specified_slopes(case, direction_of(case)), 4 * tolerance(7, 5, 6)
problems, calls, gathered = [], [], 0

def compare(found, names):
    problems.extend(disagreement(name, value, slopes[name], allowed) for name, value in zip(names, found))

def tangents(arrays, direction):
    return jax.jvp(function_of(case), (arrays,), (direction,))

def products(arrays, direction):
    return jax.jvp(jax.grad(loss_of(case)), (arrays,), (direction,))

for function, names in ((tangents, ("outputs", "state")), (products, ["d_" + name for name in sorted(arrays)])):
    program = jax.jit(function).lower(arrays, direction).compile()
    gathered += program.as_text().count(" all-gather(")
    before = native.calls()
    _, found = jax.block_until_ready(program(arrays, direction))
    calls.append([native.calls().forward - before.forward, native.calls().backward - before.backward])
    compare(found.values() if isinstance(found, dict) else found, names)

# Each device runs a program of its own; what JAX checks in it by default it cannot follow into a custom call.
part = jax.shard_map(tangents, mesh=mesh, in_specs=(specs, specs), out_specs=P("rows"), check_vma=False)
compare(jax.jit(part)(arrays, direction)[1], ("outputs", "state"))
halves = {name: 0 if specs[name] == P("rows") else None for name in arrays}
cut = lambda group: {name: v.reshape(2, -1, *v.shape[1:]) if halves[name] == 0 else v for name, v in group.items()}
_, found = jax.pmap(tangents, in_axes=(halves, halves))(cut(arrays_of(case)), cut(direction_of(case)))
compare([value.reshape(-1, *value.shape[2:]) for value in found], ("outputs", "state"))
report = {"problems": [problem for problem in problems if problem], "calls": calls, "all-gather": gathered}
"""

CUT_ANEW = """
import itertools
import jax, jax.numpy as jnp, numpy as np
from engine_case import Case
from gatewise.ops import jax as engine
from gatewise.cells import Cell
from jax.sharding import NamedSharding, PartitionSpec as P
from ops_case import direction
from jax_case import arrays_of, function_of
from tolerance import disagreement, tolerance

mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
put = lambda values, spec: jax.tree.map(lambda value: jax.device_put(value, NamedSharding(mesh, spec)), values)
first, second = Case(4, 5, 4, 6), Case(4, 5, 4, 6, go_backwards=True, seed=1)
second.arrays["x"] = first.arrays["x"]
expected, allowed = [case.specified() for case in (first, second)], tolerance(10, 5, 4)
own = [direction(arrays_of(case)) for case in (first, second)]
d_outputs = np.concatenate([first.arrays["d_outputs"], second.arrays["d_outputs"][:, ::-1]], -1)

def one(x):
    return function_of(first)(arrays_of(first) | {"x": x})

def both(x):
    outputs, ((first_h,), (second_h,)) = engine.rnn(x, own, cell=Cell.GRU)
    return outputs, (first_h, second_h)

layers = (
    (one, (first.arrays["d_outputs"], first.arrays["d_state"]), expected[0]["d_x"]),
    (both, (d_outputs, (first.arrays["d_state"], second.arrays["d_state"])), expected[0]["d_x"] + expected[1]["d_x"]),
)
as_it_is, problems, specs = lambda function: function, [], (P("rows"), P())
for (layer, incoming, d_x), at, back, forth, pulled in itertools.product(
    layers, specs, specs, (as_it_is, jax.jit), (as_it_is, jax.jit)
):
    _, pull = forth(lambda x: jax.vjp(layer, x))(put(jnp.asarray(first.arrays["x"]), at))
    (found,) = pulled(pull)(put(jax.tree.map(jnp.asarray, incoming), back))
    name = f"{layer.__name__}: x {at}, gradients {back}, forward jit {forth is jax.jit}, backward {pulled is jax.jit}"
    problems.append(disagreement(name, found, d_x, allowed))
report = {"problems": [problem for problem in problems if problem]}
"""

FITTED = """
import keras, numpy as np
from gatewise import native
from gatewise.keras import GRU

rng = np.random.default_rng(0)
x, y = rng.normal(size=(16, 7, 4)).astype("float32"), rng.normal(size=(16, 1)).astype("float32")
x[::3, 4:] = 0

def fit():
    keras.utils.set_random_seed(1)
    layer = GRU(5, recurrent_initializer="glorot_uniform")  # the stock initializer takes seconds to compile
    model = keras.Sequential([keras.Input((7, 4)), keras.layers.Masking(), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = native.calls().backward
    losses = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
    return {"losses": losses, "backward": native.calls().backward - before}

report = {"one": fit()}
keras.distribution.set_distribution(keras.distribution.DataParallel())
report["two"] = fit()
"""


def report_of(program: str) -> dict[str, Any]:
    """What a program, run where there are two CPU devices, leaves in `report`."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    settings = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", f"{program}\nimport json; print(json.dumps(report))"]
    done = subprocess.run(
        command,
        env=os.environ | settings | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_each_device_runs_its_part_and_only_weight_gradients_are_exchanged() -> None:
    report = report_of(SHARDED)
    assert report["problems"] == []
    assert report["calls"] == [[2, 2]] * 3
    assert report["all-gather"] == 0
    assert report["all-reduce"] >= 3


def test_both_directions_run_on_each_device() -> None:
    # A call of both counts as two, forward and backward.
    assert report_of(BOTH) == {"problems": [], "calls": [4, 4]}


def test_tangents_run_on_each_device() -> None:
    assert report_of(TANGENTS) == {"problems": [], "calls": [[2, 0], [2, 2]], "all-gather": 0}


def test_the_backward_pass_may_cut_the_batch_up_in_another_way() -> None:
    # What was kept of a whole batch cannot be read by halves. Each pass may be compiled by itself, or run as it is.
    assert report_of(CUT_ANEW) == {"problems": []}


def test_data_parallel_training_has_the_losses_of_one_device() -> None:
    pytest.importorskip("keras", reason="the distribution is Keras's: install the extra `jax`")
    report, steps = report_of(FITTED), 6
    assert report["two"]["losses"] == pytest.approx(report["one"]["losses"], rel=1e-5)
    assert (report["one"]["backward"], report["two"]["backward"]) == (steps, 2 * steps)
