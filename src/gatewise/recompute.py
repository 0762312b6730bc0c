# SPDX-License-Identifier: Apache-2.0
"""Training on sequences too long for their gates to be kept."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gatewise.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

_scope = Scope()


@contextmanager
def recompute() -> Iterator[None]:
    """Lets layers that train keep a few states instead of all gates, and find the gates again on the way back.

    Of a sequence of T steps about sqrt(T) states are kept, and as many steps' gates are found again at once, instead of
    the gates and states of all T, for the time of one more forward pass. Gradients are the same, bit for bit. It holds
    for every native layer, of Keras, torch or NumPy, that runs in the block or, in compiled code, was traced in it:
    compile a model again that has been fitted outside. The block belongs to the thread that began it.

    Example:
        >>> import gatewise, numpy as np
        >>> weights = gatewise.GRUWeights(np.ones((1, 3)), np.ones((1, 3)))
        >>> with gatewise.recompute():
        ...     outputs, state, vjp = gatewise.rnn_vjp(np.ones((1, 10_000, 1)), weights)
        >>> vjp(d_state=np.ones((1, 1))).kernel.shape
        (1, 3)
    """
    with _scope.open():
        yield


def recomputing() -> bool:
    """Says whether the code running now stands in a `recompute()` block."""
    return _scope.is_open()
