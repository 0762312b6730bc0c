# SPDX-License-Identifier: Apache-2.0
"""How a layer says that its framework's own path runs instead of the engine: never silently, whatever the framework."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gatewise.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTABLE = "gatewise.portable() is active"  # the reason that a layer gives inside the block, without a warning


_scope = Scope()
_warned: set[str] = set()


class Obstacle(NamedTuple):
    """What keeps the engine from running a layer, whatever it is called with.

    Attributes:
        reason: why, a clause.
        cure: what to change, a sentence.
    """

    reason: str
    cure: str


class FallbackWarning(UserWarning):
    """Says, once for each reason, that a layer runs its framework's own path; `fallback_reason` holds the reason."""


@contextmanager
def portable() -> Iterator[None]:
    """Runs the framework's own path in every layer called or traced inside: the result holds stock operations alone.

    What is traced for export is recognised without it. It is for what cannot be: a function of your own that you trace
    and save later, forward-mode derivatives, a comparison. The block belongs to the thread that began it.

    Example:
        >>> import gatewise.fallback
        >>> with gatewise.fallback.portable():
        ...     gatewise.fallback.is_portable()
        True
        >>> gatewise.fallback.is_portable()
        False
    """
    with _scope.open():
        yield


def is_portable() -> bool:
    """Says whether the code running now stands in a `portable()` block."""
    return _scope.is_open()


def warn_once(reason: str, where: str) -> None:
    """Warns that a framework's own path runs, at most once in a process for each reason and place.

    Args:
        reason: why the engine does not run, a clause.
        where: what runs instead, as in "gatewise.keras.GRU: Keras's own path".

    Example:
        >>> import warnings
        >>> from gatewise import fallback
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     for _ in range(2):
        ...         fallback.warn_once("it is an example", "gatewise.example: the slow path")
        >>> [str(warning.message) for warning in caught]
        ['gatewise.example: the slow path runs, because it is an example.']
    """
    message = f"{where} runs, because {reason}."
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, FallbackWarning, stacklevel=3)


def given() -> list[str]:
    """Lists the warnings that `warn_once` has given in this process."""
    return sorted(_warned)


# torch.compiler.assume_constant_result sets this: torch.compile cannot trace a warning, and gives it while it traces.
setattr(warn_once, "_dynamo_marked_constant", True)  # noqa: B010  # mypy knows no such attribute
