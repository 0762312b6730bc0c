# SPDX-License-Identifier: Apache-2.0
"""Errors that teach: the words that they share. Each names the mistake where it is made, with the cure.

Keras notices most mistakes late, in words about something else, or not at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewise.options import cut

TEXT_CURE = """A GRU reads numbers: tokenise the text, pad it to one length, and embed the tokens.
    from gatewise.data.text import Vocabulary
    vocabulary = Vocabulary(max_tokens=10_000, output_sequence_length=50).adapt(texts)  # tokenises and pads
    embedding = keras.layers.Embedding(10_000, 64, mask_zero=True)
    model = keras.Sequential([embedding, GRU(32), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    model.fit(vocabulary(texts), numpy.array(labels))"""


def class_name(layer: Any) -> str:
    """Names a layer's class as users write it."""
    name = type(layer).__name__
    package = {"gatewise": "gatewise.keras.", "keras": "keras.layers."}
    return package.get(type(layer).__module__.split(".")[0], "") + name


def named(layer: Any) -> str:
    """Names a layer by its class and its name."""
    return f"{class_name(layer)} {cut(repr(layer.name), 100)}"


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
    try:
        text = repr(data)
    except ValueError as error:  # an int of thousands of digits
        text = str(error)
    return cut(text)


def cause(error: Exception) -> Exception | None:
    """Returns what an error that says the same in better words is raised from; nothing where that would be a flood.

    Keras and the frameworks quote whole arguments, and Python shows a cause in full.
    """
    return error if len(str(error)) <= 2000 else None
