# SPDX-License-Identifier: Apache-2.0
"""Libraries that use `torch.nn.LSTM` or `GRU`, unchanged, train under `patch_torch()` natively, with stock's losses."""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

import numpy as np
import pytest

import own_process

# Each program defines `trained()`, which trains a new model from a fixed seed and returns the loss of every step and
# what the trained model says or did. It runs as it is, and then patched, with an eye on every recurrent module.
BEFORE = """
import json, logging, warnings
warnings.simplefilter("ignore")  # what the library's own dependencies say is not ours to judge
from collections import Counter
import numpy as np
import torch
import gatewise
from gatewise import fallback, native

seen = Counter()

def see(module, given, results):
    if isinstance(module, torch.nn.RNNBase):
        steps = given[0].shape[1 if module.batch_first else 0]
        from_state = len(given) > 1 and given[1] is not None
        seen[("a sequence" if steps > 1 else "a step") + (" from a state" if from_state else "")] += 1
        seen["layers forward"] += module.num_layers
        seen["layers backward"] += module.num_layers * results[0].requires_grad

torch.nn.modules.module.register_module_forward_hook(see)
"""

AFTER = """
def observed():
    seen.clear()
    before = native.calls()
    losses, outcome = trained()
    after = native.calls()
    calls = after.forward - before.forward, after.backward - before.backward
    return {"losses": losses, "outcome": outcome, "calls": calls, "seen": dict(seen)}

results = {"stock": observed()}
gatewise.patch_torch()
results["patched"] = observed()
gatewise.unpatch_torch()
print(json.dumps(results | {"fallbacks": fallback.given()}))
"""

NEURALFORECAST = """
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.models import CELL
logging.disable(logging.WARNING)

steps = np.arange(100)
y = np.sin(steps / 5) + np.random.default_rng(0).normal(scale=0.1, size=100)
series = pd.DataFrame({"unique_id": "wave", "ds": steps, "y": y.astype("float32")})

def trained():
    model = CELL(h=5, input_size=24, max_steps=20, windows_batch_size=32, learning_rate=0.005,
                 encoder_n_layers=2, encoder_hidden_size=32,
                 encoder_dropout=0.1, random_seed=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                 enable_progress_bar=False, enable_model_summary=False)
    forecast = NeuralForecast([model], freq=1)
    forecast.fit(series)
    return [loss for _, loss in forecast.models[0].train_trajectories], forecast.predict()["CELL"].tolist()
"""

# Its layers run over whole windows in training; a forecast goes on from their states, step by step.
DARTS = """
from darts import TimeSeries
from darts.models import RNNModel
from pytorch_lightning.callbacks import Callback
logging.disable(logging.WARNING)

steps = np.arange(120)
y = np.sin(steps / 5) + np.random.default_rng(0).normal(scale=0.1, size=120)
series = TimeSeries.from_values(y.astype("float32"))  # the library computes in its dtype

class Losses(Callback):
    def __init__(self):
        self.found = []

    def on_train_batch_end(self, trainer, module, outputs, *_):
        self.found.append(float(outputs["loss"]))

def trained():
    losses = Losses()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    model = RNNModel(input_chunk_length=24, model="LSTM", hidden_dim=32, n_rnn_layers=2, dropout=0.1,
                     training_length=36, batch_size=32, n_epochs=8, optimizer_kwargs={"lr": 0.005}, random_state=1,
                     pl_trainer_kwargs={"accelerator": "cpu", "callbacks": [losses]} | quiet)
    model.fit(series)
    return losses.found, model.predict(5).values().ravel().tolist()
"""

# A policy with an LSTM, and a critic with another. Both begin from states that were kept; where an episode begins
# within a sequence, training goes step by step, and gradients flow through the states in between.
SB3_CONTRIB = """
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback

class Progress(BaseCallback):
    def __init__(self):
        super().__init__()
        self.losses, self.actions = [], []

    def _on_step(self):
        self.actions += self.locals["actions"].ravel().tolist()
        return True

    def _on_rollout_start(self):  # the values are those of the training before it
        self.losses += [float(v) for k, v in self.logger.name_to_value.items() if k == "train/loss"]

    _on_training_end = _on_rollout_start

def trained():
    model = RecurrentPPO("MlpLstmPolicy", "CartPole-v1", n_steps=32, batch_size=8, n_epochs=2, gamma=0.9,
                         learning_rate=0.003, policy_kwargs={"lstm_hidden_size": 32}, seed=1, device="cpu")
    progress = Progress()
    model.learn(384, progress)
    return progress.losses, progress.actions
"""


class Case(NamedTuple):
    """A program with a library.

    Attributes:
        package: the library's.
        program: defines `trained()`.
        ways: those in which the library calls a recurrent module.
        losses: their number.
    """

    package: str
    program: str
    ways: set[str]
    losses: int


CASES = {
    "neuralforecast-GRU": Case("neuralforecast", NEURALFORECAST.replace("CELL", "GRU"), {"a sequence"}, 20),
    "neuralforecast-LSTM": Case("neuralforecast", NEURALFORECAST.replace("CELL", "LSTM"), {"a sequence"}, 20),
    "darts-LSTM": Case("darts", DARTS, {"a sequence", "a step from a state"}, 24),
    "sb3_contrib-LSTM": Case("sb3_contrib", SB3_CONTRIB, {"a sequence from a state", "a step from a state"}, 12),
}

# Both sides sum in float32, in other orders: the results of a step lie some eps apart, 1e-7 of their size, and training
# carries the weights apart, by up to 1e-5 of the losses and 3e-5 of a forecast in the steps that there are. A gradient
# that lacks one gate's bias moves the losses by 6e-2 and more.
ALLOWED = 1e-4


class Run(NamedTuple):
    """What a library's program did, stock and patched."""

    case: Case
    stock: dict[str, Any]
    patched: dict[str, Any]
    fallbacks: list[str]


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    case = CASES[request.param]
    for package in ("torch", case.package):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: install the extras `torch` and `dev`")
    folder = tmp_path_factory.mktemp(case.package)
    # one thread: the models are small, and threads of other tests are waited for at every operation
    results = own_process.run(BEFORE + case.program + AFTER, folder, OMP_NUM_THREADS="1")
    return Run(case, **results)


def test_every_layer_runs_natively_forward_and_backward_under_the_patch_alone(run: Run) -> None:
    assert run.fallbacks == []
    assert run.stock["calls"] == [0, 0]
    assert run.patched["calls"] == [run.patched["seen"][f"layers {way}"] for way in ("forward", "backward")]
    assert run.patched["calls"][1] >= run.case.losses


def test_the_library_calls_its_modules_alike_in_each_of_its_ways(run: Run) -> None:
    assert run.patched["seen"] == run.stock["seen"]
    assert set(run.patched["seen"]) == run.case.ways | {"layers forward", "layers backward"}


def test_the_losses_are_those_of_stock(run: Run) -> None:
    assert len(run.stock["losses"]) == run.case.losses
    np.testing.assert_allclose(run.patched["losses"], run.stock["losses"], rtol=ALLOWED, atol=0)


def test_what_the_trained_model_says_or_did_is_that_of_stock(run: Run) -> None:
    np.testing.assert_allclose(run.patched["outcome"], run.stock["outcome"], rtol=ALLOWED, atol=ALLOWED)


def test_the_model_learns(run: Run) -> None:
    first, last = (np.mean(run.patched["losses"][part]) for part in (slice(4), slice(-4, None)))
    assert last < 2 / 3 * first
