# SPDX-License-Identifier: Apache-2.0
"""What is said on stderr when a program has ended: how many calls ran natively, and why others did not."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from gatewise import engine, fallback
from gatewise.run.patching import FRAMEWORKS

if TYPE_CHECKING:
    from gatewise.run.processes import Follower


def at_exit(follower: Follower) -> None:
    """Says it when the interpreter ends, however the program does; after the threads and the program's own last words.

    Args:
        follower: the one that follows the program's processes.
    """
    atexit.register(_say, follower, os.getpid())


def _say(follower: Follower, process: int) -> None:
    if os.getpid() != process:  # a copy of the process, made by os.fork
        return
    lines = [_counts(list(follower.counts())), *fallback.given()]
    if sys.__stderr__ is not None and not sys.__stderr__.closed:
        sys.__stderr__.write("".join(f"gatewise: {line}\n" for line in lines))


def _counts(others: list[engine.Calls | None]) -> str:
    here, known = engine.calls(), [calls for calls in others if calls is not None]
    forward, backward = (sum(column) for column in zip(here, *known, strict=True))
    silent = len(others) - len(known)
    where = sum(any(calls) for calls in (here, *known))
    if forward:
        place = f" in {where} processes" if where > 1 else ""
        text = f"{forward:,} forward and {backward:,} backward calls ran natively{place} ({engine.isa()})."
    else:
        text = f"no call ran natively{_why_none()}."
    return f"{text} Not counted: {silent} processes that ended before they could tell." if silent else text


def _why_none() -> str:
    if "tf_keras" in sys.modules and "keras" not in sys.modules:
        return ": tf_keras is Keras 2, which stays as it is"
    if not any(name in sys.modules for name in FRAMEWORKS):
        return f": the program imported neither {' nor '.join(FRAMEWORKS.values())}"
    return ""
