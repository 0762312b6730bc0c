# SPDX-License-Identifier: Apache-2.0
"""`gatewise.keras.convert`: the GRU layers of one model on the engine, and back, with their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

import gatewise.keras  # noqa: E402  # after the skip
from gatewise import native  # noqa: E402

X = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)


def stock_model() -> Any:
    """A model with GRU layers alone, inside Bidirectional and inside a nested model."""
    layers = keras.layers
    inner = keras.Sequential([keras.Input((6, 8)), layers.GRU(5, return_sequences=True)], name="inner")
    stack = [layers.Bidirectional(layers.GRU(4, return_sequences=True)), inner, layers.GRU(3, name="last")]
    return keras.Sequential([keras.Input((6, 3)), *stack])


def gru_types(model: Any) -> set[type]:
    parts = model._flatten_layers(include_self=False, recursive=True)
    return {type(part) for part in parts if isinstance(part, keras.layers.GRU)}


def test_every_gru_of_a_model_is_converted_with_its_weights() -> None:
    model = stock_model()
    converted = gatewise.keras.convert(model)
    assert gru_types(model) == {keras.layers.GRU}
    assert gru_types(converted) == {gatewise.keras.GRU}
    before = native.calls().forward
    outputs = np.asarray(converted(X))
    assert native.calls().forward - before == 4
    assert_close("outputs", outputs, np.asarray(model(X)), tolerance(11, 18))
    assert converted.get_layer("last").get_config()["units"] == 3


def test_a_converted_model_goes_back_to_stock() -> None:
    converted = gatewise.keras.convert(stock_model())
    stock = gatewise.keras.convert(converted, to="stock")
    assert gru_types(stock) == {keras.layers.GRU}
    for there, here in zip(converted.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_array_equal(here, there)
