# SPDX-License-Identifier: Apache-2.0
"""Raw data into inputs, and predictions back into names and units, by what a model keeps of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.options import cut
from gatewise.runtime.format.preprocessing import preprocessing_from_json
from gatewise.runtime.inputs import checked, is_series, is_text, shape_text, told
from gatewise.runtime.sound import frames_of, is_sound

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from gatewise.data.series import TimeSeries
    from gatewise.runtime.graph import Graph, Value

    Array = npt.NDArray[Any]

_TEXT = ("Subwords", "Tokenizer", "Vocabulary")
_UNITS = ("Scaler", "SeasonalScaler", "SeriesScaler")
_OF_SERIES = {"SeasonalScaler": "by the calendar", "SeriesScaler": "by series"}


class Prepared(NamedTuple):
    """Inputs made of what was given.

    Attributes:
        arrays: by name.
        raw: whether any was raw, so that outputs go back into the units of the data.
        series: that of each row, where a `TimeSeries` was given.
    """

    arrays: dict[str, Array]
    raw: bool
    series: tuple[TimeSeries, ...] | None


class Keeper:
    """What a model keeps, made of the file's JSON when it is first asked for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made: dict[str, list[Any]] = {}

    def kind(self, name: str) -> str | None:
        """The class of what stands under a name, of a chain that of its first part; nothing is made for it."""
        kept = self._graph.preprocessing.get(name)
        first = kept[0] if isinstance(kept, list) and kept else kept
        return str(first.get("class_name")).partition(">")[2] if isinstance(first, dict) else None

    def parts(self, name: str) -> list[Any]:
        """What stands under a name: a part, or the parts of a chain, in order; none if there is nothing."""
        if name not in self._made:
            kept = self._graph.preprocessing.get(name)
            made = [] if kept is None else preprocessing_from_json(kept, f"preprocessing {cut(repr(name))}")
            self._made[name] = made if isinstance(made, list) else [made]
        return self._made[name]

    def prepare(self, where: str, given: Mapping[str, Any], *, raw: bool, verbose: Any) -> Prepared:
        """Makes the inputs.

        Args:
            where: opens the errors.
            given: by name, what stands for each input. The one mask of steps may be missing, where a `TimeSeries` is
                given: it says what was measured.
            raw: whether numbers are in the units of the data.
            verbose: whether progress is shown.

        Raises:
            TypeError: something is raw, and the model keeps nothing that reads it.
            ValueError: it cannot be read.
        """
        if raw and not any(self.kind(name) for name in given):
            raise ValueError(
                f"{where}: raw=True, and the model keeps nothing for its inputs. Expected a Scaler, in the model's "
                "gatewise.data.preprocessing.Preprocessing; received none. Scale the input, and leave raw=True out."
            )
        arrays, was_raw, series = {}, False, None
        for name, one in given.items():
            value = self._graph.inputs[name]
            if is_series(one):
                if self.kind(name) not in _UNITS:
                    raise _unread(f"{where}: {name}", value, "a TimeSeries", self.kind(name))
                arrays[name], present = _of_series(f"{where}: {name}", value, one, self.parts(name)[0])
                self._set_mask(f"{where}: {name}", name, given, arrays, present)
                series = self._same_times(f"{where}: {name}", series, one)
                was_raw = True
                continue
            found = self._read(f"{where}: {name}", value, one, name, raw=raw, verbose=verbose)
            was_raw |= found is not one
            arrays[name] = checked(f"{where}: {name}", value, found)
        return Prepared({name: arrays[name] for name in self._graph.inputs}, was_raw, series)

    def _same_times(self, where: str, before: tuple[TimeSeries, ...] | None, given: Any) -> tuple[TimeSeries, ...]:
        """The series of the rows, of which inputs that come to outputs with times of their own have to agree."""
        series = tuple(given) if isinstance(given, list | tuple) else (given,)
        if before is None or not any(self.kind(name) in _OF_SERIES for name in self._graph.outputs):
            return series
        ends = [[(one.name, *map(str, one.times[-2:])) for one in some] for some in (before, series)]
        if ends[0] != ends[1]:
            raise ValueError(
                f"{where} has other series than the input before. Expected the same names and last two times, since a "
                f"forecast is brought into their units; received {ends[1]} behind {ends[0]}. Give series that end "
                "alike."
            )
        return series

    def _read(self, where: str, value: Value, given: Any, name: str, *, raw: bool, verbose: Any) -> Any:
        """Makes an input of what is raw; what is an input already comes back as it is."""
        kind = self.kind(name)
        if kind == "LogMel" and is_sound(given):
            return frames_of(where, given, self.parts(name), value, masked_by(self._graph, name), verbose)
        if is_text(given):
            if kind not in _TEXT:
                raise _unread(where, value, "text", kind)
            return told(where, lambda: _encoded(self.parts(name)[0], given))
        if not raw or kind is None or kind == "Labels":
            return given
        if kind != "Scaler":
            expected = {"LogMel": "paths, or samples", **dict.fromkeys(_OF_SERIES, "a TimeSeries, or a list of such")}
            raise TypeError(
                f"{where} is not raw, and raw=True. Expected {expected.get(kind, 'text')}, for the model keeps "
                f"a {kind}; received {cut(repr(type(given).__name__))}. Give that, or leave raw=True out."
            )
        scaled = told(where, lambda: self.parts(name)[0](given))
        if np.isnan(scaled).any():
            raise ValueError(
                f"{where} has missing values, NaN. Expected a number everywhere; received NaN at "
                f"{np.argwhere(np.isnan(scaled))[0].tolist()}. Give a TimeSeries, whose mask the model may read, or "
                "fill them as in training."
            )
        return scaled

    def _set_mask(
        self, where: str, name: str, given: Mapping[str, Any], arrays: dict[str, Array], present: Array
    ) -> None:
        """Gives the mask to the input that nobody gave; what nobody reads may not be missing."""
        missing = [one for one in self._graph.inputs if one not in given]
        if missing:
            arrays[missing[0]] = present
            return
        hidden = masked_by(self._graph, name) == 0 and not arrays[name][~present].any()  # zeros in all features
        if not present.all() and not hidden and not self.masks:
            raise ValueError(
                f"{where} has missing values. Expected a number everywhere, for the model reads no mask; "
                f"received {int((~present).sum())} steps with a missing value. Fill them as in training."
            )

    @property
    def masks(self) -> list[str]:
        """The inputs that say which steps count."""
        return [name for name, value in self._graph.inputs.items() if value.dtype == "bool" and len(value.shape) == 2]

    def may_be_missing(self, given: Mapping[str, Any]) -> list[str]:
        """The mask that a `TimeSeries` brings, where nobody gives it."""
        missing = [name for name in self._graph.inputs if name not in given]
        return missing if len(missing) == 1 and missing[0] in self.masks and any(map(is_series, given.values())) else []

    # --- What comes out ---

    def restore(self, found: Mapping[str, Array], series: tuple[TimeSeries, ...] | None) -> dict[str, Array]:
        """Brings outputs back into the units of the data, where the model keeps how they were scaled."""
        return {name: self._restored(name, array, series) for name, array in found.items()}

    def _restored(self, name: str, array: Array, series: tuple[TimeSeries, ...] | None) -> Array:
        kind = None if name in self._graph.inputs else self.kind(name)
        if kind == "Scaler":
            return _inverse(name, self.parts(name)[0], array)
        if kind not in _OF_SERIES:
            return array
        if series is None:
            raise ValueError(
                f"predict: {name} is scaled {_OF_SERIES[kind]}, and whose rows these are is not known. Expected a "
                "TimeSeries for each row; received an array. Give those."
            )
        back = _by_name if kind == "SeriesScaler" else _by_calendar
        return np.stack([back(name, self.parts(name)[0], *row) for row in zip(series, array, strict=True)])

    @property
    def labels(self) -> dict[str, Any]:
        """By name of an output, its `Labels`."""
        outputs = [name for name in self._graph.outputs if name not in self._graph.inputs]
        kept = [name for name in self._graph.preprocessing if self.kind(name) == "Labels"]
        found = {name: self.parts(name)[0] for name in outputs if name in kept}
        if not found and len(outputs) == len(kept) == 1:  # under a name of the program
            found = {outputs[0]: self.parts(kept[0])[0]}
        return found


