# SPDX-License-Identifier: Apache-2.0
"""Tables, windows, scaling and the calendar: beside loops written out, pandas, and windows of Keras."""

import dataclasses
import datetime as dt
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_case import assert_teaches, real_file
from gatewise.data.errors import FormatError
from gatewise.data.series import (
    Scaler,
    SeasonalScaler,
    SeriesScaler,
    TimeSeries,
    Windows,
    calendar_features,
    future_times,
    last_window,
    read_series,
    roll_forward,
    to_series,
    window_view,
)

RNG = np.random.default_rng(5)
ENGINES = ["pandas", "polars"]


def make_series(steps: int, features: int = 2, name: str = "", missing: float = 0.0) -> TimeSeries:
    values = RNG.normal(size=(steps, features))
    values[RNG.random(values.shape) < missing] = np.nan
    return TimeSeries(values, np.arange(steps), tuple("abc"[:features]), name)


# --- Tables ---


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_becomes_several_sorted_series(engine: str, ending: str, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip(engine)
    table = pd.DataFrame(
        {
            "day": ["2024-03-02", "2024-03-01", "2024-03-01", "2024-03-04"],
            "shop": ["B", "B", "A", "B"],
            "sold": [3, 1, 7, None],
            "price": [0.5, 0.25, 2.0, 1.5],
        }
    )
    path = tmp_path / f"table{ending}"
    table.to_csv(path, index=False) if ending == ".csv" else table.to_parquet(path)
    a, b = read_series(path, time="day", values=["sold", "price"], series="shop", engine=engine)
    assert (a.name, b.name) == ("A", "B")
    assert a.features == ("sold", "price")
    np.testing.assert_array_equal(b.values, [[1, 0.25], [3, 0.5], [np.nan, 1.5]])
    np.testing.assert_array_equal(b.mask, [[True, True], [True, True], [False, True]])
    assert [str(time) for time in b.times] == ["2024-03-01", "2024-03-02", "2024-03-04"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "time", "value", "rows"),
    [
        ("daily_min_temperatures.csv", "Date", "Temp", 3650),
        ("monthly_sunspots.csv", "Month", "Sunspots", 2820),
        ("airline_passengers.csv", "Month", "Passengers", 144),
    ],
)
def test_real_tables_are_read_as_pandas_reads_them(engine: str, name: str, time: str, value: str, rows: int) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip(engine)
    table = pd.read_csv(real_file(name), parse_dates=[time])
    [series] = read_series(real_file(name), time=time, values=value, engine=engine)
    assert len(series) == rows
    np.testing.assert_array_equal(series.values[:, 0], table[value].to_numpy(np.float64))
    np.testing.assert_array_equal(series.times.astype("M8[s]"), table[time].to_numpy("M8[s]"))


def test_days_that_a_table_leaves_out_are_missing_and_nothing_is_made_up() -> None:
    pd = pytest.importorskip("pandas")
    path = real_file("daily_min_temperatures.csv")
    [series] = read_series(path, time="Date", values="Temp")
    with pytest.raises(ValueError, match="irregular"):
        Windows(series, history=7)
    whole = series.regular(np.timedelta64(1, "D"))
    expected = pd.read_csv(path, parse_dates=["Date"]).set_index("Date").asfreq("D")
    np.testing.assert_array_equal(whole.values, expected.to_numpy())
    assert (~whole.mask).sum() == 2, "the last days of two leap years"
    assert whole.regular(np.timedelta64(1, "D")).values.tobytes() == whole.values.tobytes()


@pytest.mark.parametrize("kind", ["pandas", "polars", "dict"])
def test_tables_in_memory_are_taken_with_their_own_times(kind: str) -> None:
    days = [dt.datetime(2024, 1, 31), dt.datetime(2024, 2, 29)]  # noqa: DTZ001  # times without zone
    columns: dict[str, Any] = {"when": days, "x": [1.5, None], "n": [4, 5]}
    table = columns if kind == "dict" else pytest.importorskip(kind).DataFrame(columns)
    [series] = to_series(table, time="when", values=["x", "n"])
    np.testing.assert_array_equal(series.values, [[1.5, 4], [np.nan, 5]])
    np.testing.assert_array_equal(series.times, np.array(["2024-01-31", "2024-02-29"], "M8[s]"))


