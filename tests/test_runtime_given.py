# SPDX-License-Identifier: Apache-2.0
"""What is given to a model by mistake: each error says where, which input, and what came; nothing is lost silently."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gatewise.cells import Cell
from gatewise.data.audio import LogMel
from gatewise.data.scaling import Scaler
from gatewise.data.text import Vocabulary
from gatewise.runtime.file import preprocessing_to_json
from gatewise.runtime.model import Model
from runtime_graphs import FEATURES, Builder, recogniser

if TYPE_CHECKING:
    from collections.abc import Callable

X = np.random.default_rng(0).normal(size=(2, 5, FEATURES))
MODEL = Model(recogniser(Cell.GRU))


def keeping(**parts: Any) -> Model:
    """A model of one layer that keeps what makes its input x, or what brings its output y back."""
    b = Builder(1)
    x = b.input("x", None, FEATURES)
    graph = b.graph(y=b.cell("gru", Cell.GRU, x, None, FEATURES, 3, return_sequences=True))
    kept = {name: preprocessing_to_json(part) for name, part in parts.items()}
    return Model(dataclasses.replace(graph, preprocessing=kept))


SCALER = Scaler(shift=np.zeros(FEATURES), scale=np.full(FEATURES, 1e-3))
WIDE = Scaler(shift=np.zeros(FEATURES + 1), scale=np.ones(FEATURES + 1))
TINY = Scaler(shift=np.zeros(FEATURES), scale=np.full(FEATURES, 1e-300))
HUGE = Scaler(shift=np.zeros(3), scale=np.full(3, 1e300))
SOUND = LogMel(8000, bands=FEATURES)


@pytest.mark.parametrize(
    ("run", "kind", "message"),
    [
        (
            lambda: MODEL.predict(None),
            TypeError,
            r"predict: x has the wrong type\. Expected real numbers; received None\.",
        ),
        (lambda: MODEL.predict(row for row in X), TypeError, "predict: x .*; received a generator, which is no array"),
        (lambda: MODEL.predict({1, 2}), TypeError, "predict: x .*; received a set, which is no array"),
        (lambda: MODEL.predict([[[1.0, None]]]), TypeError, "predict: x .*; received list that holds None"),
        (
            lambda: MODEL.predict(X * 1e300),
            ValueError,
            r"predict: x has numbers that are too large.*float32.*e.299 at .0",
        ),
        (lambda: MODEL.stream(2).run({"x": X * 1e300}), ValueError, "x has numbers that are too large"),
        (lambda: keeping(x=WIDE).predict(X, raw=True), ValueError, "predict: x: Scaler: values have the wrong width"),
        (
            lambda: keeping(x=SCALER).predict(None, raw=True),
            TypeError,
            "predict: x: Scaler: values hold.*received None",
        ),
        (lambda: keeping(x=TINY).predict(X * 1e9, raw=True), ValueError, "predict: x: Scaler: values are too large"),
        (
            lambda: keeping(x=SCALER, y=HUGE).predict(X, raw=True),
            ValueError,
            "predict: y: Scaler.inverse: values are too",
        ),
        (
            lambda: keeping(x=SCALER, y=WIDE).predict(X, raw=True),
            ValueError,
            "predict: y: Scaler.inverse: values have the",
        ),
        (
            lambda: keeping(x=SOUND).predict(np.full(900, 1e300)),
            ValueError,
            r"predict: x\[0\]: LogMel: samples are too la",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_an_error_of_predict_says_which_input_and_what_came(run: Callable[[], Any], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        run()


def test_text_that_cannot_be_read_is_named_by_its_input() -> None:
    b = Builder(1)
    ids = b.input("ids", None, dtype="int64")
    table = b.add("table", "embedding", [ids], {"table": b.draw(9, FEATURES)})
    graph = b.graph(y=b.cell("gru", Cell.GRU, table, None, FEATURES, 3))
    vocabulary = Vocabulary(max_tokens=9, output_sequence_length=4).adapt(["a film"])
    model = Model(dataclasses.replace(graph, preprocessing={"ids": preprocessing_to_json(vocabulary)}))
    assert model.predict(["a film"]).shape == (1, 3)
    with pytest.raises(TypeError, match="predict: ids: "):
        model.predict(["a film", 3])


@pytest.mark.parametrize("given", [None, 3, [1.0], "h"], ids=str)
def test_states_that_are_none_are_named_and_change_nothing(given: Any) -> None:
    sound = keeping(x=SOUND).stream(raw=True)
    for stream, step in ((MODEL.stream(2), X[:, 0].astype(np.float32)), (sound, np.ones((1, 900)) / 9)):
        stream.run({"x": step[:, None]}) if stream is not sound else stream.run(step)
        before = stream.state
        with pytest.raises(
            TypeError, match=r"stream: state has the wrong type\. Expected a dict of arrays by name; received"
        ):
            stream.state = given
        for name, array in stream.state.items():
            np.testing.assert_array_equal(array, before[name])
    for what in ("context", "initial_state"):
        if given is not None:
            with pytest.raises(TypeError, match=f"stream: {what} has the wrong type. Expected a dict"):
                MODEL.stream(2, **{what: given})
    with pytest.raises(TypeError, match=r"LogMelStream\.state: this is none of such a stream"):
        SOUND.stream().state = given
    with pytest.raises(ValueError, match=r"stream: the states do not fit.*received none"):
        MODEL.stream().state = {}


@pytest.mark.filterwarnings("error")
def test_what_overflows_while_it_is_prepared_is_an_error_and_the_stream_goes_on() -> None:
    samples = np.sin(np.arange(900.0))
    for large in (1e300, -1e160, np.longdouble(1e300)):
        with pytest.raises(ValueError, match=r"LogMel: samples are too large\. Expected numbers from -1 to 1"):
            SOUND(samples * large)
    assert np.isfinite(SOUND(samples * 1e99)).all()
    stream = SOUND.stream()
    first = stream.push(samples[:500])
    with pytest.raises(ValueError, match=r"LogMelStream\.push: samples are too large"):
        stream.push(samples * 1e200)
    np.testing.assert_array_equal(np.concatenate([first, stream.push(samples[500:])]), SOUND(samples))
    small = Scaler(shift=[0.0], scale=[1e-3])
    for values in (np.float64([[1e307]]), np.float32([[1e37]])):
        with pytest.raises(
            ValueError, match=r"Scaler: values are too large\. Expected results that float(32|64) can hold"
        ):
            small(values)
    with pytest.raises(ValueError, match=r"Scaler\.inverse: values are too large"):
        Scaler(shift=[0.0], scale=[1e30]).inverse(np.float32([[1e37]]))
    assert small([[np.nan], [1.0]]).ravel().tolist()[1] == 1000.0