def masked_by(graph: Graph, name: str) -> float | None:
    """The number that a `Masking` at an input leaves out, where a step is nothing else."""
    for node in graph.nodes:
        if node.operation == "not_equal" and node.inputs[0] == name:
            return float(node.all_options["value"])
    return None


def decoded(labels: Any, scores: Any) -> Any:
    """Names of the classes that scores (batch, ..., classes) or numbers (batch, ...) stand for: lists within lists."""
    array = np.asarray(scores)
    leading = array.shape[:-1] if array.dtype.kind == "f" else array.shape
    flat = array.reshape(-1, array.shape[-1]) if array.dtype.kind == "f" and array.ndim > 2 else array
    flat = flat.reshape(-1) if array.dtype.kind in "iu" else flat
    names = labels.decode(flat)
    return np.array(names, object).reshape(leading).tolist() if len(leading) > 1 else names


def _inverse(name: str, scaler: Any, array: Array) -> Array:
    """A scaling of one feature is that of all: of quantiles, or of the steps ahead."""
    one = scaler.shift is not None and scaler.shift.size == 1
    features = [0] * array.shape[-1] if one and array.ndim else None
    found: Array = told(f"predict: {name}", lambda: scaler.inverse(array, features))
    return found


def _by_name(name: str, scalers: Any, series: TimeSeries, row: Array) -> Array:
    return _inverse(name, scalers[series.name], row)


