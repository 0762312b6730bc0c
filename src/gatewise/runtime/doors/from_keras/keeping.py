# SPDX-License-Identifier: Apache-2.0
"""Where in a graph stands what the `Preprocessing` layers keep: at an input, at an output, or by its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_NAMES, _FRAMES = "gatewise>Labels", "gatewise>LogMel"
_UNITS = ("gatewise>Scaler", "gatewise>SeasonalScaler", "gatewise>SeriesScaler")


class Kept(NamedTuple):
    """What a layer keeps.

    Attributes:
        name: the name that the program gave it.
        described: its class and its configuration.
        value: the value that the layer passes on.
        origins: the inputs that this value is moved from.
    """

    name: str
    described: dict[str, Any]
    value: str
    origins: Collection[str]

    @property
    def kind(self) -> str:
        """The name of its class."""
        return str(self.described["class_name"])


def placed(kept: Sequence[Kept], inputs: Collection[str], outputs: Mapping[str, str]) -> dict[str, Any]:
    """Finds the name that each thing stands under.

    Args:
        kept: what the layers keep, in their order.
        inputs: names of the graph's inputs, which are their values too.
        outputs: by name, the values that are asked for.

    Returns:
        By name, a description, or a chain of two. Under an output's name stands what turns it into names or units:
        Labels, where there is one output; a scaler whose layer makes that output, or that bears its name. Under an
        input's name stands the first thing that makes it of raw data, of a layer that stands at it, or at what is made
        of the only input; of a LogMel a chain with the first Scaler of as many features. All else bears its own name.
    """
    found: dict[str, Any] = {}
    makers: dict[str, list[Kept]] = {}
    others: list[Kept] = []
    for one in kept:
        output = _output_of(one, inputs, outputs)
        origins = [*one.origins] or [*inputs]
        if output is not None and output not in found:
            found[output] = one.described
        elif one.kind != _NAMES and len(origins) == 1:
            makers.setdefault(origins[0], []).append(one)
        else:
            others.append(one)
    for name, several in makers.items():
        chosen = _chain(several)
        found[name] = [one.described for one in chosen] if chosen[1:] else chosen[0].described
        others += [one for one in several if one not in chosen]
    for one in (one for one in kept if one in others):
        number, new = 1, one.name
        while new in found:
            number += 1
            new = f"{one.name}_{number}"
        found[new] = one.described
    return found


def _output_of(one: Kept, inputs: Collection[str], outputs: Mapping[str, str]) -> str | None:
    """The output that it turns into names or units."""
    free = {name: value for name, value in outputs.items() if name not in inputs}
    made = next((name for name, value in free.items() if value == one.value and value not in inputs), None)
    if one.kind in _UNITS or one.kind == _NAMES:
        if made is not None or one.name in free:
            return one.name if one.name in free else made
        if one.kind == _NAMES and len(free) == 1:
            return next(iter(free))
    return None


def _chain(several: Sequence[Kept]) -> list[Kept]:
    """What makes an input of raw data, in its order."""
    frames = next((one for one in several if one.kind == _FRAMES), None)
    if frames is None:
        return [several[0]]
    bands = frames.described["config"]["bands"]
    scalers = (one for one in several if one.kind == _UNITS[0] and len(one.described["config"]["shift"] or ()) == bands)
    return [frames, *[one for one in [next(scalers, None)] if one is not None]]
