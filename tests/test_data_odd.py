# SPDX-License-Identifier: Apache-2.0
"""Every argument of every public function meets every odd value: it is read without a warning, or a message teaches."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from data_case import assert_teaches
from gatewise.data import audio, text
from gatewise.data import series as data
from gatewise.data.labels import Labels

DAYS = np.arange("2024-01-01", "2024-01-31", dtype="M8[D]")
SERIES = data.TimeSeries(np.arange(60.0).reshape(30, 2), DAYS, ("a", "b"), "n")
STEPS = data.TimeSeries(np.arange(60.0).reshape(30, 2), np.arange(30), ("a", "b"))
SCALER, SCALERS = data.Scaler().adapt(SERIES.values), data.SeriesScaler().adapt([SERIES])
SEASON = data.SeasonalScaler(["day_of_week"]).adapt(SERIES)
WINDOWS = data.Windows(SERIES, 3)
RESULT = data.backtest(SERIES, data.persistence(), 2, "2024-01-20")
WORDS, BYTES = text.Vocabulary().adapt(["a b", "b c"]), text.Vocabulary(split="byte")
LABELS, SOUND = Labels(["x", "y"]), audio.LogMel(8000)
X = np.zeros((1, 2, 2), np.float32)
LONG = "x" * 100_000

ODD: list[Any] = [
    *(None, True, 0, -1, 3, 1.5, float("nan"), float("inf"), 1j, "", "a", "2024-01-05", b"a", "\ud800", LONG),
    *([], [[]], [1, 2], [[1], [1, 2]], [None], ["a"], ["a", 1], [float("nan")], [b"a"], ["\ud800"], [LONG], (1, 2)),
    *({}, {"t": [1]}, {1, 2}, range(3), slice(1, 3), object(), max, np.int8(3), np.str_("a"), Decimal("1.5")),
    *(np.array(3), np.zeros(0), np.zeros((0, 2)), np.zeros((2, 2)), np.zeros((2, 2, 2)), np.array(["a"])),
    *(np.array([1 + 2j]), np.array([2**63], np.uint64), np.array([np.nan, np.inf]), np.array([1, None], object)),
    *(DAYS[:2], DAYS[:2, None], DAYS[0], np.array(["NaT"], "M8[D]"), np.datetime64("NaT", "s")),
    *(np.timedelta64(1, "D"), np.timedelta64(1, "M"), np.int64(1).view("m8"), dt.timedelta(1)),
    *(dt.date(2024, 1, 5), dt.datetime(2024, 1, 5), dt.datetime(2024, 1, 5, tzinfo=dt.UTC)),  # noqa: DTZ001
    *(np.ma.masked_array([1.0, 2.0], [0, 1]), np.ma.masked_array([[1.0, 2.0]], [[0, 1]])),
    *(SERIES, [SERIES], [SERIES, SERIES]),
]

CALLS: dict[str, Callable[[Any], Any]] = {
    "to_series: table": lambda v: data.to_series(v, "t", "a"),
    "to_series: column of times": lambda v: data.to_series({"t": v, "a": [1, 2]}, "t", "a"),
    "to_series: column of values": lambda v: data.to_series({"t": [1, 2], "a": v}, "t", "a"),
    "to_series: column of names": lambda v: data.to_series({"t": [1, 2], "a": [1, 2], "s": v}, "t", "a", "s"),
    "to_series: time in a cell": lambda v: data.to_series({"t": [v], "a": [1]}, "t", "a"),
    "to_series: value in a cell": lambda v: data.to_series({"t": [1], "a": [v]}, "t", "a"),
    "to_series: name in a cell": lambda v: data.to_series({"t": [1], "a": [1], "s": [v]}, "t", "a", "s"),
    "to_series: time": lambda v: data.to_series({"t": [1], "a": [1]}, v, "a"),
    "to_series: values": lambda v: data.to_series({"t": [1], "a": [1]}, "t", v),
    "to_series: series": lambda v: data.to_series({"t": [1], "a": [1]}, "t", "a", v),
    "TimeSeries: values": lambda v: data.TimeSeries(v, [1, 2]),
    "TimeSeries: times": lambda v: data.TimeSeries([[1], [2]], v),
    "TimeSeries: features": lambda v: data.TimeSeries([[1, 2]], [1], v),
    "TimeSeries: name": lambda v: data.TimeSeries([[1]], [1], name=v),
    "before a date": SERIES.before,
    "after a number": STEPS.after,
    "steps": SERIES.steps,
    "regular dates": SERIES.regular,
    "regular numbers": STEPS.regular,
    "with_features: values": lambda v: SERIES.with_features(v, ["x"]),
    "with_features: names": lambda v: SERIES.with_features(np.zeros((30, 1)), v),
    "columns": SERIES.columns,
    "Scaler: method": data.Scaler,
    "Scaler: shift": lambda v: data.Scaler(shift=v, scale=[1.0]),
    "Scaler.adapt": lambda v: data.Scaler().adapt(v),
    "Scaler": SCALER,
    "Scaler.inverse": SCALER.inverse,
    "Scaler.inverse: features": lambda v: SCALER.inverse([[1.0]], v),
    "SeasonalScaler: parts": data.SeasonalScaler,
    "SeasonalScaler: waves": lambda v: data.SeasonalScaler(waves=v),
    "SeasonalScaler: root": lambda v: data.SeasonalScaler(root=v),
    "SeasonalScaler: usual": lambda v: data.SeasonalScaler(usual=v, scaler=SCALER.get_config()),
    "SeasonalScaler: scaler": lambda v: data.SeasonalScaler(usual=[[1.0]], scaler=v),
    "SeasonalScaler.adapt": lambda v: data.SeasonalScaler().adapt(v),
    "SeasonalScaler.scale": SEASON.scale,
    "SeasonalScaler.inverse": lambda v: SEASON.inverse(v, DAYS[:2]),
    "SeasonalScaler.inverse: times": lambda v: SEASON.inverse(np.zeros((2, 2)), v),
    "SeasonalScaler.inverse: features": lambda v: SEASON.inverse(np.zeros((2, 2)), DAYS[:2], v),
    "SeriesScaler.adapt": lambda v: data.SeriesScaler().adapt(v),
    "SeriesScaler.scale": SCALERS.scale,
    "SeriesScaler.inverse": lambda v: SCALERS.inverse(v, SERIES),
    "SeriesScaler.inverse: series": lambda v: SCALERS.inverse([[1.0, 2.0]], v),
    "SeriesScaler[]": lambda v: SCALERS[v],
    "Windows: series": lambda v: data.Windows(v, 3),
    "Windows: history": lambda v: data.Windows(SERIES, v),
    "Windows: horizon": lambda v: data.Windows(SERIES, 3, v),
    "Windows: targets": lambda v: data.Windows(SERIES, 3, targets=v),
    "Windows: scaler": lambda v: data.Windows(SERIES, 3, scaler=v),
    "Windows: stride": lambda v: data.Windows(SERIES, 3, stride=v),
    "Windows.take": WINDOWS.take,
    "Windows.times": WINDOWS.times,
    "Windows.views": WINDOWS.views,
    "Windows.batches": WINDOWS.batches,
    "window_view": lambda v: data.window_view(v, 1),
    "window_view: length": lambda v: data.window_view(np.zeros(5), v),
    "last_window": lambda v: data.last_window(v, 3),
    "last_window: history": lambda v: data.last_window(SERIES, v),
    "calendar_features": data.calendar_features,
    "calendar_features: parts": lambda v: data.calendar_features(DAYS, v),
    "future_times": lambda v: data.future_times(v, 2),
    "future_times: horizon": lambda v: data.future_times(DAYS, v),
    "roll_forward": lambda v: data.roll_forward(lambda x: x, v, 1),
    "roll_forward: horizon": lambda v: data.roll_forward(lambda x: x, X, v),
    "roll_forward: known": lambda v: data.roll_forward(lambda x: x[..., :1], X, 1, v),
    "roll_forward: mask": lambda v: data.roll_forward(lambda x, _=None: x, X, 1, mask=v),
    "roll_forward: what predict gives": lambda v: data.roll_forward(lambda _: v, X, 1),
    "backtest: series": lambda v: data.backtest(v, data.persistence(), 1, 5),
    "backtest: fit": lambda v: data.backtest(SERIES, v, 1, "2024-01-20"),
    "backtest: forecast": lambda v: data.backtest(SERIES, lambda _: lambda *_: v, 1, "2024-01-20"),
    "backtest: horizon": lambda v: data.backtest(SERIES, data.persistence(), v, "2024-01-20"),
    "backtest: start": lambda v: data.backtest(SERIES, data.persistence(), 1, v),
    "backtest: every": lambda v: data.backtest(SERIES, data.persistence(), 1, "2024-01-20", every=v),
    "backtest: refit": lambda v: data.backtest(SERIES, data.persistence(), 1, "2024-01-20", refit=v),
    "backtest: targets": lambda v: data.backtest(SERIES, data.persistence(), 1, "2024-01-20", targets=v),
    "backtest: quantiles": lambda v: data.backtest(SERIES, data.persistence(), 1, "2024-01-20", quantiles=v),
    "coverage": lambda v: RESULT.coverage(v, 0.9),
    "seasonal_naive": data.seasonal_naive,
    "autoregression": data.autoregression,
    "Labels": Labels,
    "Labels.adapt": lambda v: Labels().adapt(v),
    "Labels of examples": LABELS,
    "Labels.decode": LABELS.decode,
    "pad": text.pad,
    "pad: a row": lambda v: text.pad([v]),
    "pad: maxlen": lambda v: text.pad([[1]], v),
    "pad: padding": lambda v: text.pad([[1]], padding=v),
    "Vocabulary: split": lambda v: text.Vocabulary(split=v),
    "Vocabulary: max_tokens": lambda v: text.Vocabulary(max_tokens=v),
    "Vocabulary: standardize": lambda v: text.Vocabulary(standardize=v),
    "Vocabulary: vocabulary": lambda v: text.Vocabulary(vocabulary=v),
    "Vocabulary.adapt": lambda v: text.Vocabulary().adapt(v),
    "Vocabulary of words": WORDS,
    "Vocabulary of bytes": BYTES,
    "Vocabulary.decode": WORDS.decode,
    "Vocabulary.from_json": text.Vocabulary.from_json,
    "Tokenizer.fit_on_texts": lambda v: text.Tokenizer().fit_on_texts(v),
    "text_to_word_sequence": text.text_to_word_sequence,
    "read_text: encoding": lambda v: text.read_text(__file__, v),
    "LogMel: rate": audio.LogMel,
    "LogMel: bands": lambda v: audio.LogMel(8000, v),
    "LogMel: low": lambda v: audio.LogMel(8000, low=v),
    "LogMel: high": lambda v: audio.LogMel(8000, high=v),
    "LogMel: floor": lambda v: audio.LogMel(8000, floor=v),
    "LogMel": SOUND,
    "LogMel.count_frames": SOUND.count_frames,
    "LogMelStream.push": lambda v: SOUND.stream().push(v),
}


def complaint(call: Callable[[Any], Any], value: Any) -> str | None:
    """What a call says of a value; None if it takes it."""
    try:
        call(value)
    except (TypeError, ValueError, IndexError) as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_odd_value_is_read_or_a_message_teaches(call: Callable[[Any], Any]) -> None:
    messages = [message for message in (complaint(call, value) for value in ODD) if message is not None]
    for message in messages:
        assert_teaches(message)
        assert len(message) < 900
    assert len(messages) > len(ODD) / 4
