# SPDX-License-Identifier: Apache-2.0
"""Who takes part: every cell in every way of comparing, with its size."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gatewise.compare.plan import Contender, at
from gatewise.compare.sizes import are_equal, units_for, weights

if TYPE_CHECKING:
    from gatewise.compare.model import Builder
    from gatewise.compare.settings import Settings


def contenders(builder: Builder, settings: Settings) -> tuple[list[Contender], list[str]]:
    """Finds the sizes.

    Returns:
        Every cell in every way but "tuned", and who cannot take part, with the reason.
    """
    counts: dict[tuple[str, int], int] = {}

    def count(cell: str, units: int) -> int:
        if (cell, units) not in counts:
            counts[cell, units] = weights(builder(cell, units, settings.learning_rate).model)
        return counts[cell, units]

    rate, first = settings.learning_rate, next(iter(builder.cells))
    found, left_out = [], []
    for way in settings.ways:
        for cell in builder.cells:
            units, parameters = settings.units, count(cell, settings.units)
            if way == "parameters" and cell != first:
                wanted = count(first, settings.units)
                units, parameters = units_for(wanted, partial(count, cell), settings.units)
                if not are_equal(wanted, parameters):
                    left_out.append(
                        f"{cell} {at(way)}: the nearest it comes to the {wanted:,} weights of {first} is "
                        f"{parameters:,}, with {units} units, more than 2 % away. More units leave finer steps."
                    )
                    continue
            found.append(Contender(way, cell, units, rate, parameters))
    alone = [way for way in settings.ways if sum(one.way == way for one in found) < 2]
    return [one for one in found if one.way not in alone], left_out