def test_months_are_regular_though_their_days_are_not() -> None:
    times = np.array(["2024-01-01", "2024-02-01", "2024-04-01"], "M8[D]")
    series = TimeSeries([[1.0], [2.0], [4.0]], times).regular(np.timedelta64(1, "M"))
    assert [str(time) for time in series.times] == ["2024-01", "2024-02", "2024-03", "2024-04"]
    np.testing.assert_array_equal(series.values.ravel(), [1, 2, np.nan, 4])
    with pytest.raises(ValueError, match="step does not fit") as caught:
        TimeSeries([[1.0], [2.0]], times[:2] + np.arange(2)).regular(np.timedelta64(1, "M"))
    assert_teaches(str(caught.value), "2024-02-02")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["0 bytes"]),
        (b"day,sold\n", ["no row"]),
        (b"date,sold\n2024-01-01,1\n", ["lacks a column", "'day'", "'date', 'sold'"]),
        (b"day,sold\n2024-01-01,1\n2024-01-01,2\n", ["times repeat", "series='...'"]),
        (b"day,sold\n2024-01-01,many\n2024-01-02,1\n", ["'sold'", "numbers", "many"]),
        (b"day,sold\nyesterday,1\n", ["'day'", "yesterday"]),
        (b"day,sold\n2024-01-01T10:00:00+02:00,1\n", ["time zones", "tz_convert"]),
        (b"day,sold\n2024-01-01,inf\n", ["infinity", "'sold'"]),
        (b"day,sold,note\n2024-01-01,1,caf\xc3\xa9\n2024-01-02,1,caf\xe9\n", ["encoding"]),
    ],
    ids=["empty", "header", "column", "repeated", "text", "no time", "zone", "infinite", "mixed encodings"],
)
def test_a_table_that_cannot_be_read_is_named(engine: str, content: bytes, parts: list[str], tmp_path: Path) -> None:
    pytest.importorskip(engine)
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^(read_series|TimeSeries)") as caught:
        read_series(path, time="day", values="sold", engine=engine)
    assert_teaches(str(caught.value), *parts)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_parquet_file_is_named(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(FormatError) as caught:
        read_series(path, time="day", values="sold", engine=engine)
    assert_teaches(str(caught.value), str(path))


# --- Windows ---


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(7, 12), min_size=1, max_size=3))
def test_windows_are_those_of_the_loop(history: int, horizon: int, stride: int, lengths: list[int]) -> None:
    several = [make_series(length, name=str(number), missing=0.2) for number, length in enumerate(lengths)]
    windows = Windows(several, history, horizon, targets=["b"], stride=stride)
    expected = [(one, begin) for one in several for begin in range(0, len(one) - history - horizon + 1, stride)]
    assert len(windows) == len(expected)
    x, mask, y, weight = windows.take(range(len(windows)))
    assert (x.dtype, mask.dtype, y.dtype, weight.dtype) == (np.float32, np.bool_, np.float32, np.float32)
    for number, (one, begin) in enumerate(expected):
        for step in range(history):
            row = one.values[begin + step]
            assert x[number, step].tolist() == [0.0 if math.isnan(v) else np.float32(v) for v in row]
            assert mask[number, step] == (not any(math.isnan(v) for v in row))
        for step in range(horizon):
            value = one.values[begin + history + step, 1]
            assert weight[number, step] == (0.0 if math.isnan(value) else 1.0)
            assert y[number, step, 0] == (0.0 if math.isnan(value) else np.float32(value))
        np.testing.assert_array_equal(windows.times(number), one.times[begin + history : begin + history + horizon])
    assert windows.complete == all(mask_row.all() for mask_row in windows.take(range(len(windows))).mask)


def test_windows_are_those_of_keras() -> None:
    pytest.importorskip("tensorflow", reason="the oracle is Keras's timeseries_dataset_from_array")
    values = RNG.normal(size=(30, 2)).astype(np.float32)
    theirs = keras.utils.timeseries_dataset_from_array(values[:-1], values[5:], sequence_length=5, batch_size=99)
    [(x, y)] = [(np.asarray(a), np.asarray(b)) for a, b in theirs]
    ours = Windows(TimeSeries(values, np.arange(30)), history=5).views()
    np.testing.assert_array_equal(ours.x, x)
    np.testing.assert_array_equal(ours.y[:, 0], y)


