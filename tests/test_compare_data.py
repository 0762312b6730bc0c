# SPDX-License-Identifier: Apache-2.0
"""What `gatewise.compare` makes of arrays: kinds of targets, one split, scales, masks; and errors that teach."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gatewise
from gatewise.compare.data import prepare
from gatewise.compare.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(1, 9, (20, 6))
NUMBERS = RANDOM.normal(5, 3, (20, 6, 2))


def prepared(*data: Any, **more: Any) -> Any:
    chosen = {"task": None, "split": None, "validation": 0.25, "mask_value": None, "mask_zero": None}
    chosen |= {"validation": None} if len(data) == 4 else {}
    return prepare(data, **{**chosen, "as_given": False, "seed": 0, **more})


@pytest.mark.parametrize(
    ("y", "task", "head", "each_step"),
    [
        (np.arange(20) % 3, "classes", (3, "softmax"), False),
        (np.arange(20) % 2, "classes", (1, "sigmoid"), False),
        (np.arange(20) % 2 == 0, "classes", (1, "sigmoid"), False),
        ((np.arange(20) % 2).astype(float), "classes", (1, "sigmoid"), False),
        (np.array(["yes", "no"] * 10), "classes", (1, "sigmoid"), False),
        (np.eye(4)[np.arange(20) % 4], "classes", (4, "softmax"), False),
        (IDS, "classes", (8, "softmax"), True),
        (np.tile([[1, 1, 0], [0, 1, 1]], (10, 1)), "labels", (3, "sigmoid"), False),
        (RANDOM.normal(size=20), "numbers", (1, "linear"), False),
        (RANDOM.normal(size=(20, 4)), "numbers", (4, "linear"), False),
        (RANDOM.normal(size=(20, 6, 1)), "numbers", (1, "linear"), True),
    ],
)
def test_targets_get_the_head_of_their_kind(y: Any, task: str, head: tuple[int, str], each_step: bool) -> None:
    found = prepared(IDS, y)
    assert (found.targets.task, found.targets.head, found.targets.each_step) == (task, head, each_step)
    assert found.y.ndim == 2 + each_step
    assert len(found.y) == 15
    assert len(found.y_val) == 5


@dataclasses.dataclass(frozen=True, order=True)
class Mark:
    """A class of a user's own that can be sorted."""

    value: int


SORTED = ("no", "perhaps", "yes")
NAMES = np.array(SORTED)[np.arange(20) % 3]
CODES = np.arange(20) % 3


def pandas(name: str, *args: Any, **options: Any) -> Any:
    return getattr(pytest.importorskip("pandas"), name)(*args, **options)


def numpy_strings() -> Any:
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("this NumPy has no strings of its own")
    return NAMES.astype(np.dtypes.StringDType())


NAMED: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "str": (NAMES.tolist, SORTED),
    "objects": (lambda: NAMES.astype(object), SORTED),
    "bytes": (lambda: NAMES.astype("S"), tuple(name.encode() for name in SORTED)),
    "NumPy's strings": (numpy_strings, SORTED),
    "a column of strings": (lambda: pandas("Series", NAMES), SORTED),
    "pandas strings": (lambda: pandas("Series", NAMES, dtype="string"), SORTED),
    "categories": (lambda: pandas("Categorical", NAMES, categories=["yes", "no", "perhaps", "unused"]), SORTED),
    "a column of categories": (lambda: pandas("Series", NAMES, dtype="category"), SORTED),
    "categories of numbers": (lambda: pandas("Categorical", CODES * 10), (0, 10, 20)),
    "nullable numbers": (lambda: pandas("array", CODES * 10, dtype="Int64"), (0, 10, 20)),
    "numbers as objects": (lambda: np.array([np.int64(code * 10) for code in CODES], object), (0, 10, 20)),
    "days": (lambda: np.datetime64("2026-01-01") + CODES, ("2026-01-01", "2026-01-02", "2026-01-03")),
    "a class of one's own": (lambda: [Mark(int(code)) for code in CODES], (Mark(0), Mark(1), Mark(2))),
}


