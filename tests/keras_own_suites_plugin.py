# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin for Keras's own test files: puts the engine under their layers and notes what ran in every test.

`pytest -p keras_own_suites_plugin`, with GATEWISE_PLACE, "instead" or "patched", and GATEWISE_NOTES, the JSON file to
write: by test its outcome, how many recurrent layers were called whose cells the engine has, how many native calls
completed, and why the engine did not run.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

import gatewise
from gatewise import native
from gatewise.keras import layers
from gatewise.keras.kinds import CELLS, LAYERS

if TYPE_CHECKING:
    import pytest

# Where the test files may find a class.
MODULES = ("keras.layers", "keras.src.layers", "keras.src.layers.rnn", "keras.src.layers.rnn.{file}")
FILES = {"GRU": "gru", "LSTM": "lstm", "SimpleRNN": "simple_rnn"}
SYMBOLIC = "called with a KerasTensor only"

_notes: dict[str, dict[str, Any]] = {}
_here: dict[str, Any] = {"layers": set(), "reasons": []}  # the test that runs now


def pytest_configure() -> None:
    """Puts the layers in their place before any test file is imported."""
    _note_calls(patched=os.environ["GATEWISE_PLACE"] == "patched")
    if os.environ["GATEWISE_PLACE"] == "patched":
        gatewise.patch_keras()
        return
    for name, file in FILES.items():
        for module in MODULES:
            setattr(importlib.import_module(module.format(file=file)), name, getattr(layers, name))


def _note_calls(*, patched: bool) -> None:
    """Wraps the calls of RNN, which its subclasses inherit, and of Bidirectional, which may run two layers as one."""
    rnn, both = keras.layers.RNN, keras.layers.Bidirectional

    def note(layer: Any, arguments: Any) -> None:
        cells = getattr(layer.cell, "cells", [layer.cell])
        if isinstance(layer, LAYERS) or (patched and any(isinstance(cell, CELLS) for cell in cells)):
            _here["layers"].add(id(layer))
            symbolic = any(isinstance(value, keras.KerasTensor) for value in keras.tree.flatten(arguments))
            reason = layer.fallback_reason or (SYMBOLIC if symbolic else None)
            _here["reasons"] += [reason] if reason and reason not in _here["reasons"] else []

    def noting(inherited: Any, layers_of: Any) -> Any:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807  # the method's name, seen in tracebacks
            result = inherited(self, *args, **kwargs)
            for layer in layers_of(self):
                note(layer, (args, kwargs))
            return result

        return __call__

    # Both inherit it, so nothing is replaced.
    rnn.__call__ = noting(rnn.__call__, lambda layer: [layer])
    both.__call__ = noting(both.__call__, lambda layer: [layer.forward_layer, layer.backward_layer])


def pytest_runtest_logstart() -> None:
    """Starts the notes of a test."""
    _here.update(layers=set(), reasons=[], before=sum(native.calls()))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Completes the notes of a test."""
    if report.when == "call" or report.outcome != "passed":
        file, _, method = report.nodeid.split("/")[-1].split("::")
        calls = sum(native.calls()) - _here["before"]
        notes = {"outcome": report.outcome, "calls": calls, "layers": len(_here["layers"]), "reasons": _here["reasons"]}
        _notes[f"{file}::{method}"] = notes


def pytest_sessionfinish() -> None:
    """Writes the notes."""
    Path(os.environ["GATEWISE_NOTES"]).write_text(json.dumps(_notes), encoding="utf-8")
