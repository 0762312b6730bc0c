# SPDX-License-Identifier: Apache-2.0
"""The page of an inspection: well-formed, loads nothing, holds what was found; and the pictures."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import gatewise
from gatewise.inspect import Attribution, Inspection, pictures, sentences
from inspect_case import data, layer_graph, weights

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Reads a page: whether its tags close in order, what they would load, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for name, value in attrs if name in {"src", "href", "xlink:href", "srcset", "data"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def planted() -> Inspection:
    """A unit that keeps long, a dead one, two that are equal; an input whose name HTML would take for a tag."""
    tensors = weights("gru", 2, 5)
    for name in tensors:
        tensors[name][..., 10 + 1] = 0
        for gate in range(3):
            tensors[name][..., 5 * gate + 4] = tensors[name][..., 5 * gate + 3]
    tensors["bias"][0, 0] = 4
    return gatewise.inspect(layer_graph("gru", tensors), data(3, 12, 2), features=["<b>warmth", "light"])


def explained() -> Attribution:
    values = {"x": np.random.default_rng(0).normal(size=(12, 2))}
    return Attribution("integrated_gradients", 0, "y", (1,), 0.75, 0.5, values, 0.0012, 16)


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    found = planted()
    found.save(tmp_path / "report.html", attributions=[explained()], tokens=["a&b", *"cdefghijkl", "<i>"])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page, plain = Page(text), re.sub(r"base64,[^\"]*", "", text)
    assert page.open == []
    assert text.startswith("<!DOCTYPE html>")
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in page.loads), page.loads
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|<script|<link", plain)
    assert not {"script", "link", "iframe", "b"} <= {*page.tags}
    assert "i" not in page.tags, "a token stands as text"
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_is_well_formed_xml_but_for_its_doctype(tmp_path: Path) -> None:
    planted().save(tmp_path / "report.html", attributions=[explained()])
    text = (tmp_path / "report.html").read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>")
    root = ET.fromstring(text)  # noqa: S314  # a page of our own
    assert [child.tag for child in root] == ["head", "body"]
    ids = [one.attrib["id"] for one in root.iter() if "id" in one.attrib]
    named = {load[1:] for load in Page(text).loads if load.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert named <= {*ids}


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    found = planted()
    assert len(found.findings) >= 5
    found.save(tmp_path / "report.html", title="Warmth & light", attributions=[explained()])
    words = " ".join(Page((tmp_path / "report.html").read_text(encoding="utf-8")).words.split())
    for text in found.findings:
        sentence = text.removeprefix("reader: ")
        assert sentence[:1].upper() + sentence[1:] in words
    for expected in (
        "Warmth & light",
        "Unit 1 is dead: it never moves.",
        "Units 3 and 4 are duplicates",
        "<b>warmth",
        "completeness error",
        "0.12%",
        "y[1]",
        "3 sequences, 36 steps",
    ):
        assert expected in words


def test_a_file_alone_has_a_page_that_says_what_it_lacks(tmp_path: Path) -> None:
    planted().save(tmp_path / "report.html")
    assert "a file alone has none" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_page_of_a_keras_model_explains_a_row_and_names_tokens(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    inner = [keras.layers.Embedding(9, 3, mask_zero=True), gatewise.keras.GRU(4), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((None,), dtype="int32", name="letters"), *inner])
    found = gatewise.inspect(model, np.array([[1, 2, 3, 0], [4, 5, 6, 7]]))
    found.save(tmp_path / "report.html", row=0, tokens=["Ada", "met", "Bo"])
    words = Page((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert "Input letters" in words
    assert "of row 0" in words
    assert re.search(r"Ada\s+met\s+Bo", words)


def test_a_simple_rnn_has_a_page_without_horizons(tmp_path: Path) -> None:
    found = gatewise.inspect(layer_graph("simple_rnn", weights("simple_rnn", 2, 3)), data(2, 5, 2))
    found.save(tmp_path / "report.html")
    words = Page((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert "has no gate that keeps" in words
    assert "Memory horizons" not in words
    with pytest.raises(ValueError, match="no gate that keeps"):
        pictures.horizons(found.layers["reader"])


def test_the_heat_map_shows_the_gates_of_its_row_longest_memory_first() -> None:
    layer = planted().layers["reader"]
    figure = pictures.gates(layer, row=2)
    image = figure.axes[0].images[0].get_array()
    order = np.argsort(-layer.half_lives, kind="stable")
    np.testing.assert_array_equal(image, layer.gates["update"][2][:, order].T)
    assert order[0] == 0


def test_a_page_is_written_again_in_the_same_bytes(tmp_path: Path) -> None:
    found = planted()
    for name in ("first.html", "second.html"):
        found.save(tmp_path / name, attributions=[explained()])
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


def test_names_are_no_mathematics(tmp_path: Path) -> None:
    graph = layer_graph("gru", weights("gru", 2, 3))
    gatewise.inspect(graph, data(3, 12, 2), features=[r"$\frac$", "$$"]).save(tmp_path / "page.html")
    assert r"$\frac$" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_errors_teach(tmp_path: Path) -> None:
    found = planted()
    with pytest.raises(ValueError, match=r"row is out of range.*0 to 2; received 3"):
        found.save(tmp_path / "report.html", row=3)
    with pytest.raises(ValueError, match=r"more tokens than steps.*at most 12; received 13"):
        found.save(tmp_path / "report.html", tokens=["a"] * 13)
    assert not (tmp_path / "report.html").exists()


def test_sentences_count_what_they_do_not_name() -> None:
    assert sentences.units(range(15)) == "units 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"
    assert sentences.steps(float("inf")) == "no end"


def test_a_page_needs_matplotlib_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"Inspection\.save.*extra cli.*matplotlib"):
        planted().save(tmp_path / "report.html")
