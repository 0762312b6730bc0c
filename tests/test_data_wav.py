# SPDX-License-Identifier: Apache-2.0
"""Sound files that were cut off, and what is no recording: named, with how much is missing, instead of read."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_case import assert_teaches
from gatewise.data.audio import LogMel, read_wav, write_wav
from gatewise.data.errors import FormatError

soundfile = pytest.importorskip("soundfile")

SAMPLES = np.random.default_rng(2).integers(-9000, 9000, 1000).astype(np.int16)
KINDS = [
    ("WAV", "PCM_16", 2),
    ("WAV", "PCM_24", 3),
    ("WAV", "FLOAT", 4),
    ("WAV", "ULAW", 1),
    ("WAVEX", "PCM_16", 2),
    ("RF64", "PCM_16", 2),
    ("AIFF", "PCM_16", 2),
    ("AU", "PCM_16", 2),
    ("SVX", "PCM_16", 2),
]


def write(path: Path, kind: str, subtype: str, channels: int = 1, **options: Any) -> bytes:
    """Writes sound by soundfile, and gives the file's bytes."""
    samples = np.repeat(SAMPLES[:, None], channels, axis=1)
    soundfile.write(path, samples, 8000, subtype, format=kind, **options)
    return path.read_bytes()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("kind", "subtype", "width"), KINDS)
def test_a_file_that_was_cut_off_says_how_many_samples_are_missing(
    kind: str, subtype: str, width: int, channels: int, tmp_path: Path
) -> None:
    path = tmp_path / "sound.wav"
    if kind == "SVX" and channels == 2:
        pytest.skip("8SVX has one channel")
    content = write(path, kind, subtype, channels)
    assert len(read_wav(path, 8000, channel=0)) == 1000
    begin = len(content) - 1000 * width * channels
    if kind == "AIFF":
        begin = content.index(b"SSND") + 16
    for kept in (999, 500, 1):
        path.write_bytes(content[: begin + kept * width * channels])
        with pytest.raises(FormatError) as caught:
            read_wav(path, 8000, channel=0)
        assert_teaches(str(caught.value), str(path), "cut off", "Expected 1000 samples", f"{1000 - kept} samples less")


def test_a_file_without_one_sample_is_cut_off_too(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    content = write(path, "WAV", "PCM_16")
    path.write_bytes(content[:44])
    with pytest.raises(FormatError) as caught:
        read_wav(path, 8000)
    assert_teaches(str(caught.value), "Expected 1000 samples", "1000 samples less")


def test_compressed_sound_that_was_cut_off_says_how_many_bytes_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    content = write(path, "WAV", "IMA_ADPCM")
    path.write_bytes(content[:-300])
    with pytest.raises(FormatError) as caught:
        read_wav(path, 8000)
    assert_teaches(str(caught.value), f"Expected {len(content)} bytes", "300 bytes less")


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("CAF", "PCM_16")])
def test_half_a_file_of_another_format_is_no_recording(kind: str, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    content = write(path, kind, subtype)
    assert len(read_wav(path, 8000)) == 1000
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError) as caught:
        read_wav(path, 8000)
    assert_teaches(str(caught.value), str(path))


@pytest.mark.parametrize("size", [0x7FFFF000, 0x80000000, 0xFFFFFFFF], ids=hex)
def test_what_came_through_a_pipe_is_read_though_its_header_knows_no_size(size: int, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    content = bytearray(write(path, "WAV", "PCM_16"))
    content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_wav(path, 8000) * 32768, SAMPLES)


def test_what_stands_around_the_sound_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    content = write(path, "WAV", "PCM_16")
    other = b"LIST" + struct.pack("<I", 5) + b"odd it"  # five bytes and one that fills up
    path.write_bytes(content[:36] + other + content[36:] + other)
    np.testing.assert_array_equal(read_wav(path, 8000) * 32768, SAMPLES)
    path.write_bytes(content[:36] + other + content[36:-20])
    with pytest.raises(FormatError) as caught:
        read_wav(path, 8000)
    assert_teaches(str(caught.value), "10 samples less")


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda _: LogMel(8000)([1] * 300), ["int16 or floating point", "list [1, 1,", "numpy.array(samples"]),
        (lambda _: LogMel(8000)(np.zeros((4, 300))), ["(4, 300)", "samples[:, 0]", "each by itself"]),
        (lambda _: LogMel(8000)([np.zeros(300), np.zeros(400)]), ["wrong rank", "each by itself"]),
        (lambda _: LogMel(8000)("sound.wav"), ["wrong type", "'sound.wav'", "read_wav"]),
        (lambda _: LogMel(8000)(None), ["wrong type", "None"]),
        (lambda _: LogMel(8000)(np.int16(5)), ["wrong type"]),
        (lambda _: LogMel(8000)(np.ma.masked_array(np.zeros(300))), ["masked array", "filled(0)"]),
        (lambda _: LogMel(8000)(np.zeros(300) * 1j), ["complex128"]),
        (lambda _: LogMel(8000).stream().push([0.0, [0.0]]), ["LogMelStream.push", "wrong rank"]),
        (lambda _: LogMel(16000.0), ["rate", "16000.0"]),
        (lambda _: LogMel("8000"), ["rate", "'8000'"]),
        (lambda _: LogMel(8000, bands=2.5), ["bands", "2.5"]),
        (lambda _: LogMel(8000, frame_length=True), ["frame_length", "True"]),
        (lambda _: LogMel(8000, floor=np.inf), ["floor", "inf"]),
        (lambda _: LogMel(8000, low=np.nan), ["low=nan"]),
        (lambda _: LogMel(8000, low="20"), ["low", "'20'"]),
        (lambda _: LogMel(8000, high=True), ["high", "True"]),
        (lambda _: LogMel(8000, floor=None), ["floor", "None"]),
        (lambda _: LogMel(8000).count_frames(0.5), ["count_frames", "0.5"]),
        (lambda path: read_wav(path, "8000"), ["rate", "'8000'"]),
        (lambda path: read_wav(path, 8000, channel=-1), ["channel", "-1"]),
        (lambda path: read_wav(path, 8000, channel=True), ["channel", "True"]),
        (lambda path: read_wav(path, 8000, channel=1), ["channel", "received 1"]),
        (lambda path: write_wav(path, SAMPLES, 8000.5), ["rate", "8000.5"]),
        (lambda path: write_wav(path, SAMPLES, 0), ["rate", "received 0"]),
        (lambda path: write_wav(path, np.zeros((4, 300)), 8000), ["write_wav", "(4, 300)"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(make: Any, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    content = write(path, "WAV", "PCM_16")
    with pytest.raises((TypeError, ValueError)) as caught:
        make(path)
    assert_teaches(str(caught.value), *parts)
    assert path.read_bytes() == content


def test_a_file_of_samples_without_a_header_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.raw"
    path.write_bytes(SAMPLES.tobytes())
    with pytest.raises(FormatError) as caught:
        read_wav(path, 8000)
    assert_teaches(str(caught.value), str(path))