def test_windows_are_views_of_one_array() -> None:
    values = np.zeros((1000, 3))
    view = window_view(values, 100)
    assert view.shape == (901, 100, 3)
    assert np.shares_memory(view, values)
    assert not view.flags.writeable
    windows = Windows(TimeSeries(values, np.arange(1000)), history=100, horizon=10)
    for part in windows.views():
        low, high = np.lib.array_utils.byte_bounds(part)
        assert high - low <= 1000 * 3 * 4, "no more memory than the series in float32"


def test_batches_hold_every_window_once_an_epoch_in_an_order_of_the_seed() -> None:
    windows = Windows([make_series(20), make_series(9)], history=4)
    first, second = (windows.batches(batch_size=6, shuffle=True, seed=seed) for seed in (1, 2))
    again = windows.batches(batch_size=6, shuffle=True, seed=1)
    orders = []
    for data in (first, again, second):
        epoch = np.concatenate([data[i][0] for i in range(len(data))])
        assert len(data) == 4
        assert len(epoch) == len(windows)
        assert sorted(map(bytes, epoch)) == sorted(map(bytes, windows.take(range(len(windows))).x))
        orders.append(epoch.tobytes())
    assert orders[0] == orders[1] != orders[2]
    first.on_epoch_end()
    assert np.concatenate([first[i][0] for i in range(4)]).tobytes() != orders[0]
    plain = windows.batches(batch_size=6)
    np.testing.assert_array_equal(plain[0][0], windows.take(range(6)).x)


def test_missing_steps_reach_the_model_as_a_mask_and_count_nothing() -> None:
    series = make_series(40, missing=0.2)
    windows = Windows(series, history=5, horizon=2, targets=["a"])
    with pytest.raises(ValueError, match="with_mask") as caught:
        windows.batches()
    assert_teaches(str(caught.value), "keras.Input((history,), dtype='bool', name='mask')")
    values, mask = keras.Input((5, 2), name="values"), keras.Input((5,), dtype="bool", name="mask")
    outputs = keras.layers.Reshape((2, 1))(keras.layers.Dense(2)(keras.layers.GRU(3)(values, mask=mask)))
    model = keras.Model({"values": values, "mask": mask}, outputs)
    model.compile(loss="mse", weighted_metrics=[])
    data = windows.batches(batch_size=99, with_mask=True)
    inputs, y, weight = data[0]
    assert 0 < weight.mean() < 1
    predicted = keras.ops.convert_to_numpy(model(inputs))
    squares = np.square(predicted[..., 0] - y[..., 0]) * weight
    loss = model.evaluate(data, verbose=0)
    np.testing.assert_allclose(loss, squares.sum() / squares.size, rtol=1e-5)
    noise = {**inputs, "values": np.where(inputs["mask"][..., None], inputs["values"], 99.0).astype(np.float32)}
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(noise)), predicted)


def test_the_last_window_is_what_a_model_reads_next() -> None:
    series = make_series(9, missing=0.3)
    scaler = Scaler().adapt(series.values)
    x, mask = last_window(series, 4, scaler)
    windows = Windows(series, history=4, horizon=1, scaler=scaler)
    before = Windows(series.steps(slice(None, 8)), history=3, horizon=1, scaler=scaler).take([4])
    np.testing.assert_array_equal(x[0, :-1], windows.take([4]).x[0, 1:])
    np.testing.assert_array_equal(mask[0, :-1], windows.take([4]).mask[0, 1:])
    np.testing.assert_array_equal(before.x[0], last_window(series.steps(slice(None, 7)), 3, scaler)[0][0])


# --- Scaling ---


@pytest.mark.parametrize("method", ["standard", "minmax"])
def test_scaling_leaves_missing_values_out_and_comes_back(method: str) -> None:
    values = RNG.normal(5, 3, size=(50, 2))
    values[RNG.random(values.shape) < 0.3] = np.nan
    scaler = Scaler(method).adapt([values[:20], values[20:]])
    scaled = scaler(values)
    for column, original in zip(scaled.T, values.T, strict=True):
        present = [v for v in original if not math.isnan(v)]
        mean = math.fsum(present) / len(present)
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in present) / len(present))
        shift, scale = (mean, deviation) if method == "standard" else (min(present), max(present) - min(present))
        np.testing.assert_allclose(column, (original - shift) / scale, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scaler.inverse(scaled), values, rtol=1e-12)
    assert scaler(values.astype(np.float32)).dtype == np.float32
    assert Scaler.from_json(scaler.to_json())(values).tobytes() == scaled.tobytes()


