# SPDX-License-Identifier: Apache-2.0
"""The door for modules of PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.extras import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewise.runtime.graph import Graph


def from_torch(module: Any, example_inputs: Any, *, batch_axes: Mapping[str, int] | None = None) -> Graph:
    """Makes a graph of a module of PyTorch, by reading its own `forward`.

    `forward` is followed once, on the example, by torch.export: what it does for that example is the graph, for any
    batch and any number of steps. A copy of the module is read, in evaluation: dropout vanishes. Its recurrent modules
    may be PyTorch's or gatewise's, of several layers and directions, with states given, or on packed sequences, whose
    lengths become masks. What the graph cannot hold is an error that names the operation and its line in your code.
    A loop over steps in `forward` itself, `for t in range(x.size(1))`, fixes their number to the example's; the shapes
    of `graph.inputs` tell.

    A graph is batch first. Where the batch of an input stands elsewhere in the module, as in (timesteps, batch,
    features) or in a state (layers, batch, units), the graph's input is (batch, timesteps, features) and (batch,
    layers, units): a warning says so, unless `batch_axes` does. Outputs have their batch first likewise.

    Args:
        module: a `torch.nn.Module`, trained. Weights of float64, float16 and bfloat16 are converted to float32, with a
            warning.
        example_inputs: what `forward` takes: a tensor, a tuple of arguments, or a dict by parameter; tensors or arrays
            of two steps or more, since an axis of size 1 is taken for one that is always 1. The batch may be 1. Ids
            and lengths are int64. What is no tensor is kept as it is.
        batch_axes: for inputs by name, which axis is the batch. By default that of the first recurrent module's, else
            the first.

    Returns:
        The graph. Its inputs have the names of forward's parameters, its outputs the keys or fields of what forward
        returns, else "output", or "output_0", "output_1" and so on. `pad_packed_sequence` keeps all steps of the
        input, where PyTorch without `total_length` leaves out those behind the longest row: what computes over all
        steps without a mask differs then.

    Raises:
        ModuleNotFoundError: torch is not installed.
        TypeError: module is no `torch.nn.Module`.
        GraphError: forward does something that the graph cannot hold.

    Example:
        >>> import torch
        >>> class Classifier(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.gru = torch.nn.GRU(3, 4, batch_first=True)
        ...         self.score = torch.nn.Linear(4, 2)
        ...
        ...     def forward(self, x):
        ...         outputs, _ = self.gru(x)
        ...         return self.score(outputs[:, -1])
        >>> graph = from_torch(Classifier(), torch.zeros(2, 5, 3))
        >>> [node.name for node in graph.nodes], graph.inputs["x"].shape, list(graph.outputs)
        (['gru', 'score'], (None, None, 3), ['output'])
    """
    require("from_torch", "torch", "torch")
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"from_torch: module has the wrong type. Expected a torch.nn.Module; received {type(module).__name__}. "
            "Build the model, and load its state dict into it."
        )
    from gatewise.runtime.doors.from_torch.door import read

    return read(module, example_inputs, batch_axes)
