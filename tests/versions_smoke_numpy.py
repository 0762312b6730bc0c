# SPDX-License-Identifier: Apache-2.0
"""The program that `versions.py` runs where no framework is installed: the engine's main claims, through NumPy.

It needs numpy and gatewise only, prints one line of JSON, and fails with a traceback or the claim that does not hold.
"""

from __future__ import annotations

import itertools
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import numpy as np

import gatewise
from cells import CELLS
from engine_case import ISAS, MASKS, Case, assert_same_bits, instruction_set

FRAMEWORKS = {"keras", "tensorflow", "jax", "torch"}


def check(claim: str, holds: bool) -> None:
    """Ends the program where a claim does not hold."""
    if not holds:
        sys.exit(f"failed: {claim}")


def engine_agrees_with_the_specification() -> None:
    """Values and all gradients, on every instruction set that this CPU has."""
    for isa, cell, mask, backwards in itertools.product(ISAS, CELLS, MASKS, (False, True)):
        case = Case(9, 7, 5, 53, cell, mask=mask, go_backwards=backwards, input_dropout_masks=3)
        with instruction_set(isa):
            before = gatewise.native.calls()
            found = case.disagreements()
            after = gatewise.native.calls()
        check(f"{isa} agrees with the specification: {found}", not found)
        ran = (after.forward - before.forward, after.backward - before.backward)
        check(f"{isa} ran forward and backward once: {ran}", ran == (1, 1))


def steps_give_the_bits_of_the_sequence() -> None:
    """`Step`, step after step, beside `gatewise.rnn`."""
    case = Case(3, 6, 5, 21)
    step, state = gatewise.Step(case.weights), case.arrays["initial_state"]
    for x in case.arrays["x"].swapaxes(0, 1):
        state = step(x, state)
    check("steps give the bits of the sequence", state.tobytes() == case.outputs()[1].tobytes())


def calls_from_several_threads_give_the_same_bits() -> None:
    """The engine releases the interpreter's lock: calls of several threads overlap."""
    case = Case(8, 30, 16, 64)
    expected = case.run()
    with ThreadPoolExecutor(4) as pool:
        for found in [pool.submit(case.run) for _ in range(40)]:
            assert_same_bits(found.result(), expected)


def mistakes_raise() -> None:
    """Errors say where they come from."""
    case = Case(2, 3, 5, 4)
    for x, expected in ((["hello"], TypeError), (np.ones((2, 3, 6)), ValueError)):
        try:
            gatewise.rnn(x, case.weights)
        except expected as error:
            check(f"the error says where: {error}", str(error).startswith("rnn: x has the wrong"))
        else:
            sys.exit(f"failed: {x} raises {expected.__name__}")


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python, NumPy and other packages."""
    return {"python": sys.version.split()[0]} | {package: metadata.version(package) for package in ("numpy", *packages)}


def main() -> None:
    """Checks all claims and prints what ran."""
    engine_agrees_with_the_specification()
    steps_give_the_bits_of_the_sequence()
    calls_from_several_threads_give_the_same_bits()
    mistakes_raise()
    imported = FRAMEWORKS & sys.modules.keys()
    check(f"no framework is imported: {imported}", not imported)
    sys.stdout.write(json.dumps(versions("safetensors") | {"on": " ".join(ISAS)}) + "\n")


if __name__ == "__main__":
    main()
