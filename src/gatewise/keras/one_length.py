# SPDX-License-Identifier: Apache-2.0
"""What PyTorch traces for a file reads sequences of one length: an export without a length is refused.

Keras's exporters put 1 where a model's input says None, and PyTorch writes down the steps that it sees: the file would
read the first step of a longer sequence and give a wrong result, without a word. `keras.Model.export` is therefore
wrapped on that backend.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import keras

from gatewise.fallback import portable
from gatewise.keras.convert import parts_of
from gatewise.keras.errors import named
from gatewise.keras.patch import is_ours

if TYPE_CHECKING:
    from collections.abc import Callable

_FORMATS = ("onnx", "openvino", "litert", "torch")


def refuse_unknown_lengths() -> None:
    """Wraps `keras.Model.export`, once."""
    if keras.backend.backend() == "torch" and not hasattr(keras.Model.export, "refuses_unknown_lengths"):
        keras.Model.export = _refusing(keras.Model.export)


def _refusing(export: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(export)
    def wrapper(
        self: Any,
        filepath: Any,
        format: str = "tf_saved_model",  # noqa: A002  # the name that Keras gives it
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> Any:
        _check_lengths(self, format, input_signature)
        return export(self, filepath, format, verbose=verbose, input_signature=input_signature, **kwargs)

    setattr(wrapper, "refuses_unknown_lengths", True)  # noqa: B010  # mypy knows no such attribute
    return wrapper


def _check_lengths(model: Any, form: str, input_signature: Any) -> None:
    """Finds out, by two lengths, whether a layer of ours would read what is unknown.

    Raises:
        ValueError: one would.
    """
    if form not in _FORMATS:
        return
    specs = _signature(model) if input_signature is None else input_signature
    shapes = [tuple(spec.shape) for spec in keras.tree.flatten(specs)]
    if not any(None in shape[1:] for shape in shapes):
        return
    seen = [_lengths(model, specs, unknown) for unknown in (2, 3)]
    for (layer, length), (_, other) in zip(*seen, strict=True):
        if length != other:
            known = (shapes[0][0], *(50 if size is None else size for size in shapes[0][1:]))
            dtype = keras.tree.flatten(specs)[0].dtype
            raise ValueError(
                f"keras.Model.export: {named(layer)} would read sequences of unknown length. "
                f"Expected a known number of steps, since PyTorch writes down each; received the input shapes "
                f"{', '.join(map(str, shapes))}. Give input_signature=[keras.InputSpec(shape={known}, "
                f"dtype={dtype!r})], and pad what is shorter; or load the saved model under KERAS_BACKEND=tensorflow "
                "or jax, and export it there, where the length may stay open."
            )


def _signature(model: Any) -> Any:
    """Describes the inputs that a model is exported for if the user does not say: those that it was made for."""
    if hasattr(model, "input"):
        return [model.input]
    if hasattr(model, "inputs"):
        return list(model.inputs)
    return _specs(list((model.get_build_config() or {}).values()))  # of a class of the user's own


def _specs(shapes: Any) -> Any:
    """Makes specifications of shapes, nested as these are."""
    if isinstance(shapes, dict):
        return {name: _specs(shape) for name, shape in shapes.items()}
    if all(isinstance(size, int | None) for size in shapes):
        return keras.InputSpec(shape=(None, *shapes[1:]), dtype="float32")
    return [_specs(shape) for shape in shapes]


def _lengths(model: Any, specs: Any, unknown: int) -> list[tuple[Any, int]]:
    """Runs a model on ones; returns the layers of ours with the lengths of the sequences that they are called with."""
    layers = [layer for layer in parts_of(model) if is_ours(layer)]
    seen: list[tuple[Any, int]] = []

    def watch(layer: Any) -> None:
        loop = layer.inner_loop

        def inner_loop(sequences: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append((layer, sequences.shape[1]))
            return loop(sequences, *args, **kwargs)

        vars(layer)["inner_loop"] = inner_loop  # RNN.call finds it here first

    def ones(spec: Any) -> Any:
        sizes = [(unknown if axis else 1) if size is None else size for axis, size in enumerate(spec.shape)]
        return keras.ops.ones(sizes, spec.dtype)

    for layer in layers:
        watch(layer)
    try:
        with portable(), keras.StatelessScope():
            model(*keras.tree.map_structure(ones, specs), training=False)
    finally:
        for layer in layers:
            del vars(layer)["inner_loop"]
    return seen
