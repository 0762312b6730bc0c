# SPDX-License-Identifier: Apache-2.0
"""The engine of this process: its instruction set, its threads, the activations it has, and what it has run."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from gatewise import _native
from gatewise.options import cut, one_of

# The activations that the engine has, in the order of `gatewise_activation` in csrc/engine.h.
ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear", "hard_sigmoid")

MOST_THREADS = 4096


class Calls(NamedTuple):
    """How many calls the engine has completed in this process, from every framework."""

    forward: int
    backward: int


def calls() -> Calls:
    """Counts what ran natively, for tests and diagnosis.

    Returns:
        The number of forward and of backward calls that the engine has completed in this process.

    Example:
        >>> import gatewise, numpy as np
        >>> before = gatewise.native.calls()
        >>> weights = gatewise.GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)))
        >>> _ = gatewise.rnn(np.zeros((2, 3, 5)), weights)
        >>> gatewise.native.calls().forward - before.forward
        1
    """
    return Calls(_native.forward_calls(), _native.backward_calls())


def isa() -> str:
    """Names the instruction set whose kernels run: "avx512", "avx2" or "generic".

    The best that the CPU has is chosen when the engine is first used; the environment variable GATEWISE_ISA overrides
    it.
    """
    return _native.isa()


def set_num_threads(n: int | None) -> None:
    """Sets how many threads a call may use, the caller's included. Results do not depend on it, bit for bit.

    Args:
        n: at least 1, honoured as given; or None for the default: the environment variable GATEWISE_NUM_THREADS, else
            the number of CPUs that affinity and cgroup quota allow this process, asked anew twice a second.

    Raises:
        TypeError: n is not an integer.
        ValueError: n is below 1 or above 4096.

    Example:
        >>> import gatewise
        >>> gatewise.set_num_threads(2)
        >>> gatewise.num_threads()
        2
        >>> gatewise.set_num_threads(None)
    """
    if n is None:
        return _native.set_num_threads(0)
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(
            f"set_num_threads: n has the wrong type. Expected an integer or None; received {cut(repr(n))}. "
            "Pass the number of threads."
        )
    if not 1 <= n <= MOST_THREADS:
        raise ValueError(
            f"set_num_threads: n is out of range. Expected 1 to {MOST_THREADS}, or None for the default; received "
            f"{cut(repr(n))}. Pass the number of threads."
        )
    return _native.set_num_threads(int(n))


def num_threads() -> int:
    """Tells how many threads a call may use."""
    return _native.num_threads()


def activation_code(where: str, name: str, value: str) -> int:
    """Gives the engine's number of an activation; ValueError, opened by `where`, if it has none of that name."""
    return ACTIVATIONS.index(one_of(where, name, value, ACTIVATIONS))


def _require_environment() -> None:
    """Raises if a variable asks for what cannot be: quietly running something else would make it a lie."""
    named, isas = os.environ.get("GATEWISE_ISA"), ("generic", "avx2", "avx512")
    if named and named not in isas:
        raise ValueError(
            f"GATEWISE_ISA: there is no such instruction set. Expected one of {', '.join(isas)}; received "
            f"{cut(repr(named))}. Unset the variable to let {isa()} run."
        )
    if named and named != isa():
        raise ValueError(
            f"GATEWISE_ISA: this CPU, or this build of gatewise, cannot run it. Expected {isa()}, the best it has, "
            f"or a simpler one; received {named!r}. Unset the variable to let {isa()} run."
        )
    number = os.environ.get("GATEWISE_NUM_THREADS")
    if number and not (number.isascii() and number.isdigit() and 1 <= int(number[:5]) <= MOST_THREADS):
        raise ValueError(
            f"GATEWISE_NUM_THREADS: it is no number of threads. Expected 1 to {MOST_THREADS}; received "
            f"{cut(repr(number))}. Unset the variable for as many as there are CPUs."
        )


_require_environment()
