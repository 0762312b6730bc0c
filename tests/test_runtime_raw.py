# SPDX-License-Identifier: Apache-2.0
"""Raw sound, tables and series are read by what a model keeps, and predictions come back in names and units."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gatewise
from gatewise.cells import Cell
from gatewise.data.audio import LogMel, write_wav
from gatewise.data.labels import Labels
from gatewise.data.scaling import Scaler
from gatewise.data.series import SeasonalScaler, SeriesScaler, TimeSeries
from gatewise.data.text import Tokenizer, Vocabulary
from gatewise.runtime import Graph, Model, progress
from gatewise.runtime.file import preprocessing_to_json
from own_process import HIDE, run
from runtime_graphs import Builder, tagger

if TYPE_CHECKING:
    from pathlib import Path

LOG_MEL = LogMel(rate=8000, bands=12, frame_step=100)
RNG = np.random.default_rng(0)
SOUNDS = [RNG.normal(size=n) * 0.1 for n in (1500, 700, 1111)]
SCALER = Scaler().adapt(np.concatenate([LOG_MEL(sound) for sound in SOUNDS]))
NAMES = ["no", "stop", "yes"]


def keeping(graph: Graph, **kept: Any) -> Model:
    """A model that keeps these."""
    described = {name: preprocessing_to_json(one) for name, one in kept.items()}
    return Model(Graph(graph.inputs, graph.nodes, graph.outputs, graph.tensors, described))


def listener(*, masking: bool = True, steps: int | None = None, sequences: bool = False) -> Graph:
    """Frames, a Masking as Keras has it, a GRU, scores."""
    b = Builder()
    x, mask = b.input("x", steps, 12), None
    if masking:
        mask = b.add("mask", "not_equal", [x], value=-1.0)
        x = b.add("masking", "zero_masked", [x, mask])
    h = b.cell("gru", Cell.GRU, x, mask, 12, 9, return_sequences=sequences)
    return b.graph(y=b.dense("score", h, 9, 3))


def frames_of(*sounds: Any, fill: float = -1.0) -> Any:
    frames = [SCALER(LOG_MEL(sound)) for sound in sounds]
    longest = max(map(len, frames))
    return np.stack([np.pad(f, ((0, longest - len(f)), (0, 0)), constant_values=fill) for f in frames])


def test_samples_become_scaled_frames_filled_up_with_what_the_mask_leaves_out() -> None:
    model = keeping(listener(), x=[LOG_MEL, SCALER])
    expected = model.predict(frames_of(*SOUNDS))
    found = model.predict(SOUNDS)
    assert (found == expected).all()
    for row, sound in zip(found, SOUNDS, strict=True):
        assert (model.predict(sound) == row).all()
        assert (model.predict(np.stack([sound, sound])) == row).all()
    assert (model.predict((SOUNDS[0] * 32768).astype(np.int16)).shape, found.dtype) == ((1, 3), np.float32)
    plain = keeping(listener(), x=LOG_MEL)
    assert (plain.predict(SOUNDS[0]) == plain.predict(LOG_MEL(SOUNDS[0])[None])).all()


def test_recordings_of_different_length_need_a_mask_and_room() -> None:
    model = keeping(listener(masking=False), x=[LOG_MEL, SCALER])
    assert (model.predict(SOUNDS[:1]) == model.predict(frames_of(SOUNDS[0]))).all()
    with pytest.raises(ValueError, match=r"recordings differ in length\. Expected 14 frames.*Predict each by itself"):
        model.predict(SOUNDS)
    fixed = keeping(listener(steps=14), x=[LOG_MEL, SCALER])
    assert (fixed.predict(SOUNDS) == keeping(listener(), x=[LOG_MEL, SCALER]).predict(SOUNDS)).all()
    with pytest.raises(ValueError, match=r"too long\. Expected at most 14 frames"):
        fixed.predict(np.zeros(1700))


@pytest.mark.parametrize(
    ("given", "error", "what"),
    [
        ([np.zeros(900), np.zeros(100)], ValueError, r"x\[1\]: LogMel: samples are fewer than a frame"),
        ([np.zeros(900, np.int64)], TypeError, r"x\[0\]: LogMel: samples have the wrong type"),
        (np.zeros((0, 900)), ValueError, "there are no recordings"),
        (np.full(900, np.nan), ValueError, "not finite"),
        ("no such file.wav", FileNotFoundError, "no such file"),
        (np.zeros((2, 3, 4)), ValueError, r"x has the wrong shape\. Expected \(any, any, 12\)"),
        (np.ma.zeros(900), TypeError, "masked array"),
    ],
    ids=range(7),
)
def test_sound_that_cannot_be_read_is_named(given: Any, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        keeping(listener(), x=[LOG_MEL, SCALER]).predict(given)


def test_files_are_read_and_classes_named_where_nothing_but_numpy_is(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="files to write: install the extra `audio`")
    whole = [(sound * 32767).astype(np.int16) for sound in SOUNDS]
    for i, samples in enumerate(whole):
        write_wav(tmp_path / f"{i}.wav", samples, 8000)
    model = keeping(listener(), x=[LOG_MEL, SCALER], y=Labels(NAMES))
    gatewise.save(model, tmp_path / "m")
    expected = model.predict(whole)
    assert (model.predict([tmp_path / f"{i}.wav" for i in range(3)]) == expected).all()
    names = ("keras", "tensorflow", "jax", "torch", "onnx", "pandas", "matplotlib", "soundfile", "tokenizers", "scipy")
    program = HIDE.format(names) + (
        "import json, numpy as np, gatewise\n"
        "model = gatewise.load('m')\n"
        "scores = model.predict(['0.wav', '1.wav', '2.wav'])\n"
        "stream = model.stream(raw=True)\n"
        "last = [stream.step(chunk) for chunk in np.array_split(np.load('0.npy'), 9)][-1]\n"
        "print(json.dumps([scores.tolist(), model.decode(scores), model.labels, last.tolist()]))"
    )
    np.save(tmp_path / "0.npy", whole[0][:1500])
    scores, decoded, labels, last = run(program, tmp_path)
    assert (np.float32(scores) == expected).all()
    assert decoded == [NAMES[i] for i in expected.argmax(axis=1)]
    assert labels == {"y": NAMES}
    assert (np.float32(last) == expected[:1]).all()


@pytest.mark.parametrize(("width", "subtype"), [(1, "PCM_U8"), (2, "PCM_16"), (3, "PCM_24"), (4, "PCM_32")])
def test_a_plain_wav_file_has_the_same_bits_without_soundfile(width: int, subtype: str, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="what to compare with: install the extra `audio`")
    from gatewise.data.audio.plain_wav import read_plain_wav

    path = tmp_path / "sound.wav"
    soundfile.write(path, RNG.uniform(-1, 1, (99, 2)), 8000, subtype, format="WAV")
    expected, rate = soundfile.read(path, dtype="float32")
    found = read_plain_wav(path)
    assert found is not None
    assert (found[0] == expected).all()
    assert found[1:] == (rate, 2 * width)
    soundfile.write(path, RNG.uniform(-1, 1, 99), 8000, "FLOAT", format="WAV")
    assert read_plain_wav(path) is None


# --- Classes ---


def test_classes_are_named_by_what_the_file_holds() -> None:
    steps = keeping(listener(sequences=True), y=Labels(NAMES))
    scores = steps.predict(frames_of(*SOUNDS[:2]))
    assert steps.decode(scores) == [[NAMES[i] for i in row] for row in scores.argmax(axis=2)]
    assert steps.decode({"y": scores, "z": scores}) == {"y": steps.decode(scores)}
    assert steps.decode(scores.argmax(axis=2)) == steps.decode(scores)
    own = keeping(listener(), labels=Labels(NAMES))  # under a name of the program, for the one output
    assert (own.labels, own.decode([[0, 1, 0.5]])) == ({"y": NAMES}, ["stop"])
    part = keeping(listener(), x=LOG_MEL, y=Labels(NAMES)).part(inputs=["gru"], outputs=["y"])
    assert part.labels == {"y": NAMES}
    assert Model(listener()).labels == {}
    with pytest.raises(ValueError, match=r"decode: whose names.*received none.*Preprocessing\(labels=labels\)"):
        Model(listener()).decode(scores)
    with pytest.raises(ValueError, match=r"decode: whose names.*with y; received z"):
        own.decode({"z": scores})
    with pytest.raises(ValueError, match=r"Labels\.decode"):
        own.decode(np.zeros((2, 4), np.float32))


# --- Tables and series ---


def forecaster(*, mask: bool = False, steps: int | None = 6, outputs: int = 3) -> Graph:
    b = Builder(3)
    x = b.input("x", steps, 2)
    valid = b.input("valid", steps, dtype="bool") if mask else None
    return b.graph(y=b.dense("ahead", b.cell("gru", Cell.GRU, x, valid, 2, 8), 8, outputs))


def ahead_of_each_step() -> Graph:
    b = Builder(4)
    h = b.cell("gru", Cell.GRU, b.input("x", 6, 2), None, 2, 8, return_sequences=True)
    return b.graph(y=b.dense("ahead", h, 8, 3))


FEATURES = Scaler("standard", [10.0, -3.0], [4.0, 0.5])
TARGET = Scaler("standard", [10.0], [4.0])


def test_numbers_in_units_go_in_and_come_out() -> None:
    model = keeping(forecaster(), x=FEATURES, y=TARGET)
    table = RNG.normal(size=(5, 6, 2)) * [4, 0.5] + [10, -3]
    scaled = (table - [10, -3]) / [4, 0.5]
    plain = model.predict(scaled)
    found = model.predict(table, raw=True)
    assert np.abs(found - (plain * 4 + 10)).max() <= 1e-6 * np.abs(found).max()
    assert (found.dtype, (plain == Model(forecaster()).predict(scaled)).all()) == (np.float32, True)
    each = keeping(forecaster(), x=FEATURES, y=Scaler("standard", [1.0, 2.0, 3.0], [1.0, 2.0, 4.0]))
    np.testing.assert_allclose(each.predict(table, raw=True), plain * [1, 2, 4] + [1, 2, 3], rtol=1e-5)
    for given, what in (
        (np.where(table > 14, np.nan, table), "missing values, NaN"),
        (table[..., :1], r"values have the wrong width"),
    ):
        with pytest.raises(ValueError, match=what):
            model.predict(given, raw=True)
    with pytest.raises(ValueError, match="keeps nothing for its inputs"):
        Model(forecaster()).predict(table, raw=True)
    with pytest.raises(TypeError, match=r"x is not raw, and raw=True\. Expected paths, or samples"):
        keeping(listener(), x=LOG_MEL).predict(np.zeros((1, 2, 12)), raw=True)
    with pytest.raises(TypeError, match=r"raw is 1\. Expected True or False"):
        model.predict(table, raw=1)


def series(name: str, level: float, *, gap: bool = False) -> TimeSeries:
    values = RNG.normal(size=(9, 2)) * level + level
    if gap:
        values[5, 0] = np.nan
    return TimeSeries(values, np.arange(9), name=name)


def test_a_series_is_read_by_its_own_scaling_and_forecast_in_its_own_units() -> None:
    small, large = series("small", 1.0), series("large", 100.0)
    scaler = SeriesScaler().adapt([small, large])
    of_target = SeriesScaler().adapt(
        [TimeSeries(one.values[:, :1], one.times, name=one.name) for one in (small, large)]
    )
    model = keeping(forecaster(), x=scaler, y=of_target)
    found = model.predict([small, large])
    for row, one in zip(found, (small, large), strict=True):
        plain = model.predict(scaler[one.name](one.values[-6:])[None])[0]
        first = scaler[one.name].get_config()
        np.testing.assert_allclose(row, plain * first["scale"][0] + first["shift"][0], rtol=1e-5)
        assert (model.predict(one) == row).all()
    with pytest.raises(TypeError, match=r"Expected a TimeSeries, or a list of such"):
        model.predict(np.zeros((1, 6, 2)), raw=True)
    with pytest.raises(ValueError, match="a series is new"):
        model.predict(series("other", 1.0))
    with pytest.raises(TypeError, match=r"x is raw.*received a TimeSeries, and the model keeps nothing"):
        Model(forecaster()).predict(small)
    with pytest.raises(ValueError, match="series differ in length"):
        keeping(forecaster(steps=None), x=scaler).predict([small, large.steps(slice(-5, None))])


def test_the_season_is_taken_out_of_a_series_and_put_back_into_the_months_ahead() -> None:
    months = np.arange("2023-01", "2023-10", dtype="M8[M]")
    known = TimeSeries(RNG.normal(size=(9, 2)) * 4 + 20, months)
    sine = np.sin(2 * np.pi * np.arange(12) / 12)  # by the number of the month
    scaler = SeasonalScaler(
        ["month_of_year"], 1, usual=[[10, 5, 0], [-3, 0, 0]], scaler={"shift": [0, 0], "scale": [4, 2]}
    )
    target = SeasonalScaler(["month_of_year"], 1, usual=[[10, 5, 0]], scaler={"shift": [0], "scale": [4]})
    model = keeping(forecaster(), x=scaler, y=target)
    scaled = (known.values[-6:] - np.stack([10 + 5 * sine[3:9], np.full(6, -3)], axis=1)) / [4, 2]
    plain = model.predict(scaled[None])
    expected = plain * 4 + 10 + 5 * sine[9:12]  # October, November, December
    np.testing.assert_allclose(model.predict(known), expected, rtol=1e-5)
    assert model.predict([known, known]).shape == (2, 3)
    quantiles = keeping(ahead_of_each_step(), x=scaler, y=target)
    found, plain = quantiles.predict(known), quantiles.predict(scaled[None])
    ahead = 10 + 5 * sine[[9, 10, 11, 0, 1, 2]]  # rows are steps ahead, and columns three forecasts of each
    np.testing.assert_allclose(found, plain * 4 + ahead[:, None], rtol=1e-5)
    several = keeping(forecaster(outputs=2), x=scaler, y=scaler)  # what both features are in October
    found, plain = several.predict(known), several.predict(scaled[None])
    np.testing.assert_allclose(found, plain * [4, 2] + [10 + 5 * sine[9], -3], rtol=1e-5)
    with pytest.raises(TypeError, match=r"Expected a TimeSeries, or a list of such.*keeps a SeasonalScaler"):
        model.predict(known.values[-6:][None], raw=True)
    with pytest.raises(ValueError, match=r"y is scaled by the calendar.*Expected a TimeSeries"):
        keeping(forecaster(), x=FEATURES, y=target).predict(known.values[-6:][None], raw=True)
    with pytest.raises(ValueError, match="times are no dates"):
        model.predict(series("a", 1.0))
    with pytest.raises(TypeError, match=r"x: .*Expected a TimeSeries, or a list of such"):
        model.predict([known, None])
    b = Builder(4)
    inputs = b.input("x", 6, 2), b.input("other", 6, 2)
    h = b.cell("gru", Cell.GRU, b.add("both", "concatenate", [*inputs], axis=-1), None, 4, 8)
    two = keeping(b.graph(y=b.dense("ahead", h, 8, 3)), x=scaler, other=scaler, y=target)
    shifted = TimeSeries(known.values, months + np.timedelta64(3, "M"))
    for given in ({"x": known, "other": shifted}, {"other": shifted, "x": known}):
        with pytest.raises(ValueError, match=r"has other series than the input before\. Expected the same names"):
            two.predict(given)
    assert two.predict({"x": known, "other": known}).shape == (1, 3)
    with pytest.raises(ValueError, match="nothing is learned yet"):
        keeping(forecaster(), x=SeasonalScaler()).predict(known)


def test_what_a_series_lacks_goes_to_the_mask_or_is_named() -> None:
    holes = series("a", 2.0, gap=True)
    model = keeping(forecaster(mask=True), x=FEATURES)
    scaled = np.nan_to_num(FEATURES(holes.values[-6:]))[None]
    present = ~np.isnan(holes.values[-6:]).any(axis=1)[None]
    assert not present.all()
    assert (model.predict({"x": holes}) == model.predict({"x": scaled, "valid": present})).all()
    assert (model.predict(holes) == model.predict({"x": holes})).all()  # there is one input that it can be
    with pytest.raises(ValueError, match=r"the inputs do not fit\. Expected x, valid; received x"):
        model.predict({"x": scaled})
    with pytest.raises(ValueError, match=r"x has missing values.*received 1 steps"):
        keeping(forecaster(), x=FEATURES).predict(holes)


def test_steps_that_lack_a_part_are_named_where_a_masking_would_read_them() -> None:
    b = Builder()
    mask = b.add("mask", "not_equal", [b.input("x", 6, 2)], value=0.0)
    model = keeping(b.graph(y=b.dense("y", b.cell("gru", Cell.GRU, "x", mask, 2, 4), 4, 1)), x=FEATURES)
    values = RNG.normal(size=(6, 2))
    values[2] = np.nan
    filled = np.where(np.isnan(values), 0, FEATURES(values))[None]
    assert (model.predict(TimeSeries(values, np.arange(6))) == model.predict(filled)).all()
    values[3, 1] = np.nan
    with pytest.raises(ValueError, match="x has missing values"):
        model.predict(TimeSeries(values, np.arange(6)))


def test_numbers_need_nothing_that_reads_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model = keeping(tagger(), ids=Vocabulary().adapt(["a b"]))
    monkeypatch.setattr("gatewise.runtime.raw.preprocessing_from_json", lambda *_: pytest.fail("it was made"))
    assert (model.predict([[1, 2]]) == Model(tagger()).predict([[1, 2]])).all()
    assert model.labels == {}


def test_text_and_other_kinds_do_not_mix() -> None:
    with pytest.raises(TypeError, match="received text, and the model keeps a Scaler, and nothing that reads it"):
        keeping(forecaster(), x=FEATURES).predict(["a warm film"])
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a warm film", "a cold film"])
    model = keeping(tagger(), ids=tokenizer)
    assert (model.predict(["a warm film"]) == model.predict([[1, 3, 2]])).all()
    with pytest.raises(ValueError, match="texts differ in length"):
        model.predict(["a warm film", "a film"])
    with pytest.raises(TypeError, match=r"ids is not raw, and raw=True\. Expected text"):
        keeping(tagger(), ids=Vocabulary().adapt(["a b"])).predict([[1, 2]], raw=True)


# --- From Keras ---


def test_a_keras_model_gives_chains_names_and_units() -> None:
    keras = pytest.importorskip("keras", reason="a model to read: install the extra of KERAS_BACKEND")
    from gatewise.data.preprocessing import Preprocessing
    from gatewise.runtime.doors.from_keras import from_keras

    def kept(*layers: Any) -> dict[str, Any]:
        found = from_keras(keras.Sequential([keras.Input((None, 12), name="x"), *layers])).preprocessing
        names = lambda one: one["class_name"].partition(">")[2]  # noqa: E731
        return {name: [*map(names, one)] if isinstance(one, list) else names(one) for name, one in found.items()}

    layers = keras.layers
    body = [layers.GRU(4), layers.Dense(3, name="y")]
    target = Preprocessing(name="units", target=TARGET)
    labels, chain = Labels(NAMES), ["LogMel", "Scaler"]
    together = Preprocessing(log_mel=LOG_MEL, scaler=SCALER, labels=labels)
    assert kept(together, *body) == {"x": chain, "y": "Labels"}
    assert kept(Preprocessing(scaler=SCALER, log_mel=LOG_MEL, note=TARGET), *body) == {"x": chain, "note": "Scaler"}
    assert kept(Preprocessing(a=LOG_MEL), Preprocessing(b=SCALER), *body) == {"x": chain}
    assert kept(Preprocessing(scaler=SCALER), *body, target) == {"x": "Scaler", "units": "Scaler"}
    assert kept(*body, target) == {"units": "Scaler"}
    assert kept(Preprocessing(scaler=SCALER, y=TARGET), *body) == {"x": "Scaler", "y": "Scaler"}
    assert kept(Preprocessing(scaler=SCALER, other=TARGET), *body) == {"x": "Scaler", "other": "Scaler"}
    assert kept(Preprocessing(log_mel=LOG_MEL, scaler=TARGET), *body) == {"x": "LogMel", "scaler": "Scaler"}


# --- Progress ---


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("verbose", ["auto", 0, 1])
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("patience", [0.0, 1000.0])
def test_progress_is_shown_where_it_is_long_and_changes_no_bit(
    verbose: Any, terminal: bool, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(listener())
    x = np.random.default_rng(0).normal(size=(600, 5, 12))
    expected = model.predict(x, verbose=0)
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE", patience)
    monkeypatch.setattr(progress, "EACH", 0.0)
    found = model.predict(x, verbose=verbose)
    shown = screen.getvalue()
    assert (found == expected).all()
    assert bool(shown) == (verbose == 1 or (verbose == "auto" and terminal and patience == 0))
    if shown:
        lines = shown.split(progress.ERASE)[1:]
        assert [line.partition(" rows")[0] for line in lines] == [
            "predict: 256 of 600",
            "predict: 512 of 600",
            *["predict: 600 of 600"] * 2,
        ]
        assert shown.endswith(" s\n")
    for wrong in (2, "always", None):
        with pytest.raises(ValueError, match="verbose is"):
            model.predict(x, verbose=wrong)
