# SPDX-License-Identifier: Apache-2.0
"""A model that reads sound takes samples in pieces of any length, with the bits of the whole recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewise.cells import Cell
from gatewise.data.audio import LogMel
from gatewise.data.scaling import Scaler
from gatewise.data.text import Vocabulary
from gatewise.runtime import Graph, Model, StreamError
from gatewise.runtime.file import preprocessing_to_json
from runtime_graphs import FEATURES, Builder, classifier, recogniser, strided, tagger

BATCH, SAMPLES = 3, 3000
TOUCHING = LogMel(rate=8000, bands=FEATURES, frame_length=160, frame_step=60)
APART = LogMel(rate=8000, bands=FEATURES, frame_length=120, frame_step=170)
SCALER = Scaler("standard", np.linspace(-9, -8, FEATURES), np.linspace(1, 3, FEATURES))
SOUND = np.random.default_rng(0).normal(size=(BATCH, SAMPLES)) * 0.1
CHUNKS = {"whole": [SAMPLES], "ones": [1] * 400, "odd": [7, 0, 161, 59, 1200, 3, 800], "frames": [60] * 40}


def keeping(graph: Graph, *parts: Any) -> Model:
    kept = {next(iter(graph.inputs)): preprocessing_to_json(parts[0] if len(parts) == 1 else [*parts])}
    return Model(Graph(graph.inputs, graph.nodes, graph.outputs, graph.tensors, kept))


MODELS = {
    "each frame": keeping(recogniser(Cell.GRU), TOUCHING, SCALER),
    "frames that do not touch": keeping(recogniser(Cell.LSTM), APART, SCALER),
    "the last frame": keeping(classifier(Cell.GRU), TOUCHING, SCALER),
    "blocks": keeping(strided(), TOUCHING),
    "blocks that do not touch": keeping(strided(), APART),
}


def pieces(sound: Any, sizes: list[int]) -> list[Any]:
    """Cuts the last axis; what is left is the last piece."""
    return np.split(sound, np.cumsum(sizes), axis=-1)


def frames(model: Model, sound: Any) -> Any:
    """What the model gives for each frame of a whole recording: a stream of frames has been compared with `predict`."""
    log_mel, *scaler = model._keeper.parts("x")
    made = [log_mel(row) for row in sound]
    x = np.stack([scaler[0](one) for one in made] if scaler else made)
    stream = model.stream(len(sound))
    return stream.run(x[:, : x.shape[1] // stream.block * stream.block], every_step=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sizes", CHUNKS.values(), ids=CHUNKS)
def test_pieces_of_any_length_give_the_bits_of_the_whole(name: str, sizes: list[int]) -> None:
    model = MODELS[name]
    stream = model.stream(BATCH, raw=True)
    found = np.concatenate([stream.run(piece) for piece in pieces(SOUND, sizes)], axis=1)
    assert found.shape[1] > 3
    assert (found == frames(model, SOUND)).all()
    if "blocks" not in name:
        whole = model.predict(SOUND)
        assert ((found if whole.ndim == 3 else found[:, -1]) == whole).all()


def test_a_step_gives_the_newest_output_or_none() -> None:
    model = MODELS["the last frame"]
    stream, taken = model.stream(raw=True), 0
    for piece in pieces(SOUND[0], [100, 59, 1, 200, 30, 30]):
        now, before = stream.step(piece), taken
        taken += len(piece)
        counts = [TOUCHING.count_frames(n) for n in (before, taken)]
        assert (now is None) == (counts[0] == counts[1])
        if now is not None:
            assert (now == model.predict(SOUND[0, :taken])).all()


def test_whole_numbers_are_samples_too() -> None:
    model = MODELS["each frame"]
    whole = (SOUND * 30000).astype(np.int16)
    stream = model.stream(BATCH, raw=True)
    found = np.concatenate([stream.run(piece) for piece in pieces(whole, [333, 1000])], axis=1)
    assert (found == model.predict(whole)).all()


@pytest.mark.parametrize("name", ["each frame", "frames that do not touch", "blocks"])
@pytest.mark.parametrize("at", [0, 137, 300, 1501])
def test_a_stream_goes_on_from_its_state(name: str, at: int) -> None:
    model = MODELS[name]
    one, other = model.stream(BATCH, raw=True), model.stream(BATCH, raw=True)
    one.run(SOUND[:, :at])
    kept = one.state
    assert {"x/samples", "x/waiting"} < kept.keys()
    other.run(SOUND[:, ::-1][:, :777])
    other.state = {name: array.copy() for name, array in kept.items()}
    expected = one.run(SOUND[:, at:])
    assert (other.run(SOUND[:, at:]) == expected).all()
    assert all((other.state[name] == array).all() for name, array in one.state.items())


def test_states_that_do_not_fit_change_nothing() -> None:
    stream = MODELS["each frame"].stream(BATCH, raw=True)
    stream.run(SOUND[:, :500])
    good = stream.state
    first = next(name for name in good if not name.startswith("x/"))
    for wrong in (
        {name: array for name, array in good.items() if name != "x/waiting"},
        {name: array for name, array in good.items() if name != first},
        good | {"x/samples": good["x/samples"][:, :-1]},
        good | {"x/samples": good["x/samples"].astype(np.float32)},
        good | {"x/samples": np.full_like(good["x/samples"], np.nan), "x/waiting": good["x/waiting"] * 0 + 9},
        good | {"x/waiting": good["x/waiting"] + 1000},
        good | {"x/waiting": good["x/waiting"] - 1000},
        good | {first: good[first][:, :-1]},
    ):
        with pytest.raises(ValueError, match=r"stream|LogMelStream"):
            stream.state = wrong
        assert all((stream.state[name] == array).all() for name, array in good.items())


def test_a_row_that_is_reset_begins_anew_among_others() -> None:
    model = MODELS["each frame"]
    stream = model.stream(BATCH, raw=True)
    stream.run(SOUND[:, :531])
    stream.reset(rows=[1])
    kept = model.stream(BATCH, raw=True)
    kept.run(SOUND[:, :531])
    fresh = model.stream(BATCH, raw=True)
    ragged = 0
    for piece in pieces(SOUND[:, 531:], [50, 60, 1, 200, 400]):
        now, old, new = stream.run(piece), kept.run(piece), fresh.run(piece)
        ragged += old.shape[1] != new.shape[1]
        for row, expected in enumerate((old[0], new[1], old[2])):
            assert (now[row, : len(expected)] == expected).all()
            assert np.isnan(now[row, len(expected) :]).all()
    assert ragged
    assert (
        stream.state["x/waiting"]
        == [
            [a] if row != 1 else [b]
            for row, (a, b) in enumerate(
                zip(kept.state["x/waiting"][:, 0], fresh.state["x/waiting"][:, 0], strict=True)
            )
        ]
    ).all()
    stream.reset()
    assert (stream.run(SOUND) == model.predict(SOUND)).all()
    with pytest.raises(IndexError):
        stream.reset(rows=[BATCH])


def test_a_newest_output_of_a_row_without_is_nan() -> None:
    stream = MODELS["the last frame"].stream(2, raw=True)
    stream.run(SOUND[:2, :159])
    stream.reset(rows=[0])
    now = stream.step(SOUND[:2, 159:160])
    assert np.isnan(now[0]).all()
    assert (now[1:] == MODELS["the last frame"].predict(SOUND[1:2, :160])).all()


@pytest.mark.parametrize(
    ("given", "error", "what"),
    [
        (
            np.zeros((2, 50)),
            ValueError,
            r"run: samples have the wrong shape\. Expected \(3, samples\); received \(2, 50\)",
        ),
        (np.zeros(50), ValueError, "wrong shape"),
        (np.zeros((3, 5, FEATURES)), ValueError, "made without raw=True"),
        (np.zeros((3, 50), np.int32), TypeError, "wrong type"),
        (np.where(np.arange(150).reshape(3, 50) == 140, np.inf, 0.0), ValueError, "not finite"),
        (np.ma.zeros((3, 50)), TypeError, "masked"),
    ],
    ids=range(6),
)
def test_samples_that_are_none_are_named_and_nothing_advances(given: Any, error: type[Exception], what: str) -> None:
    stream = MODELS["each frame"].stream(BATCH, raw=True)
    stream.run(SOUND[:, :500])
    before = stream.state
    with pytest.raises(error, match=what):
        stream.run(given)
    assert all((stream.state[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("name", ["each frame", "frames that do not touch"])
@pytest.mark.parametrize("apart", [False, True])
def test_frames_that_cannot_be_scaled_are_named_and_nothing_advances(name: str, apart: bool) -> None:
    tiny = Scaler("standard", np.zeros(FEATURES), np.full(FEATURES, 1e-37))  # log energies below -34 overflow
    log_mel = LogMel(**{**(TOUCHING if name == "each frame" else APART).get_config(), "floor": 1e-30})
    model = keeping(recogniser(Cell.GRU), log_mel, tiny)
    loud = np.random.default_rng(0).normal(size=(BATCH, 1000))
    for size in (500, 505):  # of frames that do not touch the last waits for samples, or some of the next are left out
        stream, other = model.stream(BATCH, raw=True), model.stream(BATCH, raw=True)
        for one in (stream, other):
            one.run(loud[:, :90])
            one.reset(rows=[0] if apart else [])
            one.run(loud[:, 90:size])
        quiet = loud[:, size : size + 400].copy()
        quiet[2] = 0
        with pytest.raises(ValueError, match=r"run: row 2: Scaler: values are too large.*-69.* at .*Check the units"):
            stream.run(quiet)
        assert all((stream.state[key] == array).all() for key, array in other.state.items())
        assert np.array_equal(stream.run(loud[:, size:]), other.run(loud[:, size:]), equal_nan=True)


def test_rows_apart_that_cannot_all_run_do_not_run_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = MODELS["each frame"].stream(BATCH, raw=True)
    stream.run(SOUND[:, :150])
    stream.reset(rows=[1])
    before, run = stream.state, stream._stream.run_rows
    taken: list[int] = []

    def run_once(frames: Any, rows: Any) -> Any:
        if taken:
            raise MemoryError
        taken.extend(rows)
        return run(frames, rows)

    monkeypatch.setattr(stream._stream, "run_rows", run_once)
    with pytest.raises(MemoryError):
        stream.run(SOUND[:, 150:340])
    assert taken
    assert all((stream.state[name] == array).all() for name, array in before.items())


def test_what_reads_no_sound_takes_no_samples() -> None:
    words = keeping(tagger(), Vocabulary().adapt(["a b"]))
    table = keeping(recogniser(Cell.GRU), SCALER)
    masked = keeping(recogniser(Cell.GRU, mask=True), TOUCHING)
    for model, kinds in ((words, "with Vocabulary"), (table, "with Scaler"), (masked, "'valid', with nothing kept")):
        with pytest.raises(StreamError, match=rf"does not read sound alone.*{kinds}.*leave raw=True out"):
            model.stream(raw=True)
    with pytest.raises(StreamError, match=r"bands=7; received 5"):
        keeping(recogniser(Cell.GRU), LogMel(8000, bands=7)).stream(raw=True)
    with pytest.raises(ValueError, match="nothing is learned yet"):
        keeping(recogniser(Cell.GRU), TOUCHING, Scaler()).stream(raw=True)
    with pytest.raises(TypeError, match="raw is 'yes'"):
        table.stream(raw="yes")  # type: ignore[call-overload]


def test_several_outputs_and_masks_come_by_name() -> None:
    b = Builder()
    x = b.input("x", None, FEATURES)
    loud = b.add("loud", "not_equal", [x], value=0.0)
    graph = b.graph(
        y=b.dense("score", b.cell("gru", Cell.GRU, x, None, FEATURES, 4, return_sequences=True), 4, 2), loud=loud
    )
    stream = keeping(graph, TOUCHING).stream(2, raw=True)
    stream.run(SOUND[:2, :159])
    stream.reset(rows=[0])
    found = stream.run(SOUND[:2, 159:160])
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "y": ((2, 1, 2), np.float32),
        "loud": ((2, 1, 1), np.bool_),
    }
    assert found["loud"].ravel().tolist() == [False, True]
    assert stream.step(SOUND[:2, :1]) is None


def test_a_pool_takes_frames() -> None:
    model = MODELS["each frame"]
    pool = model.stream_pool(2)
    log_mel, stream = model._keeper.parts("x")[0].stream(), pool.open()
    found = [pool.step([stream], SCALER(frame[None])) for frame in log_mel.push(SOUND[0])]
    assert (np.stack(found, axis=1) == model.predict(SOUND[0])).all()
    for samples in (SOUND[:1], SOUND[:1, : FEATURES + 1], SOUND[0]):
        with pytest.raises(ValueError, match=r"x has the wrong shape\. Expected \(1, any, 5\).*LogMel\.stream\(\)"):
            pool.step([stream], samples)
    with pytest.raises(ValueError, match=r"x has the wrong shape\. Expected \(1, any, 5\).*model\.stream\(raw=True\)"):
        model.stream().run(SOUND[:1])