@pytest.mark.parametrize("kind", NAMED)
def test_names_of_any_kind_are_classes_in_the_order_of_numpy_and_keep_their_names(kind: str) -> None:
    make, names = NAMED[kind]
    y, x = make(), np.arange(20)[:, None] + np.zeros((20, 6), int)  # rows that hold their number
    wanted = [names[code] for code in CODES]
    for data in ((x, y), (x, y, x[:6], y[:6])):
        found = prepared(*data)
        assert (found.targets.task, found.targets.values) == ("classes", names)
        assert found.y.dtype == np.int32
        for rows, numbers in ((found.x, found.y), (found.x_val, found.y_val)):
            assert [names[i] for i in numbers.ravel()] == [wanted[row] for row in rows[:, 0]]


def test_names_at_every_step_are_classes() -> None:
    found = prepared(IDS, np.array(["a", "b"], dtype=object)[IDS % 2])
    assert (found.targets.each_step, found.targets.values, found.y.shape) == (True, ("a", "b"), (15, 6, 1))


def test_the_same_names_of_another_kind_are_the_same_question() -> None:
    digests = {prepared(IDS, NAMED[kind][0]()).digest() for kind in ("str", "objects", "categories", "pandas strings")}
    assert digests == {prepared(IDS, NAMES).digest()}


def test_classes_that_pandas_has_not_are_an_error() -> None:
    for y in (pandas("Categorical", [np.nan, *NAMES[1:]]), pandas("Series", [None, *NAMES[1:]], dtype="string")):
        with pytest.raises(ValueError, match=r"compare: y has classes that are missing.*received 1 that"):
            prepared(IDS, y)