def test_a_constant_feature_becomes_zero() -> None:
    scaler = Scaler().adapt(np.full((7, 1), 0.1))
    assert abs(scaler([[0.1]])[0, 0]) < 1e-15
    assert scaler([[1.1]])[0, 0] == pytest.approx(1.0)


def test_scaling_learns_from_the_training_part_alone() -> None:
    series = make_series(30)
    learned = Scaler().adapt(series.before(20).values)
    changed = TimeSeries(np.where(np.arange(30)[:, None] < 20, series.values, 1e6), series.times, series.features)
    assert Scaler().adapt(changed.before(20).values) == learned


def test_each_series_has_a_scaling_of_its_own() -> None:
    small, large = make_series(20, name="small"), make_series(20, name="large")
    large = TimeSeries(large.values * 1000 + 5, large.times, large.features, "large")
    scaler = SeriesScaler().adapt([small, large])
    windows = Windows([small, large], history=3, targets=["b"], scaler=scaler)
    for number, one in enumerate((small, large)):
        expected = (one.values - one.values.mean(axis=0)) / one.values.std(axis=0)
        np.testing.assert_allclose(windows.views(number).x[:15, 0], expected[:15], rtol=1e-5, atol=1e-6)
        back = scaler.inverse(windows.views(number).y, one, [1])[:, 0, 0]
        np.testing.assert_allclose(back, one.values[3:, 1], rtol=1e-5, atol=1e-6 * np.abs(one.values).max())
    assert SeriesScaler.from_json(scaler.to_json()) == scaler
    with pytest.raises(ValueError, match="a series is new") as unknown:
        last_window(make_series(9, name="new"), 3, scaler)
    assert_teaches(str(unknown.value), "'new'", "'small', 'large'")
    with pytest.raises(ValueError, match="cannot be told apart") as twice:
        SeriesScaler().adapt([small, small])
    assert_teaches(str(twice.value), "'small' twice")


def test_what_comes_round_is_taken_out_and_put_back() -> None:
    days = np.arange("2021-01-01", "2025-01-01", dtype="M8[D]")
    year = days.astype("M8[Y]")
    angle = 2 * np.pi * ((days - year) / ((year + np.timedelta64(1, "Y")).astype("M8[D]") - year.astype("M8[D]")))
    roots = 4 + 2 * np.sin(angle) - 0.5 * np.cos(2 * angle)
    rest = np.random.default_rng(0).normal(size=len(days)) * 0.3
    known = (roots + rest) ** 2
    known[[7, 400]] = np.nan
    series = TimeSeries(known[:, None], days, ("spots",))
    scaler = SeasonalScaler(root=True, calendar=True).adapt(series)
    np.testing.assert_allclose(scaler.get_config()["usual"], [[4, 2, 0, 0, -0.5]], atol=0.05)
    scaled = scaler.scale(series)
    assert scaled.features == ("spots", "day_of_year_sin", "day_of_year_cos")
    assert (np.isnan(scaled.values[:, 0]) == np.isnan(known)).all()
    assert abs(np.nanstd(scaled.values[:, 0]) - 1) < 1e-9
    np.testing.assert_allclose(scaled.values[:, 1:], np.stack([np.sin(angle), np.cos(angle)], axis=1), atol=1e-12)
    assert np.corrcoef(np.nan_to_num(scaled.values[:, 0]), rest)[0, 1] > 0.99
    here = ~np.isnan(known)
    back = scaler.inverse(scaled.values[here][:, [0, 0]], days[here], [0, 0])
    np.testing.assert_allclose(back, known[here][:, None].repeat(2, axis=1), rtol=1e-9)
    assert (scaler.inverse([[-1e9]], days[:1]) == 0).all()  # a root is not below 0
    assert SeasonalScaler.from_json(scaler.to_json()) == scaler
    windows = Windows(series, history=3, horizon=2, scaler=scaler)
    assert (windows.views().x.shape[1:], windows.views().y.shape[1:]) == ((3, 3), (2, 1))
    assert not windows.views().mask[7].any() or windows.views().mask[7].tolist() == [False, True, True]
    x, mask = last_window(series, 3, scaler)
    np.testing.assert_allclose(x[0], scaled.values[-3:], rtol=1e-6)
    assert mask.all()


