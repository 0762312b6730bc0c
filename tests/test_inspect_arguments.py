# SPDX-License-Identifier: Apache-2.0
"""Every argument of `gatewise.inspect`: what is wrong is named, with what is expected, what came and what to do."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.inspect import Attribution, Inspection, Tolerances, attribute
from inspect_case import data, layer_graph, weights

pytest.importorskip("matplotlib")
from gatewise.inspect import pictures  # after the skip

GRAPH = layer_graph("gru", weights("gru", 2, 3))
FOUND = gatewise.inspect(GRAPH, data(2, 4, 2))
LAYER = FOUND.layers["reader"]
MADE = Attribution("integrated_gradients", 0, "y", (1,), 0.75, 0.5, {"x": np.ones((4, 2))}, 0.0012, 16)
IDS = Attribution("integrated_gradients", 0, "other", (), 0.75, 0.5, {"x": np.ones(4)}, 0.0012, 16)


def look(**options: Any) -> Inspection:
    return gatewise.inspect(GRAPH, data(2, 4, 2), **options)


INSPECT = [
    (TypeError, "tolerances has the wrong type. Expected Tolerances; received 3.", lambda: look(tolerances=3)),
    (TypeError, "tolerances has the wrong type. Expected Tolerances; received {", lambda: look(tolerances={"low": 0})),
    (TypeError, "still has the wrong type. Expected a number, 0 to 1; received 'a'.", lambda: Tolerances(still="a")),
    (TypeError, "low has the wrong type. Expected a number, 0 to 1; received None.", lambda: Tolerances(low=None)),
    (TypeError, "steps has the wrong type. Expected a number, 0 to 1; received True.", lambda: Tolerances(steps=True)),
    (ValueError, "equal is out of range. Expected a number, 0 to 1; received nan.", lambda: Tolerances(equal=np.nan)),
    (TypeError, "features of 'x' has the wrong type. Expected a list of texts; received 3.", lambda: look(features=3)),
    (TypeError, "features of 'x' has the wrong type.*received 1 in it.", lambda: look(features=[1, 2])),
    (TypeError, "features of 'x' has the wrong type.*received 'ab'.", lambda: look(features={"x": "ab"})),
    (TypeError, "features of 'x' has the wrong type.*received {", lambda: look(features={"a", "b"})),
    (
        ValueError,
        "an input of features is unknown. Expected one of x; received 'z'.",
        lambda: look(features={"z": "a"}),
    ),
    (ValueError, "an input of features is unknown. Expected one of x; received 3.", lambda: look(features={3: ["a"]})),
    (FileNotFoundError, "there is no file no.safetensors.", lambda: gatewise.inspect("no.safetensors", data(1, 2, 2))),
    (TypeError, "model is no model.*received NoneType", lambda: gatewise.inspect(None, data(1, 2, 2))),
    (ValueError, "gate is unknown. Expected one of update, reset, candidate;", lambda: LAYER.saturated("forget")),
]
SAVE = [
    (TypeError, "row has the wrong type. Expected a whole number, 0 to 1; received 1.5.", {"row": 1.5}),
    (TypeError, "row has the wrong type. Expected a whole number, 0 to 1; received '1'.", {"row": "1"}),
    (TypeError, "row has the wrong type. Expected a whole number, 0 to 1; received True.", {"row": True}),
    (ValueError, "row is out of range. Expected 0 to 1; received -1.", {"row": -1}),
    (TypeError, "tokens has the wrong type. Expected a list of texts; received 4 in it.", {"tokens": [4, 5]}),
    (TypeError, "tokens has the wrong type. Expected a list of texts; received 5.", {"tokens": 5}),
    (TypeError, "tokens has the wrong type. Expected a list of texts; received b'ab'.", {"tokens": b"ab"}),
    (ValueError, "there are more tokens than steps. Expected at most 4; received 5.", {"tokens": "abcde"}),
    (TypeError, "title has the wrong type. Expected str; received 3.", {"title": 3}),
    (TypeError, "attributions has the wrong type.*received Attribution", {"attributions": MADE}),
    (TypeError, "one of attributions has the wrong type. Expected Attribution; received 3.", {"attributions": [3]}),
    (ValueError, "the output of an attribution is unknown. Expected one of y;", {"attributions": [IDS]}),
]
PICTURES = [
    (TypeError, "gates: layer has the wrong type. Expected Layer; received 3.", lambda: pictures.gates(3)),
    (TypeError, "horizons: layer has the wrong type.", lambda: pictures.horizons("reader")),
    (TypeError, "inputs: layer has the wrong type.", lambda: pictures.inputs(None)),
    (TypeError, "gates: row has the wrong type.*received 1.5.", lambda: pictures.gates(LAYER, 1.5)),
    (ValueError, "gates: row is out of range. Expected 0 to 1; received 9.", lambda: pictures.gates(LAYER, 9)),
    (TypeError, "gates: tokens has the wrong type.*received 1 in it.", lambda: pictures.gates(LAYER, 0, [1])),
    (ValueError, "gates: there are more tokens than steps.", lambda: pictures.gates(LAYER, 0, "abcde")),
    (TypeError, "attribution: found has the wrong type.", lambda: pictures.attribution(3, "x")),
    (ValueError, "attribution: name is unknown. Expected one of x;", lambda: pictures.attribution(MADE, "z")),
    (ValueError, "attribution: features do not fit.*received 1.", lambda: pictures.attribution(MADE, "x", ["a"])),
    (TypeError, "attribution: features has the wrong type.", lambda: pictures.attribution(MADE, "x", [1, 2])),
    (ValueError, "attribution: there are more tokens", lambda: pictures.attribution(MADE, "x", None, "abcde")),
    (ValueError, "by_step: name is unknown. Expected one of x; received 'z'.", lambda: MADE.by_step("z")),
]


def has_the_shape(message: str) -> bool:
    return re.fullmatch(r"\w+: .*\. .*; received .*\. .*\.|inspect: there is no file .*", message) is not None


@pytest.mark.parametrize(("error", "match", "run"), [*INSPECT, *PICTURES])
def test_what_is_wrong_is_named(error: type[Exception], match: str, run: Callable[[], Any]) -> None:
    with pytest.raises(error, match=match) as caught:
        run()
    assert has_the_shape(str(caught.value)), caught.value


@pytest.mark.parametrize(("error", "match", "options"), SAVE)
def test_what_is_wrong_with_a_page_is_named_and_nothing_is_written(
    error: type[Exception], match: str, options: Any, tmp_path: Path
) -> None:
    with pytest.raises(error, match=match) as caught:
        FOUND.save(tmp_path / "page.html", **options)
    assert str(caught.value).startswith("save: ")
    assert has_the_shape(str(caught.value)), caught.value
    assert not [*tmp_path.iterdir()]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    for error, match, path in (
        (TypeError, "save: path has the wrong type.*received 3.", 3),
        (TypeError, "save: path has the wrong type.*received b'a.html'.", b"a.html"),
        (IsADirectoryError, "save: path is a folder.", tmp_path),
        (IsADirectoryError, "save: path is a folder.", ""),
        (FileNotFoundError, "save: the folder of path does not exist.", tmp_path / "no" / "page.html"),
    ):
        with pytest.raises(error, match=match):
            FOUND.save(path)
    assert not [*tmp_path.iterdir()]


def test_what_is_right_is_taken(tmp_path: Path) -> None:
    """Numbers of NumPy, texts in an array, a text for its letters; names that an array holds."""
    FOUND.save(str(tmp_path / "page.html"), row=np.int64(1), tokens="Ada", attributions=(MADE,))
    assert re.search(r"A</span>.*d</span>.*a</span>", (tmp_path / "page.html").read_text(encoding="utf-8"), re.DOTALL)
    FOUND.save(tmp_path / "page.html", tokens=np.array(["to", "be"]))
    assert look(features=np.array(["a", "b"])).layers["reader"].features == ("a", "b")


def test_a_row_that_is_all_padding_has_a_picture(tmp_path: Path) -> None:
    mask = np.array([[True, True], [False, False]])
    graph = layer_graph("gru", weights("gru", 2, 3), masked=True)
    found = gatewise.inspect(graph, {"x": data(2, 2, 2), "mask": mask})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = pictures.gates(found.layers["reader"], 1)
        found.save(tmp_path / "page.html", row=1)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no step is read"]
    assert not pictures.gates(found.layers["reader"], 0).axes[0].texts


def test_arguments_of_attribute_are_named() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(2, 3, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.gru(x)[0]

    module, x = Reader(), torch.tensor(data(2, 4, 2))
    for error, match, options in (
        (TypeError, "row has the wrong type. Expected a whole number, 0 to 1; received 1.5.", {"row": 1.5}),
        (ValueError, "row is out of range. Expected 0 to 1; received 2.", {"row": 2}),
        (TypeError, "tolerance has the wrong type. Expected a number, 0 or more; received 'a'.", {"tolerance": "a"}),
        (ValueError, "tolerance is out of range. Expected a number, 0 or more; received -1.", {"tolerance": -1}),
        (ValueError, "tolerance is out of range.*received nan.", {"tolerance": np.nan}),
        (ValueError, "target is none.*received .True, True.", {"target": (True, True)}),
    ):
        with pytest.raises(error, match=match) as caught:
            attribute(module, x, **options)
        assert has_the_shape(str(caught.value)), caught.value
    assert attribute(module, x, np.int64(1), method="gradient_times_input").row == 1
    with pytest.raises(TypeError, match=r"x is none of what forward takes.*received list\. Make it a tensor"):
        gatewise.inspect(module, x.tolist())
