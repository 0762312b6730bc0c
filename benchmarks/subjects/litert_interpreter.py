# SPDX-License-Identifier: Apache-2.0
"""LiteRT: one interpreter with XNNPACK, which it takes by itself; a step of one row of a GRU, states in and out.

With `alone`, what stands in its tensors is used again: what the engine takes, without the arrays handed in and out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_edge_litert.interpreter import Interpreter

from subjects.litert_model import make_model
from workloads import make_input, make_states

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case


def prepare(case: Case, threads: int, *, alone: bool = False) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    interpreter = Interpreter(model_content=make_model(case), num_threads=threads)
    interpreter.allocate_tensors()
    places = {
        detail["name"].split(":")[0].rsplit("_", 1)[-1]: detail["index"] for detail in interpreter.get_input_details()
    }
    (output,) = (detail["index"] for detail in interpreter.get_output_details())
    x, h, i, j = make_input(case)[:, 0], make_states(case)[0][0], places["x"], places["h"]
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    def run() -> Any:
        set_tensor(i, x)
        set_tensor(j, h)
        invoke()
        return get_tensor(output)

    if not alone:
        return run, lambda h_next: [h_next[:, None]]
    run()
    return invoke, lambda _: [get_tensor(output)[:, None]]
