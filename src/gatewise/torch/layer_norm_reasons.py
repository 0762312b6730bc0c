# SPDX-License-Identifier: Apache-2.0
"""When a module with layer normalisation runs a composition of PyTorch's own operations instead of the engine.

Starts and zoneout are part of the composition, too: none of them is refused.
"""

from __future__ import annotations

from typing import Any

import torch

from gatewise import fallback
from gatewise.ops import torch as engine
from gatewise.torch.reasons import DTYPES


def reason(module: Any, x: torch.Tensor, states: tuple[torch.Tensor, ...]) -> str | None:
    """Says why PyTorch's own operations run in a call, None if the engine does; warns once for each reason."""
    if fallback.is_portable():
        return fallback.PORTABLE
    why = engine.available() or _odd((x, *module.parameters(), *states)) or engine.obstacle(x)
    if why is not None and not engine.tracing():
        fallback.warn_once(why, f"gatewise.torch.{type(module).__name__}: a composition of PyTorch's own operations")
    return why


def settled_obstacle(module: Any) -> fallback.Obstacle | None:
    """Says why a module can never run on the engine as it is, and what to change; None if it can."""
    unavailable = engine.available()
    if unavailable is not None:
        return fallback.Obstacle(unavailable, "See what gatewise.info() says of the build.")
    weights = tuple(module.parameters())
    why = _odd(weights) or engine.obstacle(torch.empty(0, device=weights[0].device))
    return None if why is None else fallback.Obstacle(why, "Bring the module's weights to float32 on the CPU.")


def conditions() -> tuple[str, ...]:
    """Lists where the composition runs in calls of a module without an obstacle, each a clause behind "unless"."""
    return (
        "its input does not hold float32, bfloat16 or float16",
        *engine.CONDITIONS,
        "the model is exported or traced",
        "it is called inside gatewise.portable()",
    )


def _odd(tensors: tuple[torch.Tensor, ...]) -> str | None:
    odd = next((value for value in tensors if value.dtype not in DTYPES), None)
    return None if odd is None else f"the engine computes in float32, and not in {odd.dtype}"
