# SPDX-License-Identifier: Apache-2.0
"""A module of PyTorch as `attribution` needs it: gradients by autograd, embeddings' outputs as places to start from."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]


class TorchModule:
    """A module with one row of data. An `Embedding` returns what it is told to while its ids stay those of the row.

    Args:
        module: whose batch comes first.
        inputs: by parameter of forward, (1, ...).
        outputs: their names, in forward's order.

    Raises:
        ValueError: the module reads ids by something else than an `Embedding`.
    """

    def __init__(self, module: torch.nn.Module, inputs: Mapping[str, Array], outputs: Sequence[str]) -> None:
        self._module, self._outputs = module, outputs
        self._inputs = {name: np.nan_to_num(a) if a.dtype.kind == "f" else a for name, a in inputs.items()}
        self._embeddings = [one for one in module.modules() if isinstance(one, torch.nn.Embedding)]
        self._read: list[tuple[Array, Array]] = []  # ids and what was made of them, in the order of the calls
        with self._hooked(self._note):
            self._run({}, 1)
        self.sources = {name: array for name, array in self._inputs.items() if array.dtype.kind == "f"}
        self._names = self._of_tokens()
        self.sources |= {name: made for name, (_, made) in zip(self._names, self._read, strict=True)}
        self.tokens = {*self._names}
        self.baselines = {name: np.zeros_like(array) for name, array in self.sources.items()}
        if not self.sources:
            raise ValueError(
                f"attribute: no torch.nn.Embedding reads the ids of {', '.join(self._inputs)}. Expected one, since its "
                "outputs have gradients and ids have none; received another way in. Use an Embedding."
            )

    def predict(self, places: Mapping[str, Array]) -> dict[str, Array]:
        """See `Differentiable`."""
        with self._hooked(self._replace), torch.no_grad():
            found = self._run(self._tensors(places), len(next(iter(places.values()))))
        return {name: value.detach().cpu().numpy() for name, value in found.items()}

    def gradients(self, places: Mapping[str, Array], output: str, target: tuple[int, ...]) -> dict[str, Array]:
        """See `Differentiable`."""
        leaves = {name: value.requires_grad_() for name, value in self._tensors(places).items()}
        with self._hooked(self._replace), torch.enable_grad():
            total = self._run(leaves, len(next(iter(leaves.values()))))[output][(slice(None), *target)].sum()
        found = torch.autograd.grad(total, [*leaves.values()], allow_unused=True, materialize_grads=True)
        return {name: value.detach().cpu().numpy() for name, value in zip(leaves, found, strict=True)}

    def _tensors(self, arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        return {name: self._tensor(array) for name, array in arrays.items()}

    def _tensor(self, array: Array) -> torch.Tensor:
        first = next(self._module.parameters())
        tensor = torch.tensor(array, device=first.device)
        return tensor.to(first.dtype) if tensor.is_floating_point() else tensor

    def _run(self, sources: dict[str, Any], count: int) -> dict[str, Any]:
        """Runs the module, in evaluation, at `count` places; what is no source is the row's."""
        self._places, self._calls = sources, 0
        given = {
            name: sources[name]
            if name in sources and array.dtype.kind == "f"
            else self._tensor(np.repeat(array, count, axis=0))
            for name, array in self._inputs.items()
        }
        training = {one: one.training for one in self._module.modules()}
        self._module.eval()
        try:
            found = self._module(**given)
        finally:
            for one, was in training.items():
                one.training = was
        return dict(zip(self._outputs, _flat(found), strict=True))

    def _of_tokens(self) -> list[str]:
        """Names what each call of an Embedding read: an input, or else its place."""
        names: list[str] = []
        for i, (ids, _) in enumerate(self._read):
            free = [n for n, a in self._inputs.items() if a.dtype.kind == "i" and n not in names]
            free = [name for name in free if np.array_equal(self._inputs[name], ids)]
            names.append(free[0] if free else f"embedding_{i}")
        return names

    def _note(self, _module: Any, given: Any, made: Any) -> None:
        self._read.append((given[0].cpu().numpy(), made.detach().cpu().numpy()))

    def _replace(self, _module: Any, _given: Any, _made: Any) -> Any:
        self._calls += 1
        return self._places[self._names[self._calls - 1]]

    @contextmanager
    def _hooked(self, hook: Any) -> Iterator[None]:
        handles = [one.register_forward_hook(hook) for one in self._embeddings]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _flat(found: Any) -> list[torch.Tensor]:
    """The tensors of what forward returns, in order."""
    if isinstance(found, torch.Tensor):
        return [found]
    return [tensor for part in (found.values() if isinstance(found, dict) else found) for tensor in _flat(part)]