@pytest.mark.parametrize("value", [0.0, 4.0, 0.1, 1e6])
def test_what_the_seasons_leave_nothing_of_is_not_divided_by_rounding(value: float) -> None:
    days = np.arange("2021-01-01", "2024-01-01", dtype="M8[D]")
    wave = calendar_features(days, ["day_of_year"])[0][:, :1]
    constant, other = np.full((len(days), 1), value), np.random.default_rng(0).normal(size=(len(days), 1))
    scaler = SeasonalScaler().adapt(TimeSeries(np.hstack([constant, 10 + 5 * wave, other]), days))
    changed = TimeSeries(np.hstack([constant + 0.5, 10 + 5 * wave - 0.25, other]), days)
    np.testing.assert_allclose(scaler.scale(changed).values[:, :2], [[0.5, -0.25]] * len(days), atol=1e-8)


def test_a_season_is_learned_from_several_series_without_what_is_missing() -> None:
    hours = np.arange("2024-01-01", "2024-01-08", dtype="M8[h]")
    waves = np.sin(2 * np.pi * hours.astype(int) / 24)
    one, other = (TimeSeries((1 + waves + 2 * waves * which)[:, None], hours, name=str(which)) for which in (0, 1))
    scaler = SeasonalScaler(["hour_of_day"], waves=1).adapt([one, other])
    np.testing.assert_allclose(scaler.get_config()["usual"], [[1, 2, 0]], atol=1e-9)  # the mean of 1 and 3
    holes = dataclasses.replace(other, values=np.where(np.arange(len(hours))[:, None] % 2, np.nan, other.values))
    kept = dataclasses.replace(other, values=other.values[::2], times=hours[::2])
    both = [SeasonalScaler(["hour_of_day"], waves=1).adapt(each).get_config()["usual"] for each in (holes, kept)]
    np.testing.assert_allclose(*both, atol=1e-9)
    with pytest.raises(ValueError, match="different features"):
        SeasonalScaler().adapt([one, dataclasses.replace(one, features=("b",))])


# --- Calendar ---


def test_the_calendar_is_that_of_pandas() -> None:
    pd = pytest.importorskip("pandas")
    times = pd.date_range("1995-12-28 05:00", periods=3000, freq="7h").as_unit("s")
    parts = ["hour_of_day", "day_of_week", "day_of_month", "day_of_year", "month_of_year"]
    features, names = calendar_features(times.to_numpy(), parts)
    day = times.hour / 24
    month = (times.day - 1 + day) / times.days_in_month
    shares = [
        day,
        (times.day_of_week + day) / 7,
        month,
        (times.day_of_year - 1 + day) / (365 + times.is_leap_year),
        (times.month - 1 + month) / 12,
    ]
    for number, share in enumerate(shares):
        angle = 2 * np.pi * np.asarray(share, dtype=np.float64)
        np.testing.assert_allclose(features[:, 2 * number], np.sin(angle), atol=1e-12)
        np.testing.assert_allclose(features[:, 2 * number + 1], np.cos(angle), atol=1e-12)
    assert names[2:4] == ["day_of_week_sin", "day_of_week_cos"]
    series = TimeSeries(np.zeros((3000, 1)), times.to_numpy(), ("x",)).with_features(features, names)
    assert series.features == ("x", *names)


def test_times_go_on_in_the_step_of_the_last_two() -> None:
    assert future_times(np.array(["2024-02-27", "2024-02-28"], "M8[D]"), 2).tolist() == [
        dt.date(2024, 2, 29),
        dt.date(2024, 3, 1),
    ]
    assert future_times([3, 5], 3).tolist() == [7, 9, 11]


# --- Forecasts of many steps ---


