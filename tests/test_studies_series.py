# SPDX-License-Identifier: Apache-2.0
"""The studies of sound and series learn in small what can be learned, and refuse bad input."""

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import gatewise
from gatewise.data.audio import read_wav, write_wav
from gatewise.data.preprocessing import find_preprocessing
from gatewise.data.series import future_times, last_window
from own_process import FRAMEWORKS, HIDE, run
from study_case import EXAMPLES, PREDICT, Ran, needs_tensorflow, run_study

pytestmark = needs_tensorflow

STUDIES = ("spoken_digits", "decisions", "forecasts", "anomalies", "machine")


@pytest.fixture(scope="module")
def studies() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield {name: __import__(name) for name in STUDIES}
    for name in ("study", "recordings", "series_cases", *STUDIES):
        sys.modules.pop(name, None)


def refuse(study: Any, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a study on bad data; returns its error after checking that nothing was written."""
    monkeypatch.setattr(sys, "argv", ["study", "--quick", "--data", str(data), "--out", str(out)])
    with pytest.raises(ValueError, match="Expected") as caught:
        study.main()
    assert not out.exists(), "something half-written"
    return str(caught.value)


def make_digits(takes: range, speakers: int = 3) -> dict[str, Any]:
    """Sounds in the packed format: a digit is two tones one after the other; 0 and 1, 2 and 3... differ in order."""
    rng = np.random.default_rng(5)
    sounds, labels = [], []
    for speaker in range(speakers):
        for digit in range(10):
            for take in takes:
                time = np.arange(int(rng.uniform(0.3, 0.5) * 8000)) / 8000
                tones = 400 + 300 * (digit // 2) * (1 + 0.02 * speaker), 900 + 500 * (digit // 2)
                first = time < time[-1] / 2
                pitch = np.where(first, tones[digit % 2], tones[1 - digit % 2])
                sound = 8000 * np.sin(2 * np.pi * pitch * time) + 100 * rng.normal(size=len(time))
                sounds.append(sound.astype(np.int16))
                labels.append((digit, f"speaker{speaker}", take))
    digit, speaker, take = (np.array(column) for column in zip(*labels, strict=True))
    return {
        "samples": np.concatenate(sounds),
        "offsets": np.cumsum([0, *map(len, sounds)]),
        "digit": digit.astype(np.int8),
        "speaker": speaker,
        "take": take.astype(np.int8),
        "rate": 8000,
    }


def write_digits(folder: Path, digits: dict[str, Any]) -> None:
    (folder / "recordings").mkdir()
    pieces = np.split(digits["samples"], digits["offsets"][1:-1])
    for piece, *names in zip(pieces, digits["digit"], digits["speaker"], digits["take"], strict=True):
        write_wav(folder / "recordings" / f"{'_'.join(map(str, names))}.wav", piece, digits["rate"])


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    data = tmp_path_factory.mktemp("data")
    np.savez(data / "spoken_digits.npz", **make_digits(range(0, 50, 5)))
    return run_study("spoken_digits", tmp_path_factory.mktemp("out"), "--data", data)


def test_tones_in_one_order_are_told_from_the_other(spoken: Ran) -> None:
    split = spoken.facts["splits"]["official test takes"]
    assert min(split["both"]) > 0.4, "chance is 0.1, and 0.2 for a model that knows no order"
    assert min(split["forward"]) > 0.4
    assert split["baseline"] <= 0.8


def test_the_stream_gave_the_bits_of_the_whole(spoken: Ran) -> None:
    said, frames, same, heard = spoken.facts["stream"]
    assert same == "the same bits"
    assert int(frames) > 10
    assert {said, heard} <= set("0123456789")
    assert (spoken.out / "spoken_digits.keras").stat().st_size > 0
    assert spoken.facts["splits"]["official test takes"]["same"] == [True] * 30, "the causal model, frame by frame"


def test_the_saved_causal_model_streams_to_the_bits_of_the_whole(spoken: Ran) -> None:
    model = gatewise.load(spoken.out / "spoken_digits.safetensors")
    frames = np.random.default_rng(0).normal(size=(3, 37, 40)).astype(np.float32)
    whole = model.predict(frames)
    for size in (1, 5, 37):
        stream = model.stream(3)
        pieces = [stream.run(frames[:, begin : begin + size]) for begin in range(0, 37, size)]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_a_wav_file_is_read_where_no_framework_is(spoken: Ran) -> None:
    model = keras.saving.load_model(spoken.out / "spoken_digits.keras")
    kept = find_preprocessing(model)
    frames = kept["scaler"](kept["log_mel"](read_wav(spoken.out / "spoken_digits.wav", kept["log_mel"].rate)))
    gatewise.save(model, spoken.out / "from_both_ends.safetensors")
    found = run(PREDICT.format(name="from_both_ends", raw="spoken_digits.wav"), spoken.out)
    np.testing.assert_allclose(found, model.predict(frames[None], verbose=0), rtol=0, atol=1e-5)


def test_a_higher_threshold_decides_no_sooner(spoken: Ran) -> None:
    curve = spoken.facts["decisions"]["official test takes"]
    for one, other in itertools.pairwise(curve):
        assert one["threshold"] < other["threshold"]
        assert one["delay"] <= other["delay"]
        assert one["reached"] >= other["reached"]


def test_decisions_come_at_the_first_step_that_is_sure_enough_or_at_the_end(studies: dict[str, Any]) -> None:
    decisions = studies["decisions"]
    scores = np.array([[0.5, 0.5], [0.2, 0.8], [0.95, 0.05], [0.6, 0.4]], np.float32)
    heard = decisions.Heard(scores, known=np.array([0.1, 0.2, 0.3, 0.4]), end=0.25, length=0.45, truth=0)
    for threshold, answer, delay, reached in [(0.7, 1, -0.05, True), (0.9, 0, 0.05, True), (0.99, 0, 0.2, False)]:
        found = decisions.decide(heard, threshold)
        assert (found[0], found[2]) == (answer, reached)
        assert found[1] == pytest.approx(delay)
    wrong = dataclasses.replace(heard, truth=1)
    assert decisions.judge([heard, heard, wrong, wrong, wrong], 0.99)[:3] == pytest.approx((0.99, 0.4, 0.2))


def test_a_word_ends_where_its_last_loud_20_ms_do(studies: dict[str, Any]) -> None:
    sound = np.random.default_rng(0).normal(size=8000) * np.where(np.arange(8000) < 4000, 0.1, 0.001)
    end_of_word = studies["decisions"].end_of_word
    assert end_of_word(sound, 8000) == 0.5, "40 dB softer is no word"
    assert end_of_word(sound[:3990], 8000) == 3990 / 8000
    assert end_of_word(sound * np.where(np.arange(8000) < 4000, 1, 10), 8000) == 1.0, "20 dB softer is"


def test_wav_files_and_the_packed_file_give_the_same_recordings(studies: dict[str, Any], tmp_path: Path) -> None:
    digits = make_digits(range(0, 10, 5), speakers=1)
    np.savez(tmp_path / "spoken_digits.npz", **digits)
    packed = studies["spoken_digits"].read(tmp_path)
    write_digits(tmp_path, digits)
    found = studies["spoken_digits"].read(tmp_path)
    assert len(found.sounds) == len(packed.sounds) == 20
    for place, names in enumerate(zip(found.digit, found.speaker, found.take, strict=True)):
        same = (packed.digit == names[0]) & (packed.speaker == names[1]) & (packed.take == names[2])
        [other] = np.flatnonzero(same)
        np.testing.assert_array_equal(found.sounds[place], packed.sounds[other])


def test_spoken_digits_refuses_a_wav_of_another_rate(
    studies: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(tmp_path, make_digits(range(0, 10, 5), speakers=1) | {"rate": 16000})
    message = refuse(studies["spoken_digits"], tmp_path, tmp_path / "out", monkeypatch)
    assert "0_speaker0_0.wav has another rate. Expected rate=8000 samples a second; received 16000." in message


@pytest.mark.parametrize("change", ["empty", "no take", "rate", "nothing", "no test"])
def test_spoken_digits_refuses_a_packed_file_that_does_not_fit(
    change: str, studies: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = make_digits(range(5 if change == "no test" else 0, 10, 5), speakers=1)
    if change == "no take":
        del digits["take"]
    np.savez(tmp_path / "spoken_digits.npz", **digits | ({"rate": 16000} if change == "rate" else {}))
    if change == "empty":
        (tmp_path / "spoken_digits.npz").write_bytes(b"")
    elif change == "nothing":
        (tmp_path / "spoken_digits.npz").unlink()
    message = refuse(studies["spoken_digits"], tmp_path, tmp_path / "out", monkeypatch)
    assert "Expected" in message
    assert "received" in message


def write_series(folder: Path, begin: str = "1985-01-01", first_month: str = "1846-01") -> None:
    """Two series in the files' format that go up and down at every step; one day is left out."""
    rng = np.random.default_rng(3)
    days = np.delete(np.arange(begin, "1989-03-01", dtype="datetime64[D]"), 200)
    months = np.arange(first_month, "1931-01", dtype="datetime64[M]")
    for name, head, times, level, swing in (
        ("daily_min_temperatures", '"Date","Temp"', days, 12.0, 5.0),
        ("monthly_sunspots", '"Month","Sunspots"', months, 50.0, 30.0),
    ):
        values = level + swing * (-1.0) ** times.astype(int) + rng.normal(size=len(times))
        lines = [f'"{time}",{value:.1f}' for time, value in zip(times, values, strict=True)]
        (folder / f"{name}.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    data = tmp_path_factory.mktemp("data")
    write_series(data)
    return run_study("forecasts", tmp_path_factory.mktemp("out"), "--data", data)


@pytest.mark.parametrize("series", ["temperature, °C", "sunspots"])
def test_the_forecast_sees_what_comes_round_where_persistence_cannot(forecast: Ran, series: str) -> None:
    errors = forecast.facts[series]
    for way in ("GRU alone", "GRU and autoregression"):
        assert len(errors[way]) == 10
        assert errors[way][0] < 0.5 * errors["persistence"][0]
        assert errors[way][-2] < 0.5 * errors["persistence"][-2]


FORECAST = f"""{HIDE.format(FRAMEWORKS)}
import json, numpy as np, gatewise
from gatewise.data.series import read_series
[series] = read_series({{file!r}}, {{columns[0]!r}}, {{columns[1]!r}})
model = gatewise.load({{model!r}})
print(json.dumps(model.predict(series.regular(np.timedelta64(1, {{unit!r}}))).tolist()))
"""


def test_the_saved_model_forecasts_from_the_table_in_the_units_of_the_table(
    forecast: Ran, studies: dict[str, Any], tmp_path: Path
) -> None:
    write_series(tmp_path)
    for case, unit in zip(studies["forecasts"].CASES, "DM", strict=True):
        model = str(forecast.out / f"forecasts_{case.columns[1].lower()}.safetensors")
        code = FORECAST.format(model=model, file=str(tmp_path / case.file), columns=case.columns, unit=unit)
        [found] = run(code, tmp_path)
        series = studies["forecasts"].read(case, tmp_path)
        stock = keras.saving.load_model(model.replace("safetensors", "keras"), compile=False)
        scaler = find_preprocessing(stock)["scaler"]
        values, mask = last_window(series, 24, scaler)
        [scaled] = stock.predict_on_batch({"values": values, "mask": mask})
        ahead = future_times(series.times, 10)
        np.testing.assert_allclose(found, scaler.inverse(scaled, ahead, [0, 0, 0]), rtol=1e-4, atol=1e-3)
        level, swing = (12, 5) if unit == "D" else (50, 30)  # of what the table was made with
        wanted = level + swing * (-1.0) ** ahead.astype(int)
        assert np.abs(np.array(found)[:, 1] - wanted).mean() < swing / 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("empty", "monthly_sunspots.csv is empty. Expected a table; received 0 bytes."),
        ("column", "monthly_sunspots.csv lacks a column. Expected 'Month', 'Sunspots'; received"),
        (
            "short",
            "monthly_sunspots.csv is too short. Expected 384 steps before 1900-01, and 10 from 1930-01 on",
        ),
    ],
)
def test_forecasts_refuse_bad_files(
    change: str, message: str, studies: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path, first_month="1900-01" if change == "short" else "1890-01")
    path = tmp_path / "monthly_sunspots.csv"
    if change == "empty":
        path.write_bytes(b"")
    elif change == "column":
        path.write_text(path.read_text(encoding="utf-8").replace("Sunspots", "Spots"), encoding="utf-8")
    assert message in refuse(studies["forecasts"], tmp_path, tmp_path / "out", monkeypatch)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run_study("anomalies", tmp_path_factory.mktemp("out"))


