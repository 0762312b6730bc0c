# SPDX-License-Identifier: Apache-2.0
"""From strings to a label: tokenise, pad, embed, and let a GRU read. The padding is masked: the GRU never reads it."""

import keras
import numpy as np
from keras.layers import Dense, Embedding, Input
from keras.models import Sequential

from gatewise.data.text import Tokenizer, pad_sequences  # instead of: from tensorflow.keras.preprocessing...
from gatewise.keras import GRU  # instead of: from keras.layers import GRU

keras.utils.set_random_seed(0)

texts = [
    "a warm and funny film",
    "what a wonderful story",
    "I loved every minute of it",
    "brilliant acting and a clever plot",
    "a dull and lifeless film",
    "what a boring story",
    "I hated every minute of it",
    "terrible acting and a stupid plot",
]
labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])

# A layer reads numbers, so each word becomes its number, and short sentences are filled up with zeros.
tokenizer = Tokenizer()
tokenizer.fit_on_texts(texts)
vocabulary = len(tokenizer.word_index) + 1  # the numbers begin at 1: 0 is the padding
x = pad_sequences(tokenizer.texts_to_sequences(texts), maxlen=8, padding="post")

model = Sequential(
    [
        Input(shape=(8,)),
        Embedding(vocabulary, 16, mask_zero=True),
        GRU(32),
        Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(x, labels, epochs=20, batch_size=4)

new = ["a wonderful film", "a boring plot"]
padded = pad_sequences(tokenizer.texts_to_sequences(new), maxlen=8, padding="post")
for text, (probability,) in zip(new, model.predict(padded, verbose=0), strict=True):
    print(f"{text}: {probability:.2f}")
