# SPDX-License-Identifier: Apache-2.0
"""When PyTorch's own path runs instead of the engine. The user learns of it: `gatewise/fallback.py` says how."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch.nn.utils.rnn import PackedSequence

from gatewise import fallback
from gatewise.ops import torch as engine
from gatewise.options import cut
from gatewise.torch.kinds import kind_of

States: TypeAlias = tuple[torch.Tensor, ...]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # the short ones are computed in float32
NOT_PACKED = "the packed sequence is not one that PyTorch's functions make"


class Fault(NamedTuple):
    """What keeps the engine from computing with a tensor.

    Attributes:
        reason: a clause.
        note: for the error of PyTorch's own path, if that cannot compute with the tensor either; else None.
    """

    reason: str
    note: str | None = None


def reason(module: Any, data: torch.Tensor, states: States) -> str | None:
    """Says why PyTorch's own path runs in a call, None if the engine does; warns once for each reason.

    Args:
        module: the module called, whose list of weights is up to date.
        data: the input, or the data of a packed sequence, of any shape.
        states: the initial states, of any shape; or none.
    """
    if fallback.is_portable():
        return fallback.PORTABLE  # no warning: it was asked for
    why = engine.available() or _of_module(module) or _of_tensors(module, data, states) or engine.obstacle(data)
    if why is not None:
        warn(module, why)
    return why


def warn(module: Any, why: str) -> None:
    """Warns, once for each reason, that PyTorch's own path runs."""
    fallback.warn_once(why, f"{_face(module)}: PyTorch's own path")


def _face(module: Any) -> str:
    """Names a module as ours is called."""
    return f"gatewise.torch.{kind_of(type(module)).module.__name__}"


def settled_obstacle(module: Any) -> fallback.Obstacle | None:
    """Says why a module can never run on the engine as it is, and what to change; None if it can, on input like it."""
    unavailable = engine.available()
    if unavailable is not None:
        return fallback.Obstacle(unavailable, "See what gatewise.info() says of the build.")
    first = module._flat_weights[0]  # noqa: SLF001  # see fault
    like = torch.empty(0) if first is None else torch.empty(0, device=first.device)
    if first is not None and first.dtype in DTYPES:
        like = like.to(first.dtype)
    projected = _of_module(module)
    if projected is not None:
        return fallback.Obstacle(projected, "Leave proj_size at 0, and project the outputs by a torch.nn.Linear.")
    why = _of_tensors(module, like, ()) or engine.obstacle(like)
    return None if why is None else fallback.Obstacle(why, "Bring the module's weights to float32 on the CPU.")


def conditions(module: Any) -> tuple[str, ...]:
    """Lists where PyTorch's own path runs in calls of a module without an obstacle, each a clause behind "unless"."""
    first: Any = module._flat_weights[0]  # noqa: SLF001  # see fault; not None, which is an obstacle
    return (
        f"its input does not hold {_name(first.dtype)}, as its weights do",
        *engine.CONDITIONS,
        "the model is exported or traced",
        "it is called inside gatewise.portable()",
    )


def _of_module(module: Any) -> str | None:
    """Says what of a module the engine does not have."""
    return f"the engine has no projections, and proj_size is {module.proj_size}" if module.proj_size else None


def _of_tensors(module: Any, data: torch.Tensor, states: States) -> str | None:
    """Says which tensor the engine cannot compute with."""
    found = fault(module, data, states)
    return found and found.reason


def fault(module: Any, data: torch.Tensor, states: States) -> Fault | None:
    """Says what is wrong with the first tensor that the engine cannot compute with; the arguments are `reason`'s."""
    weights = module._flat_weights  # noqa: SLF001  # the list of weights that stock's forward hands on
    tensors = (data, *weights, *states)
    if _are_alike(tensors):
        return None
    names = ("the input", *(f"the module's {name}" for name in module._flat_weights_names))  # noqa: SLF001
    names += ("the initial state",) if len(states) == 1 else ("hx[0]", "hx[1]")
    face = _face(module)
    faults = (_fault_of(face, name, value, data) for name, value in zip(names, tensors, strict=False))
    return next((found for found in faults if found is not None), None)


