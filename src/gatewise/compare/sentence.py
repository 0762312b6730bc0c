# SPDX-License-Identifier: Apache-2.0
"""What the figures say and what they do not, in sentences: of the tables alone."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from gatewise.compare.plan import at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewise.compare.table import Row


def says(rows: Sequence[Row], *, higher_is_better: bool) -> list[str]:
    """Says for each way of comparing which cells differ: those whose intervals do not overlap, and no others.

    Args:
        rows: of the tables.
        higher_is_better: which way the score goes.

    Returns:
        A sentence or two for each way.
    """
    return [_of_way(way, some, higher_is_better) for way, some in _by_way(rows).items()]


def says_not(rows: Sequence[Row]) -> list[str]:
    """Says what does not follow.

    Args:
        rows: of the tables.

    Returns:
        Sentences.
    """
    found = []
    for way, some in _by_way(rows).items():
        where = at(way).capitalize()
        known = [row for row in some if row.interval]
        if any(
            one.interval.overlaps(two.interval) for one, two in combinations(known, 2) if one.interval and two.interval
        ):
            found.append(f"{where}: that cells are equally good. More seeds could show a difference.")
        late = [f"{row.cell} ({row.still_improving} of {len(row.trials)})" for row in some if row.still_improving]
        if late:
            found.append(
                f"{where}: which is best in the end. Runs that were still getting better when they had to stop: "
                f"{_listed(late)}."
            )
    found.append(
        "Anything of other data, other rows for validation or other settings: the intervals are over first weights "
        "and the order of batches alone."
    )
    if any(row.way != "tuned" for row in rows):
        found.append("What each cell reaches with a size and a rate of learning of its own, where it was not tuned.")
    return found


def _by_way(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {way: [row for row in rows if row.way == way] for way in dict.fromkeys(row.way for row in rows)}


def _of_way(way: str, rows: Sequence[Row], higher_is_better: bool) -> str:
    """Says who is better than whom."""
    silent = [f"Of {row.cell} nothing can be said: {row.no_interval}." for row in rows if row.interval is None]
    known = sorted(
        (row for row in rows if row.interval), key=lambda row: row.mean, reverse=higher_is_better
    )  # the best first
    where, parts = at(way).capitalize(), []
    worse: dict[tuple[str, ...], list[Row]] = {}
    same: list[tuple[Row, Row]] = []
    for i, row in enumerate(known):
        beaten = [other for other in known[i + 1 :] if not _overlap(row, other)]
        same += [(row, other) for other in known[i + 1 :] if _overlap(row, other)]
        if beaten:
            worse.setdefault(tuple(other.cell for other in beaten), []).append(row)
    for beaten_cells, better in worse.items():
        verb = "does" if len(better) == 1 else "do"
        scores = _listed([f"{row.cell} ({row.mean:.4g})" for row in better])
        losers = _listed([f"{row.cell} ({row.mean:.4g})" for row in known if row.cell in beaten_cells])
        parts.append(f"{scores} {verb} better than {losers}")
    reasons = {row.no_interval for row in rows}
    if not known and len(reasons) == 1:  # of every cell the same
        return f"{where} no difference can be called: {reasons.pop()}."
    if not parts:
        return " ".join([*_nothing(where, known), *silent])
    text = f"{where} {'; '.join(parts)}: their intervals do not overlap."
    pairs = [f"{one.cell} and {two.cell}" for one, two in same]
    between = [f"Between {_listed(pairs, 'or')} the figures show no difference."] if pairs else []
    return " ".join([text, *between, *silent])


def _nothing(where: str, known: Sequence[Row]) -> list[str]:
    if len(known) < 2:
        return [f"{where} no difference can be called: there are no two intervals to compare."]
    names = _listed([row.cell for row in known])
    return [f"{where} the figures show no difference between {names}: their intervals overlap."]


def _overlap(one: Row, other: Row) -> bool:
    return one.interval is None or other.interval is None or one.interval.overlaps(other.interval)


def _listed(names: Sequence[str], word: str = "and") -> str:
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last
