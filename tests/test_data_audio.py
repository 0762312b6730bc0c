# SPDX-License-Identifier: Apache-2.0
"""Log-mel frames beside the formulas written out and other libraries; streams beside whole recordings, bit for bit."""

import itertools
import math
import struct
import wave
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_case import assert_teaches, real_file
from gatewise.data.audio import LogMel, mel_filters, read_wav, write_wav
from gatewise.data.audio.log_mel import FRAMES_AT_ONCE
from gatewise.data.errors import FormatError

RNG = np.random.default_rng(3)


def log_mel_written_out(samples: np.ndarray, rate: int, bands: int, length: int, step: int, low: float) -> np.ndarray:
    """The formulas, a number at a time: a discrete Fourier transform by its sum, triangles by their corners in Hz."""
    size = 2 ** math.ceil(math.log2(length))
    to_mel = lambda hertz: 2595 * math.log10(1 + hertz / 700)  # noqa: E731  # HTK book, 5.6
    corners = [to_mel(low) + i * (to_mel(rate / 2) - to_mel(low)) / (bands + 1) for i in range(bands + 2)]
    result = []
    for begin in range(0, len(samples) - length + 1, step):
        piece = [samples[begin + n] * math.sin(math.pi * n / length) ** 2 for n in range(length)]
        frame = [0.0] * bands
        for k in range(1, size // 2 + 1):
            turn = np.exp(-2j * np.pi * k * np.arange(length) / size)
            power = abs(np.dot(piece, turn)) ** 2
            mel = to_mel(k * rate / size)
            for band in range(bands):
                left, middle, right = corners[band : band + 3]
                weight = (mel - left) / (middle - left) if mel <= middle else (right - mel) / (right - middle)
                frame[band] += max(0.0, weight) * power
        result.append([math.log(max(energy, 1e-10)) for energy in frame])
    return np.array(result)


@pytest.mark.parametrize(
    ("rate", "bands", "length", "step"), [(8000, 12, 200, 80), (16000, 8, 256, 300), (4000, 5, 63, 7)]
)
def test_frames_are_what_the_formulas_give(rate: int, bands: int, length: int, step: int) -> None:
    samples = RNG.normal(scale=0.1, size=900)
    frames = LogMel(rate, bands, length, step, low=50.0)(samples)
    expected = log_mel_written_out(samples, rate, bands, length, step, 50.0)
    assert frames.dtype == np.float32
    # Rounding to float32 is half an eps of the value; the sums of a thousand products in float64 are far below.
    np.testing.assert_allclose(frames, expected, rtol=np.finfo(np.float32).eps, atol=1e-9)


@pytest.mark.parametrize(
    ("bands", "fft", "rate", "low", "high"), [(40, 512, 16000, 20, 8000), (26, 256, 8000, 133, 3800)]
)
def test_filters_are_those_of_tensorflow(bands: int, fft: int, rate: int, low: float, high: float) -> None:
    tf = pytest.importorskip("tensorflow", reason="the oracle is TensorFlow's filter bank")
    expected = tf.signal.linear_to_mel_weight_matrix(bands, fft // 2 + 1, rate, low, high, tf.float64).numpy().T
    np.testing.assert_allclose(mel_filters(bands, fft, rate, low, high), expected, atol=1e-12)


def test_frames_are_those_of_the_layer_of_keras() -> None:
    samples = RNG.normal(scale=0.1, size=4000).astype(np.float32)
    layer = keras.layers.MelSpectrogram(
        fft_length=256,
        sequence_stride=80,
        sequence_length=256,
        sampling_rate=8000,
        num_mel_bins=20,
        min_freq=20.0,
        max_freq=4000.0,
        power_to_db=False,
        mag_exp=2.0,
    )
    theirs = np.log(np.asarray(layer(samples[None]))[0].T)
    # Keras pads by half a frame on each side: its frame 2 begins 160 - 128 = 32 samples in.
    shifted = LogMel(8000, 20, 256, 80)(samples[32:])
    assert shifted.shape[1] == theirs.shape[1]
    # Keras computes in float32: 8 levels of an FFT, relative to the frame's largest amplitude, which at worst is a
    # thousand times that of a band of noise.
    same = theirs[2 : 2 + len(shifted)]
    assert len(same) > 40
    np.testing.assert_allclose(same, shifted[: len(same)], atol=1000 * 8 * np.finfo(np.float32).eps)


@settings(max_examples=60)
@given(
    st.integers(1, 400),
    st.integers(1, 500),
    st.lists(st.integers(0, 700), max_size=12),
    st.booleans(),
)
def test_a_stream_gives_the_same_bits_for_any_pieces(
    length: int, step: int, pieces: list[int], whole_numbers: bool
) -> None:
    log_mel = LogMel(8000, 3, max(length, 64), step)
    samples = np.random.default_rng(length).normal(scale=3000, size=max(2000, length))
    samples = samples.astype(np.int16) if whole_numbers else samples / 32768
    stream = log_mel.stream()
    ends = np.minimum(np.cumsum([0, *pieces, len(samples)]), len(samples))
    frames = [stream.push(samples[a:b]) for a, b in itertools.pairwise(ends)]
    whole = log_mel(samples)
    for done, end in zip(np.cumsum([len(frame) for frame in frames]), ends[1:], strict=True):
        assert done == log_mel.count_frames(int(end)), "a frame comes as soon as it is complete"
    assert np.concatenate(frames).tobytes() == whole.tobytes()


def test_a_frame_has_the_same_bits_in_any_company() -> None:
    samples = RNG.normal(scale=0.2, size=60_000)
    log_mel = LogMel(16000)
    whole = log_mel(samples)
    assert len(whole) > FRAMES_AT_ONCE
    for number in (0, 1, 117, len(whole) - 1):
        begin = number * log_mel.frame_step
        alone = log_mel(samples[begin : begin + log_mel.frame_length])
        assert alone.tobytes() == whole[number].tobytes()


def test_a_stream_begins_anew_after_reset_and_stays_as_it_was_after_an_error() -> None:
    log_mel = LogMel(8000)
    samples = RNG.normal(size=1000)
    stream = log_mel.stream()
    stream.push(samples[:333])
    with pytest.raises(ValueError, match="not finite"):
        stream.push([0.0, math.nan])
    rest = stream.push(samples[333:])
    np.testing.assert_array_equal(rest, log_mel(samples)[-len(rest) :])
    stream.reset()
    np.testing.assert_array_equal(stream.push(samples), log_mel(samples))


def test_a_tone_lands_in_its_band_and_silence_on_the_floor() -> None:
    log_mel = LogMel(8000, bands=20)
    tone = np.sin(2 * np.pi * 1000 * np.arange(2000) / 8000)
    edges = 700 * (10 ** (np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 4000 / 700), 22) / 2595) - 1)
    expected = int(np.abs(edges[1:-1] - 1000).argmin())
    assert set(log_mel(tone).argmax(axis=1)) == {expected}
    assert log_mel(np.zeros(200)).tolist() == [[float(np.float32(math.log(1e-10)))] * 20]


