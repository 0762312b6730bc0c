# SPDX-License-Identifier: Apache-2.0
"""`torch.ao.quantization` knows a `torch.nn.GRU` by its very class: it passes over ours, and the user learns of it."""

from __future__ import annotations

import warnings
from typing import Any

import torch


def warn_if_passed_over(config: Any, told: dict[str, Any]) -> None:
    """Warns where a `torch.nn.GRU` in this module's place would have been quantised.

    Args:
        config: the `qconfig` that the module is given: None if none was found for its class.
        told: the local variables of who gives it; torch's function holds what the user asked for in `qconfig_dict`.
    """
    asked_for = config is None and torch.nn.GRU in (told.get("qconfig_dict") or ())
    if asked_for or _is_dynamic(config):
        warnings.warn(
            "gatewise.torch.GRU: torch.ao.quantization leaves the module in float32. Expected a module of the class "
            "torch.nn.GRU itself; received gatewise.torch.GRU. Call gatewise.torch.convert(model, to='stock') first.",
            UserWarning,
            stacklevel=3,
        )


def _is_dynamic(config: Any) -> bool:
    """Says whether a `QConfig` quantises as it goes, the only way that torch has for a GRU."""
    activation = getattr(config, "activation", None)
    return activation is not None and bool(getattr(activation(), "is_dynamic", False))
