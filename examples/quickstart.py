# SPDX-License-Identifier: Apache-2.0
"""The first lines of every GRU tutorial, with one import changed."""

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential

from gatewise.keras import GRU  # instead of: from keras.layers import GRU

keras.utils.set_random_seed(0)

# 100 dummy sequences of 10 steps with 5 features each, and a label, 0 or 1, for each sequence.
x = np.random.default_rng(0).random((100, 10, 5), dtype=np.float32)
y = np.random.default_rng(1).integers(0, 2, size=(100, 1))

# Two stacked GRU layers: the lower one hands on its whole sequence, the upper one only its last state.
model = Sequential(
    [
        Input(shape=(10, 5)),
        GRU(50, return_sequences=True),
        GRU(50),
        Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss="binary_crossentropy", metrics=["accuracy"])
model.summary()
model.fit(x, y, epochs=10, batch_size=16)

# The hidden states at every step and the last state, of five sequences.
gru = GRU(50, return_sequences=True, return_state=True)
sequences, state = gru(x[:5])
print("sequences:", tuple(sequences.shape))
print("state:", tuple(state.shape))