@given(st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_a_model_of_few_steps_forecasts_many(steps: int, horizon: int, masked: bool) -> None:
    # Each step is the sum of the last two plus a number that is known of the future.
    x = np.array([[[1.0, 0.0], [2.0, 3.0]]], np.float32)
    known = np.arange(1.0, horizon + 1).reshape(1, horizon, 1)
    asked = []

    def predict(read: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        asked.append(read.copy())
        assert (mask is not None) == masked
        if mask is not None:
            assert mask.shape == (1, 2)
        line = read[0, :, 0].tolist()
        for _ in range(steps):
            line.append(line[-1] + line[-2] + read[0, -1, 1])
        return np.array(line[2:]).reshape(1, steps, 1)

    result = roll_forward(predict, x, horizon, known, np.array([[False, True]]) if masked else None)
    line, carried = [1.0, 2.0], [3.0, *range(1, horizon + 1)]
    while len(line) < 2 + horizon:
        last = carried[len(line) - 2]
        line += [0.0] * steps
        for i in range(len(line) - steps, len(line)):
            line[i] = line[i - 1] + line[i - 2] + last
    assert result.ravel().tolist() == line[2 : 2 + horizon]
    assert len(asked) == math.ceil(horizon / steps)


# --- Mistakes ---


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Windows(make_series(9, name="north"), history=8, horizon=2), ["'north'", "= 10 steps", "received 9"]),
        (lambda: Windows([], history=2), ["received none"]),
        (lambda: Windows([make_series(9), make_series(9, 3)], history=2), ["different features"]),
        (lambda: Windows(make_series(9), history=2, targets=["c"]), ["targets", "'c'", "'a', 'b'"]),
        (lambda: Windows(make_series(9), history=0), ["history", "received 0"]),
        (lambda: Windows(make_series(9), history=2).take([7]), ["0 to 6", "7"]),
        (lambda: Windows(make_series(9), history=2).batches(batch_size=0), ["batch_size"]),
        (lambda: window_view(np.zeros(3), 4), ["length=4", "received 3"]),
        (lambda: window_view(np.zeros(3), 0), ["length", "received 0"]),
        (lambda: last_window(make_series(3), 4), ["history=4", "received 3"]),
        (lambda: TimeSeries(np.zeros(3), np.arange(3)), ["(3,)", "values[:, None]"]),
        (lambda: TimeSeries(np.zeros((2, 1)), [2, 1]), ["go back", "1 behind 2"]),
        (lambda: TimeSeries(np.zeros((2, 1)), [1.5, 2.5]), ["float64"]),
        (lambda: make_series(3).with_features(np.zeros((2, 1)), ["x"]), ["timesteps=3", "(2, 1)"]),
        (lambda: Scaler("log"), ["method", "'log'"]),
        (lambda: Scaler()([[1.0]]), ["adapt"]),
        (lambda: Scaler().adapt([[1.0], [2.0]])([[1.0, 2.0]]), ["features=1", "(1, 2)"]),
        (lambda: Scaler().adapt([1.0, 2.0]), ["values[:, None]"]),
        (lambda: Scaler().adapt(np.full((3, 2), np.nan)), ["feature [0, 1]"]),
        (lambda: Scaler().adapt(np.empty((0, 2))), ["empty array"]),
        (lambda: Scaler().adapt([[np.inf], [0.0]]), ["infinity"]),
        (lambda: calendar_features(np.arange(3)), ["int64"]),
        (lambda: calendar_features(np.array(["2024"], "M8[Y]"), ["moon"]), ["'moon'"]),
        (lambda: future_times([1], 2), ["at least two", "received 1"]),
        (lambda: roll_forward(lambda x: x, np.zeros((2, 2), np.float32), 1), ["(2, 2)"]),
        (lambda: roll_forward(lambda x: x[:, :, :1], np.zeros((1, 2, 2), np.float32), 1), ["targets=2", "known="]),
        (lambda: roll_forward(lambda x: x, np.zeros((1, 2, 2), np.float32), 3, np.zeros((1, 2, 1))), ["horizon=3"]),
        (lambda: to_series({"t": [1], "s": [None], "x": [1.0]}, "t", "x", "s"), ["'s'", "row 0"]),
        (lambda: read_series(__file__, "t", "x", engine="excel"), ["engine", "'excel'"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(make: Any, parts: list[str]) -> None:
    with pytest.raises((ValueError, IndexError)) as caught:
        make()
    assert_teaches(str(caught.value), *parts)
