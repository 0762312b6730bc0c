# SPDX-License-Identifier: Apache-2.0
"""The sequences that recurrent layers are built for and called with: checked, with the cure."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

import numpy as np

from gatewise.keras.errors import TEXT_CURE, describe, is_text, named
from gatewise.keras.kinds import cells_of
from gatewise.options import cut

Shape: TypeAlias = tuple[int | None, ...]

_RANK = 3
_SPARSE = {"SparseTensor", "BCOO", "BCSR"}  # TensorFlow's, and JAX's


def check_build(layer: Any, shape: Shape) -> None:
    """Checks the shape of the sequences that a layer is built for.

    Raises:
        ValueError: it has another rank, an unknown or no width; or the layer is stateful and the batch is unknown.
    """
    if len(shape) != _RANK:
        _raise_wrong_rank(layer, None, tuple(shape))
    _check_width(layer, tuple(shape))
    if layer.stateful and layer.states is None and shape[0] is None:
        timesteps, features = shape[1:]
        raise ValueError(
            f"{named(layer)}: a stateful layer needs a batch size. Expected (batch, timesteps, features) with a known "
            f"batch; received {tuple(shape)}. Give it with the input: "
            f"keras.Input(batch_shape=(32, {timesteps}, {features})), and use the same batch_size in fit and predict."
        )


def check_sequences(layer: Any, inner: Any, sequences: Any) -> Shape | None:
    """Checks the sequences that a layer is called with.

    Args:
        layer: who is called.
        inner: who reads them; a Bidirectional has a layer for it.
        sequences: what should be numbers of shape (batch, timesteps, features).

    Returns:
        Their shape, None where it is unknown.

    Raises:
        TypeError: they are no array, or a masked, a ragged or a sparse one.
        ValueError: they are text or complex, have the wrong rank or width, or no steps.
    """
    if is_text(sequences):
        raise ValueError(
            f"{named(layer)}: the input is raw text. Expected numbers of shape (batch, timesteps, features); received "
            f"{describe(sequences)}. {TEXT_CURE}"
        )
    check_real(layer, "the input", sequences)
    _check_dense(layer, sequences)
    shape = shape_of(sequences)
    if shape is None:
        _check_is_array(layer, sequences)
    elif len(shape) != _RANK:
        _raise_wrong_rank(layer, sequences, shape)
    else:
        _check_sizes(layer, inner, shape)
    return shape


def check_real(layer: Any, what: str, value: Any) -> None:
    """Checks that Keras would drop nothing of an array: no mask of `numpy.ma`, no imaginary parts.

    Raises:
        TypeError: it is a masked array.
        ValueError: it holds complex numbers.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{named(layer)}: {what} is a masked array, whose mask Keras drops. Expected a plain array; received "
            f"{describe(value)}. Give its data, x.data, and say which steps count by mask=, (batch, timesteps)."
        )
    if "complex" in str(getattr(value, "dtype", "")):
        raise ValueError(
            f"{named(layer)}: {what} holds complex numbers, of which Keras drops the imaginary parts. Expected real "
            f"numbers; received dtype {value.dtype}. Give real and imaginary parts as features of their own."
        )


def shape_of(value: Any) -> Shape | None:
    """Reads a shape, None where a size is unknown: it may be a symbol of JAX, or a tensor that torch traces."""
    try:
        return tuple(size if isinstance(size, int) else None for size in value.shape)
    except (AttributeError, TypeError, ValueError):  # no shape, or TensorFlow's shape of unknown rank
        return None


def _check_is_array(layer: Any, sequences: Any) -> None:
    if not isinstance(sequences, list | tuple | dict | set | int | float | None):
        return  # what has no shape that we can read, as a tensor of unknown rank
    cure = "Give one array, numpy.array(x), sequences of different lengths padded first."
    if isinstance(sequences, list | tuple) and any(shape_of(part) for part in sequences):
        cure = "Give one array: sequences stacked by numpy.stack, and a state as initial_state=."
    raise TypeError(
        f"{named(layer)}: the input is no array. Expected one of shape (batch, timesteps, features); received "
        f"{describe(sequences)} of type {type(sequences).__name__}. {cure}"
    )


def _check_dense(layer: Any, sequences: Any) -> None:
    kind = type(sequences).__name__
    if kind == "RaggedTensor" or any(getattr(sequences, name, False) is True for name in ("ragged", "is_nested")):
        what, cure = "ragged", "Pad the sequences to one length, and say by mask= which steps count."
    elif kind in _SPARSE or any(getattr(sequences, name, False) is True for name in ("sparse", "is_sparse")):
        what, cure = "sparse", "Make it dense first."
    else:
        return
    raise TypeError(
        f"{named(layer)}: the input is {what}. Expected a dense array of shape (batch, timesteps, features); received "
        f"a {kind} of shape {shape_of(sequences)}. {cure}"
    )


def _raise_wrong_rank(layer: Any, sequences: Any, shape: Shape) -> NoReturn:
    below = _where_time_ended(sequences)
    if below is not None and getattr(below, "return_sequences", True) is False:
        what = f"layer {cut(repr(below.name))} below gives only its last output"
        cure = f"Give that layer return_sequences=True: {_with_sequences(below)}."
    elif below is not None:
        what = f"layer {cut(repr(below.name))} below ({type(below).__name__}) removes the time axis"
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
    raise ValueError(f"{named(layer)}: {what}. Expected (batch, timesteps, features); received {shape}. {cure}")


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


def _check_sizes(layer: Any, inner: Any, shape: Shape) -> None:
    if shape[1] == 0:
        raise ValueError(
            f"{named(layer)}: the input has no steps. Expected (batch, timesteps, features) with at least one step; "
            f"received {shape}. Leave out empty sequences, or pad them to one step and mask it."
        )
    kernel = getattr(cells_of(inner)[0], "kernel", None)
    if kernel is None or shape[2] == 0:
        _check_width(layer, shape)
        return
    features = kernel.shape[0]
    if shape[2] not in {None, features}:
        raise ValueError(
            f"{named(layer)}: the input has the wrong width. Expected (batch, timesteps, features={features}), for "
            f"which the layer was built; received {shape}. Check the last axis."
        )


def _check_width(layer: Any, shape: Shape) -> None:
    if shape[2] in {None, 0}:
        raise ValueError(
            f"{named(layer)}: the number of features is {'unknown' if shape[2] is None else 'zero'}. Expected (batch, "
            f"timesteps, features) with a known width; received {shape}. Say it with the input: keras.Input((None, 3))."
        )
