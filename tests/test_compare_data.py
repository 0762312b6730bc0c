# SPDX-License-Identifier: Apache-2.0
"""What `gatewise.compare` makes of arrays: kinds of targets, one split, scales, masks; and errors that teach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatewise.compare.data import prepare
from gatewise.compare.settings import Settings

RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(1, 9, (20, 6))
NUMBERS = RANDOM.normal(5, 3, (20, 6, 2))


def prepared(*data: Any, **more: Any) -> Any:
    chosen = {"task": None, "split": None, "validation": 0.25, "mask_value": None, "mask_zero": True}
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
    assert prepared(IDS, np.arange(20) % 3, mask_zero=False).mask_value is None


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
        ((IDS, np.arange(20) % 2, IDS, np.arange(20) % 2), {"split": "last"}, "split has no meaning here"),
        ((IDS, np.arange(20) % 2), {"split": "first"}, "split is unknown. Expected one of random, last"),
        ((IDS, np.arange(20) % 2), {"validation": 0.01}, "there are too few rows to split"),
        ((IDS, np.arange(20.0)), {"task": "labels"}, "y does not fit task='labels'. Expected 0 or 1"),
        ((IDS, RANDOM.normal(size=(20, 5, 2))), {}, r"y has other steps than x. Expected \(rows, 6, outputs\)"),
        ((np.ma.masked_array(NUMBERS), np.arange(20)), {}, "x is a masked array, whose mask would be lost"),
        ((IDS, np.arange(20), NUMBERS, np.arange(20)), {}, "x_val does not fit x. Expected the same kind of rows"),
        ((NUMBERS * 0, np.arange(20)), {"mask_value": 0}, "mask_value leaves nothing"),
        ((NUMBERS, np.arange(20)), {"mask_value": "a"}, "mask_value is no number that x could hold.*received 'a'"),
        ((NUMBERS, np.arange(20)), {"mask_value": np.nan}, "mask_value is no number.*received nan"),
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
        ({"ways": ()}, r"ways is \(\). Expected one or more"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], message: str) -> None:
    Settings(**GOOD)
    with pytest.raises(ValueError, match=f"compare: {message}"):
        Settings(**{**GOOD, **wrong})
