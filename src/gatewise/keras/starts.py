# SPDX-License-Identifier: Apache-2.0
"""The call argument `starts` of our layers, handed past the `call` of stock Keras to the loop that it runs."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.keras.errors import named

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Given(NamedTuple):
    starts: Any  # (batch, timesteps), any dtype
    layers: tuple[Any, ...]  # whose loops shall take it
    taken: list[Any]  # those that did


_GIVEN: ContextVar[_Given | None] = ContextVar("starts", default=None)


@contextmanager
def given(starts: Any, *layers: Any) -> Iterator[None]:
    """Hands starts to the loops of these layers that run in the block.

    Raises:
        NotImplementedError: one of the layers has run none that takes them.
    """
    about = _Given(starts, layers, [])
    token = _GIVEN.set(about)
    try:
        yield
    finally:
        _GIVEN.reset(token)
    left = [layer for layer in layers if not any(layer is other for other in about.taken)]
    if left:
        raise NotImplementedError(
            f"{named(left[0])}: starts did not reach the loop over time. Expected a loop that takes them; received one "
            "that does not. Call gatewise's layers themselves, one for each direction."
        )


def take(layer: Any) -> Any:
    """Returns the starts that the layer's loop is to take, None if there are none."""
    about = _GIVEN.get()
    if about is None or not any(layer is other for other in about.layers):
        return None
    about.taken.append(layer)
    return about.starts
