# SPDX-License-Identifier: Apache-2.0
"""`gatewise.keras.convert`: a model's GRU layers become gatewise's, or stock's, and everything else stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="it rewrites models of Keras: install the extra of KERAS_BACKEND")

from backends import arrays_of, call, native_calls  # noqa: E402  # after the skip
from gatewise.keras import GRU, convert  # noqa: E402

L = keras.layers
BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = 8 * tolerance(FEATURES + 2 * UNITS, 3 * TIMESTEPS)  # three layers after each other
X = np.random.default_rng(0).normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(BATCH, 2)).astype(np.float32)
FACTOR = 0.5


def own_activation(x: Any) -> Any:
    return 1.5 * x


class OwnLoss(keras.losses.Loss):
    """A class that Keras cannot find by its name."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


class Scale(L.Layer):
    """A layer that Keras cannot find by its name."""

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return x * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def everything(layer_class: Any) -> Any:
    """A model with GRU layers at every depth, one of them twice, and with things that are not Keras's."""
    x = keras.Input((TIMESTEPS, FEATURES))
    shared = layer_class(FEATURES, return_sequences=True, name="shared")
    inner_x = keras.Input((TIMESTEPS, FEATURES))
    inner = keras.Model(
        inner_x, layer_class(FEATURES, return_sequences=True, dropout=0.2, seed=3)(inner_x), name="inner"
    )
    deep = L.Bidirectional(layer_class(UNITS, trainable=False), name="both")(shared(inner(shared(x))))
    parts = L.TimeDistributed(layer_class(2, reset_after=False))(L.Reshape((2, 3, FEATURES))(x))
    rows = L.Lambda(lambda value: value * FACTOR, name="lambda")(L.Flatten()(parts))
    outputs = L.Dense(2, activation=own_activation)(Scale(2.0)(L.Concatenate()([deep, rows])))
    model = keras.Model(x, outputs, name="everything")
    model.compile(keras.optimizers.Adam(0.01), OwnLoss(), metrics=["mae"])
    return model


def gru_layers(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, L.GRU)]


def trained(model: Any) -> list[float]:
    history = model.fit(X, Y, epochs=2, batch_size=BATCH, shuffle=False, verbose=0).history
    return [*history["loss"], *history["mae"]]


@pytest.mark.parametrize(("source", "to", "calls"), [(L.GRU, "gatewise", 7), (GRU, "stock", 0)], ids=["there", "back"])
def test_everything_but_the_gru_layers_is_kept(source: Any, to: str, calls: int) -> None:
    target = GRU if to == "gatewise" else L.GRU
    model = everything(source)
    trained(model)
    weights = model.get_weights()
    converted = convert(model, to=to)

    assert [type(layer) for layer in gru_layers(converted)] == [target] * 5
    assert [layer.name for layer in converted._flatten_layers()] == [layer.name for layer in model._flatten_layers()]
    assert [layer.trainable for layer in gru_layers(converted)] == [layer.trainable for layer in gru_layers(model)]
    assert len(converted.get_layer("shared")._inbound_nodes) == 2
    with native_calls(calls):  # the shared layer runs twice, and so does that for each part of time
        prediction = converted.predict(X, verbose=0)
    assert_close("prediction", prediction, model.predict(X, verbose=0), ALLOWED)

    after = trained(converted)  # it is compiled, and has the optimizer's state and the seeds
    assert [type(layer) for layer in gru_layers(model)] == [source] * 5
    for old, now in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(now, old)
    assert_close("losses", after, trained(model), 8 * ALLOWED)


def test_there_and_back_is_the_same_model() -> None:
    model = everything(L.GRU)
    back = convert(convert(model), to="stock")
    assert back.get_config() == model.get_config()
    np.testing.assert_array_equal(back.predict(X, verbose=0), model.predict(X, verbose=0))


def test_recurrent_states_are_kept() -> None:
    model = keras.Sequential([keras.Input(batch_shape=X.shape), L.GRU(UNITS, stateful=True)])
    model.predict(X, batch_size=BATCH, verbose=0)
    converted = convert(model)
    expected = model.predict(X, batch_size=BATCH, verbose=0)
    assert_close("prediction", converted.predict(X, batch_size=BATCH, verbose=0), expected, ALLOWED)


def test_a_layer_alone_is_converted_too() -> None:
    layer = L.Bidirectional(L.GRU(UNITS))
    expected = call(layer, X)
    converted = convert(layer)
    assert type(converted.backward_layer) is GRU
    assert_close("outputs", call(converted, X), expected, ALLOWED)


def test_a_model_that_is_not_built_stays_unbuilt() -> None:
    converted = convert(keras.Sequential([L.GRU(UNITS)]))
    assert type(converted.layers[0]) is GRU
    assert not converted.built


class OwnGRU(L.GRU):
    """A subclass, which is not stock's."""


def test_a_subclass_is_left_alone() -> None:
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), OwnGRU(UNITS)])
    assert type(convert(model).layers[0]) is OwnGRU


class TakesItsLayer(keras.Model):
    """A model class whose configuration holds its layer."""

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, x: Any) -> Any:
        return self.layer(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


def test_a_model_class_whose_configuration_says_all_is_converted() -> None:
    model = TakesItsLayer(L.GRU(UNITS))
    expected = arrays_of(model(X))
    converted = convert(model)
    assert type(converted.layer) is GRU
    assert_close("outputs", arrays_of(converted(X)), expected, ALLOWED)


class MakesItsLayer(keras.Model):
    """A model class that makes its layer in its own code."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = L.GRU(UNITS, name="made")

    def call(self, x: Any) -> Any:
        return self.layer(x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config()


def test_a_layer_that_no_configuration_reaches_is_named() -> None:
    model = MakesItsLayer()
    model(X)
    with pytest.raises(
        ValueError, match=r"1 recurrent layers cannot be converted to 'gatewise'.*'made': MakesItsLayer makes"
    ):
        convert(model)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match=r"model has the wrong type. Expected a Keras model or layer; received str"):
        convert("model.keras")
    with pytest.raises(ValueError, match=r"to is unknown. Expected 'gatewise' or 'stock'; received 'keras'"):
        convert(L.GRU(UNITS), to="keras")
