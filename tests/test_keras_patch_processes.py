# SPDX-License-Identifier: Apache-2.0
"""Programs of several devices, processes or threads, patched: the numbers of stock Keras, from the engine."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from own_process import WITHOUT_GATEWISE, result, run, start
from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="it patches Keras: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
from backends import BACKEND, native_calls, tensorflow_only  # noqa: E402

EXAMPLE = Path(__file__).parents[1] / "examples" / "tutorial_patched.py"
BATCH, TIMESTEPS, FEATURES, UNITS, EPOCHS = 8, 6, 3, 5, 3
ALLOWED = 4 * tolerance(FEATURES + UNITS, TIMESTEPS * EPOCHS, BATCH)
X = np.random.default_rng(0).normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)


@pytest.fixture
def patched() -> Any:
    """Patches Keras for a test."""
    gatewise.patch_keras()
    yield
    gatewise.unpatch_keras()


# --- Two devices ---

DATA = f"""
import json, os
import numpy as np
EPOCHS = {EPOCHS}
rng = np.random.default_rng(0)
x = rng.normal(size=({BATCH}, {TIMESTEPS}, {FEATURES})).astype("float32")
y = rng.normal(size=({BATCH}, 1)).astype("float32")
"""

LOSSES = f"""
import keras, gatewise

def model():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.GRU({UNITS}, return_sequences=True), keras.layers.Bidirectional(keras.layers.GRU({UNITS}))]
    return keras.Sequential([keras.Input(x.shape[1:]), *layers, keras.layers.Dense(1)])

def both(losses):
    found = dict(stock=losses(), calls_of_stock=list(gatewise.native.calls()))
    gatewise.patch_keras()
    print(json.dumps(dict(found, patched=losses(), calls=list(gatewise.native.calls()))))

def fitted():
    it = model()
    it.compile("sgd", "mse")
    return it.fit(x, y, epochs=EPOCHS, batch_size={BATCH}, shuffle=False, verbose=0).history["loss"]
"""

TENSORFLOW = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def losses():
    with strategy.scope():
        return fitted()

both(losses)
"""

JAX = """
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices("cpu")))
both(fitted)
"""

TORCH = """
import sys
import torch
rank = int(os.environ["RANK"])
torch.distributed.init_process_group("gloo", init_method="file://" + os.path.abspath("meet"), rank=rank, world_size=2)

def losses():
    ours = slice(rank, None, 2)
    inputs, targets = torch.from_numpy(x[ours]), torch.from_numpy(y[ours])
    module = torch.nn.parallel.DistributedDataParallel(model())
    optimizer, found = torch.optim.SGD(module.parameters(), 0.01), []
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss = ((module(inputs) - targets) ** 2).mean()
        loss.backward()
        optimizer.step()
        mean = loss.detach().clone()
        torch.distributed.all_reduce(mean)
        found.append(float(mean) / 2)
    return found

both(losses)
torch.distributed.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # gloo now and then aborts an interpreter's end on a busy machine, without gatewise too
"""