def test_classes_are_numbered_from_zero_and_numbers_scaled_by_the_training_rows() -> None:
    assert set(prepared(IDS, np.array([3, 9] * 10)).y.ravel()) == {0, 1}
    y = RANDOM.normal(7, 2, 20)
    found = prepared(NUMBERS, y)
    np.testing.assert_allclose(found.y.ravel() * y[:15].std() + y[:15].mean(), y[:15], rtol=1e-5)
    np.testing.assert_allclose(found.y_val.ravel() * y[:15].std() + y[:15].mean(), y[15:], rtol=1e-5)
    assert found.targets.spread == pytest.approx(y[:15].std())
    np.testing.assert_allclose(found.x.mean(axis=(0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(found.x_val, (NUMBERS[15:] - NUMBERS[:15].mean((0, 1))) / NUMBERS[:15].std((0, 1)), 1e-5)


def test_numbers_are_judged_by_the_last_rows_and_classes_by_any() -> None:
    x = np.arange(20.0)[:, None] + np.zeros((20, 6))
    numbers = prepared(x, RANDOM.normal(size=20), as_given=True)
    np.testing.assert_array_equal(numbers.x_val[:, 0, 0], np.arange(15, 20))
    classes = prepared(x, np.arange(20) % 3, as_given=True)
    rows = np.concatenate([classes.x, classes.x_val])[:, 0, 0]
    assert sorted(rows) == list(range(20))
    assert not np.array_equal(rows, np.arange(20))
    np.testing.assert_array_equal(np.concatenate([classes.y, classes.y_val]), rows % 3)  # x and y stay together
    again = prepared(x, np.arange(20) % 3, as_given=True)
    np.testing.assert_array_equal(again.x_val, classes.x_val)
    assert not np.array_equal(prepared(x, np.arange(20) % 3, as_given=True, seed=1).x_val, classes.x_val)


def test_given_validation_rows_are_taken_as_they_are() -> None:
    found = prepared(IDS, np.arange(20) % 3, IDS[:4], np.array([0, 1, 2, 0]))
    assert (len(found.x), len(found.x_val), found.split) == (20, 4, "the 4 rows given")
    np.testing.assert_array_equal(found.y_val.ravel(), [0, 1, 2, 0])


def test_masked_steps_neither_count_for_the_scale_nor_look_like_others() -> None:
    x = NUMBERS.copy()
    x[:, 4:] = -1
    found = prepared(x, np.arange(20.0) + 0.5, mask_value=-1)
    np.testing.assert_allclose(found.x[:, :4].mean(axis=(0, 1)), 0, atol=1e-6)
    assert (found.x[:, 4:] == found.mask_value).all()
    assert (found.x[:, :4] != found.mask_value).all()
    assert prepared(IDS, np.arange(20) % 3).mask_value == 0
    for no in (False, np.False_):
        assert prepared(IDS, np.arange(20) % 3, mask_zero=no).mask_value is None


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        ((IDS,), {}, r"data has the wrong form. Expected \(x, y\), or .*; received tuple of 1"),
        ((np.array(["a film"] * 20), np.arange(20)), {}, r"x does not hold sequences.*Vocabulary"),
        ((IDS, np.arange(19)), {}, r"x and y do not fit together.*\(20, 6\).*\(19,\)"),
        ((np.where(NUMBERS > 5, NUMBERS, np.nan), np.arange(20)), {}, "x holds numbers that are none"),
        (([[1, 2], [3]], [0, 1]), {}, "x is no array. Expected rows of one length.*pad_sequences"),
        ((IDS - 5, np.arange(20) % 2), {}, "ids do not fit. Expected ids from 0 on"),
        ((IDS, np.zeros(20, int)), {}, "y has one class, 0. Expected two or more"),
        ((IDS, np.arange(20) % 2, IDS, np.arange(20) % 2), {"split": "last"}, "split has no effect here.*'last'"),
        ((IDS, np.arange(20) % 2, IDS, np.arange(20) % 2), {"validation": 0.5}, "validation has no effect here.*0.5"),
        (
            (NUMBERS, np.arange(20)),
            {"as_given": True, "mask_value": -1},
            "mask_value has no effect with build.*Masking",
        ),
        ((IDS, np.arange(20)), {"as_given": True, "mask_value": 0}, "mask_value has no effect with build"),
        ((IDS, np.arange(20)), {"as_given": True, "mask_zero": False}, "mask_zero has no effect with build.*False"),
        ((NUMBERS, np.arange(20)), {"mask_zero": True}, "mask_zero has no effect on numbers.*True. Give mask_value"),
        ((IDS, np.arange(20) % 2), {"split": "first"}, "split is unknown. Expected one of random, last"),
        ((IDS, np.arange(20) % 2), {"validation": 0.01}, "there are too few rows to split"),
        ((IDS, np.arange(20.0)), {"task": "labels"}, "y does not fit task='labels'. Expected 0 or 1"),
        ((IDS, RANDOM.normal(size=(20, 5, 2))), {}, r"y has other steps than x. Expected \(rows, 6, outputs\)"),
        ((np.ma.masked_array(NUMBERS), np.arange(20)), {}, "x is a masked array, whose mask would be lost"),
        ((IDS, np.arange(20), NUMBERS, np.arange(20)), {}, "x_val does not fit x. Expected the same kind of rows"),
        ((NUMBERS * 0, np.arange(20)), {"mask_value": 0}, "mask_value leaves nothing"),
        ((NUMBERS, np.arange(20)), {"mask_value": "a"}, "mask_value is no number that x could hold.*received 'a'"),
        ((NUMBERS, np.arange(20)), {"mask_value": np.nan}, "mask_value is no number.*received nan"),
        ((IDS, None), {}, "y is no array. Expected one with a row for each sequence; received NoneType"),
        ((IDS, "yes"), {}, "y is no array.*received str"),
        ((None, np.arange(20)), {}, "x is no array.*received NoneType"),
        (((row for row in IDS), np.arange(20)), {}, "x is no array.*received generator"),
        ((IDS, np.arange(20) % 2, IDS, None), {}, "y_val is no array.*received NoneType"),
        ((IDS, [None, *NAMES[1:]]), {}, "y has classes that are missing.*received 1 that are None"),
        ((IDS, np.array(["NaT", *["2026-01-01"] * 19], "M8[D]")), {}, "y has classes that are missing"),
        ((IDS, np.array([1, *NAMES[1:]], object)), {}, "y holds values that cannot.*received int, str"),
        ((IDS, [{}] * 20), {}, "y holds values that cannot be sorted.*received dict. Name each class by a str"),
        ((IDS, NAMES), {"task": "numbers"}, "y does not fit task='numbers'"),
        ((IDS, NAMES), {"as_given": True}, r"y names classes, and the model that build makes.*numpy.unique"),
        ((IDS, np.arange(20) % 2), {"split": ""}, "split is unknown"),
        ((IDS + 2**40, np.arange(20) % 2), {}, "ids are too large. Expected ids below 2,147,483,648"),
        ((IDS, RANDOM.normal(size=20) * 1e300), {}, "y is too large to be scaled"),
        (
            (NUMBERS * 1e100, np.arange(20)),
            {"as_given": True},
            "x is too large. Expected numbers that float32 can hold",
        ),
        ((NUMBERS * 1e300, np.arange(20)), {}, r"x is too large to be scaled.*received up to \de\+30"),
    ],
)
def test_errors_teach(data: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"compare: {message}"):
        prepared(*data, **more)


GOOD: dict[str, Any] = {"units": 8, "ways": ("units",), "minutes": 1, "seeds": 3, "epochs": 9, "patience": 2}
GOOD |= {"batch_size": 8, "learning_rate": None, "tune": 0, "seed": 0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"units": 0}, "units is 0. Expected a whole number of at least 1"),
        ({"seeds": 2.0}, "seeds is 2.0. Expected a whole number"),
        ({"seeds": 99}, "seeds is too large. Expected at most 31; received 99"),
        ({"minutes": float("nan")}, "minutes is nan. Expected a number greater than 0"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"ways": ("units", "units")}, "ways is .* each once"),
        ({"ways": ("size",)}, "ways is unknown. Expected one of units, parameters, time"),
        ({"ways": None}, "ways is None. Expected one or more of units, parameters, time, in a list"),
        ({"ways": "units"}, "ways is 'units'. Expected one or more"),
        ({"ways": (["units"],)}, "ways is unknown"),
        ({"seed": 2**40}, r"seed is too large. Expected at most 4294967264; received 1099511627776"),
        ({"seed": -1}, "seed is -1. Expected a whole number of at least 0"),
        ({"units": None}, "units is None. Expected a whole number"),
        ({"minutes": None}, "minutes is None. Expected a number greater than 0"),
        ({"minutes": 10**400}, "minutes is 1000.*Expected a number greater than 0"),
        ({"ways": ()}, r"ways is \(\). Expected one or more"),
        ({"ways": ("time",)}, "patience has no effect here.*ways is 'time' alone.*received 2"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], message: str) -> None:
    Settings(**GOOD)
    with pytest.raises(ValueError, match=f"compare: {message}"):
        Settings(**{**GOOD, **wrong})


