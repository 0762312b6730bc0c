# SPDX-License-Identifier: Apache-2.0
"""The data of a comparison: checked, split once for every cell, and what kind of question it is."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.compare.answers import answers
from gatewise.compare.targets import Targets, targets_of
from gatewise.data.checks import is_real
from gatewise.options import cut, flag, one_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPECTED = "(x, y), or (x, y, x_val, y_val), of arrays"


@dataclass(frozen=True)
class Data:
    """What every cell is trained and judged on.

    Attributes:
        x, x_val: (rows, timesteps) int32 ids, or (rows, timesteps, features) float32.
        y, y_val: what is to be found, as the loss takes it.
        targets: what kind it is of.
        vocabulary: one more than the greatest id; None for float32.
        mask_value: the id or number of steps that are left out; None if there is none.
        split: where the validation rows come from, in words.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    x_val: NDArray[Any]
    y_val: NDArray[Any]
    targets: Targets
    vocabulary: int | None
    mask_value: float | None
    split: str

    def digest(self) -> str:
        """What tells these arrays from any others."""
        found = hashlib.sha256(repr((self.targets, self.vocabulary, self.mask_value, self.split)).encode())
        for array in (self.x, self.y, self.x_val, self.y_val):
            found.update(f"{array.shape} {array.dtype}".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


def prepare(
    data: Any,
    *,
    task: str | None,
    split: str | None,
    validation: float | None,
    mask_value: float | None,
    mask_zero: bool | None,
    as_given: bool,
    seed: int,
) -> Data:
    """Checks arrays, splits them and brings them into the form that the model reads.

    Args:
        data: (x, y), or (x, y, x_val, y_val).
        task: "classes", "labels" or "numbers"; None: what y looks like.
        split: "random" or "last"; None: "last" for numbers, "random" for the others.
        validation: the share of rows that are for validation, where none are given; None: 0.2.
        mask_value: of numbers, what steps hold that are left out; None: there are none.
        mask_zero: whether id 0 stands for no step; None: it does.
        as_given: whether a model of the caller's own reads the arrays: then nothing is scaled or numbered anew.
        seed: what decides a random split.

    Raises:
        TypeError: an array does not hold numbers.
        ValueError: the arrays do not fit together, leave nothing to compare, or an argument would have no effect.
    """
    x, y, x_val, y_val = _arrays(data)
    _check_masks(mask_value, mask_zero, as_given=as_given, of_ids=x.dtype.kind != "f")
    if x_val is None or y_val is None:
        targets = targets_of(y, None, x.shape[1], task, as_given)
        how = one_of("compare", "split", _split(targets) if split is None else split, _SPLITS)
        train, held = _rows(len(x), _VALIDATION if validation is None else validation, how, seed)
        x, y, x_val, y_val = x[train], y[train], x[held], y[held]
        words = f"the last {len(held):,} rows" if how == "last" else f"{len(held):,} rows picked at random"
    else:
        for name, value in (("split", split), ("validation", validation)):
            if value is not None:
                raise ValueError(
                    f"compare: {name} has no effect here. Expected None with (x, y, x_val, y_val); received "
                    f"{cut(repr(value))}. Leave it out, or give (x, y)."
                )
        targets, words = targets_of(y, y_val, x.shape[1], task, as_given), f"the {len(x_val):,} rows given"
    vocabulary = None
    if x.dtype.kind != "f":
        vocabulary = int(max(x.max(), x_val.max())) + 1
        if vocabulary > 2**31:
            raise ValueError(
                f"compare: ids are too large. Expected ids below {2**31:,}; received {vocabulary - 1:,}. Number them "
                "anew: numpy.unique(x, return_inverse=True)."
            )
        mask_value = _mask_of_ids(int(min(x.min(), x_val.min())), mask_value, mask_zero is None or bool(mask_zero))
    elif not as_given:
        x, x_val, mask_value = _scaled(x, x_val, mask_value)
    kind: Any = np.float32 if vocabulary is None else np.int32
    targets = targets.fitted(y)
    with np.errstate(over="ignore"):
        arrays = [(x.astype(kind), targets(y)), (x_val.astype(kind), targets(y_val))]
    _check_held([("x", arrays[0][0]), ("y", arrays[0][1]), ("x_val", arrays[1][0]), ("y_val", arrays[1][1])])
    return Data(*arrays[0], *arrays[1], targets, vocabulary, mask_value, words)


def _check_masks(mask_value: Any, mask_zero: Any, *, as_given: bool, of_ids: bool) -> None:
    """Raises if an argument that masks would have no effect."""
    if mask_zero is not None:
        flag("compare", "mask_zero", mask_zero)
    masking = (("mask_value", mask_value, "Masking(...)"), ("mask_zero", mask_zero, "Embedding(mask_zero=...)"))
    for name, value, layer in masking:
        if value is not None and as_given:
            raise ValueError(
                f"compare: {name} has no effect with build. Expected None, as the model that build makes reads x as it "
                f"is; received {cut(repr(value))}. Put keras.layers.{layer} into that model."
            )
    if mask_zero is not None and not of_ids:
        raise ValueError(
            f"compare: mask_zero has no effect on numbers. Expected None where x is of float; received {mask_zero}. "
            "Give mask_value, what steps that are left out are filled with, or make x of int if it holds ids."
        )


def _check_held(arrays: list[tuple[str, NDArray[Any]]]) -> None:
    for name, array in arrays:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"compare: {name} is too large. Expected numbers that {array.dtype} can hold, as models compute in it; "
                "received larger ones. Give it in another unit."
            )


_SPLITS = ("random", "last")
_VALIDATION = 0.2  # if nothing else is said


def _split(targets: Targets) -> str:
    return "last" if targets.task == "numbers" else "random"


