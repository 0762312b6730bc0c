# SPDX-License-Identifier: Apache-2.0
"""The engine's operations in TensorFlow (csrc/bind/tensorflow.cpp): their library, and what they take.

An operation takes the shared inputs of the table (operands.py), then a list for each of a direction's own; the backward
pass takes the gradient of the outputs behind the first, and the workspaces and the gradients of the states last.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIBRARY = Path(__file__).parents[2] / "libgatewise_tensorflow.so"


@cache
def load() -> tuple[Any, str | None]:
    """Loads the operations once. Returns them, or the reason why they are not there."""
    try:
        # Nothing may open the file before TensorFlow does: it registers the operations while it opens the file.
        operations = tf.load_op_library(str(_LIBRARY))
    except (tf.errors.NotFoundError, RuntimeError) as error:
        return None, f"{_LIBRARY.name} cannot be loaded ({error})"
    if hasattr(operations, "gatewise_rnn_grad"):
        return operations, None
    report = ctypes.CDLL(str(_LIBRARY)).gatewise_tensorflow_problem
    report.restype = ctypes.c_char_p
    problem = report()
    return None, problem.decode() if problem else f"{_LIBRARY.name} was opened by other means than TensorFlow"


def in_lists(tensors: Sequence[Any], shared: int, n: int) -> list[Any]:
    """Brings an operation's inputs or outputs to its arguments: so many that are shared, then lists of n."""
    return [*tensors[:shared], *(list(tensors[i : i + n]) for i in range(shared, len(tensors), n))]


def absent() -> dict[str, Any]:
    """Returns, by dtype, the tensors of shape (0,) that stand for operands that are absent.

    They are tensors, and not the () that would become one: TensorFlow's fast way into an operation does not take that
    as bool, and its other way takes several times as long.
    """
    return _eagerly() if tf.executing_eagerly() else _of_every_dtype()


def _of_every_dtype() -> dict[str, Any]:
    return {dtype: tf.constant((), dtype) for dtype in ("float32", "bool")}


_eagerly = cache(_of_every_dtype)
