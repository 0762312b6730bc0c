# SPDX-License-Identifier: Apache-2.0
"""Attributions of a Keras model, on the backend in use: completeness, planted inputs, masks, tokens, errors."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import gatewise
from gatewise.inspect import Attribution, AttributionError, attribute
from gatewise.inspect import attribution as attribution_module
from gatewise.keras import GRU, LayerNormGRU
from gatewise.runtime import Model, from_keras
from inspect_case import data


def model_of(*inner: Any, features: int = 3) -> Any:
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((None, features), name="x"), *inner])


def planted() -> Any:
    """A GRU whose state follows feature 1 alone: its kernel has no other row."""
    model = model_of(GRU(4, name="gru"), layers.Dense(1, name="score"))
    kernel, recurrent, bias = model.get_layer("gru").get_weights()
    kernel[[0, 2]] = 0
    kernel[1] = 0.7
    model.get_layer("gru").set_weights([kernel, recurrent, bias])
    return model


def by_hand(model: Any, x: np.ndarray, target: int, points: int = 400) -> np.ndarray:
    """Integrated gradients by differences and midpoints of what the model's graph predicts, without a gradient."""
    total, nudge, graph = np.zeros(x.shape), 1e-2, Model(from_keras(model))
    for place in np.ndindex(*x.shape):
        way = (np.arange(points) + 0.5) / points
        moved = np.repeat(way[:, None, None] * x[None], 2, axis=0).reshape(points, 2, *x.shape)
        moved[:, 0][(slice(None), *place)] -= nudge
        moved[:, 1][(slice(None), *place)] += nudge
        y = graph.predict(moved.reshape(-1, *x.shape).astype(np.float32))[:, target].reshape(points, 2)
        total[place] = (np.diff(y.astype(np.float64), axis=1) / (2 * nudge)).mean() * x[place]
    return total


def test_the_shares_are_those_by_hand_and_add_up() -> None:
    model = model_of(GRU(4, return_sequences=True), GRU(3), layers.Dense(2, activation="softmax", name="score"))
    x = data(2, 3, 3)
    found = attribute(model, x, 1, target=0)
    prediction = model.predict(x, verbose=0)[1, 0]
    baseline = model.predict(np.zeros((1, 3, 3), np.float32), verbose=0)[0, 0]
    assert found.prediction == pytest.approx(prediction, abs=1e-6)
    assert found.baseline == pytest.approx(baseline, abs=1e-6)
    assert found.values["x"].sum() == pytest.approx(prediction - baseline, rel=0.01)
    assert found.completeness_error <= 0.01
    assert "completeness error 0.0" in str(found)
    np.testing.assert_allclose(found.values["x"], by_hand(model, x[1], 0), atol=2e-4)
    np.testing.assert_allclose(found.by_step(), found.values["x"].sum(axis=1))


def test_the_one_informative_input_carries_the_prediction() -> None:
    model, x = planted(), data(2, 8, 3)
    for method in ("integrated_gradients", "gradient_times_input"):
        values = np.abs(attribute(model, x, method=method).values["x"]).sum(axis=0)
        assert values[1] > 0
        assert values[[0, 2]].max() <= 1e-6 * values[1]


def test_gradient_times_input_is_the_slope_times_the_input() -> None:
    model, x = planted(), data(1, 4, 3)
    found = attribute(model, x, method="gradient_times_input")
    nudge = np.zeros_like(x)
    nudge[0, 2, 1] = 1e-2
    ends = [model.predict(x + sign * nudge, verbose=0)[0, 0] for sign in (-1, 1)]
    assert found.values["x"][2, 1] == pytest.approx((ends[1] - ends[0]) / 2e-2 * x[0, 2, 1], rel=0.02)
    assert found.points == 1


