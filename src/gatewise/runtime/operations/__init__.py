# SPDX-License-Identifier: Apache-2.0
"""The operations that a graph is made of: a row each, in families.

`gatewise.reference.operations` has their formulas.
"""

from __future__ import annotations

from gatewise.runtime.operations import attention, features, merging, moving, recurrent, time
from gatewise.runtime.operations.operation import MOST as MOST
from gatewise.runtime.operations.operation import Operation as Operation  # noqa: TC001  # a name of this package
from gatewise.runtime.operations.operation import Option as Option
from gatewise.runtime.operations.operation import Problem as Problem

OPERATIONS: dict[str, Operation] = {
    **recurrent.ROWS,
    **features.ROWS,
    **time.ROWS,
    **merging.ROWS,
    **moving.ROWS,
    **attention.ROWS,
}
