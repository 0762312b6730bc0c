# SPDX-License-Identifier: Apache-2.0
"""What `inspect` found: layers by name, findings in sentences, a table for people, and the way to its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.extras import require
from gatewise.inspect import sentences
from gatewise.inspect.arguments import file_to_write, of_kind, row_of, tokens_of
from gatewise.inspect.attribution import INTEGRATED, Attribution, attribute
from gatewise.inspect.findings import Tolerances
from gatewise.inspect.influence import readers_read
from gatewise.inspect.layer import Layer, look_at
from gatewise.inspect.opening import Opened, named_features, opened
from gatewise.options import cut, one_of
from gatewise.runtime.evaluation import Evaluation
from gatewise.runtime.operations.recurrent import ROWS as RECURRENT

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

_TOLERANCES = "Write gatewise.inspect.Tolerances(still=0.01), or what else is to differ."
FEW = 8  # rows, evenly chosen, that units are cut off on


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was seen of a model while it read some data. Printed, it is a table with the findings below.

    Attributes:
        opened: the model, and the data by input.
        layers: by name, each recurrent layer, in the order of the model.
        features: by input, what its last axis means, where that was said.
    """

    opened: Opened
    layers: Mapping[str, Layer]
    features: Mapping[str, Sequence[str]]

    @property
    def findings(self) -> tuple[str, ...]:
        """What stands out, a sentence each, layer by layer."""
        return tuple(text for layer in self.layers.values() for text in sentences.of_layer(layer))

    def attribute(
        self,
        row: int = 0,
        *,
        method: str = INTEGRATED,
        output: str | None = None,
        target: int | tuple[int, ...] | None = None,
        tolerance: float = 0.01,
    ) -> Attribution:
        """Finds which inputs a prediction rests on; see `gatewise.inspect.attribute`, which this calls.

        Raises:
            TypeError: the model came without its framework, so that there is nothing to differentiate it.
        """
        if self.opened.source is None:
            raise TypeError(
                "inspect: a prediction's inputs are found by gradients, which a file or a graph has not. Expected "
                "inspect to be called on a Keras model or a torch.nn.Module; received a graph. Load the model in its "
                "framework: keras.saving.load_model(path)."
            )
        model, x = self.opened.source, self.opened.given
        return attribute(model, x, row, method=method, output=output, target=target, tolerance=tolerance)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        title: str = "What the gates do",
        row: int = 0,
        attributions: Sequence[Attribution] | None = None,
        tokens: Sequence[str] | None = None,
    ) -> None:
        """Writes a page: one HTML file that needs nothing else, offline or on a phone.

        Args:
            path: the file, replaced if it exists.
            title: its heading.
            row: the sequence that gates are drawn for over time.
            attributions: predictions to explain. By default that of `row`, where the model came with its framework.
            tokens: what the steps of `row` are, words, or a text for its letters, for axes and attributions; by default
                numbers.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
            TypeError: path, title, row, attributions or tokens is of another kind.
            ValueError: there is no such row, an attribution is of another model, or there are more tokens than steps.
            OSError: there is no folder for the file, or the system does not write.
        """
        require("Inspection.save", "matplotlib", "cli")
        from gatewise.inspect import report

        file = file_to_write("save", path)
        of_kind("save", "title", title, str, "Give a text.")
        row = row_of("save", row, len(next(iter(self.opened.inputs.values()))))
        longest = max(layer.valid.shape[1] for layer in self.layers.values())
        words = tokens_of("save", tokens, longest)
        report.write(self, file, title, row, self._explained(row, attributions), words)

    def _explained(self, row: int, attributions: Sequence[Attribution] | None) -> Sequence[Attribution]:
        """The attributions of the page, checked: by default that of its row, if there are gradients."""
        if attributions is None:
            return () if self.opened.source is None else (self.attribute(row),)
        if not isinstance(attributions, list | tuple):
            raise TypeError(
                "save: attributions has the wrong type. Expected a list of what attribute gave; received "
                f"{cut(repr(attributions))}. Put it into a list."
            )
        for one in attributions:
            of_kind("save", "one of attributions", one, Attribution, "Give what attribute gave.")
            one_of("save", "the output of an attribution", one.output, self.opened.model.outputs)
        return attributions

    def __str__(self) -> str:
        return sentences.as_text([*self.layers.values()])


def look(model: Any, x: Any, *, features: Any, tolerances: Tolerances | None) -> Inspection:
    """Looks inside a model; `gatewise.inspect` says how."""
    how = Tolerances() if tolerances is None else of_kind("inspect", "tolerances", tolerances, Tolerances, _TOLERANCES)
    seen = opened(model, x)
    graph = seen.model.graph
    names = named_features(graph, features)
    recurrent = [node for node in graph.nodes if node.operation in RECURRENT]
    if not recurrent:
        kinds = ", ".join(dict.fromkeys(node.operation for node in graph.nodes))
        raise ValueError(
            f"inspect: the model has no recurrent layer. Expected one of {', '.join(RECURRENT)}; received {kinds}. "
            "There are no gates to look into."
        )
    evaluation, wanted = Evaluation(graph), {v for node in recurrent for v in node.inputs if v is not None}
    known = evaluation.run(graph.nodes, seen.inputs, wanted)
    count = len(next(iter(seen.inputs.values())))
    chosen = np.unique(np.linspace(0, count - 1, min(count, FEW)).astype(int))
    few = evaluation.run(graph.nodes, {name: array[chosen] for name, array in seen.inputs.items()}, readers_read(graph))
    layers = {node.name: look_at(graph, node, known, few, _flowing(graph, names), how) for node in recurrent}
    return Inspection(seen, layers, names)


def _flowing(graph: Any, names: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Names the features of what has them of an input: a mask that is applied, steps that are turned round."""
    found: dict[str, Sequence[str]] = dict(names)
    for node in graph.nodes:
        if node.operation in {"zero_masked", "affine"} and node.inputs[0] in found:
            found[node.outputs[0]] = found[node.inputs[0]]
    return found
