# SPDX-License-Identifier: Apache-2.0
"""The measured pages run in small, and their made data ask what their pages say they ask."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest

from gatewise.cli import co2
from study_case import EXAMPLES, needs_tensorflow, run_study

pytestmark = needs_tensorflow

STUDIES = ("more_units", "forgetting", "when_not")


@pytest.fixture(scope="module")
def studies() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield {name: importlib.import_module(name) for name in STUDIES}
    for name in (*STUDIES, "study"):
        sys.modules.pop(name, None)


def test_more_units_fit_the_training_part_better(tmp_path: Path) -> None:
    facts = run_study("more_units", tmp_path).facts
    few, many = (np.mean(errors, axis=0) for errors in facts["errors"])
    assert facts["units"] == [2, 16]
    assert many[0] < few[0]
    assert facts["best"] in facts["units"]
    assert len(facts["naive"]) == 3


def test_the_network_reads_every_fourth_week_up_to_the_last(studies: dict[str, ModuleType]) -> None:
    training, *_ = co2.split(co2.cut_windows(co2.load()))
    scale = co2.Scale.fit(training)
    x = studies["more_units"].read(training, scale)
    assert x.shape == (len(training), co2.HISTORY // 4, 3)
    np.testing.assert_array_equal(x[:, -1], scale.inputs(training)[:, -1])
    assert (x[:, -1, 0] == 0).all(), "levels are relative to the last known week"


def test_forgetting_begins_with_what_is_long_ago(tmp_path: Path) -> None:
    facts = run_study("forgetting", tmp_path).facts
    for kind in ("SimpleRNN", "GRU"):
        (curve,) = facts["everything"][f"{kind} 16 units"]["curves"]
        assert curve[0] > 0.5, "chance is 0.25"
        assert max(curve[30:]) < curve[0]
    assert len(facts["one"]["GRU 16 units"]["curves"][0]) == 10


def test_recall_asks_for_the_symbols_that_were_read(studies: dict[str, ModuleType]) -> None:
    forgetting, rng = studies["forgetting"], np.random.default_rng(0)
    x, y, ago = forgetting.keep_everything(20, rng)
    read = x.argmax(axis=-1)
    for question in (0, 7, 39):
        np.testing.assert_array_equal(y[:, question], read[:, -1 - question])
        assert (ago[:, question] == question).all()
    x, y, ago = forgetting.keep_one(20, rng)
    assert (x[:, :, 4].sum(axis=1) == 1).all()
    rows, steps = np.nonzero(x[:, :, 4])
    np.testing.assert_array_equal(y[:, 0], x[rows, steps, :4].argmax(axis=-1))
    np.testing.assert_array_equal(ago[:, 0], x.shape[1] - 1 - steps)


def test_symbols_kept_count_knowing_and_not_guessing(studies: dict[str, ModuleType]) -> None:
    kept = studies["forgetting"].kept
    assert kept(np.ones(40)) == 40
    assert kept(np.full(40, 0.25)) == 0
    assert kept(np.array([1.0, 0.625, 0.2])) == pytest.approx(1.5)


def test_the_gru_tracks_better_than_the_commonest_answer(tmp_path: Path) -> None:
    facts = run_study("when_not", tmp_path).facts
    for key in ("right", "longer"):
        assert facts["track"]["GRU"][key][0] > 1.3 * facts["track"]["the commonest answer"][key][0]
    assert facts["spot"]["GRU"]["weights"] > 20000


def test_what_is_asked_for_was_told_before(studies: dict[str, ModuleType]) -> None:
    x, y, asked = studies["when_not"].look_up(30, np.random.default_rng(0))
    assert 0.2 < asked.mean() < 0.5
    for row in range(30):
        told: dict[int, int] = {}
        for step in range(x.shape[1]):
            key, value = int(x[row, step, :16].argmax()), x[row, step, 16:]
            if value.any():
                told[key] = int(value.argmax())
            assert asked[row, step] == (not value.any() and key in told)
            if asked[row, step]:
                assert y[row, step] == told[key]


def test_the_token_moves_as_it_is_told_and_not_through_walls(studies: dict[str, ModuleType]) -> None:
    x, y, asked = studies["when_not"].track(50, np.random.default_rng(0), 200)
    assert asked.all()
    assert (y.min(), y.max()) == (0, 4)
    np.testing.assert_array_equal(y[:, 1:], np.clip(y[:, :-1] + x.argmax(axis=-1)[:, 1:] - 1, 0, 4))


def test_each_shape_ends_where_it_is_asked_for(studies: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies["when_not"], "NOISE", 0.0)
    x, y, asked = studies["when_not"].spot(30, np.random.default_rng(0))
    shapes = {}
    for row, end in zip(*np.nonzero(asked), strict=True):
        shape = x[row, end - 8 : end + 1, 0]
        np.testing.assert_array_equal(shape, shapes.setdefault(y[row, end], shape))
    assert sorted(shapes) == [0, 1, 2]


@pytest.mark.parametrize("name", ["GRU", "Transformer", "convolution"])
def test_no_model_sees_later_steps(studies: dict[str, ModuleType], name: str) -> None:
    keras.utils.set_random_seed(0)
    source = keras.Input((None, 3))
    model = keras.Model(source, studies["when_not"].MODELS[name](source))
    x = np.random.default_rng(0).normal(size=(2, 20, 3)).astype("float32")
    later = x.copy()
    later[:, 12:] += 1
    before, after = np.asarray(model(x)), np.asarray(model(later))
    np.testing.assert_allclose(before[:, :12], after[:, :12], atol=1e-5)
    assert np.abs(before[:, 12:] - after[:, 12:]).max() > 1e-2
