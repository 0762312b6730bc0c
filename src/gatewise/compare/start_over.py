# SPDX-License-Identifier: Apache-2.0
"""A model that was trained becomes as it was when new: to trace a graph again would take longer than many a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def start_over(used: Any, new: Any) -> bool:
    """Gives a model every state of another that was built the same way: weights, seeds, and the optimizer's.

    Args:
        used: a compiled model, which keeps its traced graphs.
        new: another, compiled and never called since.

    Returns:
        Whether it could; otherwise nothing has changed, and `new` has to be taken itself.
    """
    for model in (used, new):
        model.optimizer.build(model.trainable_variables)
    pairs = list(zip(_state(used), _state(new), strict=False))
    same = len(pairs) == len(list(_state(used))) == len(list(_state(new)))
    if not same or any(one.shape != other.shape or one.dtype != other.dtype for one, other in pairs):
        return False
    for one, other in pairs:
        one.assign(other)
    used.reset_metrics()
    return True


def _state(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield from layer.variables
    yield from model.optimizer.variables
