# SPDX-License-Identifier: Apache-2.0
"""Keras layers that run on the engine: `gatewise.keras.GRU` stands wherever `keras.layers.GRU` stood.

Importing this registers the layer with Keras, so that saved models load, and lets `fit`, `evaluate` and `predict` of a
model that holds such a layer say what to do when they are given raw text.
"""

from gatewise.keras.fallback import FallbackWarning, portable
from gatewise.keras.gru import GRU
from gatewise.keras.text import explain_raw_text

__all__ = ["GRU", "FallbackWarning", "portable"]

explain_raw_text()
