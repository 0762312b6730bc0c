# SPDX-License-Identifier: Apache-2.0
"""What was learned from data travels: in whole files, without Keras, and inside the `.keras` file of a model."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from data_case import assert_teaches, run_fresh
from gatewise.data.audio import LogMel
from gatewise.data.labels import Labels
from gatewise.data.preprocessing import Preprocessing, find_preprocessing
from gatewise.data.saved import Saved, write_whole
from gatewise.data.scaling import Scaler
from gatewise.data.series import SeasonalScaler, SeriesScaler, TimeSeries
from gatewise.data.text import Subwords, Tokenizer, Vocabulary
from gatewise.extras import require
from gatewise.keras import GRU

TEXTS = ["a warm film", "a cold film", "what a cold story"]


def everything() -> dict[str, Any]:
    tokenizer = Tokenizer(num_words=5, oov_token="?")  # noqa: S106  # no password
    tokenizer.fit_on_texts(TEXTS)
    return {
        "text": Vocabulary(output_sequence_length=4).adapt(TEXTS),
        "bytes": Vocabulary(split="byte"),
        "pieces": Subwords(max_tokens=270).adapt(TEXTS),
        "tokenizer": tokenizer,
        "labels": Labels(["neg", "pos"]),
        "scaler": Scaler().adapt(np.random.default_rng(0).normal(size=(9, 3))),
        "several": SeriesScaler("minmax").adapt([TimeSeries([[1.0], [2.0]], [0, 1], name="a")]),
        "season": SeasonalScaler(["day_of_week"], 1, root=True).adapt(
            TimeSeries([[1.0], [2.0], [0.0], [4.0], [3.0]], np.arange("2024-01-01", "2024-01-06", dtype="M8[D]"))
        ),
        "sound": LogMel(rate=8000, bands=20),
    }


def test_a_model_keeps_everything_through_its_file(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    kept = everything()
    inputs = keras.Input((3,))
    inner = keras.Model(inputs, Preprocessing(scaler=kept.pop("scaler"))(inputs))  # a model inside a model
    model = keras.Sequential([keras.Input((3,)), inner, Preprocessing(**kept), keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found, expected = find_preprocessing(loaded), everything()
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        assert type(found[name]) is type(one)
        assert found[name].get_config() == one.get_config(), name


def test_a_model_predicts_from_raw_text_in_a_program_without_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    vocabulary = Vocabulary(output_sequence_length=4).adapt(TEXTS)
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            Preprocessing(text=vocabulary),
            keras.layers.Embedding(vocabulary.vocabulary_size(), 3, mask_zero=True),
            GRU(2),
        ]
    )
    expected = keras.ops.convert_to_numpy(model(vocabulary(["a cold book"])))
    model.save(tmp_path / "model.keras")
    program = """
import sys
import keras, numpy
import gatewise.keras
model = keras.saving.load_model(sys.argv[1])
from gatewise.data.preprocessing import find_preprocessing
print(numpy.asarray(model(find_preprocessing(model)["text"](["a cold book"]))).tolist())
print("tensorflow" in sys.modules, "tokenizers" in sys.modules)
"""
    printed, loaded = run_fresh(program, tmp_path / "model.keras").splitlines()
    np.testing.assert_allclose(json.loads(printed), expected, atol=1e-6)  # float32, one backend beside another
    assert loaded == "False False"


def test_the_layer_changes_neither_values_nor_mask() -> None:
    layer = Preprocessing(labels=Labels(["a", "b"]))
    tokens = np.array([[3, 0], [1, 2]], np.int32)
    np.testing.assert_array_equal(np.asarray(layer(tokens)), tokens)
    embedding = keras.layers.Embedding(4, 2, mask_zero=True)
    passed = layer(embedding(tokens))
    np.testing.assert_array_equal(np.asarray(passed._keras_mask), tokens != 0)
    with pytest.raises(ValueError, match="keeps nothing") as nothing:
        Preprocessing()
    assert_teaches(str(nothing.value), "Preprocessing(text=vocabulary)")
    with pytest.raises(ValueError, match="keeps nothing") as none:
        find_preprocessing(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="plain"))
    assert_teaches(str(none.value), "'plain'")


def test_json_is_read_where_no_framework_is_installed(tmp_path: Path) -> None:
    Vocabulary().adapt(TEXTS).save(tmp_path / "text.json")
    Scaler().adapt([[1.0], [3.0]]).save(tmp_path / "scaler.json")
    LogMel(rate=8000).save(tmp_path / "sound.json")
    program = """
import sys
hidden = ("keras", "tensorflow", "jax", "torch", "pandas", "polars", "soundfile", "tokenizers")
sys.modules.update(dict.fromkeys(hidden))
from gatewise.data.text import Vocabulary
from gatewise.data.series import Scaler
from gatewise.data.audio import LogMel
folder = sys.argv[1]
print(Vocabulary.load(folder + "/text.json")(["a film"]).tolist())
print(Scaler.load(folder + "/scaler.json")([[5.0]]).tolist())
print(LogMel.load(folder + "/sound.json").bands)
"""
    tokens = Vocabulary().adapt(TEXTS)(["a film"]).tolist()
    assert run_fresh(program, tmp_path).splitlines() == [str(tokens), "[[3.0]]", "40"]


@pytest.mark.parametrize("before", [None, "what was there"])
def test_a_file_is_written_in_whole_or_not_at_all(before: str | None, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    if before is not None:
        path.write_text(before)

    class Broken(Saved):
        def get_config(self) -> dict[str, Any]:
            return {"value": object()}

    with pytest.raises(TypeError):
        Broken().save(path)

    def write_half() -> None:
        with write_whole(path) as unfinished:
            unfinished.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert [file.name for file in tmp_path.iterdir()] == ([] if before is None else ["file.json"])
    if before is not None:
        assert path.read_text() == before
    with write_whole(path) as unfinished:
        unfinished.write_text("all")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file.json", "all")]


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for content in (b"", b"\xff\xfe\x00", b'{"class_name": "gatewise>Scaler"}', b"[]", b'{"class_name": "x>Labels"}'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"Scaler\.load") as caught:
            Scaler.load(path)
        assert_teaches(str(caught.value), str(path))


def test_a_missing_extra_is_a_message_with_the_cure() -> None:
    for program, extra in (
        ("from gatewise.data.text import Subwords; Subwords().adapt(['a'])", "text"),
        ("from gatewise.data.audio import read_wav; read_wav('a.wav', 8000)", "audio"),
        ("from gatewise.data.series import read_series; read_series('a.parquet', 'a', 'b')", "data"),
    ):
        hide = "import sys; sys.modules.update(dict.fromkeys(('tokenizers', 'soundfile', 'pandas', 'polars')))\n"
        catch = f"try:\n    {program}\nexcept ModuleNotFoundError as error:\n    print(error)\n"
        printed = run_fresh(hide + catch)
        assert_teaches(printed, "pip install ", f"[{extra}]")
    with pytest.raises(ModuleNotFoundError) as caught:
        require("here", "no_such_module", "data")
    assert caught.value.name == "no_such_module"
