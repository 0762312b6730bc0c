# SPDX-License-Identifier: Apache-2.0
"""The engine's operations in TensorFlow (csrc/bind/tensorflow.c): their library, and their inputs as lists."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence

ABSENT: tuple[()] = ()  # becomes a tensor of shape (0,)
_LIBRARY = Path(__file__).parents[2] / "libgatewise_tensorflow.so"


@cache
def load() -> tuple[Any, str | None]:
    """Loads the operations once. Returns them, or the reason why they are not there."""
    try:
        # Nothing may open the file before TensorFlow does: it registers the operations while it opens the file.
        operations = tf.load_op_library(str(_LIBRARY))
    except (tf.errors.NotFoundError, RuntimeError) as error:
        return None, f"{_LIBRARY.name} cannot be loaded ({error})"
    if hasattr(operations, "gatewise_gru_grad"):
        return operations, None
    report = ctypes.CDLL(str(_LIBRARY)).gatewise_tensorflow_problem
    report.restype = ctypes.c_char_p
    problem = report()
    return None, problem.decode() if problem else f"{_LIBRARY.name} was opened by other means than TensorFlow"


def layer_inputs(directions: int) -> int:
    """Counts the inputs that all operations have: x and mask, and six of every direction."""
    return 2 + 6 * directions


def in_lists(inputs: Sequence[Any], n: int) -> list[Any]:
    """Brings the inputs of a layer of n directions to the operations' arguments, lists of what a direction has."""
    own = [list(inputs[1 + i * n : 1 + i * n + n]) for i in range(4)]
    mask = inputs[1 + 4 * n]
    return [inputs[0], *own, mask, list(inputs[2 + 4 * n : 2 + 5 * n]), list(inputs[2 + 5 * n : layer_inputs(n)])]
