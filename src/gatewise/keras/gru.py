# SPDX-License-Identifier: Apache-2.0
"""`keras.layers.GRU` with the loop over time on the engine."""

from __future__ import annotations

import keras

from gatewise.keras.native import Native


# The name is that of the stock layer: the paths in .weights.h5 files contain it, so the files fit both.
@keras.saving.register_keras_serializable(package="gatewise", name="GRU")
class GRU(Native, keras.layers.GRU):
    """Reads sequences with gated recurrent units: `keras.layers.GRU`, faster on a CPU, with the same numbers.

    Arguments, weights, call and saved files are those of `keras.layers.GRU`; so is what it computes, with these
    remarks:

    - `unroll`, `use_cudnn` and `implementation` choose between loops of Keras. The engine runs whatever they say.
    - `dropout=1.0` drops nothing, as in Keras on TensorFlow; the same goes for `recurrent_dropout=1.0`.
    - float16 and bfloat16 are computed in float32 and rounded at the end of the call.
    - Input in a masked step is never read: NaN there reaches no output and no gradient.

    Beyond stock's it takes

    - `zoneout=0.1`: in training every unit keeps its state in a step with this probability, drawn anew for every
      row, step and unit from the layer's seed; else the state is zoneout * before + (1 - zoneout) * new (Krueger et
      al. 2016, arXiv 1606.01305). The draws take one byte for each number of the outputs while a step of training
      lasts.
    - `layer(x, starts=starts)`: boundaries inside rows, see `call`.

    Keras's own path has neither: where it would run instead of the engine, they raise NotImplementedError.

    Attributes:
        fallback_reason: why Keras's own path ran in the latest call or trace; None if the engine ran. The reasons: an
            activation other than tanh, sigmoid, relu, linear or hard_sigmoid, float64, a GPU, tracing for export or for
            TensorFlow's XLA, `gatewise.portable()`, a backend that the engine is not connected to.

    Example:
        >>> import numpy as np
        >>> layer = GRU(4, return_sequences=True, return_state=True)
        >>> outputs, state = layer(np.zeros((2, 3, 5), "float32"))
        >>> tuple(outputs.shape), tuple(state.shape), layer.fallback_reason
        ((2, 3, 4), (2, 4), None)
    """

    STOCK = keras.layers.GRU
    ZONEOUT = ("zoneout",)
