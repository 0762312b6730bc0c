# SPDX-License-Identifier: Apache-2.0
"""Findings in words, with the units that they are about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewise.inspect.layer import Layer

MOST_NAMED = 12  # units that a sentence names; it counts the rest
HEADINGS = ("layer", "cell", "units", "half-life, median", "longest", "gradient's", "dead", "duplicate")


def steps(count: float) -> str:
    """Writes a number of steps.

    Example:
        >>> steps(3.21), steps(1.0), steps(250.7), steps(float("inf"))
        ('3.2 steps', '1.0 steps', '251 steps', 'no end')
    """
    return "no end" if math.isinf(count) else f"{number(count)} steps"


def number(count: float) -> str:
    """Writes a number of steps without the word."""
    return "inf" if math.isinf(count) else f"{count:.1f}" if count < 100 else f"{count:,.0f}"


def units(which: Sequence[int]) -> str:
    """Names units.

    Example:
        >>> units([3]), units([1, 4, 6])
        ('unit 3', 'units 1, 4 and 6')
    """
    named = [str(unit) for unit in which[:MOST_NAMED]]
    more = len(which) - len(named)
    last = [f"{more} more"] if more else [named.pop()]
    joined = f"{', '.join(named)} and {last[0]}" if named else last[0]
    return f"unit{'s' if len(which) > 1 else ''} {joined}"


def of_layer(layer: Layer) -> Iterator[str]:
    """Yields what stands out in a layer, each a sentence that opens with its name."""
    found = [*_horizons(layer), *_dead(layer), *_duplicates(layer), *_saturated(layer), *_inputs(layer)]
    for text in found:
        yield f"{layer.name}: {text}"


def _horizons(layer: Layer) -> Iterator[str]:
    fading = (
        "a gradient through the layer does not fade"
        if math.isinf(layer.gradient_half_life)
        else f"a gradient through the layer halves every {steps(layer.gradient_half_life)}"
    )
    if layer.half_lives is None:
        yield f"a {layer.cell} has no gate that keeps, so that its units have no horizon of their own; {fading}."
        yield from _segments(layer)
        return
    longest = int(np.argmax(layer.half_lives))
    yield (
        f"half of the units lose half of what they hold within {steps(float(np.median(layer.half_lives)))}; unit "
        f"{longest} holds on longest, {steps(layer.half_lives[longest])} by its {layer.kept_by}; {fading}."
    )
    holding = np.flatnonzero(layer.half_lives > layer.longest).tolist()
    if holding:
        verb, whole = "keeps" if len(holding) == 1 else "keep", "segment" if layer.restarts.any() else "sequence"
        yield f"{units(holding)} {verb} more than half over the whole of the longest {whole}, {layer.longest} steps."
    yield from _zoneout(layer)
    yield from _segments(layer)


def _zoneout(layer: Layer) -> Iterator[str]:
    for state, part in layer.zoneout.items():
        have = "the half-lives have" if state == layer.held else f"no unit's half-life has: that is one of {layer.held}"
        if part:
            yield f"zoneout keeps {part:.0%} of {state} at every step, which {have}."


def _segments(layer: Layer) -> Iterator[str]:
    if layer.restarts.any():
        count, longest = int(layer.restarts.sum()), layer.longest
        yield (
            f"starts cut its rows at {count:,} step{'s' * (count > 1)}: what it holds ends there, whatever its "
            f"half-lives are, after {longest} step{'s' * (longest > 1)} at the latest."
        )


def _dead(layer: Layer) -> Iterator[str]:
    if not layer.dead:
        yield f"none of the {layer.units} units is dead: each moves, and moves the outputs."
    if layer.still:
        one = len(layer.still) == 1
        yield f"{units(layer.still)} {'is' if one else 'are'} dead: {'it' if one else 'they'} never move{'s' * one}."
    unheard = sorted({*layer.unheard} - {*layer.still})
    if unheard:
        one = len(unheard) == 1
        yield (
            f"{units(unheard)} {'is' if one else 'are'} dead: {'it moves' if one else 'they move'}, but cut off, "
            f"{'it leaves' if one else 'each leaves'} the model's outputs as they are."
        )


def _duplicates(layer: Layer) -> Iterator[str]:
    for twin in layer.duplicates[:MOST_NAMED]:
        sign = "" if twin.sign > 0 else ", with the opposite sign"
        yield f"units {twin.first} and {twin.second} are duplicates{sign}."
    if len(layer.duplicates) > MOST_NAMED:
        yield f"{len(layer.duplicates) - MOST_NAMED} more units are duplicates."


def _saturated(layer: Layer) -> Iterator[str]:
    share = f"at least {layer.tolerances.steps:.0%} of the steps"
    for gate in layer.gates:
        shut, opened = layer.saturated(gate)
        low, high = ("at its lowest", "at its highest") if gate == "candidate" else ("shut", "open")
        for which, word in ((shut, low), (opened, high)):
            if which:
                yield f"the {gate}{'' if gate == 'candidate' else ' gate'} of {units(which)} is {word} in {share}."


def _inputs(layer: Layer) -> Iterator[str]:
    if len(layer.inputs) < 2 or not layer.inputs.max():
        return
    order = np.argsort(-layer.inputs, kind="stable")
    most, least = int(order[0]), int(order[-1])
    share = layer.inputs[most] / layer.inputs.sum()
    yield (
        f"of its {len(order)} inputs, {layer.features[most]} moves the state most, {share:.0%} of all that move it, "
        f"and {layer.features[least]} least, {layer.inputs[least] / layer.inputs.sum():.1%}."
    )


def cells(layers: Sequence[Layer]) -> list[tuple[str, ...]]:
    """Returns the table's rows, without its headings."""
    rows: list[tuple[str, ...]] = []
    for layer in layers:
        lives = layer.half_lives
        horizon = ("none", "none") if lives is None else (number(float(np.median(lives))), number(float(lives.max())))
        counts = str(len(layer.dead)), str(len(layer.duplicates))
        rows.append((layer.name, layer.cell, str(layer.units), *horizon, number(layer.gradient_half_life), *counts))
    return rows


def as_text(layers: Sequence[Layer]) -> str:
    """Writes the table, half-lives in steps, and the findings."""
    rows = [HEADINGS, *cells(layers)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(both)).rstrip()
        for both in (tuple(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join([*lines, "", *(text for layer in layers for text in of_layer(layer))])
