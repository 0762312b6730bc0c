# SPDX-License-Identifier: Apache-2.0
"""The program that `versions.py` runs where Keras is installed: the layer's main claims, on the backend there.

It needs numpy, Keras, the backend and gatewise only, prints one line of JSON, and fails with a traceback.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

import gatewise
from gatewise import native, reference
from gatewise.keras import GRU
from versions_smoke_numpy import check, versions

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6, 3)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0]], bool)
UNITS = 5
ALLOWED = 1e-5  # some hundred roundings of float32; tolerance.py derives the bound that the tests proper use


def model_of(layer_class: Any) -> Any:
    """Builds a small model from a fixed seed."""
    keras.utils.set_random_seed(1)
    layers = [layer_class(UNITS, return_sequences=True, dropout=0.2), layer_class(UNITS), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Masking(), *layers])
    model.compile("adam", "mse")
    return model


def losses_of(model: Any) -> list[float]:
    """Trains a model."""
    return list(model.fit(X, X[:, 0, :1], epochs=3, verbose=0).history["loss"])


def layer_agrees_with_the_specification() -> None:
    """Values, with and without a mask, forwards and backwards."""
    for options in ({}, {"go_backwards": True}, {"reset_after": False}, {"zero_output_for_mask": True}):
        layer = GRU(UNITS, return_sequences=True, **options)
        for mask in (None, MASK):
            before = native.calls().forward
            outputs = keras.ops.convert_to_numpy(layer(X, mask=mask))
            check(f"the layer runs natively: {layer.fallback_reason}", native.calls().forward == before + 1)
            expected = reference.forward(X, *layer.get_weights(), mask=mask, **options).outputs
            check(f"{options} agrees with the specification", np.abs(outputs - expected).max() < ALLOWED)


def model_learns_as_stock_does() -> Any:
    """Losses of a fit; returns the model."""
    before = native.calls().backward
    model = model_of(GRU)
    ours, stock = losses_of(model), losses_of(model_of(keras.layers.GRU))
    check("fit runs natively", native.calls().backward == before + 6)
    check(f"losses are those of stock: {ours}, {stock}", np.allclose(ours, stock, rtol=1e-4, atol=0))
    return model


def model_comes_back_from_its_file(model: Any) -> None:
    """Saves and loads."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        loaded = keras.saving.load_model(Path(folder) / "model.keras")
    same = np.array_equal(model.predict(X, verbose=0), loaded.predict(X, verbose=0))
    check("a loaded model predicts the same", same)


def patched_keras_runs_natively() -> None:
    """The stock class after `patch_keras`, and again after `unpatch_keras`."""
    stock = losses_of(model_of(keras.layers.GRU))
    gatewise.patch_keras()
    before = native.calls().backward
    patched = losses_of(model_of(keras.layers.GRU))
    check("patch_keras() reaches the stock layer", native.calls().backward == before + 6)
    check(f"patched losses are those of stock: {patched}, {stock}", np.allclose(patched, stock, rtol=1e-4, atol=0))
    gatewise.unpatch_keras()
    losses_of(model_of(keras.layers.GRU))
    check("unpatch_keras() undoes it", native.calls().backward == before + 6)


def both_directions_are_those_of_stock() -> None:
    """Values and losses of a `Bidirectional`, whose call is wrapped."""

    def results_of(layer_class: Any) -> tuple[Any, list[float]]:
        keras.utils.set_random_seed(1)
        both = keras.layers.Bidirectional(layer_class(UNITS, dropout=0.2))
        model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Masking(), both, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        return model.predict(X, verbose=0), losses_of(model)

    before = native.calls()
    values, losses = results_of(GRU)
    after = native.calls()
    ran = (after.forward - before.forward, after.backward - before.backward)
    check(f"both directions run natively: {ran}", ran == (8, 6))
    expected, stock = results_of(keras.layers.GRU)
    check("both directions agree with stock", np.abs(values - expected).max() < ALLOWED)
    check(f"losses of both are those of stock: {losses}, {stock}", np.allclose(losses, stock, rtol=1e-4, atol=0))


def forward_mode_is_that_of_stock() -> None:
    """Values of a Hessian, which JAX alone takes in forward mode."""
    import jax

    x = jax.numpy.asarray(X[:2, :3])
    ours, stock = (layer_class(UNITS) for layer_class in (GRU, keras.layers.GRU))
    ours.build(x.shape)
    stock.build(x.shape)
    stock.set_weights(ours.get_weights())
    found, expected = (jax.jit(jax.hessian(lambda x, layer=layer: layer(x).sum()))(x) for layer in (ours, stock))
    check(f"the Hessian's layer is native: {ours.fallback_reason}", ours.fallback_reason is None)
    check("a Hessian is that of stock", np.abs(found - expected).max() < ALLOWED)


def torch_works_after_tensorflow() -> None:
    """A `gatewise.torch.GRU` in a process that TensorFlow is in: there Triton, which comes with torch, is not borne."""
    import torch

    torch.manual_seed(2)
    stock, x = torch.nn.GRU(X.shape[-1], UNITS), torch.from_numpy(X)
    ours = gatewise.torch.GRU(X.shape[-1], UNITS)
    ours.load_state_dict(stock.state_dict())
    before = native.calls()
    gradients = [torch.autograd.grad(gru(x)[0].square().sum(), list(gru.parameters())) for gru in (ours, stock)]
    after = native.calls()
    check("torch runs natively", (after.forward - before.forward, after.backward - before.backward) == (1, 1))
    pairs = zip(*gradients, strict=True)
    agree = all(torch.allclose(found, expected, rtol=ALLOWED, atol=ALLOWED) for found, expected in pairs)
    check("torch's gradients are those of stock", agree)


def main() -> None:
    """Checks all claims and prints what ran."""
    layer_agrees_with_the_specification()
    model_comes_back_from_its_file(model_learns_as_stock_does())
    patched_keras_runs_natively()
    both_directions_are_those_of_stock()
    backend = keras.backend.backend()
    if backend == "jax":
        forward_mode_is_that_of_stock()
    packages = ["keras", {"tensorflow": "tensorflow-cpu"}.get(backend, backend)]
    if backend == "tensorflow" and find_spec("torch"):
        torch_works_after_tensorflow()
        packages.append("torch")
    sys.stdout.write(json.dumps(versions(*packages)) + "\n")


if __name__ == "__main__":
    main()
