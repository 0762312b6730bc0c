# SPDX-License-Identifier: Apache-2.0
"""A case of the engine through the operations of a framework, `gatewise.ops.X.rnn`, its arrays under their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise import cells
from gatewise.operands import Direction

if TYPE_CHECKING:
    from engine_case import Case

OF_NORM = ("gain", "recurrent_gain", "state_gain", "state_bias")
DIFFERENTIABLE = ("x", "initial_state", "initial_state_c", "kernel", "recurrent_kernel", "bias", *OF_NORM)
OTHERS = ("mask", "starts", "input_dropout", "recurrent_dropout", "kept_h", "kept_c")
OPTIONS = ("activation", "recurrent_activation", "go_backwards", "return_sequences", "zero_output_for_mask")
_OF_CASE = {"initial_h": "initial_state", "initial_c": "initial_state_c"}


def differentiable(case: Case) -> dict[str, Any]:
    """The arrays of a case that have a gradient, those that are there."""
    return {name: case.arrays[name] for name in DIFFERENTIABLE if case.arrays.get(name) is not None}


def direction(values: dict[str, Any]) -> Any:
    """What a direction has of its own among these."""
    return Direction(**{name: values.get(_OF_CASE.get(name, name)) for name in Direction._fields})


def options(case: Case) -> dict[str, Any]:
    """What a case computes."""
    return {"cell": case.cell} | case.parts | {name: getattr(case, name) for name in OPTIONS}


def layer(engine: Any, case: Case, values: dict[str, Any], **more: Any) -> tuple[Any, ...]:
    """Runs a case on these values, tensors or arrays: outputs, and the states after the last step."""
    shared = (values.get(name) for name in ("mask", "starts"))
    outputs, (states,) = engine.rnn(values["x"], [direction(values)], *shared, **options(case), **more)
    return outputs, *states


def named(case: Case, results: Any, gradients: dict[str, Any]) -> dict[str, Any]:
    """What `layer` gave, and gradients, under the names that `Case.run` has."""
    names = ("outputs", *case.state_names("state"))
    return dict(zip(names, results, strict=True)) | {f"d_{name}": value for name, value in gradients.items()}


def d_results(case: Case) -> list[Any]:
    """The gradients of what `layer` gives."""
    return [case.arrays[name] for name in ("d_outputs", *case.state_names("d_state"))]


def gru(
    engine: Any,
    x: Any,
    initial_state: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    reset_after: bool = True,
    **more: Any,
) -> tuple[Any, Any]:
    """Runs a GRU of one direction: outputs, and the state after the last step."""
    dropout = {name: more.pop(name) for name in OTHERS[2:] if name in more}
    own = Direction(initial_h=initial_state, kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias, **dropout)
    outputs, ((state,),) = engine.rnn(x, [own], mask, cell=cells.gru(reset_after=reset_after), **more)
    return outputs, state