def advice(module: Any, given: Any, hx: Any) -> str | None:
    """Says what to do in a call that PyTorch's own path refused; None if PyTorch's error says it, or nobody knows.

    Args:
        module: the module called, whose list of weights is up to date.
        given: the input, packed or not.
        hx: the initial state, or None.
    """
    data = given.data if isinstance(given, PackedSequence) else given
    face, wanted = _face(module), kind_of(type(module)).states
    several = wanted > 1 and isinstance(hx, tuple | list)
    if wanted > 1 and hx is not None and not (several and len(hx) == wanted):
        received = f"{len(hx)}" if several else type(hx).__name__
        return _note(face, "the initial state", "kind", "a tuple (h, c), or None", received, "Give both states")
    states = () if hx is None else tuple(hx) if several else (hx,)
    for name, value, kinds in (
        ("the input", data, "a torch.Tensor or a PackedSequence"),
        *(("the initial state", state, "a torch.Tensor or None") for state in states),
    ):
        if value is not None and not isinstance(value, torch.Tensor):
            stands_in = type(value).__module__.startswith("torch.")  # while torch traces
            cure = "Give the state h alone, a tensor" if isinstance(value, tuple) else "Call torch.as_tensor on it"
            return None if stands_in else _note(face, name, "type", kinds, type(value).__name__, cure)
    if not isinstance(data, torch.Tensor):
        return _note(face, "the input", "type", "a torch.Tensor or a PackedSequence", "None", "Give the sequences")
    found = fault(module, data, states)
    if found is None and module.fallback_reason == NOT_PACKED:
        cure = "Make it by torch.nn.utils.rnn.pack_padded_sequence"
        sizes = given.batch_sizes.tolist()
        expected = f"descending sizes of at least 1, in all the {len(data)} rows of the data"
        return _note(face, "the packed sequence", "batch_sizes", expected, cut(str(sizes)), cure)
    return found and found.note


def _are_alike(tensors: tuple[Any, ...]) -> bool:
    """Says at once of nearly all calls that nothing is wrong: a parameter may be None, or of any kind."""
    dtype, device, dense = tensors[0].dtype, tensors[0].device, torch.strided
    return dtype in DTYPES and all(
        value is not None
        and value.dtype is dtype
        and value.layout is dense
        and value.device == device
        and not value.is_nested
        for value in tensors
    )


def _fault_of(face: str, name: str, value: Any, data: torch.Tensor) -> Fault | None:
    if value is None:
        return Fault(f"{name} is None")
    if value.is_nested:
        cure = "Pack it: torch.nn.utils.rnn.pack_sequence(nested.unbind(), enforce_sorted=False)"
        return Fault(f"{name} is a nested tensor", _note(face, name, "kind", "a dense tensor", "a nested one", cure))
    if value.layout is not torch.strided:
        layout = _name(value.layout)
        note = _note(face, name, "layout", "a dense tensor", layout, "Call to_dense() on it")
        return Fault(f"{name} has the layout {layout} and the engine reads dense tensors", note)
    if value.device != data.device:
        note = _note(face, name, "device", f"{data.device}, as the input", value.device, "Move both to one device")
        return Fault(f"{name} is on the device {value.device} and the input on {data.device}", note)
    return _fault_of_dtype(face, name, value, data)


def _fault_of_dtype(face: str, name: str, value: torch.Tensor, data: torch.Tensor) -> Fault | None:
    own, wanted = _name(value.dtype), _name(data.dtype)
    note = None
    if value.is_quantized:
        note = _note(face, name, "type", "float32", own, "Call dequantize() on it")
    elif value.dtype != data.dtype:
        note = _note(face, name, "type", f"{wanted}, as the input has", own, f"Call to({data.dtype}) on it")
    if value.dtype not in DTYPES:
        return Fault(f"the engine computes in float32, and {name} holds {own}", note)
    if value.dtype != data.dtype and not torch.is_autocast_enabled("cpu"):
        return Fault(f"{name} holds {own} and the input {wanted}", note)
    return None


def _note(face: str, name: str, what: str, expected: str, received: object, cure: str) -> str:
    return f"{face}: {name} has the wrong {what}. Expected {expected}; received {received}. {cure}."


def _name(of_torch: Any) -> str:
    return str(of_torch).removeprefix("torch.")
