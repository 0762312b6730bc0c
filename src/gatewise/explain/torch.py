# SPDX-License-Identifier: Apache-2.0
"""The recurrent modules of a PyTorch model, and where each runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gatewise.explain.explanation import Row, without_zoneout
from gatewise.fallback import Obstacle
from gatewise.torch import layer_norm_reasons, reasons
from gatewise.torch.kinds import MODULES
from gatewise.torch.layer_norm import LayerNormGRU, LayerNormLSTM
from gatewise.torch.native import Native
from gatewise.torch.patch import is_patched
from gatewise.torch.zoneout import parts as parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = {"GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"}  # of what stands in for those, quantised or scripted
_LAYER_NORM = (LayerNormGRU, LayerNormLSTM)


def parts(module: Any) -> Iterator[tuple[str, Any]]:
    """Yields the modules right inside one, with their names."""
    yield from module.named_children()


def row(module: Any, path: str) -> Row | None:
    """Explains a recurrent module, or a cell without one, which stands at `path`; returns None for any other module."""
    if isinstance(module, (*MODULES, *_LAYER_NORM)):
        found = _settled(module)
        if found is None:
            note = without_zoneout("PyTorch") if parts_of(module) and not isinstance(module, _LAYER_NORM) else None
            return Row(path, _name(module), native=True, unless=tuple(_unless(module)), note=note)
    else:
        found = _stock(module)
        if found is None:
            return None
    return Row(path, _name(module), native=False, reason=found.reason, cure=found.cure)


def _settled(module: Any) -> Obstacle | None:
    if isinstance(module, _LAYER_NORM):
        return layer_norm_reasons.settled_obstacle(module)
    found = reasons.settled_obstacle(module)
    if found is None or not isinstance(module, Native):
        return found or _unpatched(module)
    lost = "every call is refused, for its zoneout" if parts_of(module) else "starts are refused"
    return Obstacle(found.reason, f"{found.cure} Until then {lost}: PyTorch's own path has none.")


def _unpatched(module: Any) -> Obstacle | None:
    if isinstance(module, Native) or is_patched():
        return None
    return Obstacle(
        "it is PyTorch's own, and the patch is off",
        "Call gatewise.patch_torch(), or gatewise.torch.convert(model).",
    )


def _stock(module: Any) -> Obstacle | None:
    """Says why a recurrent module that we have none for runs as PyTorch has it; None for one that is not recurrent."""
    if isinstance(module, torch.nn.RNNCellBase):
        why = "stock: a cell that your own code calls step by step runs as PyTorch has it"
        return Obstacle(why, f"Use torch.nn.{_whole(module)}, which reads the whole sequence.")
    if isinstance(module, torch.jit.ScriptModule) and module.original_name in _NAMES:
        return Obstacle("stock: TorchScript holds PyTorch's own operations", "Run the module that it was made from.")
    if type(module).__name__ in _NAMES and type(module).__module__.startswith("torch.ao."):
        return Obstacle(
            "stock: it is quantised, and the engine computes in float32", "Leave it out of the quantisation."
        )
    return None


def _whole(cell: Any) -> str:
    """Names the module that runs a cell over a sequence."""
    return str(next(cls.__name__ for cls in type(cell).__mro__ if cls.__module__.startswith("torch."))).removesuffix(
        "Cell"
    )


def _name(module: Any) -> str:
    """Names a module's class as users write it."""
    cls = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return f"scripted {module.original_name}"
    if cls.__module__.startswith("torch."):
        return f"{cls.__module__.partition('.modules.')[0]}.{cls.__name__}"
    return f"gatewise.torch.{cls.__name__}" if cls.__module__.startswith("gatewise.") else cls.__name__


def _unless(module: Any) -> Iterator[str]:
    if module.fallback_reason is not None:
        yield f"it is called as it was last: {module.fallback_reason}"
    owner = next(cls for cls in type(module).__mro__ if "forward" in vars(cls))
    if owner.__module__.partition(".")[0] not in {"gatewise", "torch"}:
        yield f"{owner.__name__}.forward does not call the one that it replaces"
    if isinstance(module, _LAYER_NORM):
        yield from layer_norm_reasons.conditions()
        return
    yield from reasons.conditions(module)
