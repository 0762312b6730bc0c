# SPDX-License-Identifier: Apache-2.0
"""`torch.ao.quantization` knows a recurrent module by its very class: it passes over ours, and the user is told."""

from __future__ import annotations

import warnings
from typing import Any


def warn_if_passed_over(stock: Any, config: Any, told: dict[str, Any]) -> None:
    """Warns where a module of PyTorch's in this one's place would have been quantised.

    Args:
        stock: the class of that module.
        config: the `qconfig` that the module is given: None if none was found for its class.
        told: the local variables of who gives it; torch's function holds what the user asked for in `qconfig_dict`.
    """
    asked_for = config is None and stock in (told.get("qconfig_dict") or ())
    if asked_for or _is_dynamic(config):
        warnings.warn(
            f"gatewise.torch.{stock.__name__}: torch.ao.quantization leaves the module in float32. Expected a module "
            f"of the class torch.nn.{stock.__name__} itself; received gatewise.torch.{stock.__name__}. Call "
            "gatewise.torch.convert(model, to='stock') first.",
            UserWarning,
            stacklevel=3,
        )


def _is_dynamic(config: Any) -> bool:
    """Says whether a `QConfig` quantises as it goes, the only way that torch has for such a module."""
    activation = getattr(config, "activation", None)
    return activation is not None and bool(getattr(activation(), "is_dynamic", False))