def test_training_on_two_devices(tmp_path: Path) -> None:
    if BACKEND == "tensorflow":
        found = [run(DATA + LOSSES + TENSORFLOW, tmp_path)]
    elif BACKEND == "jax":
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
        found = [run(DATA + LOSSES + JAX, tmp_path, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")]
    else:
        processes = [start(DATA + LOSSES + TORCH, tmp_path, RANK=str(rank)) for rank in range(2)]
        found = [result(process) for process in processes]
    for losses in found:
        assert_close("losses", losses["patched"], losses["stock"], ALLOWED)
        assert losses["calls_of_stock"] == [0, 0]
        assert min(losses["calls"]) >= 3 * EPOCHS  # three layers
        assert len(set(losses["stock"])) == EPOCHS, "the model learns nothing"


# --- Files ---

LOADED = """
import json
import keras, numpy as np
x = np.load("x.npy")
outputs = {}
model = keras.saving.load_model("model.keras")
outputs["model"] = model.predict(x, verbose=0).tolist()
model.set_weights([0 * weight for weight in model.get_weights()])
model.load_weights("model.weights.h5")
outputs["weights"] = model.predict(x, verbose=0).tolist()
outputs["losses"] = model.fit(x, x[:, 0, :1], epochs=2, verbose=0, shuffle=False).history["loss"]
print(json.dumps(outputs))
"""


@pytest.mark.usefixtures("patched")
def test_what_a_patched_process_saves_is_stock_s_where_gatewise_is_not(tmp_path: Path) -> None:
    layers = [keras.layers.GRU(UNITS, return_sequences=True), keras.layers.Bidirectional(keras.layers.GRU(UNITS))]
    layers += [keras.layers.Reshape((2, UNITS)), keras.layers.RNN([keras.layers.GRUCell(4), keras.layers.GRUCell(2)])]
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), *layers, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with native_calls(5, 5):
        model.fit(X, X[:, 0, :1], batch_size=BATCH, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    np.save(tmp_path / "x.npy", X)
    expected = model.predict(X, verbose=0)
    found = run(WITHOUT_GATEWISE.join(["", LOADED, ""]), tmp_path)
    assert_close("model", found["model"], expected, ALLOWED)
    assert_close("weights", found["weights"], expected, ALLOWED)
    losses = model.fit(X, X[:, 0, :1], epochs=2, verbose=0, shuffle=False).history["loss"]
    assert_close("losses", found["losses"], losses, ALLOWED)


# --- Threads ---

THREADS = """
gatewise.patch_keras()
it = model()
it.compile("sgd", "mse")
it.fit(x, y, epochs=EPOCHS, verbose=0, shuffle=False)
import hashlib
print(json.dumps([gatewise.num_threads(), hashlib.sha256(it.predict(x, verbose=0).tobytes()).hexdigest()]))
"""


def test_two_processes_with_different_thread_counts_at_once_give_the_same_bits(tmp_path: Path) -> None:
    program = DATA + LOSSES + THREADS
    processes = [start(program, tmp_path, GATEWISE_NUM_THREADS=str(n)) for n in (1, 3)]
    (one, bits), (three, same) = [result(process) for process in processes]
    assert (one, three) == (1, 3)
    assert bits == same


@pytest.mark.usefixtures("patched")
def test_two_models_while_the_thread_count_changes_give_the_same_bits() -> None:
    models = [keras.Sequential([keras.Input((None, FEATURES)), keras.layers.GRU(units)]) for units in (UNITS, 40)]
    expected = [model.predict(X, verbose=0) for model in models]
    problems: list[str] = []

    def ask(which: int) -> None:
        for n in (1, 3, 2, 1, 4):
            gatewise.set_num_threads(n)
            if not np.array_equal(models[which].predict(X, verbose=0), expected[which]):
                problems.append(f"model {which} with {n} threads")

    threads = [threading.Thread(target=ask, args=(which,)) for which in range(2)]
    with native_calls(10):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gatewise.set_num_threads(None)
    assert not problems


# --- Keras 2 ---

LEGACY = """
import json, warnings
import gatewise
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        gatewise.patch_keras()
print(json.dumps([str(warning.message) for warning in caught if warning.category is gatewise.FallbackWarning]))
"""


@tensorflow_only
@pytest.mark.parametrize(("value", "count"), [("1", 1), ("true", 1), ("0", 0), ("", 0)])
def test_a_tf_keras_that_is_keras_2_is_warned_of_once(value: str, count: int, tmp_path: Path) -> None:
    found = run(LEGACY, tmp_path, TF_USE_LEGACY_KERAS=value)
    assert len(found) == count
    assert all("with TF_USE_LEGACY_KERAS tf.keras is Keras 2, which gatewise does not patch" in text for text in found)


OLD = """
import json
import gatewise
try:
    gatewise.patch_keras()
except ImportError as error:
    print(json.dumps(str(error)))
"""


def test_a_keras_that_is_too_old_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "keras"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "__version__ = '2.15.0'\nfrom types import SimpleNamespace\n"
        "layers = SimpleNamespace(Layer=object)\n"
        "saving = SimpleNamespace(register_keras_serializable=lambda package: lambda cls: cls)\n",
        encoding="utf-8",
    )
    error = run(OLD, tmp_path, PYTHONPATH=str(tmp_path))
    assert error.startswith("gatewise.keras: Keras is too old. Expected 3.5 or later; received 2.15.0. Run: pip")


# --- The tutorials' spelling ---

TUTORIAL = f"""
import inspect, json, runpy
import keras
signature = str(inspect.signature(keras.layers.GRU))
names = runpy.run_path({os.fspath(EXAMPLE)!r})
import gatewise, tensorflow as tf
print()
print(json.dumps(dict(
    calls=list(gatewise.native.calls()),
    same_class=tf.keras.layers.GRU is keras.layers.GRU,
    same_signature=signature == str(inspect.signature(tf.keras.layers.GRU)),
    losses=names["history"].history["loss"],
)))
"""


@tensorflow_only
def test_tutorial_code_runs_unchanged_and_natively(tmp_path: Path) -> None:
    found = run(TUTORIAL, tmp_path)
    assert found["same_class"]
    assert found["same_signature"]
    assert found["losses"][-1] < found["losses"][0]
    steps = len(found["losses"]) * 2  # 8 sentences at batch 4
    assert found["calls"] == [3 * steps + 3, 3 * steps]  # three layers; one prediction


def test_the_tutorial_differs_from_stock_by_two_lines() -> None:
    source = EXAMPLE.read_text(encoding="utf-8").split('"""', 2)[2]  # after the docstring
    assert re.findall(r".*gatewise.*", source) == [
        "import gatewise",
        "gatewise.patch_keras()  # these two lines are new",
    ]
    assert source.count("tf.keras.layers.GRU(") == 2