def test_shares_that_do_not_add_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: shares that are two hundredths too large."""
    model, x, shares = planted(), data(1, 4, 3), attribution_module._shares
    monkeypatch.setattr(attribution_module, "MOST_POINTS", 16)
    monkeypatch.setattr(
        attribution_module, "_shares", lambda *given: {name: 1.02 * value for name, value in shares(*given).items()}
    )
    with pytest.raises(AttributionError, match=r"do not add up.*at most 1\.00%; received 2\.0.%"):
        attribute(model, x)
    assert attribute(model, x, tolerance=0.03).completeness_error == pytest.approx(0.02, abs=1e-3)


@pytest.mark.parametrize("padding", [0.0, -9.0])
def test_padding_has_no_share_and_its_mask_stays(padding: float) -> None:
    """The way to the baseline ends at zeros, which `Masking` may take for padding, and padding may be no zeros."""
    model, x = model_of(layers.Masking(padding), GRU(4, name="gru"), layers.Dense(1)), data(2, 6, 3)
    gru = model.get_layer("gru")  # with biases, so that steps of zeros are not as good as none
    gru.set_weights([*gru.get_weights()[:2], 0.5 + np.abs(gru.get_weights()[2])])
    x[1, 4:] = padding
    found = attribute(model, x, 1)
    assert found.completeness_error <= 0.01
    assert (found.values["x"][4:] == 0).all()
    cut = attribute(model, x[1:, :4])
    np.testing.assert_allclose(found.values["x"][:4], cut.values["x"], atol=1e-6)
    unmasked = keras.Sequential([keras.Input((None, 3)), *model.layers[1:]])
    assert found.baseline == pytest.approx(unmasked.predict(np.zeros((1, 4, 3)), verbose=0)[0, 0], abs=1e-5)


def test_nan_in_padding_reaches_no_share_and_elsewhere_is_refused() -> None:
    keras.utils.set_random_seed(3)
    values, mask = keras.Input((None, 3), name="values"), keras.Input((None,), dtype="bool", name="mask")
    model = keras.Model({"values": values, "mask": mask}, layers.Dense(1)(GRU(4)(values, mask=mask)))
    x, valid = data(1, 5, 3), np.array([[True, True, True, False, False]])
    found = attribute(model, {"values": np.where(valid[..., None], x, np.nan), "mask": valid})
    assert [*found.values] == ["values"]
    assert np.isfinite(found.values["values"]).all()
    assert (found.values["values"][3:] == 0).all()
    plain = attribute(model, {"values": x, "mask": valid})
    np.testing.assert_allclose(found.values["values"], plain.values["values"])
    with pytest.raises(ValueError, match="is not finite"):
        attribute(model, {"values": np.full_like(x, np.nan), "mask": valid})


def test_what_was_read_before_the_last_start_has_no_share() -> None:
    keras.utils.set_random_seed(3)
    values, starts = keras.Input((None, 3), name="values"), keras.Input((None,), dtype="bool", name="starts")
    state = LayerNormGRU(4, zoneout=0.3, name="gru")(values, starts=starts)
    model, x = keras.Model({"values": values, "starts": starts}, layers.Dense(1)(state)), data(2, 6, 3)
    given = {"values": x, "starts": np.arange(6) == np.array([[0], [4]])}
    [shares] = gatewise.inspect(model, given).attribute(1).values.values()
    assert (shares[:4] == 0).all()
    assert (shares[4:] != 0).all()
    cut = attribute(model, {"values": x[1:, 4:], "starts": np.zeros((1, 2), bool)})
    np.testing.assert_allclose(shares[4:], cut.values["values"], atol=1e-5)
    assert (attribute(model, given, 0).values["values"] != 0).all()  # a boundary before the first step cuts nothing


def test_tokens_have_their_embeddings_share() -> None:
    """Token 2 alone has an embedding; padding, id 0, has none and is masked."""
    keras.utils.set_random_seed(3)
    embedding = layers.Embedding(5, 3, mask_zero=True, name="letters")
    model = keras.Sequential([keras.Input((None,), dtype="int32", name="ids"), embedding, GRU(4), layers.Dense(1)])
    embedding.set_weights([np.eye(5, 3, -2, dtype=np.float32) * [[0], [0], [1], [0], [0]]])
    found = attribute(model, np.array([[1, 3, 2, 4, 0, 0]]))
    shares = found.values["ids"]
    assert shares.shape == (6,)
    assert found.completeness_error <= 0.01
    assert shares[2] != 0
    assert (np.delete(shares, 2) == 0).all()
    again = model.predict(np.array([[1, 3, 2, 4, 0, 0]]), verbose=0)[0, 0]
    assert found.prediction == pytest.approx(again, abs=1e-6)  # and the layer embeds as before
    assert "call" not in vars(embedding)


def test_an_inspection_explains_a_row_of_its_data() -> None:
    model, x = planted(), data(3, 5, 3)
    found = gatewise.inspect(model, x).attribute(2)
    assert isinstance(found, Attribution)
    assert found.row == 2
    np.testing.assert_allclose(found.values["x"], attribute(model, x[2:]).values["x"], atol=1e-7)


def test_the_largest_output_of_the_last_step_is_meant() -> None:
    model, x = model_of(GRU(4, return_sequences=True), layers.Dense(2, name="score")), data(1, 4, 3)
    found = attribute(model, x)
    assert found.output == "score"
    assert found.target == (3, int(model.predict(x, verbose=0)[0, 3].argmax()))
    assert attribute(model, x, target=(-2, 0)).target == (2, 0)
    assert (
        attribute(model, x, target=(1, 0)).values["x"][2:] == 0
    ).all()  # later steps have no share in an earlier one


def test_errors_teach() -> None:
    model, x = planted(), data(2, 4, 3)
    letters = keras.Sequential(
        [keras.Input((None,), dtype="int32", name="ids"), layers.Embedding(4, 2), GRU(2), layers.Dense(1)]
    )
    graph = gatewise.inspect(model, x).opened.model
    flat = model_of(GRU(2), layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones"))
    for error, match, run in (
        (ValueError, "row is out of range.*0 to 1; received 2", lambda: attribute(model, x, 2)),
        (ValueError, "method is unknown", lambda: attribute(model, x, method="shap")),
        (ValueError, "output is unknown.*Expected one of score", lambda: attribute(model, x, output="other")),
        (ValueError, "target is none", lambda: attribute(model, x, target=1)),
        (AttributionError, "has the same prediction", lambda: attribute(flat, x)),
        (TypeError, "inspect: ids has the wrong type", lambda: attribute(letters, x)),
        (
            TypeError,
            "a file or a graph has no gradients",
            lambda: attribute(graph, x),
        ),
    ):
        with pytest.raises(error, match=match):
            run()