def test_whole_numbers_and_fractions_are_the_same_sound() -> None:
    samples = RNG.integers(-32768, 32767, 1000).astype(np.int16)
    np.testing.assert_array_equal(LogMel(8000)(samples), LogMel(8000)((samples / 32768).astype(np.float32)))


def test_spoken_digits_stream_like_whole_recordings() -> None:
    data = np.load(real_file("spoken_digits.npz"))
    everything, offsets = data["samples"], data["offsets"]  # each access reads the file
    log_mel = LogMel(rate=int(data["rate"]))
    for number in range(0, 2000, 200):
        samples = everything[offsets[number] : offsets[number + 1]]
        stream = log_mel.stream()
        frames = [stream.push(chunk) for chunk in np.array_split(samples, 1 + number % 13)]
        whole = log_mel(samples)
        assert np.isfinite(whole).all()
        assert np.concatenate(frames).tobytes() == whole.tobytes()


# --- Files ---


def write_by_hand(path: Path, channels: np.ndarray, rate: int) -> None:
    """Writes a WAV file with Python's own module."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{channels.size}h", *channels.ravel().tolist()))


def test_wav_files_are_read_and_written_to_the_sample(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    samples = RNG.integers(-32768, 32767, 500).astype(np.int16)
    write_by_hand(tmp_path / "by_hand.wav", samples[:, None], 8000)
    read = read_wav(tmp_path / "by_hand.wav", rate=8000)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read * 32768, samples)
    for written in (samples, read):
        write_wav(tmp_path / "ours.wav", written, 8000)
        with wave.open(str(tmp_path / "ours.wav")) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
            np.testing.assert_array_equal(np.frombuffer(file.readframes(500), "<i2"), samples)


def test_a_channel_is_chosen(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    both = RNG.integers(-99, 99, (50, 2)).astype(np.int16)
    write_by_hand(tmp_path / "stereo.wav", both, 8000)
    np.testing.assert_array_equal(read_wav(tmp_path / "stereo.wav", 8000, channel=1) * 32768, both[:, 1])
    with pytest.raises(FormatError) as several:
        read_wav(tmp_path / "stereo.wav", 8000)
    assert_teaches(str(several.value), "received 2", "channel=0")
    with pytest.raises(ValueError, match="channel does not exist") as none:
        read_wav(tmp_path / "stereo.wav", 8000, channel=2)
    assert_teaches(str(none.value), "0 to 1")


def test_a_file_that_is_no_such_sound_is_named(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    path = tmp_path / "sound.wav"
    path.write_bytes(b"")
    with pytest.raises(FormatError) as empty:
        read_wav(path, 8000)
    assert_teaches(str(empty.value), str(path), "0 bytes")
    path.write_bytes(b"no sound at all")
    with pytest.raises(FormatError) as text:
        read_wav(path, 8000)
    assert_teaches(str(text.value), str(path), "15 bytes")
    write_by_hand(path, np.zeros((0, 1), np.int16), 8000)
    with pytest.raises(FormatError) as header:
        read_wav(path, 8000)
    assert_teaches(str(header.value), "header")
    write_by_hand(path, np.zeros((9, 1), np.int16), 44100)
    with pytest.raises(FormatError) as rate:
        read_wav(path, 8000)
    assert_teaches(str(rate.value), "rate=8000", "received 44100", "resample_poly")


def test_nothing_is_half_written(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    with pytest.raises(ValueError, match="too loud"):
        write_wav(tmp_path / "loud.wav", [0.0, 2.0], 8000)
    with pytest.raises((ValueError, RuntimeError)):
        write_wav(tmp_path / "rate.wav", [0.0, 0.5], -1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: LogMel(8000)(np.zeros(199)), ["frame_length=200", "received 199"]),
        (lambda: LogMel(8000)(np.zeros((300, 2))), ["(300, 2)", "samples[:, 0]"]),
        (lambda: LogMel(8000)(np.zeros(300, np.int32)), ["int32", "2**31"]),
        (lambda: LogMel(8000)([0.0, math.inf] * 200), ["inf at 1"]),
        (lambda: LogMel(8000, high=5000), ["rate / 2 = 4000", "5000"]),
        (lambda: LogMel(8000, low=300, high=200), ["low=300", "high=200"]),
        (lambda: LogMel(8000, bands=0), ["bands", "received 0"]),
        (lambda: LogMel(8000, bands=200), ["bands=200", "empty"]),
        (lambda: LogMel(8000, floor=0.0), ["floor"]),
        (lambda: LogMel(8000, frame_step=0), ["frame_step"]),
        (lambda: LogMel(8000).stream().push(np.zeros((3, 2))), ["LogMelStream.push", "(3, 2)"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(make: Any, parts: list[str]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert_teaches(str(caught.value), *parts)


def test_settings_survive_json() -> None:
    log_mel = LogMel(8000, 13, 240, 90, 50.0, 3000.0, 1e-6)
    copy = LogMel.from_json(log_mel.to_json())
    samples = RNG.normal(size=900)
    assert copy == log_mel
    assert copy(samples).tobytes() == log_mel(samples).tobytes()
