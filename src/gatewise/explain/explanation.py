# SPDX-License-Identifier: Apache-2.0
"""What `explain` found: rows for a program, a table for people, JSON."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH = 100  # of the table, in characters
_LAST = 40  # the least that the last column gets
HEADINGS = ("layer", "class", "native", "why not, and what to change")


def without_zoneout(framework: str) -> str:
    """Says what a layer with zoneout does where it does not run natively."""
    return f"A call that does not run natively is an error: {framework}'s own path has no zoneout."


@dataclasses.dataclass(frozen=True)
class Row:
    """Where a recurrent layer runs.

    Attributes:
        path: where it is in the model, by names: "encoder/bidirectional/forward_gru", or "encoder.gru" in PyTorch.
        layer: its class, as users write it.
        native: whether it runs on the engine.
        reason: why it does not, a clause; None if it does.
        cure: what to change, a sentence; None if it runs natively or nothing helps.
        unless: where it runs stock although `native`: clauses on how it is called.
        note: what a call does there, a sentence; None if it runs stock.
    """

    path: str
    layer: str
    native: bool
    reason: str | None = None
    cure: str | None = None
    unless: tuple[str, ...] = ()
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The recurrent layers of a model, in the order of the model. Printed, it is a table.

    Example:
        >>> print(Explanation((Row("gru", "gatewise.keras.GRU", True), Row("lstm", "keras.layers.LSTM", False, "why"))))
        layer  class               native  why not, and what to change
        gru    gatewise.keras.GRU  yes
        lstm   keras.layers.LSTM   no      why
        <BLANKLINE>
        1 of 2 recurrent layers runs natively.
    """

    rows: tuple[Row, ...]

    @property
    def native(self) -> bool:
        """Whether all recurrent layers run natively; True where there is none."""
        return all(row.native for row in self.rows)

    def __str__(self) -> str:
        return "\n".join([*(_table([HEADINGS, *self.cells()]) if self.rows else []), *self.remarks()])

    def to_json(self) -> str:
        """Returns it as JSON: {"native": ..., "layers": [...]}, each layer with the attributes of `Row`."""
        return json.dumps({"native": self.native, "layers": [dataclasses.asdict(row) for row in self.rows]}, indent=2)

    def cells(self) -> list[tuple[str, str, str, str]]:
        """Returns the table's rows, each of four texts, without the headings."""
        why = [self._last_cell(row) for row in self.rows]
        above = [text and text == before for text, before in zip(why, ["", *why], strict=False)]
        return [
            (row.path, row.layer, "yes" if row.native else "no", "as above" if repeated else text)
            for row, text, repeated in zip(self.rows, why, above, strict=True)
        ]

    def remarks(self) -> Iterator[str]:
        """Yields what stands below the table, line by line: how many run natively, and where they do not."""
        count, native = len(self.rows), sum(row.native for row in self.rows)
        if not count:
            yield "No recurrent layer was found."
            return
        common = self._common()
        yield ""
        yield f"{_how_many(native, count)} natively{', unless' if common else '.'}"
        yield from (f"- {clause}{',' if clause != common[-1] else '.'}" for clause in common)

    def _common(self) -> tuple[str, ...]:
        """Returns the conditions that all layers have that run natively."""
        native = [row.unless for row in self.rows if row.native]
        return tuple(clause for clause in native[0] if all(clause in others for others in native)) if native else ()

    def _last_cell(self, row: Row) -> str:
        own = [clause for clause in row.unless if clause not in self._common()]
        if row.native:
            unless = f"unless {', or '.join(own)}" if own else ""
            return ". ".join(part for part in (unless, row.note) if part)
        return f"{row.reason}. {row.cure}" if row.cure else str(row.reason)


def _how_many(native: int, count: int) -> str:
    if count == 1:
        return f"The recurrent layer {'runs' if native else 'does not run'}"
    if native == count:
        return f"All {count} recurrent layers run"
    return f"{native or 'None'} of {count} recurrent layers run{'s' if native == 1 else ''}"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Lays out rows of texts in columns; the last column takes the rest of the width and is wrapped."""
    widths = [max(len(cell) for cell in column) for column in zip(*(row[:-1] for row in rows), strict=True)]
    indent = sum(widths) + 2 * len(widths)
    for *cells, last in rows:
        begin = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        lines = textwrap.wrap(last, max(_LAST, WIDTH - indent)) or [""]
        yield (begin + lines[0]).rstrip()
        yield from (" " * indent + line for line in lines[1:])
