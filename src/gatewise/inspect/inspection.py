# SPDX-License-Identifier: Apache-2.0
"""What `inspect` found: layers by name, findings in sentences, a table for people, and the way to its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.extras import require
from gatewise.inspect import sentences
from gatewise.inspect.attribution import INTEGRATED, attribute
from gatewise.inspect.findings import Tolerances
from gatewise.inspect.influence import readers_read
from gatewise.inspect.layer import Layer, look_at
from gatewise.inspect.opening import Opened, named_features, opened
from gatewise.runtime.evaluation import Evaluation
from gatewise.runtime.operations.recurrent import ROWS as RECURRENT

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from gatewise.inspect.attribution import Attribution

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

    def attribute(self, row: int = 0, *, target: int | tuple[int, ...] | None = None, **options: Any) -> Attribution:
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
        return attribute(self.opened.source, self.opened.given, row, target=target, **options)

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
            tokens: what the steps of `row` are, letters or words, for axes and attributions; by default numbers.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
            ValueError: there is no such row, or there are more steps than tokens.
            OSError: the system does not write.
        """
        require("Inspection.save", "matplotlib", "cli")
        from gatewise.inspect import report

        count = len(next(iter(self.opened.inputs.values())))
        if not 0 <= row < count:
            raise ValueError(f"save: row is out of range. Expected 0 to {count - 1}; received {row}. Choose another.")
        if attributions is None:
            attributions = () if self.opened.source is None else (self.attribute(row, method=INTEGRATED),)
        report.write(self, path, title, row, attributions, tokens)

    def __str__(self) -> str:
        return sentences.as_text([*self.layers.values()])


def look(model: Any, x: Any, *, features: Any, tolerances: Tolerances | None) -> Inspection:
    """Looks inside a model; `gatewise.inspect` says how."""
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
    how = tolerances or Tolerances()
    layers = {node.name: look_at(graph, node, known, few, _flowing(graph, names), how) for node in recurrent}
    return Inspection(seen, layers, names)


def _flowing(graph: Any, names: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Names the features of what has them of an input: a mask that is applied, steps that are turned round."""
    found: dict[str, Sequence[str]] = dict(names)
    for node in graph.nodes:
        if node.operation in {"zero_masked", "affine"} and node.inputs[0] in found:
            found[node.outputs[0]] = found[node.inputs[0]]
    return found
