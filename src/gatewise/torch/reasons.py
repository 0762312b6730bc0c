# SPDX-License-Identifier: Apache-2.0
"""When PyTorch's own path runs instead of the engine. The user learns of it: `gatewise/fallback.py` says how."""

from __future__ import annotations

from typing import Any

import torch

from gatewise import fallback
from gatewise.ops import torch as engine

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # the short ones are computed in float32


def reason(module: torch.nn.GRU, data: torch.Tensor, hx: torch.Tensor | None) -> str | None:
    """Says why PyTorch's own path runs in a call, None if the engine does; warns once for each reason.

    Args:
        module: the module called, whose list of weights is up to date.
        data: the input, or the data of a packed sequence, of any shape.
        hx: the initial state, of any shape; or None.
    """
    if fallback.is_portable():
        return fallback.PORTABLE  # no warning: it was asked for
    why = engine.available() or _of_tensors(module, data, hx) or engine.obstacle(data)
    if why is not None:
        fallback.warn_once(why, "gatewise.torch.GRU: PyTorch's own path")
    return why


def settled_obstacle(module: torch.nn.GRU) -> fallback.Obstacle | None:
    """Says why a module can never run on the engine as it is, and what to change; None if it can, on input like it."""
    unavailable = engine.available()
    if unavailable is not None:
        return fallback.Obstacle(unavailable, "See what gatewise.info() says of the build.")
    first: Any = module._flat_weights[0]  # noqa: SLF001  # see _of_tensors
    like = torch.empty(0, device=first.device, dtype=first.dtype if first.dtype in _DTYPES else torch.float32)
    why = _of_tensors(module, like, None) or engine.obstacle(like)
    return None if why is None else fallback.Obstacle(why, "Bring the module's weights to float32 on the CPU.")


def conditions(module: torch.nn.GRU) -> tuple[str, ...]:
    """Lists where PyTorch's own path runs in calls of a module without an obstacle, each a clause behind "unless"."""
    first: Any = module._flat_weights[0]  # noqa: SLF001  # see _of_tensors
    return (
        f"its input does not hold {_name(first.dtype)}, as its weights do",
        *engine.CONDITIONS,
        "the model is exported or traced",
        "it is called inside gatewise.portable()",
    )


def _of_tensors(module: torch.nn.GRU, data: torch.Tensor, hx: torch.Tensor | None) -> str | None:
    """Says which tensor the engine cannot compute with."""
    first: Any = module._flat_weights[0]  # noqa: SLF001  # the list of weights that stock's forward hands on
    for name, value in (("the input", data), ("the module", first), ("the initial state", hx)):
        if value is None:
            continue
        if value.dtype not in _DTYPES:
            return f"the engine computes in float32, and {name} holds {_name(value.dtype)}"
        if value.device != data.device:
            return f"{name} is on the device {value.device} and the input on {data.device}"
        if value.dtype != data.dtype and not torch.is_autocast_enabled("cpu"):
            return f"{name} holds {_name(value.dtype)} and the input {_name(data.dtype)}"
    return None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
