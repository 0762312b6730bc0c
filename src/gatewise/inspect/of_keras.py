# SPDX-License-Identifier: Apache-2.0
"""A Keras model as `attribution` needs it: gradients by its backend, embeddings' outputs as places to start from."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Total = Callable[[dict[str, Any]], Any]


class KerasModel:
    """A Keras model with one row of data.

    An `Embedding` returns what it is told to while its ids, and the mask that it makes of them, stay those of the row.
    What a `Masking` takes for padding stays as it is on the way.

    Args:
        model: a Sequential or a functional model.
        inputs: by name, in the model's order, (1, ...).
        outputs: their names, in the model's order.

    Raises:
        ValueError: the model reads ids by something else than an `Embedding`.
    """

    def __init__(self, model: Any, inputs: Mapping[str, Array], outputs: Sequence[str]) -> None:
        self._model, self._outputs = model, outputs
        self._single = isinstance(model, keras.Sequential)  # which knows its input only when it was called
        # What stands in masked steps may be NaN. The frameworks' gradients would meet it: 0 * NaN. If a valid step
        # holds some, the graph's prediction, which ours is compared with, is NaN.
        self._inputs = {name: np.nan_to_num(a) if a.dtype.kind == "f" else a for name, a in inputs.items()}
        layers = model._flatten_layers(include_self=False, recursive=True)  # noqa: SLF001  # Keras has no public way down
        self._layers = [one for one in layers if isinstance(one, keras.layers.Embedding | keras.layers.Masking)]
        self._read: list[tuple[Any, Array, Array]] = []  # layer, what it read, what it made, in the order of the calls
        self._compiled: dict[Any, Any] = {}
        with self._noting():  # of two rows, as `predict` is asked for: JAX compiles for each number of them
            self._run({name: keras.ops.convert_to_tensor(a.repeat(2, axis=0)) for name, a in self._inputs.items()}, 2)
        self.sources = {name: array for name, array in self._inputs.items() if array.dtype.kind == "f"}
        self._embedded = [one for one in self._read if isinstance(one[0], keras.layers.Embedding)]
        self._names = self._of_tokens()
        self.sources |= {name: made for name, (_, _, made) in zip(self._names, self._embedded, strict=True)}
        self.tokens = {*self._names}
        self.baselines = {name: self._baseline(name, array) for name, array in self.sources.items()}
        unread = [name for name, a in self._inputs.items() if a.dtype.kind == "i" and name not in self.sources]
        if unread:
            raise ValueError(
                f"attribute: no Embedding reads the ids of {', '.join(unread)}. Expected one, since its outputs have "
                "gradients and ids have none; received another way in. Use an Embedding layer."
            )

    def predict(self, places: Mapping[str, Array]) -> dict[str, Array]:
        """See `Differentiable`."""
        with self._holding():
            found = self._run(self._tensors(places), len(next(iter(places.values()))))
        return {name: np.asarray(keras.ops.convert_to_numpy(value)) for name, value in found.items()}

    def gradients(self, places: Mapping[str, Array], output: str, target: tuple[int, ...]) -> dict[str, Array]:
        """See `Differentiable`."""
        count = len(next(iter(places.values())))

        def total(sources: dict[str, Any]) -> Any:
            return keras.ops.sum(self._run(sources, count)[output][(slice(None), *target)])

        with self._holding():
            found = BACKENDS[keras.backend.backend()](
                total, self._tensors(places), self._compiled, (output, target, count)
            )
        return {name: np.asarray(keras.ops.convert_to_numpy(value)) for name, value in found.items()}

    def _tensors(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        return {name: keras.ops.convert_to_tensor(array) for name, array in arrays.items()}

    def _run(self, sources: dict[str, Any], count: int) -> dict[str, Any]:
        """Runs the model at `count` places; what is no source is the row's."""
        self._places, self._calls = sources, 0
        given = [
            sources[name]
            if name in sources and array.dtype.kind == "f"
            else keras.ops.convert_to_tensor(np.repeat(array, count, axis=0))
            for name, array in self._inputs.items()
        ]
        packed = given[0] if self._single else keras.tree.pack_sequence_as(self._model.input, given)
        found = keras.tree.flatten(self._model(packed, training=False))
        return dict(zip(self._outputs, found, strict=True))

    def _of_tokens(self) -> list[str]:
        """Names what each call of an Embedding read: an input, or else the layer."""
        names: list[str] = []
        for layer, ids, _ in self._embedded:
            free = [name for name, array in self._inputs.items() if array.dtype.kind == "i" and name not in names]
            free = [name for name in free if np.array_equal(self._inputs[name], ids)]
            names.append(free[0] if free else layer.name)
        return names

    def _baseline(self, name: str, source: Array) -> Array:
        """Zeros; but what a Masking takes for padding, where it reads this very input, stays."""
        found = np.zeros_like(source)
        for layer, read, _ in self._read:
            if isinstance(layer, keras.layers.Masking) and name not in self.tokens and np.array_equal(read, source):
                padding = (read == layer.mask_value).all(axis=-1)
                found[padding] = source[padding]
        return found

    @contextmanager
    def _noting(self) -> Iterator[None]:
        def noting(layer: Any) -> Callable[[Any], Any]:
            def call(inputs: Any) -> Any:
                found = type(layer).call(layer, inputs)
                ids, made = (np.asarray(keras.ops.convert_to_numpy(one))[:1] for one in (inputs, found))
                self._read.append((layer, ids, made))
                return found

            return call

        with _instead({layer: noting(layer) for layer in self._layers}):
            yield

    @contextmanager
    def _holding(self) -> Iterator[None]:
        def call(_ids: Any) -> Any:
            self._calls += 1
            return self._places[self._names[self._calls - 1]]

        embeddings = [layer for layer in self._layers if isinstance(layer, keras.layers.Embedding)]
        with _instead(dict.fromkeys(embeddings, call)):
            yield


@contextmanager
def _instead(calls: Mapping[Any, Callable[[Any], Any]]) -> Iterator[None]:
    """Gives layers another `call` for a while; past Keras's own tracking of attributes, which would keep it."""
    for layer, call in calls.items():
        vars(layer)["call"] = call
    try:
        yield
    finally:
        for layer in calls:
            vars(layer).pop("call")


# What finds gradients on a backend: of a function of tensors, at some; JAX keeps what it compiled for the same question


def _tensorflow(total: Total, sources: dict[str, Any], _compiled: dict[Any, Any], _question: Any) -> dict[str, Any]:
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        value = total(sources)
    found: dict[str, Any] = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return found


def _jax(total: Total, sources: dict[str, Any], compiled: dict[Any, Any], question: Any) -> dict[str, Any]:
    import jax

    found: dict[str, Any] = compiled.setdefault(question, jax.jit(jax.grad(total)))(sources)
    return found


def _torch(total: Total, sources: dict[str, Any], _compiled: dict[Any, Any], _question: Any) -> dict[str, Any]:
    import torch

    leaves = {name: value.detach().requires_grad_() for name, value in sources.items()}
    found = torch.autograd.grad(total(leaves), [*leaves.values()], allow_unused=True, materialize_grads=True)
    return {name: value.detach() for name, value in zip(leaves, found, strict=True)}


BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