def test_the_stream_gives_the_alarms_of_the_whole(watched: Ran) -> None:
    assert len(watched.facts["streams"]) == 5
    for steps, _, same, apart in watched.facts["streams"].values():
        assert steps == 1500
        assert same
        assert apart < 1e-4


def test_faults_are_found_that_leave_each_sensor_plausible(watched: Ran) -> None:
    faults = watched.facts["faults"]
    for kind in ("drift", "changed correlation"):
        assert faults[kind]["GRU"][2] > 0.65
        assert faults[kind]["rolling z-score"][2] < 0.65
    assert faults["spike"]["rolling z-score"][2] > 0.9


def test_a_sensor_that_gives_no_number_is_refused(studies: dict[str, Any]) -> None:
    anomalies = studies["anomalies"]
    scaler = anomalies.Scaler().adapt(anomalies.run_machine(100, seed=0))
    model = anomalies.build()
    monitor = anomalies.Monitor(model, scaler, np.ones(6))
    with pytest.raises(ValueError, match="not finite"):
        monitor(np.array([0.5, np.nan, 0.5, 0.5, 0.5, 0.5]))
    assert np.isfinite(monitor(np.full(6, 0.5))[0]), "the state was touched"


def test_each_fault_changes_its_steps_alone(studies: dict[str, Any]) -> None:
    machine = studies["machine"]
    for kind in machine.FAULTS:
        values, broken = machine.break_machine(kind, 1500, seed=4)
        sound = machine.run_machine(1500, seed=4)
        changed = (values != sound).any(axis=1)
        assert 0 < broken.sum() < 750
        first = int(np.argmax(broken))
        assert not changed[:first].any()
        if kind != "changed frequency":  # whose phase is another ever after
            assert not changed[~broken].any()
