# SPDX-License-Identifier: Apache-2.0
"""What a forward call keeps for its gradients: copies of it, pickles of it, and that nothing else outlives a call."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gatewise
from engine_case import ISAS, Case, assert_same_bits, instruction_set
from gatewise.cells import Cell

if TYPE_CHECKING:
    from collections.abc import Callable

REMADE: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),  # noqa: S301 - our own bytes
    "oldest pickle": lambda thing: pickle.loads(pickle.dumps(thing, 0)),  # noqa: S301
}


def make(case: Case) -> gatewise.native.VJP:
    names = ("initial_state", "mask", "input_dropout", "recurrent_dropout")
    given: dict[str, Any] = {name: case.arrays[name] for name in names}
    given |= {"go_backwards": case.go_backwards, "zero_output_for_mask": case.zero_output_for_mask}
    given |= {"activation": case.activation, "return_sequences": case.return_sequences}
    return gatewise.rnn_vjp(case.arrays["x"], case.weights, **given)[2]


def gradients(case: Case, vjp: gatewise.native.VJP) -> dict[str, Any]:
    found = vjp(case.arrays["d_outputs"], case.arrays["d_state"])._asdict()
    return {name: value for name, value in found.items() if value is not None}


CASES = [
    Case(5, 9, 7, 21, mask="holes", go_backwards=True, activation="sigmoid"),
    Case(3, 4, 5, 6, cell=Cell.GRU_RESET_BEFORE, use_bias=False, initial_state=False, return_sequences=False),
    Case(3, 4, 5, 6, mask="right", zero_output_for_mask=True, input_dropout_masks=3, recurrent_dropout=True),
]


@pytest.mark.parametrize("how", REMADE)
@pytest.mark.parametrize("case", CASES, ids=["masked", "plain", "dropout"])
@pytest.mark.parametrize("isa", ISAS)
def test_a_remade_one_gives_the_same_gradients(isa: str, case: Case, how: str) -> None:
    with instruction_set(isa):
        vjp = make(case)
        expected = gradients(case, vjp)
        remade = REMADE[how](vjp)
        assert remade.workspace_bytes == vjp.workspace_bytes
        assert_same_bits(gradients(case, remade), expected)


def test_a_remade_one_recomputes_too() -> None:
    case = Case(2, 50, 3, 5)
    with gatewise.recompute():
        vjp = make(case)
    whole = make(case)
    assert vjp.workspace_bytes < whole.workspace_bytes
    assert_same_bits(gradients(case, REMADE["pickle"](vjp)), gradients(case, whole))


def test_a_deep_copy_does_not_see_what_changes_later() -> None:
    case = Case(2, 3, 4, 5)
    vjp = make(case)
    expected = gradients(case, vjp)
    apart, shallow = copy.deepcopy(vjp), copy.copy(vjp)
    case.arrays["x"][:] = -case.arrays["x"]
    assert_same_bits(gradients(case, apart), expected)
    np.testing.assert_array_equal(gradients(case, shallow)["kernel"], -expected["kernel"])


@pytest.mark.skipif(len(ISAS) < 2, reason="this CPU has one instruction set")
def test_one_of_another_instruction_set_is_refused() -> None:
    case = Case(2, 3, 4, 5)
    with instruction_set(ISAS[0]):
        stored = pickle.dumps(make(case))
    with instruction_set(ISAS[1]):
        vjp = pickle.loads(stored)  # noqa: S301 - our own bytes
        with pytest.raises(ValueError, match=rf"kept cannot be read\. .*set {ISAS[0]}; received {ISAS[1]}\. Run the"):
            vjp(d_state=case.arrays["d_state"])
    with instruction_set(ISAS[0]):
        vjp(d_state=case.arrays["d_state"])


def test_one_whose_memory_is_not_what_the_engine_saves_is_refused() -> None:
    vjp = make(Case(2, 3, 4, 5))
    state = vjp.__getstate__()
    floats = vjp.workspace_bytes // 4
    vjp.__setstate__(state | {"_workspace": state["_workspace"][:-1]})
    with pytest.raises(ValueError, match=rf"kept cannot be read\. Expected {floats} floats; received {floats - 1} of"):
        vjp()


@pytest.mark.parametrize("held", ["Step(weights)", "rnn_vjp(np.zeros((1, 2, 5)), weights)"])
def test_what_a_thread_holds_when_the_interpreter_ends_is_nothing_to_print(held: str) -> None:
    program = f"""
import threading, numpy as np, gatewise
weights = gatewise.GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)))
ready = threading.Event()
def hold():
    held = gatewise.{held}
    ready.set()
    threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
ready.wait()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_what_is_let_go_holds_no_array_any_longer() -> None:
    # The module prints no leaks, since a thread may hold what it will: here is where they would show.
    case = Case(2, 3, 4, 5, mask="holes")
    x, kernel = case.arrays["x"], case.arrays["kernel"]
    held = sys.getrefcount(x), sys.getrefcount(kernel)
    for how in REMADE.values():
        vjp = make(case)
        gradients(case, how(vjp))
        step = gatewise.Step(case.weights)
        state = step(x[:, 0], step(x[:, 1], np.zeros((2, 5), np.float32)))
        how(step)(x[:, 2], state, out=state)
        with pytest.raises(ValueError, match="Step: x has the wrong shape"):
            step(x[:, 0, :2], state)
    assert (sys.getrefcount(x), sys.getrefcount(kernel)) > held
    del vjp, step
    assert (sys.getrefcount(x), sys.getrefcount(kernel)) == held
