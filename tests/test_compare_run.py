# SPDX-License-Identifier: Apache-2.0
"""`gatewise.compare` with models of Keras: what is built, what a user sees, and what is refused."""

from __future__ import annotations

import io
import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="it trains models of Keras: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
from compare_case import comparison, series  # noqa: E402
from gatewise.compare import Comparison  # noqa: E402
from gatewise.compare.cells import CELLS, factories  # noqa: E402
from gatewise.compare.clock import Clock, Deadline  # noqa: E402
from gatewise.compare.contenders import contenders  # noqa: E402
from gatewise.compare.data import prepare  # noqa: E402
from gatewise.compare.model import Builder  # noqa: E402
from gatewise.compare.order import batches  # noqa: E402
from gatewise.compare.progress import Progress  # noqa: E402
from gatewise.compare.settings import Settings  # noqa: E402
from gatewise.compare.sizes import weights  # noqa: E402
from gatewise.compare.start_over import start_over  # noqa: E402
from gatewise.compare.trial import Limit, Training, run  # noqa: E402


def test_a_model_that_starts_over_trains_as_a_new_one() -> None:
    def made(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((None, 1)), gatewise.keras.GRU(3, dropout=0.5), keras.layers.Dense(1)])
        model.compile("adam", "mse", run_eagerly=True)
        return model

    x, y = series(8)
    used, new = made(1), made(2)
    for _ in range(3):
        used.train_on_batch(x, y)
    assert start_over(used, made(2))
    assert [used.train_on_batch(x, y) for _ in range(3)] == [new.train_on_batch(x, y) for _ in range(3)]
    other = keras.Sequential([keras.Input((None, 1)), gatewise.keras.GRU(4), keras.layers.Dense(1)])
    other.compile("adam", "mse")
    assert not start_over(used, other)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_the_score_is_that_of_all_validation_rows_and_the_loss_that_of_the_epoch(kind: str) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(620, 3, 2))
    y = np.arange(620) % 3 if kind == "classes" else random.normal(9, 4, size=620)
    data = prepare((x[:20], y[:20], x, y), task=None, split=None, validation=None, mask_value=None, mask_zero=None,
                   as_given=False, seed=0)  # fmt: skip
    training = Training(Builder(factories(CELLS), data)("SimpleRNN", 3, None), data, 10, 0, Clock())
    [point], _ = run(training, Limit(epochs=1), Deadline(Clock(), 600), 0.0, lambda _: None)  # type: ignore[misc]
    found = training._model.predict(data.x_val, verbose=0)
    if kind == "classes":
        assert point.score == pytest.approx(np.mean(found.argmax(axis=1) == y))
        loss = -np.log(found[np.arange(620), y]).mean()
    else:
        assert point.score == pytest.approx(np.sqrt(np.mean((found[:, 0] * y[:20].std() + y[:20].mean() - y) ** 2)))
        loss = np.mean((found - data.y_val) ** 2)
    assert point.validation_loss == pytest.approx(loss, rel=1e-5)
    again = Builder(factories(CELLS), data)("SimpleRNN", 3, None).model
    order = islice(batches(20, 10, 0), 2)
    losses = []
    for rows in order:
        losses.append(_loss(again, data, rows))
        again.train_on_batch(data.x[rows], data.y[rows])
    assert point.loss == pytest.approx(np.mean(losses), rel=1e-5)


def _loss(model: Any, data: Any, rows: Any) -> float:
    """The loss of a batch before it is trained on, by hand."""
    found = model.predict(data.x[rows], verbose=0)
    if data.targets.task == "classes":
        return float(-np.log(found[np.arange(len(rows)), data.y[rows, 0]]).mean())
    return float(np.mean((found - data.y[rows]) ** 2))


def test_another_layer_under_the_same_name_is_another_question() -> None:
    data = prepare((np.ones((20, 5), int), np.arange(20) % 3), task=None, split=None, validation=0.2, mask_value=None,
                   mask_zero=True, as_given=False, seed=0)  # fmt: skip
    settings = Settings(8, ("units",), 1, 1, 1, 1, 8, None, 0, 0)

    def told(**options: Any) -> Any:
        def both(units: int, return_sequences: bool = False) -> Any:
            return keras.layers.Bidirectional(keras.layers.GRU(units, return_sequences=return_sequences, **options))

        return Builder(factories({"one": keras.layers.GRU(1, **options), "both": both}), data).question(settings)

    assert told() == told(), "names that Keras numbers do not count"
    assert told()["cells"].keys() == {"one", "both"}
    for name in ("one", "both"):
        assert told()["cells"][name] != told(dropout=0.5)["cells"][name]


def test_weights_are_equal_within_two_percent_at_equal_parameters() -> None:
    data = prepare((np.ones((20, 5), int), np.arange(20) % 3), task=None, split=None, validation=0.2, mask_value=None,
                   mask_zero=True, as_given=False, seed=0)  # fmt: skip
    which = {"GRU": "GRU", "LSTM": "LSTM", "RNN": "SimpleRNN", "before": keras.layers.GRU(2, reset_after=False)}
    builder = Builder(factories(which), data)
    settings = Settings(64, ("parameters",), 1, 1, 1, 1, 8, None, 0, 0)
    found, left_out = contenders(builder, settings)
    assert not left_out
    wanted = found[0].parameters
    assert wanted == 3 * 64 * (8 + 64 + 2) + (64 + 1) * 3  # the GRU and the head, without the embedding, 8 wide
    for one in found:
        assert abs(one.parameters - wanted) <= 0.02 * wanted
        model = builder(one.cell, one.units, None).model
        assert weights(model) == one.parameters == model.count_params() - 2 * 8
    assert [one.units for one in found] == [64, 55, 114, 64]