def _arrays(data: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    """Takes the arrays apart, and checks each pair."""
    if not isinstance(data, tuple | list) or len(data) not in {2, 4}:
        what = f"{type(data).__name__} of {len(data)}" if isinstance(data, tuple | list) else type(data).__name__
        raise TypeError(
            f"compare: data has the wrong form. Expected {_EXPECTED}; received {what}. Write compare((x, y)); batches "
            "of a dataset or a generator are joined before: numpy.concatenate."
        )
    x, y = _pair(data[0], data[1], "x", "y")
    if len(data) == 2:
        return x, y, None, None
    x_val, y_val = _pair(data[2], data[3], "x_val", "y_val")
    for name, one, other in (("x_val", x, x_val), ("y_val", y, y_val)):
        if one.ndim != other.ndim or one.shape[2:] != other.shape[2:] or one.dtype.kind != other.dtype.kind:
            raise ValueError(
                f"compare: {name} does not fit {name[0]}. Expected the same kind of rows; received {_shown(other)} "
                f"beside {_shown(one)}. Make both the same way."
            )
    return x, y, x_val, y_val


def _pair(x: Any, y: Any, x_name: str, y_name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = _array(x, x_name), answers(_array(y, y_name), y_name)
    if x.dtype.kind not in "iuf" or x.ndim not in {2, 3} or (x.ndim == 3 and x.dtype.kind != "f"):
        cure = "Make ids of text first: gatewise.data.text.Vocabulary." if x.dtype.kind in "USO" else "Check the axes."
        raise ValueError(
            f"compare: {x_name} does not hold sequences. Expected ids (rows, timesteps) of int, or (rows, timesteps) "
            f"or (rows, timesteps, features) of float; received {_shown(x)}. {cure}"
        )
    if len(x) != len(y) or not x.size or not y.size or y.ndim > 3:
        raise ValueError(
            f"compare: {x_name} and {y_name} do not fit together. Expected as many rows, at least one, and y of at "
            f"most three axes; received {_shown(x)} and {_shown(y)}. Give each sequence its answer."
        )
    for name, array in ((x_name, x), (y_name, y)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"compare: {name} holds numbers that are none. Expected finite ones; received "
                f"{np.count_nonzero(~np.isfinite(array)):,} that are not. Leave these rows out, or fill them in."
            )
    return (x[..., None] if x.ndim == 2 and x.dtype.kind == "f" else x), y


def _array(value: Any, name: str) -> NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"compare: {name} is a masked array, whose mask would be lost. Expected an array; received "
            f"numpy.ma.MaskedArray. Fill it with a number, and pass that as mask_value."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"compare: {name} is no array. Expected rows of one length; received {type(value).__name__} of several. "
            "Fill them up: keras.utils.pad_sequences."
        ) from error
    if not array.ndim:
        raise TypeError(
            f"compare: {name} is no array. Expected one with a row for each sequence; received {type(value).__name__}. "
            "Give an array, or a list."
        )
    return array


def _shown(array: NDArray[Any]) -> str:
    return f"{array.shape} of {array.dtype}"


def _rows(rows: int, validation: Any, how: str, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Picks the rows for training and for validation."""
    if not isinstance(validation, float) or not 0 < validation < 1:
        raise ValueError(
            f"compare: validation is {cut(repr(validation))}. Expected a share between 0 and 1, as 0.2. Change it."
        )
    held = round(rows * validation)
    if not 0 < held < rows:
        raise ValueError(
            f"compare: there are too few rows to split. Expected one or more for validation and for training; received "
            f"{rows} rows and validation={validation}. Give more rows."
        )
    order = np.random.default_rng(seed).permutation(rows) if how == "random" else np.arange(rows)
    return order[:-held], order[-held:]


def _scaled(
    x: NDArray[Any], x_val: NDArray[Any], mask_value: float | None
) -> tuple[NDArray[Any], NDArray[Any], float | None]:
    """Gives each feature mean 0 and deviation 1 over the training steps that are not left out."""
    if mask_value is not None and (not is_real(mask_value) or not math.isfinite(mask_value)):
        raise ValueError(
            f"compare: mask_value is no number that x could hold. Expected a finite number, or None; received "
            f"{cut(repr(mask_value))}. Give what the steps that are left out are filled with."
        )
    masks = [np.zeros(a.shape[:2], bool) if mask_value is None else (a == mask_value).all(axis=2) for a in (x, x_val)]
    steps = x[~masks[0]].astype(np.float64)
    if not len(steps):
        raise ValueError(
            f"compare: mask_value leaves nothing. Expected steps of x that differ from it; received {mask_value} "
            "everywhere. Check it."
        )
    with np.errstate(over="ignore"):
        spread = steps.std(axis=0)
    if not np.isfinite(spread).all():
        raise ValueError(
            f"compare: x is too large to be scaled. Expected numbers whose squares float64 can hold; received up to "
            f"{np.abs(steps).max():.0e}. Give it in another unit."
        )
    mean, spread = steps.mean(axis=0), np.where(spread > 0, spread, 1.0)
    found = [(a - mean) / spread for a in (x, x_val)]
    if mask_value is None:
        return found[0], found[1], None
    marker = float(np.floor(min(a.min() for a in found)) - 1)  # what no scaled step is
    for array, mask in zip(found, masks, strict=True):
        array[mask] = marker
    return found[0], found[1], marker


def _mask_of_ids(least: int, mask_value: float | None, mask_zero: bool) -> float | None:
    if least < 0 or mask_value is not None:
        raise ValueError(
            "compare: ids do not fit. Expected ids from 0 on, and mask_value=None, since of ids 0 alone can be a mask; "
            f"received a least id of {least} and mask_value={mask_value}. Number them from 1, and fill up with 0."
        )
    return 0.0 if mask_zero else None