def test_what_is_not_given_is_what_the_call_says() -> None:
    assert Settings(**{**GOOD, "patience": None, "ways": ("time",)}).patience == 5
    assert Settings(**{**GOOD, "ways": ("time",), "tune": 1}).patience == 2  # of the runs of tuned cells
    assert len(prepared(IDS, np.arange(20) % 3, validation=None).x_val) == 4


def test_settings_of_numpy_are_kept_as_python_has_them() -> None:
    found = Settings(**{**GOOD, "units": np.int64(8), "minutes": np.float32(1), "ways": ["units"], "seed": np.int8(0)})
    assert found == Settings(**GOOD)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["units"] == 8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"build": 3}, r"build has the wrong type. Expected a function \(layer, units\).*received 3"),
        ({"folder": 3}, "folder is no path. Expected a str or a pathlib.Path, or None; received 3"),
        ({"folder": ""}, "folder is no path"),
        ({"folder": b"x"}, "folder is no path"),
        ({"verbose": "no"}, "verbose has the wrong type. Expected True or False; received 'no'"),
        ({"mask_zero": "no"}, "mask_zero has the wrong type"),
        ({"cells": None}, "cells is no list"),
        ({"task": ["classes"]}, "task is unknown"),
        ({"validation": "0.2"}, "validation is '0.2'. Expected a share between 0 and 1"),
        ({"mask_value": 0.0, "build": print}, "mask_value has no effect with build.*received 0.0"),
    ],
)
def test_every_argument_of_the_call_is_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"compare: {message}"):
        gatewise.compare((NUMBERS, np.arange(20) % 2), minutes=0.01, **wrong)
