# SPDX-License-Identifier: Apache-2.0
"""`keras.layers.LSTM` with the loop over time on the engine."""

from __future__ import annotations

import keras

from gatewise.keras.native import Native


# The name is that of the stock layer: the paths in .weights.h5 files contain it, so the files fit both.
@keras.saving.register_keras_serializable(package="gatewise", name="LSTM")
class LSTM(Native, keras.layers.LSTM):
    """Reads sequences with long short-term memory: `keras.layers.LSTM`, faster on a CPU, with the same numbers.

    Arguments, weights, call and saved files are those of `keras.layers.LSTM`; so is what it computes, with the remarks
    of `gatewise.keras.GRU`.

    Zoneout of h is `zoneout`, that of c `zoneout_cell`; the new h follows from the new c before zoneout, as in the
    paper.

    Attributes:
        fallback_reason: why Keras's own path ran in the latest call or trace; None if the engine ran. The reasons are
            those of `gatewise.keras.GRU`.

    Example:
        >>> import numpy as np
        >>> layer = LSTM(4, return_sequences=True, return_state=True)
        >>> outputs, h, c = layer(np.zeros((2, 3, 5), "float32"))
        >>> tuple(outputs.shape), tuple(h.shape), tuple(c.shape), layer.fallback_reason
        ((2, 3, 4), (2, 4), (2, 4), None)
    """

    STOCK = keras.layers.LSTM
    ZONEOUT = ("zoneout", "zoneout_cell")
