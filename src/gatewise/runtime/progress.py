# SPDX-License-Identifier: Apache-2.0
"""How far a long call is, on a terminal: a line that is written over again and again."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from gatewise.options import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Item = TypeVar("Item")

PATIENCE = 1.0  # seconds before anything is shown
EACH = 0.1  # seconds from one line to the next
ERASE = "\r\x1b[K"


def check_verbose(where: str, verbose: Any) -> bool:
    """Checks the argument.

    Args:
        where: opens the error.
        verbose: "auto", 0 or 1.

    Returns:
        Whether a line may be shown: always with 1, with "auto" where the standard error is a terminal.

    Raises:
        ValueError: it is something else.
    """
    if verbose not in ("auto", 0, 1):
        raise ValueError(
            f"{where}: verbose is {cut(repr(verbose))}. Expected 'auto', a line of progress on a terminal after a "
            "second, 0, none, or 1, in any case. Give one of these."
        )
    if verbose == "auto":
        return sys.stderr is not None and sys.stderr.isatty()
    return bool(verbose)


def shown(where: str, what: str, items: Sequence[Item], sizes: Sequence[int], verbose: Any) -> Iterator[Item]:
    """Gives items one after the other, and shows how many are done.

    Args:
        where: the function that works.
        what: what is counted: "rows".
        items: what is worked on.
        sizes: how many each item counts.
        verbose: as `check_verbose` has it.

    Yields:
        The items.
    """
    if not check_verbose(where, verbose):
        yield from items
        return
    begin = time.monotonic()
    after = begin + (0 if verbose == 1 else PATIENCE)
    done, total, written = 0, sum(sizes), False
    try:
        for item, size in zip(items, sizes, strict=True):
            yield item
            done, now = done + size, time.monotonic()
            if now >= after:
                after, written = now + EACH, True
                left = (now - begin) / done * (total - done)
                sys.stderr.write(f"{ERASE}{where}: {done:,} of {total:,} {what}, {left:.0f} s left")
                sys.stderr.flush()
    finally:
        if written:
            sys.stderr.write(f"{ERASE}{where}: {done:,} of {total:,} {what}, {time.monotonic() - begin:.0f} s\n")
            sys.stderr.flush()