def _by_calendar(name: str, scaler: Any, series: TimeSeries, row: Array) -> Array:
    """A forecast (horizon, columns), or (horizon,) of one feature, of the times behind a series; or of the next one."""
    from gatewise.data.series.calendar import future_times

    if row.ndim > 2:
        raise ValueError(
            f"predict: {name} has the wrong rank. Expected (batch, horizon, columns) at the most, as it is scaled by "
            f"the calendar; received {(None, *row.shape)}. Flatten its last axes in the model."
        )
    one = scaler.usual is not None and len(scaler.usual) == 1
    steps = row if row.ndim == 2 else row.reshape(-1, 1) if one else row.reshape(1, -1)
    features = [0] * steps.shape[1] if one else None
    ahead = told(f"predict: {name}", lambda: future_times(series.times, len(steps)))
    return np.reshape(told(f"predict: {name}", lambda: scaler.inverse(steps, ahead, features)), row.shape)


def _encoded(encoder: Any, given: Any) -> Any:
    if type(encoder).__name__ != "Tokenizer":
        return encoder(given)
    rows = encoder.texts_to_sequences([given] if isinstance(given, str) else given)
    if len({len(row) for row in rows}) > 1:
        raise ValueError(
            "texts differ in length. Expected as many words in each, for a Tokenizer does not say "
            "how they are filled up; received some of others. Encode them, and fill them up as in training."
        )
    return np.array(rows, np.int64)


def _of_series(where: str, value: Value, given: Any, scaler: Any) -> tuple[Array, Array]:
    """The last steps of series, scaled, zeros where something is missing; and which steps are all there."""
    from gatewise.data.series.time_series import list_series
    from gatewise.data.series.windows import last_window

    several = told(where, lambda: list_series("last_window", given))
    history = value.shape[1] if len(value.shape) == 3 else None
    lengths = {len(one) for one in several}
    if history is None and len(lengths) > 1:
        raise ValueError(
            f"{where}: series differ in length. Expected as many steps in each; received {min(lengths)} to "
            f"{max(lengths)}. Cut them with series.steps(slice(-{min(lengths)}, None))."
        )
    values, present = told(where, lambda: last_window(several, history or max(1, *lengths), scaler))
    return checked(where, value, values), present


def _unread(where: str, value: Value, what: str, kind: str | None) -> TypeError:
    kept = "nothing" if kind is None else f"a {kind}, and nothing"
    return TypeError(
        f"{where} is raw. Expected {value.dtype} {shape_text(value)}; received {what}, and the model keeps "
        f"{kept} that reads it. Convert it first, or put gatewise.data.preprocessing.Preprocessing into the model "
        "before it is saved."
    )
