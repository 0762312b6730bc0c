# SPDX-License-Identifier: Apache-2.0
"""A scope that a user opens by `with`: it belongs to the thread that opened it, and torch.compile sees it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _OpenBlocks(threading.local):
    """How many blocks of a scope the thread stands in."""

    count = 0


class Scope:
    """Something that holds inside `with scope.open():`.

    Example:
        >>> quiet = Scope()
        >>> with quiet.open():
        ...     quiet.is_open()
        True
        >>> quiet.is_open()
        False
    """

    def __init__(self) -> None:
        self._here = _OpenBlocks()
        # The blocks of all threads. torch.compile cannot read a ContextVar, and reads a thread's value without watching
        # it; it watches this one, and so traces again where a block begins or ends.
        self._anywhere = 0
        self._changing = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Opens the scope for the block."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def is_open(self) -> bool:
        """Says whether the code running now stands in a block."""
        return self._anywhere > 0 and self._here.count > 0

    def _add(self, blocks: int) -> None:
        self._here.count += blocks
        with self._changing:
            self._anywhere += blocks
