# SPDX-License-Identifier: Apache-2.0
"""Keras layers that run on the engine: `gatewise.keras.GRU` stands wherever `keras.layers.GRU` stood.

Importing this registers the layer with Keras, and what models keep of their data, so that saved models load. It also
wraps methods of Keras that a model with such a layer needs: `fit`, `evaluate` and `predict` say what to do when they
are given raw text, both layers of a `Bidirectional` run as one, `keras.export.ExportArchive` writes none of the
engine's operations, and an export that would be wrong is refused. `patch_keras` puts the engine under Keras's own
layers, `convert` rewrites a model.
"""

from gatewise.extras import KERAS, required_by

with required_by("gatewise.keras", *KERAS):
    import gatewise.data.preprocessing  # registers what it holds
    import gatewise.keras.version  # noqa: F401

from gatewise.fallback import FallbackWarning, portable
from gatewise.keras.bidirectional import join_directions
from gatewise.keras.convert import convert
from gatewise.keras.export import retrace_for_export
from gatewise.keras.layer_norm_cells import LayerNormGRUCell, LayerNormLSTMCell
from gatewise.keras.layers import GRU, LSTM, LayerNormGRU, LayerNormLSTM, SimpleRNN
from gatewise.keras.one_length import refuse_unknown_lengths
from gatewise.keras.patch import patch_keras, unpatch_keras
from gatewise.keras.text import explain_raw_text

__all__ = [
    "GRU",
    "LSTM",
    "FallbackWarning",
    "LayerNormGRU",
    "LayerNormGRUCell",
    "LayerNormLSTM",
    "LayerNormLSTMCell",
    "SimpleRNN",
    "convert",
    "patch_keras",
    "portable",
    "unpatch_keras",
]

explain_raw_text()
join_directions()
retrace_for_export()
refuse_unknown_lengths()
