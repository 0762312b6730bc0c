# SPDX-License-Identifier: Apache-2.0
"""The weights of a case as gatewise holds them, from which they go to the layouts of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gatewise
from workloads import make_weights

if TYPE_CHECKING:
    from workloads import Case


def weights_of(case: Case, layer: int = 0) -> Any:
    """Returns the weights of a layer of the case."""
    options = {"reset_after": case.reset_after} if case.cell == "GRU" else {}
    return weights_class(case)(*make_weights(case, layer), **options)


def weights_class(case: Case) -> Any:
    """Returns the class of weights of the case's cell."""
    return getattr(gatewise, f"{case.cell}Weights")