def test_a_user_gets_tables_a_picture_json_and_a_line_for_each_run(tmp_path: Path, monkeypatch: Any) -> None:
    random = np.random.default_rng(0)
    x = random.integers(1, 5, (80, 6))
    x[:40, 4:] = 0
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    before = gatewise.native.calls()
    found = gatewise.compare(
        (x, (x == 2).any(axis=1)), minutes=2, cells=["LSTM", "GRU"], units=5, ways=["units"], seeds=2, epochs=2,
        batch_size=16, verbose=True,
    )  # fmt: skip
    assert all(now > then for now, then in zip(gatewise.native.calls(), before, strict=True))
    assert Comparison.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["score"] == "accuracy"
    assert [row.cell for row in found.rows] == ["LSTM", "GRU"]
    for row in found.rows:
        assert row.one_step.seconds is not None
        assert 0 < row.one_step.seconds < 1
        numbers = row.parameters + 5 * 8 + {"GRU": 5, "LSTM": 10}[row.cell]  # weights, embedding, states
        assert row.one_step.bytes is not None
        assert 4 * numbers <= row.one_step.bytes <= 4 * numbers + 16
    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("LSTM and GRU on 64 rows of 6 steps, judged by 16 rows picked at random; 2:00 min")
    assert len(lines) == 5
    assert re.match(r"equal units +seed 1 +LSTM +5 units +accuracy 0\.\d+ +2 epochs +\d+\.\d s  \S\S$", lines[1])
    for name in ("picture.svg", "picture.png", "picture.PDF"):
        found.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_a_picture_is_there_in_whole_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    from matplotlib.figure import Figure

    path = tmp_path / "picture.svg"
    comparison().plot(path)
    before = path.read_bytes()

    def fails(_figure: Any, file: Any, **_: Any) -> None:
        (Path(file).write_bytes if isinstance(file, str | Path) else file.write)(b"<svg")
        raise OSError("the disk is full")

    monkeypatch.setattr(Figure, "savefig", fails)
    with pytest.raises(OSError, match="full"):
        comparison().plot(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(
        ValueError, match=r"Comparison\.plot: path has an ending.*Expected \.svg, \.png, \.pdf; received"
    ):
        comparison().plot(tmp_path / "picture.doc")
    with pytest.raises(
        TypeError, match=r"Comparison\.plot: path is none\. Expected a str or a pathlib\.Path; received None"
    ):
        comparison().plot(None)  # type: ignore[arg-type]


def test_a_model_that_does_not_stream_says_why() -> None:
    def both(units: int, return_sequences: bool = False) -> Any:
        return keras.layers.Bidirectional(gatewise.keras.SimpleRNN(units, return_sequences=return_sequences))

    which = {"both": both, "one": "SimpleRNN"}
    found = gatewise.compare(series(), minutes=1, cells=which, units=2, ways=["units"], seeds=1, epochs=1)
    both_ways, one = found.rows
    assert both_ways.one_step.seconds is None
    assert "bidirectional" in str(both_ways.one_step.reason).lower()
    assert one.one_step.seconds is not None
    assert "fewer than three seeds give no interval" in found.sentence


def test_without_optuna_tuning_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"compare: tune: a package is missing. Expected the extra tune"):
        gatewise.compare(series(), minutes=1, tune=2, units=2, seeds=1, epochs=1)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("GRU", "cells is no list"),
        (["GRU"], "there are too few cells"),
        (["GRU", "RWKV"], "a cell is unknown. Expected one of GRU, LSTM, SimpleRNN, Layer.*'RWKV'"),
        (["GRU", keras.layers.GRU], "two cells have the name GRU"),
        (["GRU", 7], "a cell is no layer"),
        ({"GRU": "GRU", "dense": lambda units, **_: units}, "a cell makes no layer"),
        (["GRU", keras.layers.RNN(keras.layers.GRUCell(2))], "a layer has no units that could be set"),
    ],
)
def test_what_is_no_cell_is_refused(which: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"compare: {message}"):
        gatewise.compare(series(), minutes=1, cells=which)


def test_a_build_that_gives_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="compare: build returned no model that is built"):
        gatewise.compare(series(), minutes=1, build=lambda layer, units: layer(units))


def test_a_rate_is_refused_where_a_schedule_is_compiled() -> None:
    def build(layer: Any, units: int) -> Any:
        model = keras.Sequential([keras.Input((None, 1)), layer(units), keras.layers.Dense(1)])
        rate = keras.optimizers.schedules.CosineDecay(0.1, 100)
        model.compile(keras.optimizers.Adam(rate), "mse")
        return model

    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(TypeError, match=r"compare: learning_rate does not fit the model that build compiles.*0\.01"):
        gatewise.compare((x, x[:, 0]), minutes=1, cells=["GRU", "LSTM"], units=2, build=build, learning_rate=0.01)


def test_a_terminal_shows_what_is_going_on_and_is_left_clean() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, file = Terminal(), io.StringIO()
    for stream in (screen, file):
        progress = Progress(stream)
        progress.now("epoch 1")
        progress.line("done")
        progress.now("epoch 2")
        progress.close()
    assert screen.getvalue() == "\x1b[2mepoch 1\x1b[0m\r\x1b[2Kdone\n\x1b[2mepoch 2\x1b[0m\r\x1b[2K"
    assert file.getvalue() == "done\n"
