# SPDX-License-Identifier: Apache-2.0
"""Errors that teach: the mistakes of every tutorial, named where they are made, with the cure.

Keras notices most of them late, in words about something else, or not at all.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any, NoReturn, TypeAlias

import keras
import numpy as np

Shape: TypeAlias = tuple[int | None, ...]

_SIGNATURE = inspect.signature(keras.layers.GRU.__init__)
_RANK = 3

TEXT_CURE = """A GRU reads numbers: tokenise the text, pad it to one length, and embed the tokens.
    from gatewise.data.text import Vocabulary
    vocabulary = Vocabulary(max_tokens=10_000, output_sequence_length=50).adapt(texts)  # tokenises and pads
    embedding = keras.layers.Embedding(10_000, 64, mask_zero=True)
    model = keras.Sequential([embedding, GRU(32), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    model.fit(vocabulary(texts), numpy.array(labels))"""


def check_constructor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Checks units and activations, of which Keras says too little.

    Args:
        args: the positional arguments of `keras.layers.GRU`.
        kwargs: the others.

    Raises:
        TypeError: units is not an int.
        ValueError: units is below 1, or an activation is unknown.
    """
    try:
        given = _SIGNATURE.bind(None, *args, **kwargs).arguments
    except TypeError:
        return  # an argument is missing or unknown: Python says so itself when Keras's constructor is called
    units = given["units"]
    if not isinstance(units, int):
        cure = str(units) if str(units).isdigit() else "32"
        raise TypeError(
            f"gatewise.keras.GRU: units is not a whole number. Expected an int of at least 1; received {units!r} of "
            f"type {type(units).__name__}. Write GRU({cure})."
        )
    if units < 1:
        raise ValueError(
            f"gatewise.keras.GRU: units is too small. Expected an int of at least 1; received {units}. "
            "It is the width of the state; write for instance GRU(32)."
        )
    for name in ("activation", "recurrent_activation"):
        if isinstance(given.get(name), str):
            _check_activation(name, given[name])


def _check_activation(argument: str, name: str) -> None:
    try:
        keras.activations.get(name)
    except ValueError as error:
        known = [
            known
            for known, function in sorted(vars(keras.activations).items())
            if inspect.isfunction(function) and known not in {"deserialize", "get", "serialize"}
        ]
        close = difflib.get_close_matches(name, known, n=1)
        cure = f"Did you mean {close[0]!r}?" if close else "Choose one of these, or pass a function."
        raise ValueError(
            f"gatewise.keras.GRU: {argument} is unknown. Expected one of {', '.join(known)}; received {name!r}. {cure}"
        ) from error


def check_batch_size(layer: Any, sequences_shape: Shape) -> None:
    """Checks that a stateful layer knows its batch size when it is built.

    Raises:
        ValueError: it does not.
    """
    if layer.stateful and layer.states is None and sequences_shape[0] is None:
        timesteps, features = sequences_shape[1:]
        raise ValueError(
            f"{_name(layer)}: a stateful layer needs a batch size. Expected (batch, timesteps, features) with a known "
            f"batch; received {tuple(sequences_shape)}. Give it with the input: "
            f"keras.Input(batch_shape=(32, {timesteps}, {features})), and use the same batch_size in fit and predict."
        )


def check_call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Checks what a layer is called with: sequences, initial_state and mask, in Keras's order.

    Raises:
        ValueError: the sequences are text or have the wrong rank, or the mask or the initial state has the wrong shape.
    """
    sequences, initial_state, mask = (
        args[place] if len(args) > place else kwargs.get(name)
        for place, name in enumerate(("sequences", "initial_state", "mask"))
    )
    if is_text(sequences):
        raise ValueError(
            f"{_name(layer)}: the input is raw text. Expected numbers of shape (batch, timesteps, features); received "
            f"{describe(sequences)}. {TEXT_CURE}"
        )
    shape = _shape(sequences)
    if shape is None:
        return
    if len(shape) != _RANK:
        _raise_wrong_rank(layer, sequences, shape)
    if initial_state is not None:
        _check_initial_state(layer, initial_state, shape[0])
    if mask is not None:
        _check_mask(layer, mask, shape)


def _raise_wrong_rank(layer: Any, sequences: Any, shape: Shape) -> NoReturn:
    below = _where_time_ended(sequences)
    if below is not None and getattr(below, "return_sequences", True) is False:
        what = f"layer {below.name!r} below gives only its last output"
        cure = f"Give that layer return_sequences=True: {_with_sequences(below)}."
    elif below is not None:
        what = f"layer {below.name!r} below ({type(below).__name__}) removes the time axis"
        cure = "Put it after the last recurrent layer."
    elif len(shape) < _RANK:
        what = "the input has too few axes"
        cure = (
            "If a recurrent layer below made it, give that layer return_sequences=True, as in "
            "GRU(64, return_sequences=True). If it holds token numbers, put keras.layers.Embedding before this layer. "
            "If it holds one value a step, add an axis: x[..., None]."
        )
    else:
        what = "the input has too many axes"
        cure = "Merge the last axes with keras.layers.Reshape, or wrap this layer in keras.layers.TimeDistributed."
    raise ValueError(f"{_name(layer)}: {what}. Expected (batch, timesteps, features); received {shape}. {cure}")


def _where_time_ended(tensor: Any) -> Any:
    """Finds the layer below a symbolic tensor of rank 2 that was given time, rank 3 or more, and did not pass it on."""
    while (history := getattr(tensor, "_keras_history", None)) is not None:
        below, node, _ = history
        inputs = below._inbound_nodes[node].input_tensors  # noqa: SLF001  # Keras has no public way up the graph
        if len(inputs) != 1:
            return None
        tensor = inputs[0]
        if len(tensor.shape) >= _RANK:
            return below
    return None


def _with_sequences(layer: Any) -> str:
    inner = getattr(layer, "forward_layer", layer)
    text = f"{type(inner).__name__}({getattr(inner, 'units', '...')}, return_sequences=True)"
    return text if inner is layer else f"{type(layer).__name__}({text})"


def _check_initial_state(layer: Any, initial_state: Any, batch: int | None) -> None:
    if isinstance(initial_state, list | tuple):
        if len(initial_state) != 1:
            raise ValueError(
                f"{_name(layer)}: initial_state holds the wrong number of states. Expected 1; received "
                f"{len(initial_state)}. A GRU has one state, and a Bidirectional GRU two, one for each direction."
            )
        initial_state = initial_state[0]
    received = _shape(initial_state)
    if received is not None and not _fits(received, (batch, layer.units)):
        raise ValueError(
            f"{_name(layer)}: initial_state has the wrong shape. Expected (batch={_known(batch)}, "
            f"units={layer.units}); received {received}. Give one state for each sequence of the batch."
        )


def _check_mask(layer: Any, mask: Any, shape: Shape) -> None:
    received = _shape(mask[0] if isinstance(mask, list | tuple) else mask)
    if received is None:
        return
    flat = received[:-1] if len(received) == _RANK and received[-1] == 1 else received
    if not _fits(flat, shape[:2]):
        raise ValueError(
            f"{_name(layer)}: mask has the wrong shape. Expected (batch={_known(shape[0])}, "
            f"timesteps={_known(shape[1])}); received {received}. "
            "Give one value for each step of each sequence, True where the step counts."
        )


def _fits(received: Shape, expected: Shape) -> bool:
    """Compares shapes where both are known; a batch of 1 serves every row, as in Keras."""
    return len(received) == len(expected) and all(
        a is None or b is None or a == b or (axis == 0 and a == 1)
        for axis, (a, b) in enumerate(zip(received, expected, strict=True))
    )


def _shape(value: Any) -> Shape | None:
    try:
        return tuple(value.shape)
    except (AttributeError, TypeError, ValueError):  # no shape, or TensorFlow's shape of unknown rank
        return None


def _known(size: int | None) -> str:
    return "any" if size is None else str(size)


def class_name(layer: Any) -> str:
    """Names a layer's class as users write it."""
    name = type(layer).__name__
    package = {"gatewise": "gatewise.keras.", "keras": "keras.layers."}
    return package.get(type(layer).__module__.split(".")[0], "") + name


def _name(layer: Any) -> str:
    return f"{class_name(layer)} {layer.name!r}"


def is_text(data: Any) -> bool:
    """Says whether data are raw text: strings; lists, arrays or tensors of them; a tf.data.Dataset that gives them."""
    if isinstance(data, tuple | list):
        return len(data) > 0 and is_text(data[0])
    if isinstance(data, str | bytes):
        return True
    if hasattr(data, "element_spec"):  # a tf.data.Dataset: of x, or of (x, y, ...)
        return is_text(data.element_spec)
    dtype = getattr(data, "dtype", None)
    if getattr(dtype, "kind", None) == "O":  # NumPy, pandas: anything may be inside
        first = np.asarray(data).ravel()[:1]
        return bool(first.size) and isinstance(first[0], str | bytes)
    return getattr(dtype, "kind", None) in {"S", "T", "U"} or getattr(dtype, "name", dtype) in {"string", "str"}


def describe(data: Any) -> str:
    """Shows the beginning of data in a line."""
    text = " ".join(repr(data).split())
    return text if len(text) <= 60 else f"{text[:57]}..."  # half a line
